"""Python expressions as text that knows how strongly it binds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

CONDITION, COMPARE, BITOR, BITAND, ADD, MUL, UNARY, POWER, ATOM = range(9)

WIDTH: Final = 120
"""Longest line of emitted source."""

_SIMPLE = re.compile(r"-?(\d[\w.]*|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)\Z")


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression. ``rank`` is its binding strength.

    Where it is a bracket with parts (a call, a tuple, a list), ``call`` is its opening, the parts, and its closing.
    """

    text: str
    rank: int = ATOM
    call: tuple[str, tuple[Expr, ...], str] | None = None

    def at(self, rank: int) -> str:
        """Its text, in parentheses where it binds less than ``rank``."""
        return self.text if self.rank >= rank else f"({self.text})"

    @property
    def simple(self) -> bool:
        """Whether it is a name, a dotted name or a number, so that repeating it costs nothing."""
        return _SIMPLE.match(self.text) is not None

    def behind(self, prefix: str) -> Expr:
        """Itself with ``prefix`` before it, as in ``name=value``."""
        return Expr(prefix + self.text, self.rank, self.call and (prefix + self.call[0], *self.call[1:]))

    def __str__(self) -> str:
        return self.text


def quoted(text: str) -> str:
    """``text`` as a string literal, whatever is in it."""
    return json.dumps(text)


def plain(text: str) -> str:
    """``text`` fit for a comment or docstring: what could end one is replaced."""
    return "".join(c if c.isprintable() and c not in '"\\' else "'" for c in text)


def call(function: str, *args: Expr | str, **keywords: Expr | str) -> Expr:
    """``function(args, key=value)``."""
    parts = [_expr(arg) for arg in args] + [_expr(value).behind(f"{name}=") for name, value in keywords.items()]
    return Expr(f"{function}({', '.join(map(str, parts))})", ATOM, (f"{function}(", tuple(parts), ")"))


def _expr(value: Expr | str) -> Expr:
    return Expr(value) if isinstance(value, str) else value


def method(x: Expr, name: str, *args: Expr | str, **keywords: Expr | str) -> Expr:
    """``x.name(args)``."""
    return call(f"{x.at(ATOM)}.{name}", *args, **keywords)


def index(x: Expr, *parts: str) -> Expr:
    """``x[parts]``."""
    return Expr(f"{x.at(ATOM)}[{', '.join(parts)}]")


def infix(symbol: str, rank: int, left: Expr, right: Expr) -> Expr:
    """``left symbol right``, grouping to the left; comparisons do not group."""
    lower = rank + 1 if rank == COMPARE else rank
    return Expr(f"{left.at(lower)} {symbol} {right.at(rank + 1)}", rank)


def power(base: Expr, exponent: Expr) -> Expr:
    """``base ** exponent``, with the spaces that formatters use: none around simple operands."""
    tight = base.simple and exponent.simple
    left, right = base.at(ATOM), exponent.at(UNARY)
    return Expr(f"{left}**{right}" if tight else f"{left} ** {right}", POWER)


def sequence(*parts: Expr | str) -> Expr:
    """``(a, b)``, with the comma that a tuple of one needs."""
    made = call("", *parts)
    return Expr(made.text[:-1] + ",)", ATOM, made.call) if len(parts) == 1 else made


def several(*values: Expr) -> Expr:
    """``a, b``: parentheses come only where they do not fit a line; a single value stays as it is."""
    if len(values) == 1:
        return values[0]
    return Expr(", ".join(map(str, values)), CONDITION, ("(", values, ")"))


def listing(*parts: Expr | str) -> Expr:
    """``[a, b]``."""
    made = [_expr(part) for part in parts]
    return Expr(f"[{', '.join(map(str, made))}]", ATOM, ("[", tuple(made), "]"))


def number(value: float | bool) -> Expr:
    """A literal, as short as it can be without loss."""
    text = repr(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return Expr(f'float("{value}")')
        mantissa, _, exponent = text.partition("e")
        if exponent:
            text = f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return Expr(text, UNARY if text.startswith("-") else ATOM)


def statement(start: str, value: Expr, indent: int, comment: str = "") -> list[str]:
    """``start`` and ``value`` as lines: one where they fit, else a call with an argument a line."""
    line = " " * indent + start + value.text
    if comment and len(line) + len(comment) + 4 <= WIDTH:
        return [f"{line}  # {comment}"]
    return _spread(value.behind(start), indent, "")


def header(name: str, parameters: Iterable[str], returns: str, indent: int = 0) -> list[str]:
    """The ``def`` line of a function, or lines where it is long."""
    return _spread(call(f"def {name}", *parameters), indent, f" -> {returns}:")


def entry(key: str, value: Expr, indent: int) -> list[str]:
    """``"key": value,`` as an item of a dictionary."""
    return _spread(value.behind(f"{quoted(key)}: "), indent, ",")


def _spread(value: Expr, indent: int, end: str) -> list[str]:
    """Lines of ``value``, ending in ``end``: calls that do not fit have an argument a line."""
    pad = " " * indent
    line = f"{pad}{value.text}{end}"
    if len(line) <= WIDTH or value.call is None or not value.call[1]:
        return [line]
    start, parts, close = value.call
    inner = [line for part in parts for line in _spread(part, indent + 4, ",")]
    return [f"{pad}{start}", *inner, f"{pad}{close}{end}"]
