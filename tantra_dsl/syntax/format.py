"""The canonical spelling of a tree, as text or as YAML."""

from __future__ import annotations

from tantra_dsl.syntax.comments import Comments
from tantra_dsl.syntax.flat import flat
from tantra_dsl.syntax.source import Source
from tantra_dsl.syntax.tree import Expr, File


def format_text(file: File, comments_from: Source | None = None) -> str:
    """``file`` as canonical text; comments and empty lines come from the source it was read from."""
    from tantra_dsl.syntax.format_text import TextFormat

    return TextFormat(Comments(comments_from)).file(file)


def format_yaml(file: File, comments_from: Source | None = None) -> str:
    """``file`` as canonical YAML; comments and empty lines come from the source it was read from."""
    from tantra_dsl.syntax.format_yaml import YamlFormat

    return YamlFormat(Comments(comments_from)).file(file)


def format_expression(expr: Expr) -> str:
    """One line of canonical text."""
    return flat(expr)


__all__ = ["format_expression", "format_text", "format_yaml"]
