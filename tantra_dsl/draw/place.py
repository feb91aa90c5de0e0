"""Layout: from a picture to places."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

from tantra_dsl.draw.cards import NARROWEST, STRETCHED, WIDEST, Card, card, head
from tantra_dsl.draw.picture import Box, Flow, Frame, Picture, walk
from tantra_dsl.draw.placed import Laid, Line, Placed
from tantra_dsl.draw.route import routed
from tantra_dsl.draw.rows import Extent, grid

_SIDE_BY_SIDE = 4
"""So many boxes beside each other are made equally wide; more are as wide as they need be."""
_INSIDE = 16.0
"""Room between the border of a frame and what is in it."""


def laid_out(picture: Picture) -> Laid:
    """The picture with a place for everything."""
    return _Layout(picture).flow(picture.flow, 0)


class _Layout:
    def __init__(self, picture: Picture) -> None:
        boxes = [item for _, item in walk(picture.flow) if isinstance(item, Box)]
        wide = [card(box).width for box in boxes if box.kind in STRETCHED]
        self.width = min(WIDEST, max([*wide, 2 * NARROWEST]))

    def flow(self, flow: Flow, depth: int) -> Laid:
        """A flow with its upper left corner at the origin."""
        inner = {item.id: self._frame(item, depth) for item in flow.items if isinstance(item, Frame)}
        inner = _evened(flow, inner)
        alone = _alone(flow) if depth else _fed(flow)
        widths = [card(item).width for item in flow.items if _stretches(item) and item.id not in alone]
        beside = max(widths) if 0 < len(widths) <= _SIDE_BY_SIDE else 0.0
        sizes: dict[str, Extent] = {}
        cards: dict[str, Card] = {}
        for item in flow.items:
            if isinstance(item, Box):
                cards[item.id] = card(item)
                width = self._width(item, cards[item.id], self.width if item.id in alone else beside * bool(depth))
                sizes[item.id] = Extent(width / 2, width / 2, cards[item.id].height)
            else:
                laid = inner[item.id]
                sizes[item.id] = Extent(laid.axis, laid.width - laid.axis, laid.height)
        entries = {id: laid.entries for id, laid in inner.items()}
        route = routed(flow, grid(flow, sizes), sizes, entries)
        items: list[Placed] = []
        lines = list(route.lines)
        for item in flow.items:
            x, y = route.corner(item.id)
            if isinstance(item, Box):
                size = sizes[item.id]
                items.append(Placed(item.id, item, cards[item.id], x, y, size.left + size.right, size.height))
            else:
                laid = inner[item.id]
                items += [placed.moved(x, y) for placed in laid.items]
                lines += [line.moved(x, y) for line in laid.lines]
        return Laid(route.width, route.height, route.axis, tuple(items), tuple(lines), route.entries)

    def _width(self, box: Box, own: Card, common: float) -> float:
        return max(common, own.width) if _stretches(box) else own.width

    def _frame(self, frame: Frame, depth: int) -> Laid:
        """A frame with its strip, what is in it, and lines from the strip to the content and on to the border."""
        inside = self.flow(frame.flow, depth + 1)
        content = inside.width + 2 * _INSIDE
        strip = head(frame, max(WIDEST, content))
        width = max(content, strip.width)
        left = (width - inside.width) / 2
        down = strip.height
        height = down + inside.height
        own = Placed(frame.id, frame, strip, 0, 0, width, height)
        items = (own, *(item.moved(left, down, f"{frame.id}/") for item in inside.items))
        entries = {port: tuple(y + down for y in ys) for port, ys in inside.entries.items()}
        lines = (*(_from_border(line.moved(left, down), line, left) for line in inside.lines),)
        return Laid(width, height, left + inside.axis, items, lines, entries)


def _from_border(moved: Line, line: Line, left: float) -> Line:
    """A line that begins at the left border of the flow begins at that of the frame."""
    if line.points[0][0] != 0 or line.points[0][1] != line.points[1][1]:
        return moved
    return replace(moved, points=((moved.points[0][0] - left, moved.points[0][1]), *moved.points[1:]))


def _stretches(item: Box | Frame) -> TypeGuard[Box]:
    """Whether an item is made as wide as others of its flow."""
    return isinstance(item, Box) and item.kind in STRETCHED


def _fed(flow: Flow) -> frozenset[str]:
    """Ids of the boxes that something goes into."""
    return frozenset(edge.target for edge in flow.edges)


def _alone(flow: Flow) -> frozenset[str]:
    """Ids of the boxes with no other of their kinds beside them: each comes before or after them."""
    ahead: dict[str, int] = {}
    order = {item.id: place for place, item in enumerate(flow.items)}
    after: dict[str, list[str]] = {}
    for edge in flow.edges:
        if edge.source in order and edge.target in order:
            after.setdefault(edge.source, []).append(edge.target)
    for item in reversed(flow.items):
        ahead[item.id] = 0
        for next in after.get(item.id, ()):
            ahead[item.id] |= ahead.get(next, 0) | 1 << order[next]
    stretched = [item.id for item in flow.items if _stretches(item)]
    return frozenset(
        id
        for id in stretched
        if all(id == other or ahead[id] >> order[other] & 1 or ahead[other] >> order[id] & 1 for other in stretched)
    )


def _evened(flow: Flow, inner: dict[str, Laid]) -> dict[str, Laid]:
    """Frames that follow each other, each as wide to both sides as the widest."""
    chain = [item.id for item in flow.items if isinstance(item, Frame)]
    if len(chain) < 2 or len(chain) != len(flow.items):
        return inner
    left = max(laid.axis for laid in inner.values())
    right = max(laid.width - laid.axis for laid in inner.values())
    return {id: _widened(laid, left - laid.axis, left + right) for id, laid in inner.items()}


def _widened(laid: Laid, more: float, width: float) -> Laid:
    own, *rest = laid.items
    items = (replace(own, width=width), *(item.moved(more, 0) for item in rest))
    lines = tuple(_stretched(line, more) for line in laid.lines)
    return replace(laid, width=width, axis=laid.axis + more, items=items, lines=lines)


def _stretched(line: Line, more: float) -> Line:
    moved = line.moved(more, 0)
    at_border = line.points[0][0] == 0 and line.points[0][1] == line.points[1][1]
    return replace(moved, points=(line.points[0], *moved.points[1:])) if at_border else moved
