"""A picture as SVG: text and plain shapes, no script, no font of its own, colours for light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from tantra_dsl.draw.cards import LINE, PAD, PILLS, TITLE
from tantra_dsl.draw.colours import STYLE
from tantra_dsl.draw.measure import text_width
from tantra_dsl.draw.picture import Frame, Picture
from tantra_dsl.draw.place import laid_out
from tantra_dsl.draw.placed import Laid, Line, Placed, Point
from tantra_dsl.draw.route import label_width

_MARGIN: Final = 12.0
_NAME: Final = 16.0
_BEND: Final = 6.0
_HEAD: Final = 5.0
_BADGE: Final = 10.5


@dataclass(frozen=True, slots=True)
class Mark:
    """A remark on an item: ``kind`` is ``added``, ``removed`` or ``changed``, ``numbers`` the operations behind it."""

    kind: str
    numbers: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """``~ 3, 7``."""
        shown = ", ".join(map(str, self.numbers[:3])) + (" …" if len(self.numbers) > 3 else "")
        return f"{SIGNS[self.kind]} {shown}".rstrip()


SIGNS: Final = {"added": "+", "removed": "−", "changed": "~"}


def svg(
    picture: Picture, *, marks: Mapping[str, Mark] | None = None, links: bool = False, laid: Laid | None = None
) -> str:
    """The drawing as a standalone SVG document.

    ``marks`` are by address, the whole model's by the empty one; with ``links``, each leads to ``#op-NUMBER``.
    ``laid`` is the layout where it is there already.
    """
    laid = laid or laid_out(picture)
    marks = marks or {}
    heading = _Heading(picture, marks.get(""))
    width = math.ceil(max(laid.width, heading.width) + 2 * _MARGIN)
    height = math.ceil(laid.height + heading.height + 2 * _MARGIN)
    left = round((width - laid.width) / 2 * 2) / 2
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tantra-drawing" {size} role="img">',
        f"<title>{_text(picture.name)}</title>",
        f"<desc>{_text(description(picture))}</desc>",
        f"<style>{STYLE}</style>",
        *heading.svg(links),
        f'<g transform="translate({_n(left)} {_n(_MARGIN + heading.height)})">',
        *(part for item in laid.items for part in _item(item, marks.get(item.address), links)),
        *(part for line in laid.lines for part in _line(line)),
        *(part for item in laid.items for part in _mark(item, marks.get(item.address), links)),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def description(picture: Picture) -> str:
    """What is drawn, in words: the items of the model in order."""
    told = [item.title for item in picture.flow.items]
    return f"{picture.name}: {', '.join(told)}" + (f" ({picture.facts})" if picture.facts else "")


class _Heading:
    """The model's name and figures above the drawing."""

    def __init__(self, picture: Picture, mark: Mark | None) -> None:
        self.picture, self.mark = picture, mark
        name = text_width(picture.name, _NAME, bold=True) + (plate_width(mark) + 8 if mark else 0)
        self.width = max(name, text_width(picture.facts, LINE))
        self.height = 46.0 if picture.facts else 30.0

    def svg(self, links: bool) -> Iterator[str]:
        down = _MARGIN + 14
        yield f'<text class="name" x="{_n(_MARGIN)}" y="{_n(down)}">{_text(self.picture.name)}</text>'
        if self.picture.facts:
            yield f'<text class="line" x="{_n(_MARGIN)}" y="{_n(down + 17)}">{_text(self.picture.facts)}</text>'
        if self.mark:
            x = _MARGIN + text_width(self.picture.name, _NAME, bold=True) + 8 + plate_width(self.mark) / 2
            yield from _plate(self.mark, x, down - 5, links)


# --- items -------------------------------------------------------------------------------


def _item(placed: Placed, mark: Mark | None, links: bool) -> Iterator[str]:
    item = placed.item
    state = f" {mark.kind}" if mark else ""
    if isinstance(item, Frame):
        yield _rectangle("frame", placed.x, placed.y, placed.width, placed.height, 10)
        yield _strip(placed)
        yield _rectangle(f"border{state}", placed.x, placed.y, placed.width, placed.height, 10)
        yield from _texts(placed, PAD)
    elif item.kind == "join" and len(item.title) == 1:
        radius = placed.width / 2
        middle = f'cx="{_n(placed.x + radius)}" cy="{_n(placed.y + radius)}"'
        yield f'<circle class="join{state}" {middle} r="{_n(radius)}"/>'
        yield from _texts(placed, None)
    else:
        radius = placed.height / 2 if item.kind in PILLS else 6
        yield _rectangle(f"{item.kind}{state}", placed.x, placed.y, placed.width, placed.height, min(radius, 14))
        yield from _texts(placed, None)


def _rectangle(kind: str, x: float, y: float, width: float, height: float, radius: float) -> str:
    place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
    return f'<rect class="{kind}" {place} rx="{_n(radius)}"/>'


def _strip(placed: Placed) -> str:
    """The head of a frame: round above, straight below."""
    x, y, right, bottom = placed.x, placed.y, placed.x + placed.width, placed.y + placed.card.height
    way = f"M{_n(x)} {_n(bottom)}V{_n(y + 10)}q0 -10 10 -10H{_n(right - 10)}q10 0 10 10V{_n(bottom)}z"
    return f'<path class="strip" d="{way}"/>'


def _texts(placed: Placed, left: float | None) -> Iterator[str]:
    """The lines of an item: from ``left`` on, or in the middle."""
    x = placed.x + (placed.width / 2 if left is None else left)
    for text in placed.card.texts:
        kind = "sign" if text.size > TITLE else "title" if text.bold else "line"
        middle = " middle" if left is None else ""
        yield f'<text class="{kind}{middle}" x="{_n(x)}" y="{_n(placed.y + text.down)}">{_text(text.said)}</text>'


# --- lines -------------------------------------------------------------------------------


def _line(line: Line) -> Iterator[str]:
    yield f'<path class="wire" d="{_way(line.points, line.arrow)}"/>'
    if line.arrow:
        yield _head(*line.points[-2:])
    if line.label:
        width = label_width(line.label)
        yield _rectangle("plate", line.at[0] - width / 2, line.at[1] - 9, width, 18, 9)
        place = f'x="{_n(line.at[0])}" y="{_n(line.at[1] + 4)}"'
        yield f'<text class="line middle" {place}>{_text(line.label)}</text>'


def _way(points: tuple[Point, ...], arrow: bool) -> str:
    """A way with round corners; it stops short of an arrow's head."""
    ends = [*points[:-1], _toward(points[-1], points[-2], _HEAD)] if arrow else list(points)
    parts = [f"M{_n(ends[0][0])} {_n(ends[0][1])}"]
    for before, corner, after in zip(ends, ends[1:], ends[2:], strict=False):
        bend = min(_BEND, _length(before, corner) / 2, _length(corner, after) / 2)
        start, end = _toward(corner, before, bend), _toward(corner, after, bend)
        parts.append(f"L{_p(start)}Q{_p(corner)} {_p(end)}")
    return "".join([*parts, f"L{_p(ends[-1])}"])


def _head(before: Point, tip: Point) -> str:
    foot = _toward(tip, before, _HEAD + 1.5)
    across = (foot[1] - tip[1]) / 1.9, (tip[0] - foot[0]) / 1.9
    one, other = (foot[0] + across[0], foot[1] + across[1]), (foot[0] - across[0], foot[1] - across[1])
    return f'<path class="head" d="M{_p(tip)}L{_p(one)}L{_p(other)}z"/>'


def _toward(start: Point, end: Point, by: float) -> Point:
    length = _length(start, end) or 1.0
    return start[0] + (end[0] - start[0]) * by / length, start[1] + (end[1] - start[1]) * by / length


def _length(a: Point, b: Point) -> float:
    return math.hypot(a[0] - b[0], a[1] - b[1])


# --- marks -------------------------------------------------------------------------------


def plate_width(mark: Mark) -> float:
    """Width of the plate that a mark is written on."""
    return text_width(mark.text, _BADGE, bold=True) + 12


def _mark(placed: Placed, mark: Mark | None, links: bool) -> Iterator[str]:
    if mark:
        yield from _plate(mark, placed.x + placed.width - plate_width(mark) / 2 - 4, placed.y - 2, links)


def _plate(mark: Mark, x: float, y: float, links: bool) -> Iterator[str]:
    """A mark in a plate about (x, y)."""
    width = plate_width(mark)
    linked = links and mark.numbers
    if linked:
        yield f'<a href="#op-{mark.numbers[0]}">'
    yield _rectangle(f"badge {mark.kind}", x - width / 2, y - 8.5, width, 17, 8.5)
    yield f'<text class="badge middle" x="{_n(x)}" y="{_n(y + 3.8)}">{_text(mark.text)}</text>'
    if linked:
        yield "</a>"


# --- numbers and text --------------------------------------------------------------------


def _n(value: float) -> str:
    """A number in as few characters as it needs."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def _p(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"


def _text(said: str) -> str:
    """Text that XML may hold: markup escaped, control characters left out."""
    return escape("".join(c for c in said if c >= " " and not 0xD800 <= ord(c) <= 0xDFFF and c not in "\ufffe\uffff"))
