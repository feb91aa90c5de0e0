"""The positional encodings of a model as pictures: what each position adds, turns or biases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tantra_dsl.graph.model import Body, Graph, Node
from tantra_dsl.graph.paths import bottom_up
from tantra_dsl.scalars.evaluate import evaluate
from tantra_dsl.scalars.facts import additive_bias
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Scalar
from tantra_dsl.scalars.walk import captures_of
from tantra_dsl.show.lengths import shown_length
from tantra_dsl.show.svg import document, label

_ROWS: Final = 24
_COLUMNS: Final = 64
_CELL: Final = (10, 8)
_LONGEST: Final = 100
_INKS: Final = " .:-=+*#%@"


@dataclass(frozen=True)
class PositionView:
    """One encoding: a heat map of ``values``, a row for some of the positions (or heads), ``notes`` below it.

    ``down`` and ``across`` say what rows and columns are. What is learned has no values before training.
    """

    title: str
    down: str
    across: str
    values: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...] = ()


def position_views(graph: Graph, seq: int | None = None) -> list[PositionView]:
    """The distinct encodings of ``graph`` over ``seq`` positions; the model's context, but at most 4096, where None.

    Tables of a formula (sinusoids), rotations (rope), what scores add by position (alibi), and tables that are learned.
    """
    length = shown_length(graph, seq)
    found = (view for key in bottom_up(graph) for view in _of_body(graph.bodies[key], length))
    return list({(view.title, view.values): view for view in found}.values())


def _of_body(body: Body, length: int) -> Iterator[PositionView]:
    for node in body.nodes:
        if node.op == "tabulate":
            yield _table(node, length)
        elif node.op == "rope":
            yield _rotation(node, length)
        elif node.op == "embedding" and body.node(node.inputs[0].node).op == "positions":
            yield _learned(body, node)
        elif node.op == "attend" and node.attr("score") is not None:
            yield from _bias(body, node, length)


def _table(node: Node, length: int) -> PositionView:
    program, width = node.attr("program"), node.attr("width")
    values = _grid(length, width, lambda p, c: evaluate(program.body, {"p": p, "c": c, "width": width}))
    title = f"added: {_shown(format_scalar(program.body))}"
    return PositionView(title, f"{length:,} positions p", f"{width:,} channels c", values)


def _rotation(node: Node, length: int) -> PositionView:
    program, width = node.attr("frequency"), node.attr("width")
    angles = [float(evaluate(program.body, {"j": j})) for j in range(width // 2)]
    values = _grid(length, width // 2, lambda p, j: math.cos(p * angles[j]))
    turns = [2 * math.pi / abs(angle) for angle in angles if angle]
    notes = [f"one turn in {_positions(min(turns))} to {_positions(max(turns))} positions"] if turns else []
    slow = sum(abs(angle) * length < 2 * math.pi for angle in angles)
    notes.append(f"{slow} of {len(angles)} pairs make no whole turn in {length:,} positions")
    title = f"turned (rope): cosine of p times {_shown(format_scalar(program.body))}"
    return PositionView(title, f"{length:,} positions p", f"{len(angles):,} pairs j", values, tuple(notes))


def _positions(count: float) -> str:
    return f"{count:,.1f}" if count < 100 else f"{count:,.0f}"


def _learned(body: Body, node: Node) -> PositionView:
    count, width = (dim.size for dim in body.type_of(node.inputs[1]).dims)
    return PositionView(f"added: a learned table [{count}, {width}]", "", "", (), ("it has no values before training",))


def _bias(body: Body, node: Node, length: int) -> Iterator[PositionView]:
    bias: Scalar | None = additive_bias(node.attr("score"))
    if bias is None:
        return
    title = f"added to scores: {_shown(format_scalar(bias, node.attr('score').captures))}"
    if captures_of(bias):
        yield PositionView(title, "", "", (), ("it reads a tensor of the model or the batch: no values before those",))
        return
    heads = body.type_of(node.inputs[0]).dims[2].size.known or 1
    last = length - 1
    fixed = {"q": last, "b": 0, "queries": length, "keys": length}
    values = _grid(heads, length, lambda h, back: evaluate(bias, {**fixed, "k": last - back, "h": h}))
    across = f"keys 0 to {last:,} positions before the last query"
    yield PositionView(title, f"{heads} heads h", across, values)


def _shown(formula: str) -> str:
    return formula if len(formula) <= _LONGEST else f"{formula[: _LONGEST - 4]} ..."


def _grid(rows: int, columns: int, value: Callable[[int, int], float]) -> tuple[tuple[float, ...], ...]:
    """``value(row, column)`` at evenly spaced places, so many that they make a picture."""
    down, across = _spread(rows, _ROWS), _spread(columns, _COLUMNS)
    return tuple(tuple(float(value(row, column)) for column in across) for row in down)


def _spread(count: int, most: int) -> list[int]:
    shown = min(count, most)
    return [number * (count - 1) // max(shown - 1, 1) for number in range(shown)]


# --- drawing -----------------------------------------------------------------------------


def draw_positions_text(view: PositionView) -> str:
    """The encoding in characters, darker for larger values."""
    low, high = _range(view)
    rows = ["".join(_INKS[round(9 * _share(value, low, high))] for value in row) for row in view.values]
    return "\n".join([view.title, *(f"  {row}".rstrip() for row in rows), *(f"  {note}" for note in _notes(view))])


def draw_positions_svg(views: Sequence[PositionView]) -> str:
    """All encodings below each other as one SVG: blue for negative values, orange for positive ones."""
    parts: list[str] = []
    top, width = 8, 480
    wide, tall = _CELL
    for view in views:
        parts.append(label(12, top + 14, view.title, 14))
        low, high = _range(view)
        for row, values in enumerate(view.values):
            for column, value in enumerate(values):
                place = f'x="{12 + column * wide}" y="{top + 26 + row * tall}"'
                parts.append(f'<rect {place} width="{wide}" height="{tall}" fill="{_color(value, low, high)}"/>')
        below = top + 26 + len(view.values) * tall
        notes = _notes(view)
        parts += [label(12, below + 18 + 16 * number, note, 12) for number, note in enumerate(notes)]
        longest = max(map(len, [*notes, view.title]))
        width = max(width, 24 + wide * max(map(len, view.values), default=0), 24 + 9 * longest)
        top = below + 18 + 16 * len(notes) + 16
    return document(parts, width, top)


def _notes(view: PositionView) -> list[str]:
    if not view.values:
        return list(view.notes)
    low, high = _range(view)
    return [f"{view.down} downwards, {view.across} to the right; values from {low:.3g} to {high:.3g}", *view.notes]


def _range(view: PositionView) -> tuple[float, float]:
    values = [value for row in view.values for value in row]
    return (min(values), max(values)) if values else (0.0, 0.0)


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _color(value: float, low: float, high: float) -> str:
    """Between white at 0 and full colour at the value that is furthest from it."""
    share = value / (max(abs(low), abs(high)) or 1.0)
    ink = (0x1F, 0x5A, 0xA8) if share < 0 else (0xC7, 0x5B, 0x12)
    return "#" + "".join(f"{round(255 + (part - 255) * abs(share)):02x}" for part in ink)
