"""Exact arithmetic on constants, with the author's reason for whatever has no result."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

Number = int | float

LARGEST_INT = 2**63 - 1


class ArithmeticFault(Exception):
    """No finite result; the message says why in the author's terms."""


def apply(op: str, values: list[Number | bool]) -> Number | bool:
    """Result of ``op`` on constants; ints stay ints where the result is one. Raises ArithmeticFault."""
    try:
        result = _TABLE[op](*values)
    except ZeroDivisionError:
        raise ArithmeticFault("division by zero") from None
    except OverflowError:
        raise ArithmeticFault("the result is too large") from None
    return checked(result)


def checked(value: Number | bool) -> Number | bool:
    """``value`` itself when it is finite and fits in 64 bits. Raises ArithmeticFault."""
    if isinstance(value, int):
        if not -LARGEST_INT - 1 <= value <= LARGEST_INT:
            raise ArithmeticFault("the result is too large: whole numbers must fit in 64 bits")
    elif not math.isfinite(value):
        raise ArithmeticFault("the result is not a number" if math.isnan(value) else "the result is infinite")
    return value


def divide(a: Number, b: Number) -> Number:
    """Quotient; an int where two ints divide without rest."""
    if isinstance(a, int) and isinstance(b, int) and b and a % b == 0:
        return a // b
    return a / b


def power(a: Number, b: Number) -> Number:
    """``a ** b``; refuses what would take unbounded memory before computing it."""
    if a == 0 and b < 0:
        raise ArithmeticFault("division by zero: zero has no negative power")
    if a < 0 and b != math.floor(b):
        raise ArithmeticFault(f"a negative number has no power {b}")
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        if abs(a) > 1 and b * (abs(a).bit_length() - 1) > 64:
            raise ArithmeticFault("the result is too large: whole numbers must fit in 64 bits")
        return 1 if a == 1 or b == 0 else int(a**b) if a != -1 else 1 - 2 * (b % 2)
    return float(a) ** b


def sigmoid(x: Number) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x: Number) -> float:
    """log(1 + exp(x)) without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _positive(name: str, function: Callable[[Number], float]) -> Callable[[Number], float]:
    def checked_log(x: Number) -> float:
        if x <= 0:
            raise ArithmeticFault(f"{name} of {x} is not defined: its argument must be positive")
        return function(x)

    return checked_log


def _root(x: Number) -> float:
    if x < 0:
        raise ArithmeticFault(f"sqrt of {x} is not defined: its argument must not be negative")
    return math.sqrt(x)


def _sum(*values: Number) -> Number:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _product(*values: Number) -> Number:
    total = values[0]
    for value in values[1:]:
        total = total * value
    return total


_TABLE: dict[str, Callable[..., Any]] = {
    "add": _sum, "sub": operator.sub, "mul": _product, "div": divide, "floordiv": operator.floordiv,
    "mod": operator.mod, "pow": power, "neg": operator.neg, "abs": abs,
    "min": lambda *xs: min(xs), "max": lambda *xs: max(xs),
    "exp": math.exp, "log": _positive("log", math.log), "log2": _positive("log2", math.log2), "sqrt": _root,
    "tanh": math.tanh, "sigmoid": sigmoid, "softplus": softplus, "erf": math.erf, "sin": math.sin, "cos": math.cos,
    "floor": math.floor, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip
