"""What the architecture's hash depends on, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hand_built
import pytest
from hand_built import attr, shared_module, tapping, with_body, with_node

from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.hash import architecture_hash, full_hash
from tantra_dsl.graph.model import Body, BodyRef, Graph, Init, Node, Ref
from tantra_dsl.scalars.ir import Const, Program


def renamed(graph: Graph) -> Graph:
    """The same graph with other body keys, node ids, targets, program names, and bodies the other way round."""
    keys = {key: f"body{number}" for number, key in enumerate(graph.bodies)}
    bodies = [_renamed_body(body, keys) for body in graph.bodies.values()]
    return replace(graph, name="other", root=keys[graph.root], bodies={body.key: body for body in reversed(bodies)})


def _renamed_body(body: Body, keys: dict[str, str]) -> Body:
    ids = {node.id: f"n{number}" for number, node in enumerate(body.nodes)}

    def move(ref: Ref) -> Ref:
        return Ref(ids[ref.node], ref.out)

    nodes = tuple(
        replace(
            n, id=ids[n.id], inputs=tuple(map(move, n.inputs)), target="t", equation=None, attrs=_renamed_attrs(n, keys)
        )
        for n in body.nodes
    )
    outputs = tuple((name, move(ref)) for name, ref in body.outputs)
    return replace(
        body, key=keys[body.key], nodes=nodes, outputs=outputs, taps=tuple((n, move(r)) for n, r in body.taps)
    )


def _renamed_attrs(node: Node, keys: dict[str, str]) -> tuple[tuple[str, Any], ...]:
    def change(value: object) -> object:
        if isinstance(value, BodyRef):
            return BodyRef(keys[value.key])
        if isinstance(value, tuple):
            return tuple(change(item) for item in value)
        return replace(value, name="renamed") if isinstance(value, Program) else value

    return tuple((name, change(value)) for name, value in reversed(node.attrs))


@pytest.mark.parametrize(
    "graph",
    [
        hand_built.tiny(),
        hand_built.alternating(),
        hand_built.alternating(shared=True),
        tapping(0),
        shared_module(),
        hand_built.tied_instance(),
        hand_built.tapping_inside(),
    ],
)
def test_names_of_values_and_bodies_do_not_matter(graph: Graph) -> None:
    assert architecture_hash(renamed(graph)) == architecture_hash(graph)
    assert full_hash(renamed(graph)) == full_hash(graph)


def test_the_order_of_independent_equations_does_not_matter() -> None:
    graph = hand_built.tiny()
    body = graph.bodies["attention"]
    x, q, k, v = body.nodes[0], body.nodes[1:4], body.nodes[4:7], body.nodes[7:10]
    moved = replace(body, nodes=(x, *v, *q, *k, *body.nodes[10:]))
    assert architecture_hash(with_body(graph, moved)) == architecture_hash(graph)


@pytest.mark.parametrize(
    ("key", "id", "change"),
    [
        ("attention", "y", attr("scale", 1.0)),
        ("attention", "y", attr("mask", hand_built.WINDOW)),
        ("attention", "y", lambda n: replace(n, inputs=(n.inputs[0], n.inputs[2], n.inputs[1]))),
        ("block", "normed", attr("eps", 1e-5)),
        ("block", "sum", lambda n: replace(n, inputs=n.inputs[::-1])),
        ("block", "ffn", attr("name", "mlp")),
        ("ffn", "up.weight", attr("name", "gate.weight")),
        ("ffn", "active", attr("program", replace(hand_built.SQUARE, body=Const(1)))),
        ("main", "layers", attr("count", 4)),
        ("main", "layers", attr("shared", True)),
        ("main", "loss", attr("label_smoothing", 0.1)),
        ("main", "tokens", attr("name", "source")),
    ],
)
def test_what_changes_the_function_changes_the_hash(key: str, id: str, change: Callable[[Node], Node]) -> None:
    graph = hand_built.tiny()
    assert architecture_hash(with_node(graph, key, id, change)) != architecture_hash(graph)


def test_the_context_is_part_of_the_architecture() -> None:
    assert architecture_hash(replace(hand_built.tiny(), facts=(("context", 65),))) != architecture_hash(
        hand_built.tiny()
    )


@pytest.mark.parametrize("change", [attr("init", Init("constant", (0.0,))), attr("decay", False)])
def test_how_weights_start_is_in_the_full_hash_only(change: Callable[[Node], Node]) -> None:
    graph = hand_built.tiny()
    other = with_node(graph, "ffn", "up.weight", change)
    assert architecture_hash(other) == architecture_hash(graph)
    assert full_hash(other) != full_hash(graph)


def test_a_number_is_the_same_however_it_is_written() -> None:
    graph = hand_built.tiny()
    hashes = {architecture_hash(with_node(graph, "attention", "y", attr("scale", value))) for value in (2, 2.0)}
    assert len(hashes) == 1
    flag = with_node(graph, "attention", "y", attr("scale", True))
    one = with_node(graph, "attention", "y", attr("scale", 1))
    assert architecture_hash(flag) != architecture_hash(one)


def dropped(twice: bool) -> Graph:
    """``dropout(x) + dropout(x)``, drawn once or twice."""
    b = BodyBuilder("block", "block")
    x = b.input("x", hand_built.stream())
    first = b.add("dropout", (x,), rate=0.1)[0]
    second = b.add("dropout", (x,), rate=0.1)[0] if twice else first
    return hand_built.model([(b.finish([("out", hand_built.add(b, first, second))]), 1)], 1, [])


def test_one_random_draw_is_not_two() -> None:
    assert architecture_hash(dropped(twice=True)) != architecture_hash(dropped(twice=False))


def test_one_pattern_has_one_hash_however_it_is_spelt() -> None:
    graph = hand_built.alternating(6)
    a, b = BodyRef("local"), BodyRef("global")
    spelt = [
        ((a, 2), (b, 1)),
        ((a, 1), (a, 1), (b, 1)),
        ((a, 2), (b, 1), (a, 2), (b, 1)),
        ((a, 2), (b, 1), (a, 2), (b, 9)),
    ]
    hashes = {architecture_hash(with_node(graph, "main", "layers", attr("runs", runs))) for runs in spelt}
    assert hashes == {architecture_hash(graph)}
    other = with_node(graph, "main", "layers", attr("runs", ((a, 1), (b, 2))))
    assert architecture_hash(other) != architecture_hash(graph)


def test_what_is_tapped_matters() -> None:
    assert architecture_hash(tapping(0)) != architecture_hash(tapping(-1))


def test_names_of_taps_do_not_matter() -> None:
    here = architecture_hash(hand_built.tapping_inside(("first", "second"), later="second"))
    assert here == architecture_hash(hand_built.tapping_inside(("second", "first"), later="first"))
    assert here != architecture_hash(hand_built.tapping_inside(("first", "second"), later="first"))


def test_which_length_a_body_is_called_at_matters() -> None:
    assert architecture_hash(hand_built.two_lengths()) != architecture_hash(hand_built.two_lengths("time"))
