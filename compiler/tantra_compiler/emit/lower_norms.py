"""How norms are written."""

from __future__ import annotations

from tantra_compiler.emit.expr import Expr, number
from tantra_compiler.emit.site import Site, lowers

_FUNCTIONS = {"layernorm": "layer_norm", "rms": "rms_norm", "l2": "l2_norm"}


@lowers("normalize")
def _normalize(site: Site) -> Expr:
    kind, groups = _FUNCTIONS[site.node.attr("kind")], site.node.attr("groups", 1)
    if groups == 1:
        return site.run(kind, site.args[0], **_settings(site))
    return site.run(f"group_{kind}", site.args[0], repr(groups), **_settings(site))


@lowers("layer_norm", "rms_norm")
def _weighted_norm(site: Site) -> Expr:
    return site.run(site.node.op, *site.args, **_settings(site))


@lowers("add_norm")
def _add_norm(site: Site) -> Expr:
    return site.run(f"add_{_FUNCTIONS[site.node.attr('kind')]}", *site.args, **_settings(site))


def _settings(site: Site) -> dict[str, Expr]:
    return {"eps": number(site.node.attr("eps")), **site.given(narrow=False)}
