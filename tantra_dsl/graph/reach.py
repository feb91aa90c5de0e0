"""How far ahead in time each primitive looks: the local rules of the leak proof."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from tantra_dsl.graph.model import Node
from tantra_dsl.graph.types import Size, TensorType
from tantra_dsl.scalars.facts import lookahead
from tantra_dsl.scalars.ir import Const, Gather, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import children

Steps = int | Fraction | float


class Reach(NamedTuple):
    """Element j depends on elements up to ``stride * j + ahead`` of something, and on none after.

    Without a time axis the stride does not matter where the source has none either; a stride of 0 says that only
    elements up to ``ahead`` matter, for every j.
    """

    stride: int | Fraction
    ahead: Steps

    def of(self, inner: Reach) -> Reach:
        """Reach into a source through this one, where what this one reads has reach ``inner`` into the source."""
        further = inner.stride * self.ahead if inner.stride else 0
        return Reach(self.stride * inner.stride, inner.ahead + further)

    def join(self, other: Reach) -> Reach:
        """Reach of what depends in both ways (positions are never negative)."""
        return Reach(max(self.stride, other.stride), max(self.ahead, other.ahead))


SAME = Reach(1, 0)
EVERYTHING = Reach(0, math.inf)

Edge = tuple[int, Reach]
Types = list[TensorType]


def edges(node: Node, types: Types, blank: int = 0) -> list[Edge]:
    """For each operand that the results of a primitive depend on, its number and how far ahead it is read.

    The first ``blank`` keys of an attention hold nothing that matters.
    """
    if node.op in ("attend", "additive_attend"):
        return list(_attend(node, types, blank))
    rule = _RULES.get(node.op)
    return list(rule(node, types)) if rule else list(_by_position(node, types))


# --- position by position --------------------------------------------------------------------

_READS_LAST = frozenset({"linear", "expert_linear", "normalize", "route", "split", "split_heads", "rope", "embedding"})
_READS_LAST_TWO = frozenset({"merge_heads", "repeat_heads"})
_POSITIONWISE = _READS_LAST | _READS_LAST_TWO | {
    "dropout", "stop_gradient", "stack_depth", "expand_time", "linear_scan", "selective_scan", "delta_scan",
    "combine_experts", "transpose",
}  # fmt: skip


def _by_position(node: Node, types: Types) -> Iterator[Edge]:
    """Results at t read operands at t; everything at once where the time axis is consumed, or the op is not known."""
    for number, type in enumerate(types):
        mixed = node.op not in _POSITIONWISE or _consumes_time(node, type)
        yield number, EVERYTHING if mixed else SAME


def _consumes_time(node: Node, operand: TensorType) -> bool:
    axes = _time_axes(operand)
    if not axes:
        return False
    read = {1} if node.op in _READS_LAST and node.op != "embedding" else {1, 2} if node.op in _READS_LAST_TWO else set()
    return bool(read & axes) or len(axes) > 1 or not any(_time_axes(result) for result in node.types)


def _time_axes(type: TensorType) -> set[int]:
    """Places of the time axes, counted from the right and from one."""
    return {type.rank - place for place, dim in enumerate(type.dims) if dim.name == "time"}


def _map(node: Node, types: Types) -> Iterator[Edge]:
    """Elementwise: aligned where the time axes meet; captures of a function are read by index."""
    here = _time_axes(node.type)
    for number, type in enumerate(types):
        axes = _time_axes(type)
        aligned = not axes or (axes == here and len(axes) == 1)
        yield number, SAME if aligned and (number < node.attr("arity") or not axes) else EVERYTHING


def _no_content(node: Node, types: Types) -> Iterator[Edge]:
    """Reads only the shape of its operand."""
    return iter(())


def _expand_time(node: Node, types: Types) -> Iterator[Edge]:
    yield 0, SAME


# --- along the time axis ----------------------------------------------------------------------


def _shift(node: Node, types: Types) -> Iterator[Edge]:
    yield 0, Reach(1, -node.attr("by"))


def _conv1d(node: Node, types: Types) -> Iterator[Edge]:
    yield 0, Reach(node.attr("stride", 1), 0 if node.attr("causal") else later_taps(node, types))
    for number in range(1, len(types)):
        yield number, EVERYTHING


def later_taps(node: Node, types: Types) -> int:
    """How many positions a centred convolution reads on the right."""
    width = types[1].dims[-1].size.known
    assert width is not None, "a weight has known sizes"
    return (width - 1) * int(node.attr("dilation", 1)) // 2


def _patches(node: Node, types: Types) -> Iterator[Edge]:
    size = node.attr("size")
    yield 0, Reach(size, size - 1) if types[0].axis("time") is not None else EVERYTHING


def _unpatch(node: Node, types: Types) -> Iterator[Edge]:
    yield 0, Reach(Fraction(1, node.attr("size")), 0)


def _whole_axis(type: TensorType) -> Reach:
    """Every element of the time axis, whatever the position of the result."""
    axis = type.axis("time")
    known = type.dims[axis].size.known if axis is not None else None
    return EVERYTHING if known is None else Reach(0, known - 1)


def _over_axis(node: Node, types: Types) -> Iterator[Edge]:
    """Pool and softmax: all of the axis that they run over."""
    axis = node.attr("axis")
    last = types[0].dims[-1].name if axis == "last" else axis
    yield 0, _whole_axis(types[0]) if last == "time" else SAME
    for number, type in enumerate(types[1:], 1):
        yield number, EVERYTHING if _time_axes(type) and last == "time" else SAME


def _select(node: Node, types: Types) -> Iterator[Edge]:
    if node.attr("axis") != "time":
        yield 0, SAME
        return
    start = _from_start(node.attr("index"), types[0])
    yield 0, EVERYTHING if start is None else Reach(0, start)


def _slice(node: Node, types: Types) -> Iterator[Edge]:
    if node.attr("axis") != "time":
        yield 0, SAME
        return
    start = _from_start(node.attr("start") or 0, types[0])
    yield 0, EVERYTHING if start is None else Reach(1, start)


def _from_start(index: int, type: TensorType) -> int | None:
    """A Python index along time as a position, or None where it counts from an end that is not known."""
    if index >= 0:
        return index
    axis = type.axis("time")
    known = type.dims[axis].size.known if axis is not None else None
    return None if known is None else max(known + index, 0)


def _gather_time(node: Node, types: Types) -> Iterator[Edge]:
    yield 0, _whole_axis(types[0])
    yield 1, SAME


def _concat(node: Node, types: Types) -> Iterator[Edge]:
    axis = node.attr("axis")
    widest = max(types, key=lambda type: type.rank)
    if (widest.dims[-1].name if axis == "last" else axis) != "time":
        yield from ((number, SAME) for number in range(len(types)))
        return
    place = min(_time_axes(widest))
    before = 0
    for number, type in enumerate(types):
        yield number, Reach(1, -before)
        before += _least_length(type.dims[-place].size)


def _least_length(size: Size) -> int:
    """A length that is reached for all run-time lengths."""
    return max(0, math.floor(size.constant)) if all(factor >= 0 for _, factor in size.terms) else 0


# --- attention and products -------------------------------------------------------------------


def _attend(node: Node, types: Types, blank: int) -> Iterator[Edge]:
    """Queries at their own position, keys and values as far as the mask allows."""
    yield 0, SAME
    ahead = keys_ahead(node, types, blank)
    if ahead > -math.inf:
        yield from ((number, Reach(1, ahead)) for number in (1, 2))
    first = _first_capture(node)
    yield from ((number, EVERYTHING) for number in range(3, first))
    yield from _capture_reaches(node, types, first, ahead)


def _first_capture(node: Node) -> int:
    return 4 if node.op == "additive_attend" or "sink" in node.attr("has", ()) else 3


def keys_ahead(node: Node, types: Types, blank: int = 0) -> float:
    """How many places after its query's index a key may stand that is none of the ``blank`` first, given the mask."""
    mask: Program | None = node.attr("mask")
    if blank and mask is not None:
        mask = replace(mask, body=Op("and", (mask.body, Op("ge", (Var("k"), Const(blank))))))
    ahead, offset = lookahead(mask), query_offset(types)
    return ahead + offset if ahead > -math.inf else ahead


def query_offset(types: Types) -> float:
    """Absolute position of the first query: queries are the last of the keys' positions; inf where not known."""
    queries, keys = types[0].dims[1].size, types[1].dims[1].size
    known = (keys - queries).known
    return math.inf if known is None else known


def _capture_reaches(node: Node, types: Types, first: int, ahead: float) -> Iterator[Edge]:
    mask, score = node.attr("mask"), node.attr("score")
    offset = query_offset(types)
    places = {"q": offset, "k": max(ahead, offset)}
    number = first
    for program in (mask, score):
        for capture in range(len(program.captures) if program else 0):
            reach = _capture_reach(program, capture, places) if _time_axes(types[number]) else SAME
            yield number, reach
            number += 1


def _capture_reach(program: Program, capture: int, places: dict[str, float]) -> Reach:
    """Reach of a row into a captured field: it is read at the query and at the keys that the row can see."""
    furthest = -math.inf
    for index in _readings(program.body, capture):
        if len(index) != 2 or not isinstance(index[1], Var) or index[1].name not in places:
            return EVERYTHING
        furthest = max(furthest, places[index[1].name])
    return Reach(1, furthest)


def _readings(body: Scalar, capture: int) -> Iterator[tuple[Scalar, ...]]:
    stack = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, Gather) and node.capture == capture:
            yield node.index
        if isinstance(node, Gather | Op):
            stack.extend(children(node))


def _matmul(node: Node, types: Types) -> Iterator[Edge]:
    """The first operand's rows stay where they are; a time axis that is summed over, or that becomes columns, mixes."""
    a, b = (_time_axes(type) for type in types)
    yield 0, EVERYTHING if 1 in a or len(a) > 1 else SAME
    yield 1, EVERYTHING if b & {1, 2} or len(b) > 1 else SAME


_RULES: dict[str, Callable[[Node, Types], Iterator[Edge]]] = {
    "map": _map, "positions": _no_content, "tabulate": _no_content, "indices": _no_content, "expand_time": _expand_time,
    "shift": _shift, "conv1d": _conv1d, "patches": _patches, "unpatch": _unpatch, "pool": _over_axis,
    "softmax": _over_axis, "select": _select, "slice": _slice, "gather_time": _gather_time, "concat": _concat,
    "matmul": _matmul,
}  # fmt: skip
