"""Weights by path, and counts that do not expand layers."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise

import hand_built
import pytest
from hand_built import shared_module, with_body
from hypothesis import given
from hypothesis import strategies as st

from tantra_dsl.graph.costs import cost
from tantra_dsl.graph.model import BodyRef, Graph, Init, Node, layer_bodies
from tantra_dsl.graph.paths import parameter_count, weights
from tantra_dsl.graph.stacks import Layers, shortest_period
from tantra_dsl.graph.types import TensorType


@pytest.mark.parametrize(
    "graph", [hand_built.tiny(), hand_built.alternating(7), hand_built.alternating(7, shared=True), shared_module()]
)
def test_the_count_is_the_sum_over_weights(graph: Graph) -> None:
    listed = list(weights(graph))
    assert sum(weight.count for weight in listed) == parameter_count(graph)
    assert len({weight.path for weight in listed}) == len(listed)


def test_paths_join_names_from_the_root() -> None:
    paths = [weight.path for weight in weights(hand_built.tiny(2))]
    assert paths[:3] == ["embed.weight", "layers.0.attention.q.weight", "layers.0.attention.k.weight"]
    assert paths[-1] == "layers.1.ffn.down.weight"


def test_shared_layers_keep_their_weights_at_their_first_use() -> None:
    paths = {weight.path.split(".")[1] for weight in weights(hand_built.alternating(7, shared=True))}
    assert paths == {"weight", "0", "2"}


def test_a_shared_instance_has_one_set_of_weights() -> None:
    assert [weight.path for weight in weights(shared_module())] == ["shared.up.weight", "shared.down.weight"]


def test_a_million_layers_cost_nothing_until_they_are_asked_for() -> None:
    graph = hand_built.tiny(10**6)
    assert (
        parameter_count(graph)
        == 10**6 * (parameter_count(hand_built.tiny(2)) - parameter_count(hand_built.tiny(1))) + 32 * 8
    )
    assert len(list(islice(weights(graph), 100))) == 100


def test_a_bias_keeps_its_start_and_decay() -> None:
    bias = next(weight for weight in weights(hand_built.tiny()) if weight.path.endswith("bias"))
    assert (bias.shape, bias.init.kind, bias.decay) == ((8,), "constant", False)


def stack(runs: list[tuple[str, int]], count: int) -> Node:
    attrs = (("runs", tuple((BodyRef(key), times) for key, times in runs)), ("count", count))
    return Node("layers", "stack", (), attrs, ())


RUNS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), min_size=1, max_size=4)


@given(RUNS, st.integers(1, 40))
def test_layers_agree_with_the_layers_written_out(runs: list[tuple[str, int]], count: int) -> None:
    layers, written = Layers(stack(runs, count)), list(layer_bodies(stack(runs, count)))
    assert [layers.at(index) for index in range(count)] == written
    assert all(layers.first(key) == written.index(key) for key in written)
    pairs = list(pairwise(written))
    assert layers.neighbours() == {pair: pairs.count(pair) for pair in pairs}
    turn = layers.runs()
    assert [key for key, times in turn for _ in range(times)] == written[: layers.period]


@given(RUNS, st.integers(1, 40))
def test_the_shortest_pattern_makes_the_same_layers(runs: list[tuple[str, int]], count: int) -> None:
    written = list(layer_bodies(stack(runs, count)))
    short = Layers(stack(runs, count)).shortest({key: key for key in "abc"})
    assert list(layer_bodies(stack(short, count))) == written
    whole = Layers(stack([(key, 1) for key in written], count)).shortest({key: key for key in "abc"})
    assert short == whole


@given(st.text("ab", min_size=1, max_size=12))
def test_shortest_period(text: str) -> None:
    periods = [p for p in range(1, len(text) + 1) if text[p:] == text[: -p or None][: len(text) - p]]
    assert shortest_period(text) == periods[0]


def test_a_body_that_uses_itself_is_refused() -> None:
    graph = hand_built.tiny()
    looped = hand_built.block([graph.bodies["block"], hand_built.ffn()])
    with pytest.raises(ValueError, match="block uses itself"):
        parameter_count(with_body(graph, looped))


def test_a_buffer_is_kept_but_is_no_parameter() -> None:
    graph = models_with_buffer()
    (buffer,) = (weight for weight in weights(graph) if not weight.trained)
    assert buffer.path == "router_bias"
    assert parameter_count(graph) == sum(weight.count for weight in weights(graph)) - buffer.count
    assert cost(graph)["params"].value == parameter_count(graph)


def models_with_buffer() -> Graph:
    graph = hand_built.tiny()
    extra = Node(
        "buffer",
        "param",
        (),
        (("decay", False), ("init", Init("constant", (0.0,))), ("name", "router_bias"), ("trained", False)),
        (TensorType((hand_built.dim(4),)),),
    )
    return with_body(graph, replace(graph.main, nodes=(*graph.main.nodes, extra)))
