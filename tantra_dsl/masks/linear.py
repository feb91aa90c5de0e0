"""Linear forms over the terms of a predicate, with exact rational factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from tantra_dsl.masks.terms import ZERO, minus, plus, times
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Scalar, Var
from tantra_dsl.scalars.walk import variables_of

WHOLE_VARIABLES = frozenset({"q", "k", "b", "h", "queries", "keys", "first", "last"})
_LARGEST_DENOMINATOR = 4096


@dataclass(frozen=True, slots=True)
class Linear:
    """``sum(factor * term) + constant``; terms are whatever is not a sum itself."""

    terms: Mapping[Scalar, Fraction]
    constant: Fraction

    def __add__(self, other: Linear) -> Linear:
        terms = dict(self.terms)
        for term, factor in other.terms.items():
            terms[term] = terms.get(term, Fraction(0)) + factor
        return Linear({t: f for t, f in terms.items() if f}, self.constant + other.constant)

    def scaled(self, factor: Fraction | int) -> Linear:
        """This times ``factor``."""
        if not factor:
            return Linear({}, Fraction(0))
        return Linear({t: f * factor for t, f in self.terms.items()}, self.constant * factor)

    def __sub__(self, other: Linear) -> Linear:
        return self + other.scaled(-1)

    def shifted(self, number: int) -> Linear:
        """This plus ``number``."""
        return Linear(self.terms, self.constant + number)

    def without(self, term: Scalar) -> Linear:
        """This less its part in ``term``."""
        return Linear({t: f for t, f in self.terms.items() if t != term}, self.constant)

    def over_integers(self) -> Linear:
        """A positive multiple of this without fractions, divided by what all factors share."""
        common = lcm(self.constant.denominator, *(f.denominator for f in self.terms.values()))
        return self.scaled(common)

    @property
    def is_whole(self) -> bool:
        """Whether all factors are whole numbers."""
        return all(f.denominator == 1 for f in (*self.terms.values(), self.constant))

    def variables(self) -> frozenset[str]:
        """Names of all variables that occur."""
        return frozenset().union(*(variables_of(term) for term in self.terms))

    def expr(self) -> Scalar:
        """This, which must be whole, as an expression: positive terms first."""
        total: Scalar | None = None
        for term, factor in sorted(self.terms.items(), key=lambda item: item[1] < 0):
            part = times(term, abs(int(factor)))
            if total is None:
                total = part if factor > 0 else times(part, -1)
            else:
                total = plus(total, part) if factor > 0 else minus(total, part)
        return plus(total if total is not None else ZERO, int(self.constant))


def linear(expr: Scalar) -> Linear | None:
    """``expr`` as a linear form, or None where a factor is not a number that can be read exactly."""
    if isinstance(expr, Const):
        return _constant(expr)
    if not isinstance(expr, Op) or expr.op not in ("add", "sub", "neg", "mul", "div"):
        return Linear({expr: Fraction(1)}, Fraction(0))
    parts = [linear(part) for part in expr.args]
    sound = [part for part in parts if part is not None]
    if len(sound) < len(parts):
        return None
    if expr.op == "neg":
        return sound[0].scaled(-1)
    if expr.op in ("add", "sub"):
        total = sound[0]
        for part in sound[1:]:
            total = total + part if expr.op == "add" else total - part
        return total
    return _product(expr, sound) if expr.op == "mul" else _quotient(expr, sound)


def _constant(expr: Const) -> Linear | None:
    value = Fraction(expr.value) if not isinstance(expr.value, bool) else None
    if value is None or value.denominator > _LARGEST_DENOMINATOR:
        return None
    return Linear({}, value)


def _product(expr: Op, parts: list[Linear]) -> Linear:
    factor, open_parts = Fraction(1), []
    for part in parts:
        if part.terms:
            open_parts.append(part)
        else:
            factor *= part.constant
    if not open_parts:
        return Linear({}, factor)
    if len(open_parts) == 1:
        return open_parts[0].scaled(factor)
    return Linear({expr: Fraction(1)}, Fraction(0))


def _quotient(expr: Op, parts: list[Linear]) -> Linear:
    above, below = parts
    if below.terms or not below.constant:
        return Linear({expr: Fraction(1)}, Fraction(0))
    return above.scaled(1 / below.constant)


def is_whole_term(term: Scalar, captures: tuple[Capture, ...]) -> bool:
    """Whether a term can only be a whole number."""
    if isinstance(term, Const):
        return isinstance(term.value, int) and not isinstance(term.value, bool)
    if isinstance(term, Var):
        return term.name in WHOLE_VARIABLES or term.name.startswith("n_")
    if isinstance(term, Gather):
        return captures[term.capture].integer
    if term.op == "floor":
        return True
    if term.op == "where":
        return all(is_whole_term(part, captures) for part in term.args[1:])
    return term.op in _KEEPS_WHOLE and all(is_whole_term(part, captures) for part in term.args)


_KEEPS_WHOLE = frozenset({"add", "sub", "mul", "neg", "abs", "min", "max", "floordiv", "mod"})
