"""Solving a condition for one position, and the range of an expression over a block of positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from tantra_dsl.masks.linear import Linear, linear
from tantra_dsl.masks.terms import ZERO, choose, floor_div, least, minus, most, negative, plus, times
from tantra_dsl.scalars.ir import Const, Gather, Op, Scalar, Var
from tantra_dsl.scalars.walk import variables_of

SHORT_PERIOD: Final = 32
"""A remainder by no more than this takes every value within a tile, so that a test of tiles could not use it."""

Range = tuple[Scalar, Scalar]


class Bound(NamedTuple):
    """``variable <= value`` (upper) or ``variable >= value`` (lower)."""

    side: Literal["upper", "lower"]
    value: Scalar


def solve(form: Linear, variable: str) -> Bound | None:
    """``form <= 0`` over whole numbers as an equivalent bound on ``variable``; None where there is no single one."""
    holding = [term for term in form.terms if variable in variables_of(term)]
    if len(holding) != 1:
        return None
    term = holding[0]
    factor, rest = int(form.terms[term]), form.without(term).expr()
    if factor > 0:
        bound = Bound("upper", floor_div(negative(rest), factor))
    else:
        bound = Bound("lower", negative(floor_div(negative(rest), -factor)))
    return bound if term == Var(variable) else _through(term, bound, variable)


def _through(term: Scalar, bound: Bound, variable: str) -> Bound | None:
    """The bound on what a quotient, rounded down, divides."""
    if not isinstance(term, Op) or term.op not in ("floordiv", "floor"):
        return None
    divisor = term.args[1].value if term.op == "floordiv" and isinstance(term.args[1], Const) else 1
    inner = linear(term.args[0])
    if inner is None or not isinstance(divisor, int) or divisor < 1 or (term.op == "floordiv" and not inner.is_whole):
        return None
    if bound.side == "upper":
        limit = linear(times(plus(bound.value, 1), divisor))
        return None if limit is None else solve((inner - limit).over_integers().shifted(1), variable)
    limit = linear(times(bound.value, divisor))
    return None if limit is None else solve((limit - inner).over_integers(), variable)


def reach(expr: Scalar, block: Mapping[str, Range]) -> Range | None:
    """Least and largest value of a whole-number expression while the variables run over their blocks.

    Exact where each variable occurs once and only in increasing or decreasing functions; else it may be too wide.
    None where nothing is known.
    """
    form = linear(expr)
    return None if form is None or not form.is_whole else reach_of_form(form, block)


def reach_of_form(form: Linear, block: Mapping[str, Range]) -> Range | None:
    """``reach`` of a linear form with whole factors."""
    low, high = Linear({}, form.constant), Linear({}, form.constant)
    for term, factor in form.terms.items():
        ends = _reach_of_term(term, block)
        lower, upper = (linear(end) for end in ends) if ends is not None else (None, None)
        if lower is None or upper is None:
            return None
        if factor < 0:
            lower, upper = upper, lower
        low, high = low + lower.scaled(factor), high + upper.scaled(factor)
    return low.expr(), high.expr()


def _reach_of_term(term: Scalar, block: Mapping[str, Range]) -> Range | None:
    if not variables_of(term) & block.keys():
        return term, term
    if isinstance(term, Var):
        return block[term.name]
    if isinstance(term, Gather | Const):
        return None
    parts = [reach(part, block) for part in (term.args[1:] if term.op == "where" else term.args)]
    sound = [part for part in parts if part is not None]
    if len(sound) < len(parts):
        return _reach_of_remainder(None, term) if term.op == "mod" else None
    if term.op in ("min", "max"):
        chosen = least if term.op == "min" else most
        return chosen(low for low, _ in sound), chosen(high for _, high in sound)
    if term.op == "where":
        return least(low for low, _ in sound), most(high for _, high in sound)
    if term.op == "abs":
        low, high = sound[0]
        return most((ZERO, low, negative(high))), most((negative(low), high))
    if term.op == "floordiv":
        divisor = _positive_constant(term.args[1])
        return None if divisor is None else (floor_div(sound[0][0], divisor), floor_div(sound[0][1], divisor))
    if term.op == "mod":
        return _reach_of_remainder(sound[0], term)
    return _reach_of_product(term, sound) if term.op == "mul" else None


def _positive_constant(expr: Scalar) -> int | None:
    return expr.value if isinstance(expr, Const) and isinstance(expr.value, int) and expr.value > 0 else None


def _reach_of_remainder(inner: Range | None, term: Op) -> Range | None:
    divisor = _positive_constant(term.args[1])
    if divisor is None:
        return None
    if inner is None or divisor <= SHORT_PERIOD:
        return ZERO, Const(divisor - 1)
    low, high = inner
    together = Op("eq", (floor_div(low, divisor), floor_div(high, divisor)))
    rests = [minus(end, times(floor_div(end, divisor), divisor)) for end in inner]
    return choose(together, rests[0], ZERO), choose(together, rests[1], Const(divisor - 1))


def _reach_of_product(term: Op, ranges: list[Range]) -> Range | None:
    if len(ranges) != 2:
        return None
    (a, b), (c, d) = ranges
    corners = [Op("mul", (x, y)) for x in dict.fromkeys((a, b)) for y in dict.fromkeys((c, d))]
    low: Scalar = least(corners)
    if term.args[0] == term.args[1]:
        low = choose(Op("and", (Op("le", (a, ZERO)), Op("ge", (b, ZERO)))), ZERO, low)
    return low, most(corners)
