"""Parameter counts of the shipped specs, against transformers at the published sizes."""

from __future__ import annotations

import pytest
from published_twins import TWINS, trained_numbers

import tantra_dsl
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
