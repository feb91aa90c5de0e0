"""What becomes of a tensor: the few ways in which a weight of the new model comes about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tantra_dsl.migrate.axes import Axis

Fill = Literal["start", "zero", "mean", "share"]
"""New places of an axis: started as the spec says, zero, or the mean of the old ones.

``share``: the places that repeat an old one share its numbers, so that a sum over the axis is what it was.
"""


@dataclass(frozen=True)
class Carried:
    """The tensor at ``source`` in the old model, place by place along ``axes``, times ``scale``, plus ``shift``.

    ``fills`` tells for each axis what stands in its new places; zero wins where they cross. ``units`` are what a reader
    calls the places of each axis, and how many of them make one: rows, or heads of 64.
    """

    source: str
    axes: tuple[Axis, ...]
    fills: tuple[Fill, ...]
    units: tuple[tuple[str, int], ...]
    shift: float = 0.0
    scale: float = 1.0

    @property
    def is_copy(self) -> bool:
        """Whether every number is carried over as it is."""
        return not self.shift and self.scale == 1 and all(axis.is_same for axis in self.axes)

    @property
    def words(self) -> str:
        """The rule as the plan tells it."""
        told = [_told(*each) for each in zip(self.units, self.axes, self.fills, strict=True) if not each[1].is_same]
        if self.scale != 1:
            told.append(f"times {self.scale:.6g}")
        elif self.shift:
            told.append("minus 1, which the new model adds" if self.shift < 0 else "plus 1, which the old model added")
        return "; ".join(told) or "copied"


@dataclass(frozen=True)
class Zeros:
    """Zeros, for a reason."""

    why: str

    @property
    def words(self) -> str:
        """The rule as the plan tells it."""
        return f"zeros: {self.why}"


@dataclass(frozen=True)
class Started:
    """Started as the new spec says, from the seed."""

    why: str

    @property
    def words(self) -> str:
        """The rule as the plan tells it."""
        return f"started as the spec says: {self.why}"


Rule = Carried | Zeros | Started


def in_units(axis: Axis, unit: tuple[str, int]) -> Axis:
    """The axis counted in its units."""
    return axis.over(unit[1]) or axis


def _told(unit: tuple[str, int], whole: Axis, fill: Fill) -> str:
    """What happens along one axis."""
    name, axis = unit[0], in_units(whole, unit)
    many = f"{axis.old:,} -> {axis.size:,}"
    if axis.averages:
        return f"{name}: {many}, means of groups"
    if axis.has_new:
        new = {
            "start": "started as the spec says",
            "zero": "zero",
            "mean": "the mean of the old ones",
            "share": "started as the spec says",
        }[fill]
        kept = "" if not axis.left_out else f", {axis.left_out:,} old ones left out"
        return f"{name}: {many}, new ones {new}{kept}"
    if axis.size > axis.old:
        return f"{name}: {many}, repeated" + (", in shares" if fill == "share" else "")
    return f"{name}: {many}, {axis.left_out:,} left out" if axis.left_out else f"{name} in another order"


__all__ = ["Carried", "Fill", "Rule", "Started", "Zeros", "in_units"]
