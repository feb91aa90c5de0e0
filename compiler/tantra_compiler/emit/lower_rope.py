"""How heads of a projection are written that are normalised and turned in one op."""

from __future__ import annotations

from collections.abc import Mapping

from tantra_compiler.emit.expr import Expr, call, listing, number, quoted
from tantra_compiler.emit.site import Site, lowers


@lowers("turned_heads")
def _turned_heads(site: Site) -> Expr:
    vectors = dict(zip(site.node.attr("vectors"), site.args[1:], strict=True))
    parts = [_part(site, at, vectors) for at in range(len(site.node.attr("heads")))]
    made = site.run("turned_heads", site.args[0], listing(*parts), *_turn(site), **_options(site))
    if len(parts) > 1 or made.call is None:
        return made
    start, operands, close = made.call
    return Expr(f"{made.text}[0]", call=(start, operands, f"{close}[0]"))


def _turn(site: Site) -> list[str]:
    frequency = site.node.attr("frequency")
    return [] if frequency is None else [site.program(frequency), repr(site.node.attr("width"))]


def _options(site: Site) -> dict[str, Expr | str]:
    if site.node.attr("frequency") is None:
        return {}
    return {**site.given(interleaved=False, factor=1.0), **site.cache()}


def _part(site: Site, at: int, vectors: Mapping[str, Expr]) -> Expr:
    """``Heads(8, 64, "rms_norm", weight, eps=1e-6, turned=True)``."""
    heads, width, norm, eps, turned = (
        site.node.attr(name)[at] for name in ("heads", "widths", "norms", "eps", "turned")
    )
    given: dict[str, Expr | str] = {}
    if norm != "none":
        given = {"norm": quoted(norm)}
        given |= {name: vectors[f"{at}.{name}"] for name in ("weight", "bias") if f"{at}.{name}" in vectors}
        given["eps"] = number(eps)
    if turned:
        given["turned"] = number(True)
    return call(site.source.use("Heads"), repr(heads), repr(width), **given)
