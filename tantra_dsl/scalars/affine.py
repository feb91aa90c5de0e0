"""Affine forms over the variables of a mask, and zones: boxes of positions with a bounded difference.

A zone bounds ``q``, ``k`` and ``d`` = k - q (Miné 2001, "A new numerical abstract domain based on difference-bound
matrices"), and every other variable on its own. All arithmetic is exact; the only floats are infinities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

Rational = int | Fraction
Bound = Rational | float
Interval = tuple[Bound, Bound]

ANY: Interval = (-math.inf, math.inf)
_WHOLE = frozenset({"q", "k", "d", "b", "h", "queries", "keys"})
_DEFAULTS: dict[str, Interval] = {
    "q": (0, math.inf), "k": (0, math.inf), "b": (0, math.inf), "h": (0, math.inf),
    "queries": (1, math.inf), "keys": (1, math.inf),
}  # fmt: skip


def times(a: Bound, b: Bound) -> Bound:
    """Product in which zero times infinity is zero."""
    if a == 0 or b == 0:
        return 0
    if isinstance(a, float) or isinstance(b, float):
        return math.inf if (a > 0) == (b > 0) else -math.inf
    return a * b


def plus(a: Bound, b: Bound) -> Bound:
    """Sum in which infinity takes numbers of any size; both must not be infinite with different signs."""
    return a if isinstance(a, float) else b if isinstance(b, float) else a + b


def scaled_interval(factor: Rational, interval: Interval) -> Interval:
    """``factor`` times ``interval``."""
    ends = times(factor, interval[0]), times(factor, interval[1])
    return ends if factor >= 0 else (ends[1], ends[0])


@dataclass(frozen=True, slots=True)
class Affine:
    """``sum(factor * variable) + r`` with ``low <= r <= high``; ``whole`` where the value is always an integer."""

    terms: Mapping[str, Rational]
    low: Bound
    high: Bound
    whole: bool

    @staticmethod
    def constant(value: Rational) -> Affine:
        """A known number."""
        return Affine({}, value, value, isinstance(value, int) or value.denominator == 1)

    @staticmethod
    def variable(name: str) -> Affine:
        """A variable with factor one."""
        return Affine({name: 1}, 0, 0, name in _WHOLE)

    @staticmethod
    def between(interval: Interval, whole: bool = False) -> Affine:
        """Some number of an interval."""
        return Affine({}, interval[0], interval[1], whole)

    @property
    def value(self) -> Rational | None:
        """The number that this is, or None where it depends on anything."""
        if self.terms or self.low != self.high or isinstance(self.low, float):
            return None
        return self.low

    def __add__(self, other: Affine) -> Affine:
        terms = dict(self.terms)
        for name, factor in other.terms.items():
            terms[name] = terms.get(name, 0) + factor
        kept = {name: factor for name, factor in terms.items() if factor}
        return Affine(kept, plus(self.low, other.low), plus(self.high, other.high), self.whole and other.whole)

    def scaled(self, factor: Rational) -> Affine:
        """This times ``factor``."""
        if factor == 0:
            return Affine.constant(0)
        low, high = scaled_interval(factor, (self.low, self.high))
        whole = self.whole and Fraction(factor).denominator == 1
        return Affine({name: f * factor for name, f in self.terms.items()}, low, high, whole)

    def __sub__(self, other: Affine) -> Affine:
        return self + other.scaled(-1)

    def without(self, name: str) -> Affine:
        """This less its term in ``name``."""
        return Affine({n: f for n, f in self.terms.items() if n != name}, self.low, self.high, False)


class Zone:
    """Where the variables may be; immutable. ``bounds`` holds only what differs from a variable's natural range."""

    __slots__ = ("bounds",)

    def __init__(self, bounds: dict[str, Interval] | None = None) -> None:
        self.bounds = bounds or {}

    def __getitem__(self, name: str) -> Interval:
        return self.bounds.get(name) or _DEFAULTS.get(name, ANY)

    def meet(self, name: str, low: Bound, high: Bound) -> Zone | None:
        """This zone with ``low <= name <= high``, or None where nothing is left."""
        old_low, old_high = self[name]
        if name in _WHOLE:
            low, high = _ceil(low), _floor(high)
        if low <= old_low and high >= old_high:
            return self
        narrowed = max(low, old_low), min(high, old_high)
        if narrowed[0] > narrowed[1]:
            return None
        zone: Zone | None = Zone({**self.bounds, name: narrowed})
        return _closed(zone, name) if name in ("q", "k", "d") else zone

    def low(self, form: Affine) -> Bound:
        """The least value that ``form`` can have here."""
        total = form.low
        aq, ak = form.terms.get("q", 0), form.terms.get("k", 0)
        if aq or ak:
            total = plus(total, self._low_of_pair(aq, ak))
        for name, factor in form.terms.items():
            if name not in ("q", "k"):
                total = plus(total, scaled_interval(factor, self[name])[0])
        return total

    def _low_of_pair(self, aq: Rational, ak: Rational) -> Bound:
        q, k, d = self["q"], self["k"], self["d"]
        both = aq + ak
        return max(
            plus(scaled_interval(aq, q)[0], scaled_interval(ak, k)[0]),
            plus(scaled_interval(both, q)[0], scaled_interval(ak, d)[0]),
            plus(scaled_interval(both, k)[0], scaled_interval(-aq, d)[0]),
        )

    def range(self, form: Affine) -> Interval:
        """The values that ``form`` can have here."""
        return self.low(form), -self.low(form.scaled(-1))

    def where_nonpositive(self, form: Affine, strict: bool) -> Zone | None:
        """A zone that holds all of this where ``form <= 0`` (``< 0`` if strict), or None where there is nothing."""
        if strict and form.whole:
            form, strict = form + Affine.constant(1), False
        least = self.low(form)
        if least > 0 or (strict and least == 0):
            return None
        zone: Zone | None = self
        for name, factor in form.terms.items():
            zone = zone and zone._limit(name, factor, form.without(name), strict)
        aq, ak = form.terms.get("q", 0), form.terms.get("k", 0)
        if zone and aq and ak:
            rest = form.without("q").without("k")
            zone = zone._limit("d", ak, rest + Affine({"q": aq + ak} if aq + ak else {}, 0, 0, False), strict)
            zone = zone and zone._limit("d", -aq, rest + Affine({"k": aq + ak} if aq + ak else {}, 0, 0, False), strict)
        return zone

    def _limit(self, name: str, factor: Rational, rest: Affine, strict: bool) -> Zone | None:
        """Meet with ``factor * name + rest <= 0``."""
        rest_low = self.low(rest)
        if isinstance(rest_low, float):
            return self
        limit = -Fraction(rest_low) / factor
        if factor > 0:
            return self.meet(name, -math.inf, _below(limit) if strict and name in _WHOLE else limit)
        return self.meet(name, -_below(-limit) if strict and name in _WHOLE else limit, math.inf)


def _closed(zone: Zone | None, changed: str) -> Zone | None:
    """Carry a new bound on one of q, k, d to the other two."""
    if zone and changed != "d":
        k, q = zone["k"], zone["q"]
        zone = zone.meet("d", plus(k[0], -q[1]), plus(k[1], -q[0]))
    if zone and changed != "k":
        q, d = zone["q"], zone["d"]
        zone = zone.meet("k", plus(q[0], d[0]), plus(q[1], d[1]))
    if zone and changed != "q":
        k, d = zone["k"], zone["d"]
        zone = zone.meet("q", plus(k[0], -d[1]), plus(k[1], -d[0]))
    return zone


def _floor(value: Bound) -> Bound:
    return value if isinstance(value, float) else math.floor(value)


def _ceil(value: Bound) -> Bound:
    return value if isinstance(value, float) else math.ceil(value)


def _below(value: Rational) -> int:
    """The largest integer less than ``value``."""
    return math.ceil(value) - 1
