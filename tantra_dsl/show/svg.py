"""Small SVG pictures of cells with lines of text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def label(x: int, y: int, text: str, size: int) -> str:
    """A line of text that begins at (x, y), ``size`` pixels high."""
    font = f'font-family="ui-monospace, monospace" font-size="{size}" fill="#1a1a1a"'
    return f'<text x="{x}" y="{y}" {font}>{escape(text)}</text>'


def document(parts: Iterable[str], width: int, height: int) -> str:
    """The picture on white."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>", ""])
