"""What must hold of every drawing, as checks on its places."""

from __future__ import annotations

from itertools import combinations, pairwise

from tantra_dsl.draw.cards import TITLE
from tantra_dsl.draw.measure import text_width
from tantra_dsl.draw.picture import Frame
from tantra_dsl.draw.placed import Laid, Line
from tantra_dsl.draw.route import label_width
from tests.draw.conftest import Box, box_of, crosses, overlap, segments, within


def check(laid: Laid) -> None:
    """Boxes apart and inside their frames, texts inside their boxes, lines around boxes and not on each other."""
    boxes_are_apart(laid)
    frames_hold_what_is_theirs(laid)
    texts_fit(laid)
    lines_go_around_boxes(laid)
    lines_are_apart(laid)
    streams_go_on(laid)
    everything_is_on_the_page(laid)


def boxes_are_apart(laid: Laid) -> None:
    for one, other in combinations(laid.items, 2):
        if other.address.startswith(f"{one.address}/") or one.address.startswith(f"{other.address}/"):
            continue
        assert not overlap(box_of(one), box_of(other)), (one.address, other.address)


def frames_hold_what_is_theirs(laid: Laid) -> None:
    placed = {item.address: item for item in laid.items}
    for address, item in placed.items():
        frame = placed.get(address.rpartition("/")[0])
        if frame is not None:
            left, top, right, bottom = box_of(frame)
            assert within(box_of(item), (left, top + frame.card.height, right, bottom)), address


def texts_fit(laid: Laid) -> None:
    for item in laid.items:
        height = item.card.height if isinstance(item.item, Frame) else item.height
        for text in item.card.texts:
            assert text.width <= item.width, (item.address, text.said)
            assert 0.8 * text.size <= text.down <= height - 3, (item.address, text.said)
        lines = [text.down for text in item.card.texts]
        assert all(below - above >= min(TITLE, 14) for above, below in pairwise(lines))


def lines_go_around_boxes(laid: Laid) -> None:
    solid: list[tuple[str, Box]] = []
    for item in laid.items:
        left, top, right, _ = box_of(item)
        solid.append(
            (item.address, (left, top, right, top + item.card.height) if isinstance(item.item, Frame) else box_of(item))
        )
    for line in laid.lines:
        for piece in segments(line):
            for address, box in solid:
                assert not crosses(piece, box), (address, line)


def lines_are_apart(laid: Laid) -> None:
    """Two lines lie on each other only where they begin or end together."""
    for one, other in combinations(laid.lines, 2):
        if one.points[0] == other.points[0] or one.points[-1] == other.points[-1]:
            continue
        for a in segments(one):
            for b in segments(other):
                assert not lie_on_each_other(a, b), (one, other)


def streams_go_on(laid: Laid) -> None:
    """What leaves a frame begins where a line in the frame ends."""
    ends = {line.points[-1] for line in laid.lines}
    for item in laid.items:
        if isinstance(item.item, Frame):
            left, _, right, bottom = box_of(item)
            leaving = [line.points[0] for line in laid.lines if line.points[0][1] == bottom]
            assert all(start in ends for start in leaving if left < start[0] < right), item.address


def lie_on_each_other(a: Box, b: Box) -> bool:
    across = a[0] == a[2] == b[0] == b[2] and min(a[3], b[3]) - max(a[1], b[1]) > 1
    along = a[1] == a[3] == b[1] == b[3] and min(a[2], b[2]) - max(a[0], b[0]) > 1
    return across or along


def everything_is_on_the_page(laid: Laid) -> None:
    page = (-0.01, -0.01, laid.width + 0.01, laid.height + 0.01)
    for item in laid.items:
        assert within(box_of(item), page), item.address
    for line in laid.lines:
        assert all(within(piece, page) for piece in segments(line)), line
        assert label_is_on_its_lane(line, laid)


def label_is_on_its_lane(line: Line, laid: Laid) -> bool:
    if not line.label:
        return True
    half = label_width(line.label) / 2
    plate = (line.at[0] - half, line.at[1] - 9, line.at[0] + half, line.at[1] + 9)
    boxes = [box_of(item) for item in laid.items if not isinstance(item.item, Frame)]
    fits = text_width(line.label, 11.5) < 2 * half and plate[2] <= laid.width + 0.01
    return fits and not any(overlap(plate, box) for box in boxes)
