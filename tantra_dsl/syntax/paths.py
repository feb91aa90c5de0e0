"""Expressions that name a place: `attention.heads`, `layers[3].attention.mask`."""

from __future__ import annotations

from tantra_dsl.syntax.tree import Attribute, Expr, Index, Name


def path_text(expr: Expr) -> str | None:
    """The canonical text of a path, or None where ``expr`` is none."""
    parts: list[str] = []
    while not isinstance(expr, Name):
        if isinstance(expr, Attribute):
            parts.append("." + expr.name)
        elif isinstance(expr, Index):
            parts.append(_indices(expr))
        else:
            return None
        expr = expr.base
    return expr.id + "".join(reversed(parts)) if parts else expr.id


def _indices(expr: Index) -> str:
    from tantra_dsl.syntax.format import format_expression

    return f"[{', '.join(map(format_expression, expr.items))}]"


__all__ = ["path_text"]
