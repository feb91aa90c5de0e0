"""Canonical numbers, and strings with their escapes."""

from __future__ import annotations

import re
from collections.abc import Callable

_ESCAPE = re.compile(r"\\(?:(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})|(.))", re.DOTALL)
_PLAIN = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
_WRITTEN = {value: "\\" + name for name, value in _PLAIN.items()}


def canonical_number(text: str) -> str:
    """One spelling per way of writing a number: ``50257`` -> ``50_257``, ``1E+06`` -> ``1e6``.

    Integers of five digits and more are grouped by thousands; fractions lose trailing zeros but one.
    """
    if len(text) <= 4 and text.isdigit():
        return text
    suffix = text[-1] if text[-1] in "KMBT" else ""
    digits, _, exponent = text.removesuffix(suffix).replace("_", "").lower().partition("e")
    whole, point, fraction = digits.partition(".")
    shown = f"{int(whole):_}" if len(whole) > 4 else whole
    if point:
        shown += "." + (fraction.rstrip("0") or "0")
    return shown + (f"e{int(exponent)}" if exponent else "") + suffix


def unescape(body: str, bad: Callable[[int, str], None]) -> str:
    """The value of a string's inside; ``bad(position, text)`` hears of what is no escape."""
    if "\\" not in body:
        return body

    def value(match: re.Match[str]) -> str:
        code, plain = match.groups()
        character = _character(code) if code else _PLAIN.get(plain)
        if character is None:
            bad(match.start(), match.group())
        return character or ""

    return _ESCAPE.sub(value, body)


def _character(code: str) -> str | None:
    point = int(code[1:], 16)
    return None if 0xD800 <= point < 0xE000 or point > 0x10FFFF else chr(point)


def quote(value: str) -> str:
    """A string literal of ``value``; what cannot be printed is written as an escape."""
    return '"' + "".join(_written(character) for character in value) + '"'


def _written(character: str) -> str:
    if character in _WRITTEN:
        return _WRITTEN[character]
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


__all__ = ["canonical_number", "quote", "unescape"]
