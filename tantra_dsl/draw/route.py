"""Lines: between the rows of a flow, around its items, and to the sides of frames. No line crosses a box.

Sideways pieces are in the gaps between rows, each on a track of its own; pieces over several rows are beside
everything, or in a place that the grid holds free for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from tantra_dsl.draw.cards import LINE
from tantra_dsl.draw.measure import text_width
from tantra_dsl.draw.picture import OUT, Box, Edge, Flow
from tantra_dsl.draw.placed import Line, Point
from tantra_dsl.draw.rows import Extent, Grid, round_half, spread
from tantra_dsl.draw.tracks import Piece, assigned

_GAP: Final = 18.0
_TRACK: Final = 9.0
_BEFORE: Final = 9.0
_AFTER: Final = 13.0
_LANE: Final = 14.0
_PORTS: Final = 16.0
_CLEAR: Final = 3.0
_ASIDE: Final = 20.0
_CORNER: Final = 4.0
_INSET: Final = 12.0


@dataclass
class Routes:
    """The result: the flow's size and main axis, corners of items, lines, and where side inputs enter."""

    width: float
    height: float
    axis: float
    corners: dict[str, Point]
    lines: list[Line]
    entries: dict[str, tuple[float, ...]]

    def corner(self, id: str) -> Point:
        """Upper left corner of an item."""
        return self.corners[id]


@dataclass(eq=False)
class _Way:
    """An edge on its way: where it starts, and each gap that it goes through with where it leaves it.

    ``end``: whether it meets its target at the ``top``, at the ``left`` or at the ``right``.
    """

    edge: Edge
    start: float
    hops: list[tuple[int, float]]
    end: str
    pieces: list[Piece] = field(default_factory=list)

    @property
    def last(self) -> float:
        """Where it comes out of the last gap so far."""
        return self.hops[-1][1] if self.hops else self.start


def routed(
    flow: Flow, grid: Grid, sizes: dict[str, Extent], entries: dict[str, dict[str, tuple[float, ...]]]
) -> Routes:
    """Places and lines for a flow on its grid; ``entries`` are the side inputs of the frames in it."""
    return _Router(flow, grid, sizes, entries).routes()


class _Router:
    def __init__(
        self, flow: Flow, grid: Grid, sizes: dict[str, Extent], entries: dict[str, dict[str, tuple[float, ...]]]
    ) -> None:
        self.flow, self.grid, self.inner = flow, grid, entries
        none = Extent(0, 0, 0)
        self.sizes = {id: sizes.get(id, none) for row in grid.rows for id in row}
        self.axis = grid.axis
        self.joins = {i.id for i in flow.items if isinstance(i, Box) and i.kind == "join" and len(i.title) == 1}
        self.right = max((self.axis[id] + self.sizes[id].right for id in self.axis), default=0.0)
        self.width = self.right
        self.side = "right"
        self.lanes: dict[Edge, float] = {}
        self.ways: list[_Way] = []
        self.into: dict[str, list[_Way]] = {}

    def routes(self) -> Routes:
        self._lay_lanes()
        self._plan()
        self._set_ports()
        self._set_tracks()
        self._set_heights()
        lines = [line for way in self.ways for line in self._lines(way)]
        entering, entries = self._entering()
        corners = {id: (self.axis[id] - self.sizes[id].left, self._top(id)) for id in self.axis}
        first = self.grid.rows[0][0] if self.grid.rows and self.grid.rows[0] else ""
        axis = self.axis.get(f"in:{self.flow.inputs[0]}" if self.flow.inputs else first, self.width / 2)
        return Routes(self.width, self.height, axis, corners, [*lines, *entering], entries)

    # --- lanes beside everything --------------------------------------------------------------

    def _lay_lanes(self) -> None:
        """Lanes for the edges that go around, short ones near; lanes without a row in common are one."""
        taken: list[list[tuple[int, int]]] = []
        widths: list[float] = []
        lane_of: dict[Edge, int] = {}
        for edge in sorted(self.grid.around, key=lambda e: (self._rows(e)[1] - self._rows(e)[0], self._rows(e))):
            span = self._rows(edge)
            lane = next((n for n, spans in enumerate(taken) if all(_apart(span, s) for s in spans)), len(taken))
            if lane == len(taken):
                taken.append([])
                widths.append(0.0)
            taken[lane].append(span)
            lane_of[edge] = lane
            widths[lane] = max(widths[lane], label_width(edge.label))
        at, places = 0.0, []
        for width in widths:
            half = math.ceil(width / 2)
            at += max(_LANE, half + 6)
            places.append(at)
            at += half
        self.width += at
        if self._is_left():
            self.side = "left"
            self.axis = {id: x + at for id, x in self.axis.items()}
            places = [at - place for place in places]
        else:
            places = [self.right + place for place in places]
        self.lanes = {edge: places[lane] for edge, lane in lane_of.items()}

    def _is_left(self) -> bool:
        """Whether lanes are better at the left: other streams are only at the right, and none comes from the left."""
        main = self.grid.rows[0][0] if self.grid.rows and self.grid.rows[0] else ""
        if self.grid.entering or self.grid.aside or main not in self.axis:
            return False
        at = self.axis[main]
        left = any(x < at - _ASIDE for x in self.axis.values())
        return not left and any(x > at + _ASIDE for x in self.axis.values())

    def _rows(self, edge: Edge) -> tuple[int, int]:
        return self.grid.row[edge.source], self.grid.row[edge.target]

    # --- ways ----------------------------------------------------------------------------

    def _plan(self) -> None:
        row, axis = self.grid.row, self.axis
        for edge, held in self.grid.ways.items():
            gaps = [row[edge.source], *(row[id] for id in held)]
            gaps = [min(a, b) for a, b in pairwise(gaps)] if row[edge.target] > gaps[0] else self._upwards(gaps)
            hops = [(gap, axis[id]) for gap, id in zip(gaps, held, strict=True)]
            self._add(_Way(edge, axis[edge.source], hops, "left" if edge.port else "top"))
        for edge, lane in self.lanes.items():
            end = self.side if self._is_free(edge.target, axis[edge.target], lane) else "top"
            self._add(_Way(edge, axis[edge.source], [(row[edge.source], lane)], end))
        for target in self.joins:
            self._set_sides(target)

    def _upwards(self, rows: list[int]) -> list[int]:
        """The gaps of an edge that goes back up: out below its source, then those above each row."""
        return [rows[0], *(row - 1 for row in rows[1:-1])]

    def _add(self, way: _Way) -> None:
        self.ways.append(way)
        if not way.edge.port:
            self.into.setdefault(way.edge.target, []).append(way)

    def _is_free(self, id: str, start: float, end: float) -> bool:
        """Whether no item of the row of ``id`` is between two axes."""
        low, high = min(start, end), max(start, end)
        row = self.grid.rows[self.grid.row[id]]
        return all(
            other == id or other.startswith("~")
            or self.axis[other] + self.sizes[other].right < low or self.axis[other] - self.sizes[other].left > high
            for other in row
        )  # fmt: skip

    def _set_sides(self, target: str) -> None:
        """What comes to a sum from the left or the right meets it there, once for each side."""
        at, free = self.axis[target], {"left", "right"}
        free -= {way.end for way in self.into.get(target, ())}
        tops = [way for way in self.into.get(target, ()) if way.end == "top" and way.edge not in self.lanes]
        middle = min(
            tops,
            key=lambda w: (round(abs(w.last - at) / 8), ("left" if w.last < at else "right") in free),
            default=None,
        )
        if middle is not None and len(tops) == 2 and "right" in free and abs(middle.last - at) >= 1:
            middle = None
        for way in tops:
            x = way.last
            side = "left" if x < at else "right"
            far = abs(x - at) > self.sizes[target].right + 8
            if way is not middle and far and side in free and self._is_free(target, x, at):
                way.end = side
                free.discard(side)

    def _set_ports(self) -> None:
        """Where each way meets the top of its target: in order, apart, and as straight above as may be."""
        for target, ways in self.into.items():
            tops = sorted((way for way in ways if way.end == "top"), key=lambda way: way.last)
            for way, x in zip(tops, self._ports(target, tops), strict=True):
                way.hops.append((self.grid.row[target] - 1, x))
        for way in self.ways:
            if way.end != "top" and not way.edge.port and way.edge not in self.lanes:
                way.hops.append((self.grid.row[way.edge.target] - 1, way.last))

    def _ports(self, target: str, tops: list[_Way]) -> list[float]:
        at, size = self.axis[target], self.sizes[target]
        if len(tops) < 2 or target in self.joins or target == OUT or target in self.inner:
            return [at] * len(tops)
        room = size.left + size.right - 2 * _CORNER
        apart = min(_PORTS, room / (len(tops) - 1))
        low, high = at - size.left + _CORNER, at + size.right - _CORNER
        wishes = [x if low <= x <= high else min(max(x, low + _INSET), high - _INSET) for x in (w.last for w in tops)]
        places = spread(wishes, [1.0] * len(tops), [0.0, *[apart] * (len(tops) - 1)])
        for place in range(len(places)):
            places[place] = max(places[place], low + apart * place)
            places[-1 - place] = min(places[-1 - place], high - apart * place)
        return [round_half(place) for place in places]

    # --- tracks and heights --------------------------------------------------------------

    def _set_tracks(self) -> None:
        gaps: dict[int, list[Piece]] = {}
        self.tracks: dict[int, int] = {}
        for number, way in enumerate(self.ways):
            at = way.start
            for place, (gap, next) in enumerate(way.hops):
                key = way.edge.source if place == 0 else f"~{number}"
                piece = Piece(key, self._goal(way, place), gap, at, next, *self._joined(way, place, at, next))
                way.pieces.append(piece)
                if at != next:
                    gaps.setdefault(gap, []).append(piece)
                at = next
        for gap, pieces in gaps.items():
            self.tracks[gap] = assigned(pieces)

    def _goal(self, way: _Way, place: int) -> str:
        """Where a piece comes together with others: in what has one place to enter, in the last gap before it."""
        target = way.edge.target
        one = target in self.joins or target in self.inner or target == OUT
        return target if one and way.end == "top" and place == len(way.hops) - 1 else ""

    def _joined(self, way: _Way, place: int, start: float, end: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Where a piece is joined from above and from below; a way back up leaves its source downwards."""
        if not way.edge.port or self.grid.row[way.edge.target] > self.grid.row[way.edge.source]:
            return (start,), (end,)
        return ((start, end), ()) if place == 0 else ((end,), (start,))

    def _set_heights(self) -> None:
        """Rows below each other, with gaps as high as their tracks need."""
        self.tops: list[float] = []
        self.bottoms: list[float] = []
        at = 0.0
        for number, row in enumerate(self.grid.rows):
            height = max((self.sizes[id].height for id in row), default=0.0)
            self.tops.append(at)
            self.bottoms.append(at + height)
            at += height + self._gap(number) * (number + 1 < len(self.grid.rows))
        self.height = at

    def _gap(self, row: int) -> float:
        count = self.tracks.get(row, 0)
        return max(_GAP, _BEFORE + _TRACK * (count - 1) + _AFTER) if count else _GAP

    def _track_height(self, piece: Piece) -> float:
        return self.bottoms[piece.gap] + _BEFORE + _TRACK * piece.track

    def _top(self, id: str) -> float:
        """Frames begin at the top of their row where nothing follows them, and else end at its bottom."""
        row, height = self.grid.row[id], self.sizes[id].height
        top, bottom = self.tops[row], self.bottoms[row]
        if id not in self.inner:
            return round_half((top + bottom - height) / 2)
        followed = any(edge.source == id and not edge.port for edge in self.flow.edges)
        return bottom - height if followed else top

    # --- lines ---------------------------------------------------------------------------

    def _lines(self, way: _Way) -> list[Line]:
        points = self._start(way)
        if way.edge.port:
            return self._to_side(way, points)
        target = way.edge.target
        middle = self._top(target) + self.sizes[target].height / 2
        if way.end == "top":
            points.append((way.last, self._top(target)))
        else:
            reach = self.sizes[target].right if way.end == "right" else -self.sizes[target].left
            points += [(way.last, middle), (self.axis[target] + reach, middle)]
        at = (self.lanes[way.edge], (points[1][1] + middle) / 2) if way.edge in self.lanes else (0.0, 0.0)
        return [Line(_clean(points), target != OUT, way.edge.label, at)]

    def _start(self, way: _Way) -> list[Point]:
        """The points of a way up to its last gap."""
        source = way.edge.source
        bottom = self._top(source) + self.sizes[source].height
        points = [(way.start, bottom)]
        for place, piece in enumerate(way.pieces):
            if piece.start != piece.end:
                early = place == 0 and self._leaves_within(way, bottom)
                height = bottom + _BEFORE if early else self._track_height(piece)
                points += [(piece.start, height), (piece.end, height)]
        return points

    def _leaves_within(self, way: _Way, bottom: float) -> bool:
        """Whether a way to the side of a frame beside its source can leave below the source, within the row."""
        row = self.grid.row[way.edge.source]
        fits = bottom + _BEFORE <= self.bottoms[row] and self.grid.row[way.edge.target] <= row
        return bool(way.edge.port) and fits and self._is_free(way.edge.source, way.start, way.last)

    def _to_side(self, way: _Way, points: list[Point]) -> list[Line]:
        edge = way.edge
        left, top = self.axis[edge.target] - self.sizes[edge.target].left, self._top(edge.target)
        trunk = way.last
        lines = []
        for height in self.inner[edge.target].get(edge.port, ()):
            ends = [(trunk, top + height), (left, top + height)]
            lines.append(Line(_clean([*points, *ends]), False))
        return lines

    def _entering(self) -> tuple[list[Line], dict[str, tuple[float, ...]]]:
        """Lines from the left border for what comes in at the side."""
        lines: list[Line] = []
        entries: dict[str, list[float]] = {}
        met: dict[str, int] = {}
        for edge in self.grid.entering:
            name = edge.source.removeprefix("in:")
            place = met[edge.target] = met.get(edge.target, -1) + 1
            for points in self._from_left(edge, place):
                lines.append(Line(points, edge.target not in self.inner))
                entries.setdefault(name, []).append(points[0][1])
        return lines, {name: tuple(heights) for name, heights in entries.items()}

    def _from_left(self, edge: Edge, place: int) -> list[tuple[Point, ...]]:
        target = edge.target
        left, top, size = self.axis[target] - self.sizes[target].left, self._top(target), self.sizes[target]
        heights = [top + h for h in self.inner[target].get(edge.port, ())] if edge.port else []
        heights = heights or [round_half(top + size.height / 2 + 9 * place)]
        if self._is_free(target, 0.0, left - _CLEAR):
            return [((0.0, height), (left, height)) for height in heights]
        gap = self.tops[self.grid.row[target]] - 5
        beside = left - 9
        return [((0.0, gap), (beside, gap), (beside, height), (left, height)) for height in heights]


def _apart(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[1] <= other[0] or other[1] <= one[0]


def label_width(label: str) -> float:
    """Width of the plate that a label stands on; none for none."""
    return text_width(label, LINE) + 12 if label else 0.0


def _clean(points: list[Point]) -> tuple[Point, ...]:
    """Points without those that lie on the straight way between their neighbours."""
    kept: list[Point] = []
    for point in points:
        if kept and point == kept[-1]:
            continue
        while len(kept) > 1 and _straight(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    return tuple(kept)


def _straight(a: Point, b: Point, c: Point) -> bool:
    return (a[0] == b[0] == c[0]) or (a[1] == b[1] == c[1])
