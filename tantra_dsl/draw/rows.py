"""Rows and columns for a flow: which row each item is in, in which order, and where its axis is.

Rows are longest ways from what comes in (Sugiyama, Tagawa and Toda 1981). An edge over several rows either goes around
at the side, where its ends are joined by another way as well (a residual stream), or holds a place in every row that it
passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from tantra_dsl.draw.columns import Link, axes
from tantra_dsl.draw.picture import OUT, Edge, Flow, Frame

APART: Final = 26.0
_HELD: Final = 18.0


@dataclass(frozen=True, slots=True)
class Extent:
    """How far an item reaches to the left and to the right of its axis, and how high it is."""

    left: float
    right: float
    height: float


@dataclass
class Grid:
    """Rows of ids from first to last, axes, and for each edge the places that it holds in the rows between.

    ``around`` are the edges that go around at the side, ``aside`` those that meet a side of a frame, ``entering`` those
    that come from a side input of the flow.
    """

    rows: list[list[str]]
    row: dict[str, int]
    axis: dict[str, float] = field(default_factory=dict)
    ways: dict[Edge, list[str]] = field(default_factory=dict)
    around: list[Edge] = field(default_factory=list)
    aside: list[Edge] = field(default_factory=list)
    entering: list[Edge] = field(default_factory=list)


def grid(flow: Flow, extents: dict[str, Extent]) -> Grid:
    """The grid of ``flow``, whose items have ``extents``."""
    return _Builder(flow, extents).built()


class _Builder:
    def __init__(self, flow: Flow, extents: dict[str, Extent]) -> None:
        self.extents = dict(extents)
        self.frames = [item.id for item in flow.items if isinstance(item, Frame)]
        side = {f"in:{name}" for name in flow.inputs[1:]}
        self.entering = [edge for edge in flow.edges if edge.source in side]
        self.aside = [edge for edge in flow.edges if edge.port and edge.source not in side]
        self.main = [edge for edge in flow.edges if not edge.port and edge.source not in side]
        ports = [f"in:{name}" for name in flow.inputs[:1]]
        ends = [OUT] if any(edge.target == OUT for edge in flow.edges) else []
        self.ids = [*ports, *(item.id for item in flow.items), *ends]
        self.order = {id: place for place, id in enumerate(self.ids)}
        self.first = ports or [item.id for item in flow.items if not isinstance(item, Frame) and item.kind == "input"]
        self.before, self.after = _neighbours(self.main)
        for id in (*ports, *ends):
            self.extents[id] = Extent(0, 0, 0)

    def built(self) -> Grid:
        self.sorted = _topological(self.ids, self.after)
        self.reach = self._reach()
        row = self._ranks()
        made = Grid([[] for _ in range(max(row.values(), default=0) + 1)], row)
        made.entering, made.aside = self.entering, self.aside
        for id in self.ids:
            made.rows[row[id]].append(id)
        links = self._links(made)
        self._arrange(made, links)
        self._settle(made, links)
        return made

    # --- rows ----------------------------------------------------------------------------

    def _reach(self) -> dict[str, int]:
        """For each id, the places of the ids that can be reached from it, as bits."""
        found: dict[str, int] = {}
        for id in reversed(self.sorted):
            found[id] = 0
            for next in self.after.get(id, ()):
                found[id] |= found[next] | 1 << self.order[next]
        return found

    def _reaches(self, source: str, target: str) -> bool:
        return bool(self.reach[source] >> self.order[target] & 1)

    def _ranks(self) -> dict[str, int]:
        begun = any(id.startswith("in:") for id in self.first)
        least = {id: int(begun and id not in self.first) for id in self.ids}
        row = self._longest(least)
        for one, other in self._side_by_side(row):
            least[one] = row[other]
            row = self._longest(least)
        for id in reversed(self.sorted):
            later = [row[next] for next in self.after.get(id, ())]
            beside = [row[edge.target] for edge in self.aside if edge.source == id]
            if not self.before.get(id) and id not in self.first[:1] and (later or beside):
                row[id] = max(least[id], min(later or beside) - 1)
        if OUT in row:
            row[OUT] = 1 + max(place for id, place in row.items() if id != OUT)
        return row

    def _longest(self, least: dict[str, int]) -> dict[str, int]:
        row = dict(least)
        for id in self.sorted:
            for next in self.after.get(id, ()):
                row[next] = max(row[next], row[id] + 1)
        return row

    def _side_by_side(self, row: dict[str, int]) -> Iterable[tuple[str, str]]:
        """Frames that should begin together with a later one: neither comes after the other."""
        raised: set[str] = set()
        for other in sorted(self.frames, key=lambda id: -row[id]):
            for one in self.frames:
                alone = not self._reaches(one, other) and not self._reaches(other, one)
                if alone and row[one] < row[other] and not raised & {one, other}:
                    raised.add(one)
                    yield one, other

    # --- edges over several rows ---------------------------------------------------------

    def _links(self, made: Grid) -> list[Link]:
        """Pairs of ids in rows that follow each other, with how much each pulls at the other."""
        links: list[Link] = []
        pulled = self._pulled()
        for edge in self.main:
            between = made.row[edge.target] - made.row[edge.source] - 1
            if between > 0 and self._has_detour(edge):
                made.around.append(edge)
                continue
            way = [self._hold(made, edge, made.row[edge.source] + 1 + step) for step in range(between)]
            made.ways[edge] = way
            links += [Link(a, b) for a, b in pairwise([edge.source, *way, edge.target])]
            if edge.source not in pulled and edge.target in pulled:
                links[-1] = replace(links[-1], aside=True)
        for edge in self.aside:
            links += self._held_aside(made, edge)
        return links

    def _pulled(self) -> frozenset[str]:
        """What comes from a main input."""
        found = set(self.first)
        for id in self.first:
            found |= {other for other in self.ids if self._reaches(id, other)}
        return frozenset(found)

    def _has_detour(self, edge: Edge) -> bool:
        return any(next != edge.target and self._reaches(next, edge.target) for next in self.after.get(edge.source, ()))

    def _hold(self, made: Grid, edge: Edge, row: int) -> str:
        id = f"~{len(self.extents)}"
        self.extents[id] = Extent(0, 0, 0)
        self.order[id] = self.order[edge.source]
        made.row[id] = row
        made.rows[row].append(id)
        return id

    def _held_aside(self, made: Grid, edge: Edge) -> list[Link]:
        """Places for an edge that meets a frame's side: in every row from below its source to that of the frame."""
        first, last = made.row[edge.source], made.row[edge.target]
        rows = range(first + 1, last + 1) if first < last else range(first, last - 1, -1)
        way = [self._hold(made, edge, row) for row in rows]
        made.ways[edge] = way
        if first < last and not self.after.get(edge.source):
            way = [edge.source, *way]
        return [Link(a, b) if first < last else Link(b, a) for a, b in pairwise(way)]

    # --- order and axes ------------------------------------------------------------------

    def _arrange(self, made: Grid, links: list[Link]) -> None:
        """An order in each row that leaves few lines to cross."""
        above, below = _neighbours_of(links)
        beside = self._beside()
        for row in made.rows:
            row.sort(key=lambda id: (id not in beside, self.order[id]))
            self._pack(made, row)
        for round in range(6):
            rows = made.rows if round % 2 == 0 else made.rows[::-1]
            near = above if round % 2 == 0 else below
            for row in rows:
                wish = {id: _mean([made.axis[other] for other in near.get(id, ())], made.axis[id]) for id in row}
                row.sort(key=lambda id: (id not in beside, wish[id]))
                self._pack(made, row)
        for edge in self.aside:
            self._put_beside(made, made.ways[edge][-1], edge.target)

    def _beside(self) -> frozenset[str]:
        """What only leads to the side of a frame, which is its left: it stands left of everything else."""
        sources, frames = {edge.source for edge in self.aside}, {edge.target for edge in self.aside}
        return frozenset(
            id
            for id in self.ids
            if (id in sources or any(self._reaches(id, source) for source in sources))
            and not any(self._reaches(id, frame) for frame in frames)
        )

    def _put_beside(self, made: Grid, held: str, frame: str) -> None:
        row = made.rows[made.row[frame]]
        row.remove(held)
        row.insert(row.index(frame), held)

    def _pack(self, made: Grid, row: list[str]) -> None:
        """Axes that set a row side by side about the middle."""
        at = 0.0
        for place, id in enumerate(row):
            at += self._between(row[place - 1], id) if place else 0.0
            made.axis[id] = at
        for id in row:
            made.axis[id] -= at / 2

    def _between(self, left: str, right: str) -> float:
        """How far the axes of two neighbours must be apart."""
        held = left.startswith("~") or right.startswith("~")
        return self.extents[left].right + self.extents[right].left + (_HELD if held else APART)

    def _settle(self, made: Grid, links: list[Link]) -> None:
        """Axes with short sideways steps, in the order that the rows have."""
        entry = [id for id in self.first if id.startswith("in:")]
        ends = (entry[0], OUT) if entry and OUT in made.row else None
        made.axis = axes(made.rows, links, made.axis, self._between, ends, [(e.source, e.target) for e in made.around])
        least = min((made.axis[id] - self.extents[id].left for row in made.rows for id in row), default=0.0)
        made.axis = {id: round_half(at - least) for id, at in made.axis.items()}


def round_half(value: float) -> float:
    """The nearest half."""
    return round(value * 2) / 2


def spread(wishes: list[float], weights: list[float], gaps: list[float]) -> list[float]:
    """Places in order, each at least its gap behind the one before, nearest to ``wishes`` by weighted squares.

    The pool-adjacent-violators algorithm (Ayer et al. 1955) on the wishes with the gaps taken off.
    """
    offsets: list[float] = []
    for gap in gaps:
        offsets.append((offsets[-1] if offsets else 0.0) + gap)
    pools: list[tuple[float, float, int]] = []
    for wish, weight, offset in zip(wishes, weights, offsets, strict=True):
        pools.append((wish - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, wa, na), (b, wb, nb) = pools[-2:]
            pools[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    levels = [level for level, _, count in pools for _ in range(count)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _mean(places: list[float], otherwise: float) -> float:
    return sum(places) / len(places) if places else otherwise


def _neighbours(edges: list[Edge]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for edge in edges:
        before.setdefault(edge.target, []).append(edge.source)
        after.setdefault(edge.source, []).append(edge.target)
    return before, after


def _neighbours_of(links: list[Link]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for link in links:
        above.setdefault(link.lower, []).append(link.upper)
        below.setdefault(link.upper, []).append(link.lower)
    return above, below


def _topological(ids: list[str], after: dict[str, list[str]]) -> list[str]:
    """``ids`` so that every edge goes forward; in their own order where that leaves a choice."""
    waiting = dict.fromkeys(ids, 0)
    for nexts in after.values():
        for next in nexts:
            waiting[next] += 1
    ready = [id for id in ids if not waiting[id]]
    found: list[str] = []
    while ready:
        id = ready.pop(0)
        found.append(id)
        for next in after.get(id, ()):
            waiting[next] -= 1
            if not waiting[next]:
                ready.append(next)
    assert len(found) == len(ids), "a flow goes in a circle"
    return found
