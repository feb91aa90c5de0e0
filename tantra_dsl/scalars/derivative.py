"""Derivatives of scalar expressions, as expressions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

from tantra_dsl.scalars.ir import Const, Gather, Op, Scalar, ScalarOp, Var
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.types import COMPARISONS, LOGIC
from tantra_dsl.scalars.walk import ScalarError, check_bounds, fold

ZERO, ONE = Const(0), Const(1)


def derivative(expr: Scalar, variable: str) -> Scalar:
    """The derivative of a numeric expression with respect to one of its variables, simplified.

    Follows PyTorch where there is none: 0 for ``abs`` at 0, and for steps (``floor``, ``//``, comparisons) everywhere;
    half to each side where ``min`` or ``max`` meet. Captured tensors are constants; so are the conditions of ``if``.
    Raises ScalarError for a truth value, and where the result grows beyond the bounds of a program.
    """
    check_bounds(expr)
    result = simplify(fold(expr, lambda node, parts: _differentiated(node, parts, variable)))
    check_bounds(result)
    return result


def _differentiated(node: Scalar, parts: list[Scalar], variable: str) -> Scalar:
    if isinstance(node, Var):
        return ONE if node.name == variable else ZERO
    if isinstance(node, Const | Gather):
        return ZERO
    if node.op in COMPARISONS or node.op in LOGIC:
        return ZERO
    if node.op == "where":
        return _zero_or(Op("where", (node.args[0], parts[1], parts[2])), parts[1:])
    if all(part == ZERO for part in parts):
        return ZERO
    return _RULES[node.op](node, parts) if node.op in _RULES else _chain(node, parts[0])


def _zero_or(expr: Scalar, parts: list[Scalar]) -> Scalar:
    return ZERO if all(part == ZERO for part in parts) else expr


def _chain(node: Op, inner: Scalar) -> Scalar:
    """A function of one argument: its slope there times how fast the argument moves."""
    if node.op in ("floor", "floordiv"):
        return ZERO
    return times(_SLOPES[node.op](node.args[0], node), inner)


def op(name: ScalarOp, *args: Scalar) -> Op:
    """An operation."""
    return Op(name, args)


def times(a: Scalar, b: Scalar) -> Scalar:
    """A product, without the factors that need not be written."""
    if ZERO in (a, b):
        return ZERO
    return b if a == ONE else a if b == ONE else op("mul", a, b)


def plus(a: Scalar, b: Scalar) -> Scalar:
    """A sum, without the terms that need not be written."""
    return b if a == ZERO else a if b == ZERO else op("add", a, b)


def minus(a: Scalar, b: Scalar) -> Scalar:
    """A difference, without the terms that need not be written."""
    return a if b == ZERO else op("neg", b) if a == ZERO else op("sub", a, b)


def _sum(node: Op, parts: list[Scalar]) -> Scalar:
    return reduce(plus, parts)


def _difference(node: Op, parts: list[Scalar]) -> Scalar:
    return minus(*parts)


def _product(node: Op, parts: list[Scalar]) -> Scalar:
    terms = []
    for number, part in enumerate(parts):
        others = [factor for place, factor in enumerate(node.args) if place != number]
        terms.append(times(part, reduce(times, others)))
    return reduce(plus, terms)


def _quotient(node: Op, parts: list[Scalar]) -> Scalar:
    above, below = node.args
    if parts[1] == ZERO:
        return op("div", parts[0], below)
    return op("div", minus(times(parts[0], below), times(above, parts[1])), op("mul", below, below))


def _remainder(node: Op, parts: list[Scalar]) -> Scalar:
    return minus(parts[0], times(op("floordiv", *node.args), parts[1]))


def _power(node: Op, parts: list[Scalar]) -> Scalar:
    base, exponent = node.args
    by_base = times(times(exponent, op("pow", base, _less_one(exponent))), parts[0]) if parts[0] != ZERO else ZERO
    by_exponent = times(op("mul", node, op("log", base)), parts[1]) if parts[1] != ZERO else ZERO
    return plus(by_base, by_exponent)


def _less_one(exponent: Scalar) -> Scalar:
    return Const(exponent.value - 1) if isinstance(exponent, Const) else op("sub", exponent, ONE)


def _extreme(node: Op, parts: list[Scalar]) -> Scalar:
    """The slope of whichever argument is chosen; the mean of both where they meet."""
    chosen, slope = node.args[0], parts[0]
    for value, other in zip(node.args[1:], parts[1:], strict=True):
        both = times(Const(0.5), plus(slope, other))
        first = op("lt" if node.op == "min" else "gt", chosen, value)
        slope = op("where", first, slope, op("where", op("eq", chosen, value), both, other))
        chosen = op(node.op, chosen, value)
    return slope


def _sign(x: Scalar, node: Scalar) -> Scalar:
    return op("where", op("gt", x, ZERO), ONE, op("where", op("lt", x, ZERO), Const(-1), ZERO))


_RULES: dict[str, Callable[[Op, list[Scalar]], Scalar]] = {
    "add": _sum, "sub": _difference, "mul": _product, "div": _quotient, "mod": _remainder, "pow": _power,
    "neg": lambda node, parts: op("neg", parts[0]), "min": _extreme, "max": _extreme,
}  # fmt: skip

_SLOPES: dict[str, Callable[[Scalar, Scalar], Scalar]] = {
    "abs": _sign,
    "exp": lambda x, y: y,
    "log": lambda x, y: op("div", ONE, x),
    "log2": lambda x, y: op("div", Const(1 / math.log(2)), x),
    "sqrt": lambda x, y: op("div", Const(0.5), y),
    "tanh": lambda x, y: op("sub", ONE, op("mul", y, y)),
    "sigmoid": lambda x, y: op("mul", y, op("sub", ONE, y)),
    "softplus": lambda x, y: op("sigmoid", x),
    "erf": lambda x, y: op("mul", Const(2 / math.sqrt(math.pi)), op("exp", op("neg", op("mul", x, x)))),
    "sin": lambda x, y: op("cos", x),
    "cos": lambda x, y: op("neg", op("sin", x)),
}

__all__ = ["ScalarError", "derivative"]
