"""Every invariant of a graph, broken once each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import hand_built
import pytest
from hand_built import attr, shared_module, tapping, with_body, with_node

from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.model import BodyRef, Graph, Node, Ref
from tantra_dsl.graph.verify import InvalidGraph, verify


def problems(graph: Graph) -> str:
    with pytest.raises(InvalidGraph) as caught:
        verify(graph)
    return str(caught.value)


@pytest.mark.parametrize(
    "graph", [hand_built.tiny(), hand_built.alternating(), hand_built.alternating(shared=True), hand_built.tiny(10**6)]
)
def test_a_good_graph_passes(graph: Graph) -> None:
    verify(graph)


@pytest.mark.parametrize(
    ("key", "id", "change", "said"),
    [
        ("ffn", "active", lambda n: replace(n, inputs=(Ref("down.linear"),)), "not defined before it"),
        ("ffn", "active", lambda n: replace(n, inputs=(Ref("up.linear", 1),)), "output 1 of up.linear, which has 1"),
        ("ffn", "active", lambda n: replace(n, types=(hand_built.stream(9),)), "but map makes [batch, time, dim=16]"),
        ("ffn", "active", lambda n: replace(n, op="mystery"), "there is no op mystery"),
        ("ffn", "active", lambda n: replace(n, id="x"), "the id is used twice"),
        ("ffn", "active", lambda n: replace(n, attrs=n.attrs + n.attrs), "an attribute is set twice"),
        ("ffn", "down.linear", lambda n: replace(n, inputs=(Ref("x"), n.inputs[1])), "the weight reads 16 channels"),
        ("ffn", "down.weight", attr("name", "up.weight"), "two weights or instances are called up.weight"),
        ("ffn", "down.weight", attr("name", "up.weight.more"), "its weights and up.weight.more share a path"),
        ("ffn", "up.weight", lambda n: replace(n, types=(hand_built.stream(),)), "depends on the input"),
        ("ffn", "x", attr("kind", "guess"), "there is no input kind guess"),
        ("main", "tokens", attr("spec", None), "needs kind tensor and a spec"),
        ("main", "layers", lambda n: replace(n, types=(hand_built.stream(4),)), "but its stream is [batch, time"),
        ("main", "layers", attr("count", 0), "at least one layer"),
        ("main", "layers", attr("extras", ("memory",)), "names 1 extras, but has 0"),
        ("block", "ffn", lambda n: replace(n, inputs=n.inputs * 2), "gives 2 arguments to ffn, which has 1 inputs"),
        ("block", "ffn", lambda n: replace(n, types=(hand_built.stream(4),)), "but call makes [batch, time, dim=8]"),
        ("block", "ffn", attr("instance", "given"), "the first input is not a module"),
        ("block", "ffn", attr("body", BodyRef("nowhere")), "there is no body nowhere"),
        ("block", "ffn", attr("body", BodyRef("block")), "uses itself"),
        ("block", "ffn", attr("name", "attention"), "two weights or instances are called attention"),
        ("attention", "k", lambda n: replace(n, equation=9), "comes after equation 9"),
    ],
)  # fmt: skip
def test_a_broken_invariant_is_named(key: str, id: str, change: Callable[[Node], Node], said: str) -> None:
    assert said in problems(with_node(hand_built.tiny(), key, id, change))


def test_every_broken_invariant_is_listed() -> None:
    graph = with_node(hand_built.tiny(), "ffn", "active", lambda n: replace(n, types=(hand_built.stream(9),)))
    graph = with_node(graph, "main", "layers", attr("count", 0))
    said = problems(graph)
    assert "map makes" in said
    assert "at least one layer" in said


def test_ends_must_resolve() -> None:
    graph = hand_built.tiny()
    broken = replace(graph.main, outputs=(*graph.main.outputs, ("loss", Ref("nothing"))), taps=(("a", Ref("gone")),))
    said = problems(with_body(graph, broken))
    assert "output loss refers to nothing" in said
    assert "tap a refers to gone" in said
    assert "two outputs have one name" in said


def test_bodies_must_be_filed_and_reached() -> None:
    graph = hand_built.tiny()
    lost = replace(hand_built.ffn(), key="lost")
    assert "the body lost is not reachable" in problems(with_body(graph, lost))
    assert "is filed under other" in problems(replace(graph, bodies={**graph.bodies, "other": lost}))
    assert "the root nowhere is not a body" in problems(replace(graph, root="nowhere"))


def test_a_layer_must_keep_the_stream() -> None:
    b = BodyBuilder("block", "block")
    x = b.input("x", hand_built.stream())
    narrow = b.finish([("out", hand_built.linear(b, x, "out", 4))])
    assert "layer block makes [batch, time, dim=4], but the stream is [batch, time, dim=8]" in problems(
        hand_built.model([(narrow, 1)], 2, [])
    )


def test_a_tap_must_be_there_before() -> None:
    verify(tapping(0))
    verify(tapping(-1))
    assert "which is not before it" in problems(tapping(1))
    assert "which has no such tap" in problems(tapping(0, "other"))
    assert "as another type" in problems(tapping(0, width=4))


def test_an_extra_must_be_given_with_its_type() -> None:
    b = BodyBuilder("block", "block")
    x, memory = b.input("x", hand_built.stream()), b.input("memory", hand_built.stream(4))
    wide = hand_built.linear(b, memory, "memory", 8)
    layer = b.finish([("out", hand_built.add(b, x, wide))])
    graph = hand_built.model([(layer, 1)], 2, [])
    assert "reads memory, which is no extra of the stack" in problems(graph)
    given = with_node(graph, "main", "layers", attr("extras", ("memory",)))
    given = with_node(given, "main", "layers", lambda n: replace(n, inputs=n.inputs * 2))
    assert "input memory is [batch, time, dim=4], but x is [batch, time, dim=8]" in problems(given)


def test_a_given_instance_is_called_as_what_it_is() -> None:
    verify(shared_module())
    assert "calls other, but shared is ffn" in problems(shared_module("other"))


def test_a_weight_of_an_instance_must_be_there() -> None:
    verify(hand_built.tied_instance())
    assert "embed has no weight table of type [vocab=32, dim=8]" in problems(hand_built.tied_instance("table"))


def test_a_body_may_be_called_at_another_length() -> None:
    verify(hand_built.two_lengths())
    graph = hand_built.two_lengths()
    wrong = with_node(graph, "main", "call_2", lambda n: replace(n, types=(hand_built.stream(),)))
    assert "has type [batch, time, dim=8], but call makes [batch, time=target.time, dim=8]" in problems(wrong)


def test_taps_leave_a_call_as_further_outputs() -> None:
    verify(hand_built.tapping_inside())
    graph = with_node(hand_built.tapping_inside(), "plain", "inner", lambda n: replace(n, types=n.types[:2]))
    assert "but call makes [batch, time, dim=8], [batch, time, dim=8], [batch, time, dim=8]" in problems(graph)
