"""Scalar expressions in plain Python: the oracle that every other reading of them is tested against."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tantra_dsl.scalars import arithmetic
from tantra_dsl.scalars.arithmetic import ArithmeticFault
from tantra_dsl.scalars.ir import Const, Op, Scalar, Var

Value = int | float | bool
Read = Callable[[int, tuple[Value, ...]], Value]


def no_captures(capture: int, index: tuple[Value, ...]) -> Value:
    """The ``read`` of a program without captures."""
    raise LookupError(f"capture {capture} was read at {index}, but none was given")


def evaluate(expr: Scalar, values: Mapping[str, Value], read: Read = no_captures) -> Value:
    """Value of ``expr``, with IEEE results (inf, nan) where real arithmetic has none.

    ``read(capture, index)`` gives the elements of captured tensors. ``and``, ``or`` and ``where`` evaluate only what
    they need. Raises KeyError for a variable without a value.
    """
    if isinstance(expr, Const):
        return expr.value
    if isinstance(expr, Var):
        return values[expr.name]
    if not isinstance(expr, Op):
        return read(expr.capture, tuple(evaluate(part, values, read) for part in expr.index))
    if expr.op == "where":
        condition, then, otherwise = expr.args
        return evaluate(then if evaluate(condition, values, read) else otherwise, values, read)
    if expr.op == "and":
        return all(evaluate(part, values, read) for part in expr.args)
    if expr.op == "or":
        return any(evaluate(part, values, read) for part in expr.args)
    return _operate(expr.op, [evaluate(part, values, read) for part in expr.args])


def _operate(op: str, values: list[Value]) -> Value:
    if op == "not":
        return not values[0]
    if any(isinstance(value, float) and math.isnan(value) for value in values):
        return op == "ne" if op in ("lt", "le", "gt", "ge", "eq", "ne") else math.nan
    try:
        return arithmetic.apply(op, values)
    except (ArithmeticFault, ValueError):
        return _limit(op, values)


def _limit(op: str, values: list[Value]) -> Value:
    """What IEEE arithmetic gives where ``apply`` refuses."""
    first = values[0]
    if op in ("add", "sub", "mul", "neg", "abs", "min", "max", "softplus"):
        return _plain(op, [float(value) for value in values])
    if op in ("div", "floordiv"):
        sign = math.copysign(1.0, first) * math.copysign(1.0, values[1])
        return math.nan if first == 0 else math.copysign(math.inf, sign)
    if op == "pow":
        return math.nan if first < 0 and values[1] != math.floor(values[1]) else math.inf
    if op in ("log", "log2"):
        return -math.inf if first == 0 else first if first > 0 else math.nan
    if op == "sqrt":
        return first if first > 0 else math.nan
    return first if op == "floor" else math.inf if op == "exp" else math.nan


def _plain(op: str, values: list[float]) -> float:
    if op in ("min", "max"):
        return min(values) if op == "min" else max(values)
    if op in ("neg", "abs"):
        return -values[0] if op == "neg" else abs(values[0])
    if op == "softplus":
        return max(values[0], 0.0)
    total = values[0]
    for value in values[1:]:
        total = total + value if op == "add" else total - value if op == "sub" else total * value
    return total
