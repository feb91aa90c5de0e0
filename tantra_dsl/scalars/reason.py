"""Where a predicate can hold: a cover of it by zones, found by splitting cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import product

from tantra_dsl.scalars.affine import ANY, Affine, Bound, Interval, Rational, Zone, times
from tantra_dsl.scalars.arithmetic import sigmoid, softplus
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Const, Gather, Op, Scalar, Var
from tantra_dsl.scalars.walk import depth_and_size, fold, with_children

_SMALL = 1e-9
"""Relative room for the rounding of a transcendental function."""

_LARGEST_CLEAN = 2**24
_LARGEST_DENOMINATOR = 1024
_EPSILON = Fraction(1, 2**22)
_ROUNDING = Affine.between((-_EPSILON, _EPSILON))
"""Room for the rounding of a comparison of fractions that have no short binary form."""

Case = tuple[Zone, Affine]


class Reasoner:
    """Reads predicates over whole positions, with room for the rounding of fractions.

    ``budget`` bounds the steps of all its work together; when it is spent, answers become coarse but stay sound.
    ``exact`` turns False as soon as some zone was kept that may hold places where the predicate fails.
    """

    def __init__(self, budget: int = 6_000) -> None:
        self.budget = budget
        self.exact = True

    def refine(self, expr: Scalar, wanted: bool, zone: Zone) -> list[Zone]:
        """Disjoint zones that together hold every place of ``zone`` where ``expr`` is ``wanted``."""
        self.budget -= 1
        if self.budget <= 0:
            self.exact = False
            return [zone]
        if isinstance(expr, Const):
            return [zone] if expr.value is wanted else []
        assert isinstance(expr, Op), "a mask is a truth value"
        if expr.op == "not":
            return self.refine(expr.args[0], not wanted, zone)
        if expr.op in ("and", "or"):
            return self._refine_all(expr.args, wanted, zone, every=(expr.op == "and") == wanted)
        if expr.op == "where":
            return self._refine_where(expr, wanted, zone)
        return self._refine_comparison(expr, wanted, zone)

    def _refine_all(self, parts: tuple[Scalar, ...], wanted: bool, zone: Zone, every: bool) -> list[Zone]:
        open_zones, found = [zone], []
        for part in parts:
            if every:
                open_zones = [inner for z in open_zones for inner in self.refine(part, wanted, z)]
            else:
                found += [inner for z in open_zones for inner in self.refine(part, wanted, z)]
                open_zones = [inner for z in open_zones for inner in self.refine(part, not wanted, z)]
        return open_zones if every else found

    def _refine_where(self, expr: Op, wanted: bool, zone: Zone) -> list[Zone]:
        condition, then, otherwise = expr.args
        taken = [inner for z in self.refine(condition, True, zone) for inner in self.refine(then, wanted, z)]
        skipped = [inner for z in self.refine(condition, False, zone) for inner in self.refine(otherwise, wanted, z)]
        return taken + skipped

    def _refine_comparison(self, expr: Op, wanted: bool, zone: Zone) -> list[Zone]:
        op = expr.op if wanted else _OPPOSITE[expr.op]
        left, right = expr.args
        if op in ("gt", "ge"):
            left, right, op = right, left, _MIRRORED[op]
        found: list[Zone | None] = []
        for inner, a in self.values(left, zone):
            for innermost, b in self.values(right, inner):
                found += self._compare(op, a - b, innermost)
        return [z for z in found if z]

    def _compare(self, op: str, form: Affine, zone: Zone) -> list[Zone | None]:
        form = form if _is_clean(form) else form + _ROUNDING
        negative = form.scaled(-1)
        if op in ("lt", "le"):
            return [self._nonpositive(zone, form, op == "lt")]
        if op == "ne":
            return [self._nonpositive(zone, form, True), self._nonpositive(zone, negative, True)]
        below = self._nonpositive(zone, form, False)
        return [below and self._nonpositive(below, negative, False)]

    def _nonpositive(self, zone: Zone, form: Affine, strict: bool) -> Zone | None:
        kept = zone.where_nonpositive(form, strict)
        if kept and not _one_bound(form):
            highest = -kept.low(form.scaled(-1))
            self.exact = self.exact and (highest < 0 or (highest == 0 and not strict))
        return kept

    # --- values --------------------------------------------------------------------------

    def values(self, expr: Scalar, zone: Zone) -> list[Case]:
        """Cases that cover ``zone``, each with what ``expr`` is there."""
        self.budget -= 1
        if self.budget <= 0:
            self.exact = False
            return [(zone, Affine.between(ANY))]
        if isinstance(expr, Const):
            return [(zone, _constant(expr.value))]
        if isinstance(expr, Var):
            return [(zone, Affine.variable(expr.name))]
        if isinstance(expr, Gather):
            return [(zone, Affine.variable(format_scalar(expr)))]
        if expr.op == "where":
            return self._values_of_where(expr, zone)
        if expr.op == "abs":
            return self._values_of_abs(expr, zone)
        if expr.op in ("min", "max"):
            return self._values_of_extreme(expr, zone)
        return [(inner, self._combine(expr.op, forms, inner)) for inner, forms in self._operands(expr.args, zone)]

    def _operands(self, parts: tuple[Scalar, ...], zone: Zone) -> Iterator[tuple[Zone, list[Affine]]]:
        cases: list[tuple[Zone, list[Affine]]] = [(zone, [])]
        for part in parts:
            cases = [(z, [*forms, form]) for inner, forms in cases for z, form in self.values(part, inner)]
        return iter(cases)

    def _values_of_where(self, expr: Op, zone: Zone) -> list[Case]:
        condition, then, otherwise = expr.args
        taken = [case for z in self.refine(condition, True, zone) for case in self.values(then, z)]
        return taken + [case for z in self.refine(condition, False, zone) for case in self.values(otherwise, z)]

    def _values_of_abs(self, expr: Op, zone: Zone) -> list[Case]:
        cases: list[Case] = []
        for inner, form in self.values(expr.args[0], zone):
            negative = form.scaled(-1)
            kept = (self._nonpositive(inner, negative, False), form), (self._nonpositive(inner, form, True), negative)
            cases += [(z, value) for z, value in kept if z]
        return cases

    def _values_of_extreme(self, expr: Op, zone: Zone) -> list[Case]:
        sign = 1 if expr.op == "min" else -1
        cases = self.values(expr.args[0], zone)
        for part in expr.args[1:]:
            pairs = [(z, best, form) for inner, best in cases for z, form in self.values(part, inner)]
            cases = [case for pair in pairs for case in self._smaller(*pair, sign)]
        return cases

    def _smaller(self, zone: Zone, a: Affine, b: Affine, sign: int) -> list[Case]:
        difference = (a - b).scaled(sign)
        first = self._nonpositive(zone, difference, False)
        second = self._nonpositive(zone, difference.scaled(-1), True)
        return [(z, form) for z, form in ((first, a), (second, b)) if z]

    def _combine(self, op: str, forms: list[Affine], zone: Zone) -> Affine:
        if op in _LINEAR:
            return _LINEAR[op](*forms)
        if op == "mul":
            result = forms[0]
            for form in forms[1:]:
                result = _product(result, form, zone)
            return result
        if op in ("div", "floordiv", "mod"):
            return _quotient(op, forms[0], forms[1], zone)
        return _function(op, forms, zone)


_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
_MIRRORED = {"gt": "lt", "ge": "le"}
_LINEAR: dict[str, Callable[..., Affine]] = {
    "add": lambda *forms: sum(forms[1:], forms[0]),
    "sub": lambda a, b: a - b,
    "neg": lambda a: a.scaled(-1),
}


@lru_cache(maxsize=1024)
def prepared(body: Scalar) -> Scalar:
    """The predicate with the operands of each ``and`` and ``or`` in one list, small ones first: they narrow most."""

    def visit(node: Scalar, parts: list[Scalar]) -> Scalar:
        if not isinstance(node, Op) or node.op not in ("and", "or"):
            return with_children(node, parts)
        flat: list[Scalar] = []
        for part in parts:
            flat += part.args if isinstance(part, Op) and part.op == node.op else (part,)
        return Op(node.op, tuple(sorted(flat, key=lambda part: depth_and_size(part)[1])))

    return fold(body, visit)


def _constant(value: int | float | bool) -> Affine:
    """A literal, with room for its rounding to single precision unless it is an int or a small binary fraction."""
    if not isinstance(value, float):
        return Affine.constant(int(value))
    exact: Rational = int(value) if value.is_integer() else Fraction(value)
    if _is_clean_number(exact) and -_LARGEST_CLEAN < exact < _LARGEST_CLEAN:
        return Affine.constant(exact)
    ends = exact * (1 - _EPSILON), exact * (1 + _EPSILON)
    return Affine.between((min(ends), max(ends)))


def _is_clean(form: Affine) -> bool:
    """Whether floating-point arithmetic gets this exactly right."""
    return all(_is_clean_number(number) for number in (*form.terms.values(), form.low, form.high))


def _is_clean_number(number: Bound) -> bool:
    if isinstance(number, float):
        return True
    number = Fraction(number)
    below: int = number.denominator - 1
    return below < _LARGEST_DENOMINATOR and number.denominator & below == 0


def _one_bound(form: Affine) -> bool:
    """Whether ``form <= 0`` is exactly a bound on one of the variables of a zone."""
    if form.low != form.high:
        return False
    names = set(form.terms)
    return len(names) <= 1 or (names == {"q", "k"} and form.terms["q"] == -form.terms["k"])


def _product(a: Affine, b: Affine, zone: Zone) -> Affine:
    if _wild(a) or _wild(b):
        return Affine.between(ANY)
    if (factor := a.value) is not None:
        return b.scaled(factor)
    if (factor := b.value) is not None:
        return a.scaled(factor)
    (a_low, a_high), (b_low, b_high) = zone.range(a), zone.range(b)
    corners = [times(x, y) for x, y in product((a_low, a_high), (b_low, b_high))]
    low: Bound = min(corners)
    if a == b:
        low = 0 if a_low <= 0 <= a_high else min(times(a_low, a_low), times(a_high, a_high))
    return Affine({}, low, max(corners), a.whole and b.whole)


def _quotient(op: str, a: Affine, b: Affine, zone: Zone) -> Affine:
    if _wild(a) or (op == "mod" and math.inf in (abs(a.low), abs(a.high))):
        return Affine.between(ANY)
    divisor = b.value
    if divisor is None or divisor == 0:
        return _unknown_quotient(op, a, b, zone)
    if op == "div":
        return a.scaled(Fraction(1) / divisor)
    low, high = zone.range(a)
    floors = tuple(end if isinstance(end, float) else math.floor(Fraction(end) / divisor) for end in (low, high))
    if floors[0] == floors[1] and not isinstance(floors[0], float):
        return Affine.constant(floors[0]) if op == "floordiv" else a - Affine.constant(floors[0] * divisor)
    step: Rational = divisor
    if a.whole and isinstance(divisor, int):
        step = divisor - 1 if divisor > 0 else divisor + 1
    if op == "mod":
        return Affine.between((min(step, 0), max(step, 0)), a.whole and b.whole)
    rest = Affine.between((min(-Fraction(step) / divisor, Fraction(0)), 0))
    return _whole(a.scaled(Fraction(1) / divisor) + rest)


def _whole(form: Affine) -> Affine:
    return Affine(form.terms, form.low, form.high, True)


def _unknown_quotient(op: str, a: Affine, b: Affine, zone: Zone) -> Affine:
    low, high = zone.range(b)
    whole = op == "floordiv" or (op == "mod" and a.whole and b.whole)
    if low <= 0 <= high:
        return Affine.between(ANY, whole)
    if op == "mod":
        return Affine.between((0, high) if low > 0 else (low, 0), whole)
    inverses = [0 if math.isinf(end) else Fraction(1) / Fraction(end) for end in (low, high)]
    corners = [times(x, y) for x, y in product(zone.range(a), inverses)]
    return Affine.between((min(corners) - (op == "floordiv"), max(corners)), whole)


def _function(op: str, forms: list[Affine], zone: Zone) -> Affine:
    if any(_wild(form) for form in forms):
        return Affine.between(ANY)
    if op == "floor":
        return _whole(forms[0] if forms[0].whole else forms[0] + Affine.between((-1, 0)))
    if op == "pow":
        return _power(forms[0], forms[1], zone)
    if op in ("sin", "cos"):
        return Affine.between((-1, 1))
    return Affine.between(_increasing(op, *zone.range(forms[0])))


def _increasing(op: str, low: Bound, high: Bound) -> Interval:
    """Range of an increasing function, with room for its rounding; anything where it may not be defined."""
    if op in ("log", "log2", "sqrt") and low < 0:
        return ANY
    least = -math.inf if op.startswith("log") and low == 0 else _rounded(op, low, -1)
    return least, _rounded(op, high, 1) if high > 0 or not op.startswith("log") else math.inf


def _rounded(op: str, x: Bound, side: int) -> Bound:
    try:
        value = _INCREASING[op](float(x))
    except OverflowError:
        value = math.inf
    if math.isinf(value):
        return value if value * side > 0 else Fraction(2) ** 1000
    return Fraction(value) + side * Fraction(_SMALL) * (1 + abs(Fraction(value)))


_INCREASING: dict[str, Callable[[float], float]] = {
    "exp": math.exp, "log": math.log, "log2": math.log2, "sqrt": math.sqrt, "tanh": math.tanh,
    "sigmoid": lambda x: sigmoid(x) if x > -700 else 0.0, "softplus": softplus, "erf": math.erf,
}  # fmt: skip


def _power(base: Affine, exponent: Affine, zone: Zone) -> Affine:
    times_multiplied = exponent.value
    if not isinstance(times_multiplied, int) or not 1 <= times_multiplied <= 8:
        return Affine.between(ANY)
    low, high = zone.range(base)
    ends: list[Bound] = [low**times_multiplied, high**times_multiplied]
    least: Bound = 0 if times_multiplied % 2 == 0 and low <= 0 <= high else min(ends)
    return base if times_multiplied == 1 else Affine.between((least, max(ends)), base.whole)


def _wild(form: Affine) -> bool:
    """Whether the value may be anything, even not a number."""
    return form.low == -math.inf and form.high == math.inf
