"""Scalar programs as infix text, and back, without loss."""

from __future__ import annotations

import json
import re
from typing import Final

from tantra_dsl.scalars.ir import Const, Gather, Program, Scalar, Var
from tantra_dsl.scalars.walk import fold

INFIX: Final = {
    "or": ("or", 1), "and": ("and", 2),
    "lt": ("<", 4), "le": ("<=", 4), "gt": (">", 4), "ge": (">=", 4), "eq": ("==", 4), "ne": ("!=", 4),
    "add": ("+", 5), "sub": ("-", 5),
    "mul": ("*", 6), "div": ("/", 6), "floordiv": ("//", 6), "mod": ("%", 6),
    "pow": ("**", 8),
}  # fmt: skip
"""Symbol and binding strength of each two-operand op; ``**`` groups to the right, comparisons do not group."""

TERNARY, NOT, COMPARISON, NEGATIVE, POWER, ATOM = 0, 3, 4, 7, 8, 9
RESERVED: Final = frozenset({
    "if", "then", "else", "and", "or", "not", "true", "false", "none", "inf", "nan",
    "graph", "root", "facts", "body", "of", "return", "taps", "init", "spec", "as",
})  # fmt: skip
IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")

Printed = tuple[str, int]


def format_scalar(program: Program) -> str:
    """The program's body as infix text: ``k <= q and q - k < 512``."""
    return fold(program.body, lambda scalar, parts: _print(program, scalar, parts))[0]


def name_text(name: str) -> str:
    """``name`` as it is where it reads as one word, else quoted."""
    return name if IDENTIFIER.match(name) and name not in RESERVED else json.dumps(name)


def number_text(value: int | float | bool) -> str:
    """The number so that it reads back as the same value of the same kind."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _print(program: Program, scalar: Scalar, parts: list[Printed]) -> Printed:
    if isinstance(scalar, Const):
        text = number_text(scalar.value)
        return text, NEGATIVE if text.startswith("-") else ATOM
    if isinstance(scalar, Var):
        return name_text(scalar.name), ATOM
    if isinstance(scalar, Gather):
        return f"{capture_text(program, scalar.capture)}[{', '.join(text for text, _ in parts)}]", ATOM
    return _print_op(scalar.op, parts)


def capture_text(program: Program, capture: int) -> str:
    """How a gather names its tensor: by the capture's name, or by ``#number`` where that says too little."""
    names = [held.name for held in program.captures]
    if capture < len(names) and names.count(names[capture]) == 1:
        return name_text(names[capture])
    return f"#{capture}"


def _print_op(op: str, parts: list[Printed]) -> Printed:
    if op in INFIX and len(parts) == 2:
        return _print_infix(op, *parts)
    if op == "where" and len(parts) == 3:
        condition, then = (_bracket(part, TERNARY + 1) for part in parts[:2])
        return f"if {condition} then {then} else {parts[2][0]}", TERNARY
    if op == "not" and len(parts) == 1:
        return f"not {_bracket(parts[0], NOT)}", NOT
    if op == "neg" and len(parts) == 1:
        return f"-{_bracket(parts[0], NEGATIVE, number=True)}", NEGATIVE
    return f"{op}({', '.join(text for text, _ in parts)})", ATOM


def _print_infix(op: str, left: Printed, right: Printed) -> Printed:
    symbol, strength = INFIX[op]
    if op == "pow":
        return f"{_bracket(left, ATOM)} ** {_bracket(right, NEGATIVE)}", POWER
    tighter = strength + 1 if strength == COMPARISON else strength
    return f"{_bracket(left, tighter)} {symbol} {_bracket(right, strength + 1)}", strength


def _bracket(part: Printed, strength: int, number: bool = False) -> str:
    """The part, in brackets where it binds less than ``strength``, or where a sign before it would make it a number."""
    text, own = part
    signed = number and (text[0].isdigit() or text.startswith(("inf", "nan")))
    return f"({text})" if own < strength or signed else text
