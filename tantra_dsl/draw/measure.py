"""How wide a text is before any browser has seen it, and lines that fit a width.

The widths are, for each character, the larger of DejaVu Sans and Helvetica: of the fonts that ``FAMILY`` may come to,
the former is the widest in common use. So a text may be narrower than told, but not wider.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

FAMILY: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"

_REGULAR: Final[Mapping[int, str]] = {
    28: "'ijl", 30: "I", 32: " ,.·", 34: "/:;\\|", 36: "f", 37: "-", 39: "()[]", 40: "t", 41: "!", 42: "r", 46: '"',
    50: "*J`–", 53: "sz", 55: "c", 56: "?L_", 58: "k", 60: "vxy", 62: "FTaeoθ", 64: "$0123456789bdghnpqu{}βσ√",
    66: "α", 67: "EKPSY", 69: "ABVXZ", 73: "CR", 74: "U", 75: "N", 76: "H", 77: "D", 78: "&G", 79: "OQ", 82: "w",
    84: "#+<=>^~×→−≤≥±÷", 87: "M", 95: "%", 97: "½", 98: "m", 99: "W", 100: "…", 102: "@",
}  # fmt: skip
_BOLD: Final[Mapping[int, str]] = {
    31: "'", 35: " ijl", 37: "/\\|", 38: ",.I·", 40: ":;", 42: "-", 44: "f", 46: "!()[]", 48: "t", 50: "`r–", 53: '"*',
    56: "J_", 59: "z", 60: "cs", 62: "?", 64: "L", 65: "x", 66: "vy", 67: "k√", 68: "ae", 69: "EFToθα",
    70: "$0123456789", 72: "Sbdghnpqu{}β", 73: "YZ", 74: "CP", 77: "BR", 78: "AKVXσ", 82: "U", 83: "DG",
    84: "#+<=>HN^~×→−≤≥±÷", 85: "OQ", 88: "&", 93: "w", 100: "@M…", 101: "%", 104: "½", 105: "m", 111: "W",
}  # fmt: skip
_WIDTHS: Final = {
    False: {char: width / 100 for width, chars in _REGULAR.items() for char in chars},
    True: {char: width / 100 for width, chars in _BOLD.items() for char in chars},
}


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """At most how wide ``text`` is, in the unit of ``size``."""
    known = _WIDTHS[bold]
    return size * sum(known.get(char) or _other(char) for char in text)


def _other(char: str) -> float:
    """An em for the wide scripts, nothing for marks on the character before; else the width of a wide letter."""
    if unicodedata.combining(char):
        return 0.0
    return 1.2 if unicodedata.east_asian_width(char) in "WF" else 1.05


def wrapped(text: str, size: float, width: float, *, bold: bool = False, most: int = 3) -> list[str]:
    """``text`` in lines no wider than ``width``; what does not fit ``most`` lines ends in an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        together = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(together, size, bold=bold) <= width:
            lines[-1] = together
        else:
            lines += _broken(word, size, width, bold)
    if len(lines) > most:
        lines = [*lines[: most - 1], _shortened(f"{lines[most - 1]} {lines[most]}", size, width, bold)]
    return lines


def _broken(word: str, size: float, width: float, bold: bool) -> list[str]:
    """A word, in pieces where it is wider than a line."""
    pieces = [""]
    for char in word:
        if pieces[-1] and text_width(pieces[-1] + char, size, bold=bold) > width:
            pieces.append("")
        pieces[-1] += char
    return pieces


def _shortened(text: str, size: float, width: float, bold: bool) -> str:
    while text and text_width(f"{text} …", size, bold=bold) > width:
        text = text[:-1]
    return f"{text.rstrip()} …"
