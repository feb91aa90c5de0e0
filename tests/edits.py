"""Variants of a text."""

from __future__ import annotations


def replaced(text: str, edits: tuple[tuple[str, str], ...]) -> str:
    """``text`` with each first string, which must be there once, replaced by the second."""
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
