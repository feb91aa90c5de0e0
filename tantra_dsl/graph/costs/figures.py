"""A figure: a number with the formula behind it, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

Bound = Literal["exact", "upper", "unknown"]
_ORDER: Final[tuple[Bound, ...]] = ("exact", "upper", "unknown")


def worst(bounds: Iterable[Bound]) -> Bound:
    """How far a sum can be trusted whose parts can be trusted so far."""
    return max(bounds, key=_ORDER.index, default="exact")


@dataclass(frozen=True, slots=True)
class Amount:
    """A number that may be an upper bound, or unknown (then ``value`` is None)."""

    value: int | None = 0
    bound: Bound = "exact"

    def __add__(self, other: Amount) -> Amount:
        if self.value is None or other.value is None:
            return UNKNOWN
        return Amount(self.value + other.value, worst((self.bound, other.bound)))

    def scaled(self, factor: int) -> Amount:
        """This many times ``factor``; nothing times what is unknown is nothing."""
        if factor == 0:
            return Amount()
        return Amount(None if self.value is None else self.value * factor, self.bound)


UNKNOWN: Final = Amount(None, "unknown")


@dataclass(frozen=True, slots=True)
class Figure:
    """A cost: its value (None where it is unknown), how it was found, and whether that is exact or an upper bound."""

    value: int | None
    formula: str
    bound: Bound = "exact"

    @staticmethod
    def of(amount: Amount, formula: str) -> Figure:
        """``amount``, found by ``formula``."""
        return Figure(amount.value, formula, amount.bound)

    def map(self, change: Callable[[int], int], formula: str) -> Figure:
        """Another figure made from this one; unknown stays unknown."""
        return Figure(None if self.value is None else change(self.value), formula, self.bound)
