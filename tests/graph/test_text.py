"""The text form reads back as the graph that it was printed from."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import hand_built
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tantra_dsl.graph.model import BodyRef, Graph, Init, InputSpec, Node, Ref
from tantra_dsl.graph.reader import parse_program
from tantra_dsl.graph.text import format_graph, format_node, format_program, parse_graph
from tantra_dsl.graph.types import Dim, Size, TensorType
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Program, Scalar, Var

NAMES = st.one_of(
    st.sampled_from(["q", "k", "if", "not", "return", "x.y", "min", "inf", "a b", 'q"', "tokens"]), st.text(max_size=4)
)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans())
UNARY = ["neg", "not", "abs", "exp", "tanh"]
BINARY = ["add", "sub", "mul", "div", "floordiv", "mod", "pow", "lt", "le", "eq", "ne", "and", "or", "min", "max"]
CAPTURES = (Capture("doc", integer=True), Capture("table", learned=True), Capture("twin"), Capture("twin", True, True))


def extend(inner: st.SearchStrategy[Scalar]) -> st.SearchStrategy[Scalar]:
    return st.one_of(
        st.builds(Op, st.sampled_from(UNARY), st.tuples(inner)),
        st.builds(Op, st.sampled_from(BINARY), st.tuples(inner, inner)),
        st.builds(Op, st.just("where"), st.tuples(inner, inner, inner)),
        st.builds(Op, st.sampled_from(["and", "or", "add", "max"]), st.tuples(inner, inner, inner)),
        st.builds(Gather, st.integers(0, len(CAPTURES) - 1), st.lists(inner, min_size=1, max_size=2).map(tuple)),
    )


SCALARS = st.recursive(st.one_of(st.builds(Const, NUMBERS), st.builds(Var, NAMES)), extend, max_leaves=20)
PROGRAMS = st.builds(
    Program, st.sampled_from(["mask", "fn"]), st.lists(NAMES, max_size=3).map(tuple), SCALARS, st.just(CAPTURES), NAMES
)
FRACTIONS = st.fractions(max_denominator=9)
SIZES = st.builds(Size, FRACTIONS, st.lists(st.tuples(NAMES, FRACTIONS), max_size=2).map(tuple))
TYPES = st.builds(
    TensorType, st.lists(st.builds(Dim, NAMES, SIZES), max_size=3).map(tuple), st.sampled_from(["float", "int", "bool"])
)
VALUES = st.recursive(
    st.one_of(
        NUMBERS,
        st.none(),
        NAMES,
        PROGRAMS,
        st.builds(Init, NAMES, st.lists(st.floats(allow_nan=False), max_size=2).map(tuple)),
        st.builds(BodyRef, NAMES),
        st.builds(InputSpec, NAMES, st.one_of(st.none(), st.integers(0))),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
NODES = st.builds(
    Node,
    NAMES,
    NAMES,
    st.lists(st.builds(Ref, NAMES, st.integers(0, 3)), max_size=3).map(tuple),
    st.lists(st.tuples(NAMES, VALUES), max_size=3).map(tuple),
    st.lists(TYPES, max_size=2).map(tuple),
    st.one_of(st.none(), st.integers(0, 99)),
    st.one_of(st.none(), NAMES),
)


@given(PROGRAMS)
def test_a_program_reads_back(program: Program) -> None:
    again = parse_program(format_program(program))
    assert repr(again) == repr(program)


@given(st.lists(NODES, max_size=3), st.dictionaries(NAMES, st.integers()))
@settings(max_examples=60)
def test_any_nodes_read_back(nodes: list[Node], facts: dict[str, int]) -> None:
    graph = hand_built.tiny()
    main = replace(graph.main, nodes=tuple(nodes), taps=(("a.b", Ref("x", 1)),))
    graph = replace(graph, bodies={**graph.bodies, "main": main}, facts=tuple(facts.items()))
    assert repr(parse_graph(format_graph(graph))) == repr(graph)


@pytest.mark.parametrize(
    "graph",
    [
        hand_built.tiny(),
        hand_built.alternating(),
        hand_built.alternating(shared=True),
        hand_built.tied_instance(),
        hand_built.tapping_inside(),
    ],
)
def test_a_model_reads_back(graph: Graph) -> None:
    assert parse_graph(format_graph(graph)) == graph


def test_a_node_is_one_readable_line() -> None:
    body = hand_built.attention()
    assert format_node(body.node("q")) == "q: [batch, time, heads=2, head_dim=4] = split_heads(q.linear, heads=2) @0:q"
    assert 'mask=mask(q, k, b, h) {k <= q and q - k < 4} as "causal and window(4)"' in format_node(
        hand_built.attention(hand_built.WINDOW).node("y")
    )


def test_a_size_that_is_a_fraction_of_a_length_reads_back() -> None:
    half = Dim("time", Size(Fraction(-1), (("source.time", Fraction(1, 2)),)))
    node = Node("x", "input", (), (), (TensorType((half,)),))
    assert format_node(node) == "x: [time=1/2 * source.time + -1] = input()"


def test_a_deep_program_prints() -> None:
    body: Scalar = Var("x")
    for _ in range(5000):
        body = Op("add", (body, Const(1)))
    program = Program("fn", ("x",), body)
    assert format_program(program).count("+ 1") == 5000
    assert format_program(parse_program(format_program(program))) == format_program(program)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("graph g {\n  root main\n  body main of model {\n    x = = f()\n", "4:9"),
        ("graph g {\n  root main", "2:12"),
        ("graph g { root main } extra", "1:23"),
        ("graph g { root ! }", "1"),
    ],
)
def test_text_that_does_not_fit_is_told_by_its_place(text: str, place: str) -> None:
    with pytest.raises(ValueError, match=f"^{place}: "):
        parse_graph(text)
