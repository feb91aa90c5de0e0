"""Shipped specs at their published sizes, against transformers: parameter counts and the shapes of attention."""

from __future__ import annotations

import pytest
from published_twins import TWINS, head_counts, trained_numbers

import tantra_dsl
from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.paths import parameter_count

OWN_DESIGNS = {"gpt2_denseformer", "shakespeare"}


@pytest.mark.parametrize("name", TWINS)
def test_parameters_equal_the_twins(name: str) -> None:
    assert parameter_count(tantra_dsl.load(name).graph()) == trained_numbers(name)


def test_denseformer_adds_one_weight_for_each_earlier_output() -> None:
    count = parameter_count(tantra_dsl.load("gpt2_denseformer").graph())
    averaged = sum(1 + layer + 1 for layer in range(12))  # the embedding, the layers before, the layer itself
    assert count == trained_numbers("gpt2") + averaged


def test_every_shipped_model_has_a_twin() -> None:
    assert {spec.name for spec in tantra_dsl.shipped()} == set(TWINS) | OWN_DESIGNS


def attention_shapes(graph: Graph) -> set[tuple[int | None, ...]]:
    """Heads of queries, heads of keys and width of a head, of every attention of ``graph``."""
    shapes = set()
    for body in graph.bodies.values():
        for node in body.nodes:
            if node.op == "attend":
                q, k = (body.type_of(ref).dims[-2:] for ref in node.inputs[:2])
                shapes.add((q[0].size.known, k[0].size.known, q[1].size.known))
    return shapes


@pytest.mark.parametrize("name", [name for name in TWINS if name != "mamba2_130m"])
def test_heads_equal_the_twins(name: str) -> None:
    """Parameter counts do not tell how a width is cut into heads."""
    assert attention_shapes(tantra_dsl.load(name).graph()) == head_counts(name)
