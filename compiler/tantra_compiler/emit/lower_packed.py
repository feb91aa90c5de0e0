"""How packed linear layers are written, and functions that are one op with theirs."""

from __future__ import annotations

from tantra_compiler.emit.expr import Expr, method
from tantra_compiler.emit.site import Site, lowers


@lowers("packed_linear")
def _packed_linear(site: Site) -> Expr:
    weights = site.args[1 : 1 + site.node.attr("count")]
    return site.run("packed_linear", site.args[0], *(weight.text.removesuffix(".weight") for weight in weights))


@lowers("parts")
def _parts(site: Site) -> Expr:
    return method(site.args[0], "split", repr(list(site.node.attr("sizes"))), dim="-1")


@lowers("mapped")
def _mapped(site: Site) -> Expr:
    return site.run("mapped", _function(site), *site.args, width=repr(site.node.attr("width")))


@lowers("mapped_linear")
def _mapped_linear(site: Site) -> Expr:
    layer, operands = site.args[0].text.removesuffix(".weight"), site.args[1 + len(site.node.attr("has")) :]
    return site.run("mapped_linear", _function(site), layer, *operands, width=repr(site.node.attr("width")))


def _function(site: Site) -> str:
    return site.source.read(site.source.programs.elementwise(site.node.attr("program")))
