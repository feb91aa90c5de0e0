"""A picture with a place for everything, in pixels from the upper left corner."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tantra_dsl.draw.cards import Card
from tantra_dsl.draw.picture import Box, Frame

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Placed:
    """An item with its address, its rectangle, and its text; of a frame, the card is the strip at its top."""

    address: str
    item: Box | Frame
    card: Card
    x: float
    y: float
    width: float
    height: float

    def moved(self, x: float, y: float, prefix: str = "") -> Placed:
        """The item further to the right and further down, with ``prefix`` before its address."""
        return replace(self, address=prefix + self.address, x=self.x + x, y=self.y + y)


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; ``arrow``: whether it ends in a head. ``label`` stands on it at ``at``."""

    points: tuple[Point, ...]
    arrow: bool = True
    label: str = ""
    at: Point = (0.0, 0.0)

    def moved(self, x: float, y: float) -> Line:
        """The line further to the right and further down."""
        points = tuple((px + x, py + y) for px, py in self.points)
        return replace(self, points=points, at=(self.at[0] + x, self.at[1] + y))


@dataclass(frozen=True, slots=True)
class Laid:
    """A flow or a whole picture, laid out: items from the outside in, lines, and where the main stream is.

    ``entries`` tells for each side input at which heights its lines begin at the left border.
    """

    width: float
    height: float
    axis: float
    items: tuple[Placed, ...]
    lines: tuple[Line, ...]
    entries: dict[str, tuple[float, ...]]
