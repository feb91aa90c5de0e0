"""Constructors of the whole-number expressions of a plan, with the simplifications that keep them short."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tantra_dsl.scalars.ir import Const, Op, Scalar, ScalarOp

ZERO: Final = Const(0)
ONE: Final = Const(1)
TRUE: Final = Const(True)
FALSE: Final = Const(False)


def plus(a: Scalar, b: Scalar | int) -> Scalar:
    """The sum; a constant comes last, and two constants become one."""
    b = Const(b) if isinstance(b, int) else b
    if isinstance(a, Const):
        a, b = b, a
    if not isinstance(b, Const):
        return Op("add", (a, b))
    offset = b.value
    if isinstance(a, Const):
        return Const(a.value + offset)
    if isinstance(a, Op) and a.op in ("add", "sub") and isinstance(a.args[1], Const) and len(a.args) == 2:
        offset += a.args[1].value if a.op == "add" else -a.args[1].value
        a = a.args[0]
    if offset == 0:
        return a
    return Op("add", (a, Const(offset))) if offset > 0 else Op("sub", (a, Const(-offset)))


def minus(a: Scalar, b: Scalar | int) -> Scalar:
    """The difference."""
    if isinstance(b, Const):
        b = int(b.value)
    if isinstance(b, int):
        return plus(a, -b)
    if a == ZERO:
        return negative(b)
    return ZERO if a == b else Op("sub", (a, b))


def negative(a: Scalar) -> Scalar:
    """The number with the other sign."""
    if isinstance(a, Const):
        return Const(-a.value)
    if isinstance(a, Op) and a.op == "neg":
        return a.args[0]
    base, offset = split_offset(a)
    if offset:
        return plus(negative(base), -offset)
    return Op("sub", (a.args[1], a.args[0])) if isinstance(a, Op) and a.op == "sub" else Op("neg", (a,))


def times(a: Scalar, factor: int) -> Scalar:
    """The product with a known whole number."""
    if factor == 0:
        return ZERO
    if factor in (1, -1):
        return a if factor == 1 else negative(a)
    return Const(a.value * factor) if isinstance(a, Const) else Op("mul", (a, Const(factor)))


def floor_div(a: Scalar, divisor: int) -> Scalar:
    """The quotient by a positive whole number, rounded down."""
    if divisor == 1:
        return a
    return Const(a.value // divisor) if isinstance(a, Const) else Op("floordiv", (a, Const(divisor)))


def least(parts: Iterable[Scalar]) -> Scalar:
    """The smallest of the parts."""
    return _extreme("min", parts)


def most(parts: Iterable[Scalar]) -> Scalar:
    """The largest of the parts."""
    return _extreme("max", parts)


def _extreme(op: ScalarOp, parts: Iterable[Scalar]) -> Scalar:
    flat: list[Scalar] = []
    for part in parts:
        flat += part.args if isinstance(part, Op) and part.op == op else (part,)
    choose = min if op == "min" else max
    numbers = [part.value for part in flat if isinstance(part, Const)]
    kept: list[Scalar] = [part for part in dict.fromkeys(flat) if not isinstance(part, Const)]
    kept = [*_without_offsets(kept, op), *([Const(choose(numbers))] if numbers else [])]
    kept = [part for part in kept if not _absorbed(part, kept, op)]
    return kept[0] if len(kept) == 1 else Op(op, tuple(kept))


def _absorbed(part: Scalar, beside: list[Scalar], op: str) -> bool:
    """Whether ``part`` is the other extreme of something that stands beside it: ``min(max(x, y), y)`` is y."""
    other = "max" if op == "min" else "min"
    return isinstance(part, Op) and part.op == other and any(arg in beside for arg in part.args)


def _without_offsets(parts: list[Scalar], op: str) -> list[Scalar]:
    """Of parts that differ by a known number, only the one that counts."""
    best: dict[Scalar, int] = {}
    for part in parts:
        base, offset = split_offset(part)
        known = best.get(base)
        best[base] = offset if known is None else min(known, offset) if op == "min" else max(known, offset)
    return [plus(base, offset) for base, offset in best.items()]


def split_offset(expr: Scalar) -> tuple[Scalar, int]:
    """(base, n) where ``expr`` is ``base + n`` with a known n."""
    if isinstance(expr, Op) and expr.op in ("add", "sub") and len(expr.args) == 2 and isinstance(expr.args[1], Const):
        offset = int(expr.args[1].value)
        return expr.args[0], offset if expr.op == "add" else -offset
    return expr, 0


def choose(condition: Scalar, then: Scalar, otherwise: Scalar) -> Scalar:
    """``then`` where the condition holds, else ``otherwise``."""
    if isinstance(condition, Const):
        return then if condition.value else otherwise
    return then if then == otherwise else Op("where", (condition, then, otherwise))


def every(parts: Iterable[Scalar]) -> Scalar:
    """Whether all parts hold."""
    kept = list(dict.fromkeys(part for part in parts if part != TRUE))
    if FALSE in kept:
        return FALSE
    return TRUE if not kept else kept[0] if len(kept) == 1 else Op("and", tuple(kept))


def some(parts: Iterable[Scalar]) -> Scalar:
    """Whether one of the parts holds."""
    kept = list(dict.fromkeys(part for part in parts if part != FALSE))
    if TRUE in kept:
        return TRUE
    return FALSE if not kept else kept[0] if len(kept) == 1 else Op("or", tuple(kept))


def at_most(a: Scalar, b: Scalar) -> Scalar:
    """Whether ``a <= b``."""
    difference = minus(a, b)
    if isinstance(difference, Const):
        return Const(difference.value <= 0)
    (base_a, x), (base_b, y) = split_offset(a), split_offset(b)
    if base_a == base_b:
        return Const(x <= y)
    if isinstance(b, Const):
        return Op("le", (base_a, Const(b.value - x)))
    return Op("le", (base_a, plus(base_b, y - x)))
