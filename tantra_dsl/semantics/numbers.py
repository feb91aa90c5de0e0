"""Exact, bounded arithmetic on the numbers of a spec."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from tantra_dsl.semantics.values import Number

_SUFFIX = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_LIMIT = 10**30


class ArithmeticMistake(Exception):
    """An operation without a sensible result; the reason is in the author's terms."""


def parse_number(text: str) -> Number:
    """The value of a number literal: an int, or a float where it has a point or an exponent."""
    clean = text.replace("_", "")
    factor = _SUFFIX.get(clean[-1:], 1)
    if factor != 1:
        return whole(Fraction(clean[:-1]) * factor)
    if clean.isdigit():
        return bounded(int(clean))
    return bounded(float(clean))


def whole(value: Number) -> Number:
    """An int where a fraction has no remainder."""
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    return value


def bounded(value: Number) -> Number:
    """``value``, if it is finite and not absurdly large. Raises ArithmeticMistake."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ArithmeticMistake("the result is not a finite number")
    if not -_LIMIT <= value <= _LIMIT:
        raise ArithmeticMistake("the result is beyond 10 ** 30")
    if isinstance(value, Fraction) and value.denominator > _LIMIT:
        raise ArithmeticMistake("the result has a denominator beyond 10 ** 30")
    return value


def _divide(a: Number, b: Number) -> Number:
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    return Fraction(a) / Fraction(b)


def _size(value: Number) -> float:
    return float(-value if value < 0 else value)


def _power(a: Number, b: Number) -> Number:
    if _size(b) > 1024 or (isinstance(b, int) and b and _size(a) > 1 and _size(b) * math.log2(_size(a) + 1) > 1100):
        raise ArithmeticMistake("the exponent is too large")
    if isinstance(b, int):
        exact: Number = Fraction(a) ** b if not isinstance(a, float) and b < 0 else a**b
        return exact
    result: float | complex = float(a) ** float(b)
    if isinstance(result, complex):
        raise ArithmeticMistake("a negative number has no such power")
    return result


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": _divide,
    "//": lambda a, b: a // b, "%": lambda a, b: a % b, "**": _power,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def arithmetic(op: str, a: Number, b: Number) -> Any:
    """``a op b``, exact where both are exact. Raises ArithmeticMistake."""
    try:
        result = _BINARY[op](a, b)
    except ZeroDivisionError:
        raise ArithmeticMistake("division by zero") from None
    except OverflowError:
        raise ArithmeticMistake("the result is not a finite number") from None
    return result if isinstance(result, bool) else whole(bounded(result))


def _exact_sqrt(a: Number) -> Number:
    if isinstance(a, int) and a >= 0 and math.isqrt(a) ** 2 == a:
        return math.isqrt(a)
    return math.sqrt(a)


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "abs": (1, abs), "min": (-2, min), "max": (-2, max), "exp": (1, math.exp), "log": (1, math.log),
    "log2": (1, math.log2), "sqrt": (1, _exact_sqrt), "tanh": (1, math.tanh), "erf": (1, math.erf),
    "sin": (1, math.sin), "cos": (1, math.cos), "floor": (1, math.floor), "ceil": (1, math.ceil),
    "sigmoid": (1, lambda a: 1 / (1 + math.exp(-a))),
    "softplus": (1, lambda a: math.log1p(math.exp(-abs(a))) + max(a, 0)),
}  # fmt: skip
"""Name -> (arity, function); a negative arity is a minimum."""


def function(name: str, arguments: list[Number]) -> Number:
    """Apply a mathematical function to numbers. Raises ArithmeticMistake."""
    try:
        return whole(bounded(FUNCTIONS[name][1](*arguments)))
    except (ValueError, ZeroDivisionError):
        raise ArithmeticMistake(f"{name} has no value there") from None
    except OverflowError:
        raise ArithmeticMistake("the result is not a finite number") from None
