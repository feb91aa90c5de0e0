"""Intervals as expressions, and unions of few of them."""

from __future__ import annotations

from typing import Final, NamedTuple

from tantra_dsl.masks.terms import ZERO, at_most, choose, least, minus, most
from tantra_dsl.scalars.ir import Scalar

MOST_INTERVALS: Final = 3


class Interval(NamedTuple):
    """Positions ``visit_lo`` up to but not ``visit_hi``, of which those from ``full_lo`` to ``full_hi`` need no mask.

    Either is empty where its end does not exceed its start.
    """

    visit_lo: Scalar
    visit_hi: Scalar
    full_lo: Scalar
    full_hi: Scalar

    @property
    def never_full(self) -> bool:
        """Whether no position is known to be allowed throughout."""
        return self.full_lo == self.full_hi == ZERO


def merged(intervals: list[Interval]) -> tuple[list[Interval], bool]:
    """At most three intervals that cover all of the given ones; and whether more than their union had to be taken."""
    result: list[Interval] = []
    for interval in dict.fromkeys(intervals):
        for place, other in enumerate(result):
            union = _union(other, interval)
            if union is not None:
                result[place] = union
                break
        else:
            result.append(interval)
    if len(result) < len(intervals) and len(result) > 1:
        result, _ = merged(result)
    if len(result) <= MOST_INTERVALS:
        return result, False
    return [*result[: MOST_INTERVALS - 1], _hull(result[MOST_INTERVALS - 1 :])], True


def _union(a: Interval, b: Interval) -> Interval | None:
    """The union of two intervals that begin or end at one place."""
    if a.visit_lo == b.visit_lo:
        return Interval(a.visit_lo, most((a.visit_hi, b.visit_hi)), *_longer_full(a, b))
    if a.visit_hi == b.visit_hi:
        return Interval(least((a.visit_lo, b.visit_lo)), a.visit_hi, *_longer_full(a, b))
    return None


def _longer_full(a: Interval, b: Interval) -> tuple[Scalar, Scalar]:
    if a.never_full or b.never_full:
        kept = b if a.never_full else a
        return kept.full_lo, kept.full_hi
    if a.full_lo == b.full_lo:
        return a.full_lo, most((a.full_hi, b.full_hi))
    if a.full_hi == b.full_hi:
        return least((a.full_lo, b.full_lo)), a.full_hi
    longer = at_most(minus(b.full_hi, b.full_lo), minus(a.full_hi, a.full_lo))
    return choose(longer, a.full_lo, b.full_lo), choose(longer, a.full_hi, b.full_hi)


def _hull(intervals: list[Interval]) -> Interval:
    full = next((i for i in intervals if not i.never_full), intervals[0])
    low, high = least(i.visit_lo for i in intervals), most(i.visit_hi for i in intervals)
    return Interval(low, high, full.full_lo, full.full_hi)
