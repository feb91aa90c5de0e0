"""Models to draw: every shipped one, the architectures of the semantics tests, and random ones."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import tantra_dsl
from tantra_dsl.draw import picture
from tantra_dsl.draw.picture import Picture
from tantra_dsl.draw.place import laid_out
from tantra_dsl.draw.placed import Laid, Line, Placed
from tantra_dsl.graph.model import Graph

ARCHITECTURES = Path(__file__).parent.parent / "semantics" / "architectures"
SPECS = [*(spec.name for spec in tantra_dsl.shipped()), *map(str, sorted(ARCHITECTURES.glob("*.tantra")))]
IDS = [Path(spec).stem for spec in SPECS]


@cache
def graph_of(spec: str) -> Graph:
    return tantra_dsl.load(spec).graph()


@cache
def picture_of(spec: str) -> Picture:
    return picture(graph_of(spec))


@cache
def layout_of(spec: str) -> Laid:
    return laid_out(picture_of(spec))


def from_text(text: str) -> Picture:
    return picture(tantra_dsl.loads(text).graph())


# --- geometry ----------------------------------------------------------------------------

Box = tuple[float, float, float, float]


def box_of(placed: Placed) -> Box:
    """Left, top, right, bottom."""
    return placed.x, placed.y, placed.x + placed.width, placed.y + placed.height


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def within(inner: Box, outer: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def segments(line: Line) -> list[Box]:
    """The straight pieces of a line, each as the box that it fills."""
    return [(min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])) for a, b in pairwise(line.points)]


def shrunk(box: Box, by: float) -> Box:
    return box[0] + by, box[1] + by, box[2] - by, box[3] - by


def crosses(segment: Box, box: Box) -> bool:
    """Whether a straight piece goes through the inside of a box."""
    left, top, right, bottom = shrunk(box, 0.75)
    return segment[0] < right and segment[2] > left and segment[1] < bottom and segment[3] > top
