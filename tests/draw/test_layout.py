"""Where things are: nothing overlaps, nothing is cut, lines go around boxes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tantra_dsl.draw.columns import Link, axes
from tantra_dsl.draw.picture import OUT, Box, Edge, Flow, Frame, Picture
from tantra_dsl.draw.place import laid_out
from tantra_dsl.draw.placed import Laid
from tantra_dsl.draw.rows import spread
from tests.diff.random_specs import Model, Spelling, models, text
from tests.draw import geometry
from tests.draw.conftest import IDS, SPECS, from_text, layout_of

WIDEST_PAGE = 1000


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_nothing_overlaps_and_every_text_fits(spec: str) -> None:
    geometry.check(layout_of(spec))


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_a_drawing_is_no_wider_than_a_page(spec: str) -> None:
    assert layout_of(spec).width < WIDEST_PAGE


@given(models)
@settings(max_examples=25, deadline=None)
def test_random_models(model: Model) -> None:
    geometry.check(laid_out(from_text(text(model, Spelling()))))


# --- flows that no spec of ours makes --------------------------------------------------------

KINDS = ("mixer", "channel", "norm", "op", "join", "scale", "tap")
WORDS = ("", "attention", "x", "a title of many words that goes over two lines at the least", "W" * 60, "日本語の層")


@st.composite
def flows(draw: st.DrawFn, depth: int = 0) -> Flow:
    """Any flow without circles: items read earlier items or inputs, and what nobody reads leaves."""
    inputs = ("x", *draw(st.sampled_from([(), ("memory",), ("memory", "doc")]))) if depth else ()
    items: list[Box | Frame] = [] if depth else [Box("in", "input", "tokens")]
    edges: list[Edge] = []
    for place in range(draw(st.integers(1, 7))):
        items.append(draw(item_of(f"n{place}", depth)))
        sources = [*(f"in:{name}" for name in inputs), *(item.id for item in items[:-1])]
        target = items[-1]
        for source in draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3, unique=True)):
            ports = ("", *target.flow.inputs[1:]) if isinstance(target, Frame) else ("",)
            edges.append(Edge(source, target.id, draw(st.sampled_from(ports))))
    read = {edge.source for edge in edges}
    edges += [Edge(item.id, OUT) for item in items if item.id not in read]
    labelled = [replace(e, label="× 0.5") if draw(st.booleans()) and goes_around(e, edges) else e for e in edges]
    return Flow(tuple(items), tuple(labelled), inputs)


def goes_around(edge: Edge, edges: list[Edge]) -> bool:
    """Whether its ends are joined by way of another item, too: only such an edge has a label in a picture."""
    ahead = [e.target for e in edges if e.source == edge.source and e.target != edge.target and not e.port]
    between = [Edge(next, edge.target) for next in ahead]
    joined = any((e.source, e.target) == (b.source, b.target) and not e.port for b in between for e in edges)
    main = not edge.port and edge.target != OUT and edge.source not in ("in:memory", "in:doc")
    return main and (joined or any(goes_around(b, edges) for b in between))


@st.composite
def item_of(draw: st.DrawFn, id: str, depth: int) -> Box | Frame:
    if depth < 2 and draw(st.integers(0, 4)) == 0:
        return Frame(id, draw(st.sampled_from(WORDS[1:])), draw(flows(depth + 1)))
    kind = draw(st.sampled_from(KINDS))
    title = "+" if kind == "join" else draw(st.sampled_from(WORDS))
    lines = () if kind in ("join", "scale") else tuple(draw(st.lists(st.sampled_from(WORDS), max_size=2)))
    return Box(id, kind, title, lines)  # type: ignore[arg-type]


@given(flows())
@settings(max_examples=150, deadline=None)
def test_any_flow(flow: Flow) -> None:
    laid = laid_out(Picture("any", "", flow))
    geometry.boxes_are_apart(laid)
    geometry.frames_hold_what_is_theirs(laid)
    geometry.texts_fit(laid)
    geometry.lines_go_around_boxes(laid)
    geometry.streams_go_on(laid)
    geometry.everything_is_on_the_page(laid)


def test_a_residual_goes_around_and_the_stream_is_straight() -> None:
    laid = laid_out(Picture("one", "", residual()))
    straight = [line for line in laid.lines if len(line.points) == 2]
    (around,) = [line for line in laid.lines if len(line.points) > 2]
    assert {line.points[0][0] for line in straight} == {laid.axis}
    _, attention, total = laid.items
    assert around.points[-1] == (total.x + total.width, total.y + total.height / 2)
    assert max(x for x, _ in around.points) > attention.x + attention.width


def residual() -> Flow:
    items = (Box("norm", "norm", "rms"), Box("f", "mixer", "attention", ("8 heads of 64",)), Box("sum", "join", "+"))
    edges = (Edge("in:x", "norm"), Edge("norm", "f"), Edge("f", "sum"), Edge("in:x", "sum"), Edge("sum", OUT))
    return Flow(items, edges, ("x",))


def test_equal_branches_stand_on_both_sides_of_the_stream() -> None:
    items = (Box("a", "mixer", "attention"), Box("b", "channel", "mlp, which is wider"), Box("sum", "join", "+"))
    edges = (Edge("in:x", "a"), Edge("in:x", "b"), Edge("a", "sum"), Edge("b", "sum"), Edge("sum", OUT))
    laid = laid_out(Picture("two", "", Flow(items, edges, ("x",))))
    a, b, total = laid.items
    middle = total.x + total.width / 2
    assert a.y + a.height / 2 == b.y + b.height / 2
    assert middle - (a.x + a.width / 2) == pytest.approx(b.x + b.width / 2 - middle, abs=1)


@pytest.mark.parametrize("spec", ["transformer_base", "t5_base"])
def test_the_encoder_stands_left_of_the_decoder_and_is_read_from_its_side(spec: str) -> None:
    laid = layout_of(spec)
    encoder, decoder = [item for item in laid.items if isinstance(item.item, Frame)]
    (cross,) = [item for item in laid.items if item.item.path.endswith(".cross")]
    assert encoder.x + encoder.width < decoder.x
    assert overlapping(encoder, decoder)
    memory = [line for line in laid.lines if line.points[-1][0] == cross.x]
    assert [cross.y < line.points[-1][1] < cross.y + cross.height for line in memory] == [True]


def overlapping(one: Laid | object, other: object) -> bool:
    """Whether two items have a height in common."""
    return one.y < other.y + other.height and other.y < one.y + one.height  # type: ignore[attr-defined]


# --- axes ------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(-100, 100), st.floats(0.1, 5), st.floats(0, 50)), min_size=1, max_size=8),
)
def test_spread_keeps_every_gap(wanted: list[tuple[float, float, float]]) -> None:
    wishes, weights, gaps = (list(column) for column in zip(*wanted, strict=True))
    places = spread(wishes, weights, [0.0, *gaps[1:]])
    assert all(b - a >= gap - 1e-6 for a, b, gap in zip(places, places[1:], gaps[1:], strict=False))
    pulled = sum(w * (place - wish) for place, wish, w in zip(places, wishes, weights, strict=True))
    assert pulled == pytest.approx(0, abs=1e-3)


def test_chains_have_one_axis() -> None:
    rows = [["a"], ["b", "c"], ["d", "e"], ["f"]]
    links = [Link(*pair) for pair in ("ab", "ac", "bd", "ce", "df", "ef")]
    found = axes(rows, links, dict.fromkeys("abcdef", 0.0), lambda left, right: 10)
    assert found["b"] == found["d"]
    assert found["c"] == found["e"]
    assert found["c"] - found["b"] == pytest.approx(10, abs=0.1)
    assert found["a"] == pytest.approx((found["b"] + found["c"]) / 2, abs=0.1)
