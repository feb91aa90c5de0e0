"""What compiled models compute, against transformers with the same weights: outputs, loss and every gradient."""

from __future__ import annotations

import pytest
from comparison import OUTPUT_BUDGET, compare_loss_and_gradients, largest_difference
from tiny_twins import FAMILIES, pair

import tantra_dsl

families = pytest.mark.parametrize("name", FAMILIES)


@families
def test_outputs(name: str) -> None:
    both = pair(name)
    assert largest_difference(both, both.model) <= OUTPUT_BUDGET


@families
def test_loss_and_gradients(name: str) -> None:
    compare_loss_and_gradients(pair(name))


CHANGES = [
    ("gpt2", "layers.ffn.activation: gelu"),
    ("llama3", "norm: rms(eps: 1e-6)"),
    ("llama3", "layers.attention.position: rope(theta: 500_000, scaling: llama3(factor: 7, original: 256))"),
    ("bert", "layer.ffn.activation: gelu_tanh"),
    ("transformer", "encoder_layer.ffn.activation: gelu"),
    ("vit", "norm: layernorm(eps: 1e-5)"),
    ("gemma3", "local.attention.mask: causal and window(6)"),
    ("gemma3", "layers: 7 of (local * 4, global)"),
    ("deepseek", "dense.attention.position: rope(interleaved: true)"),
    ("deepseek", "sparse.ffn.kept_groups: 3"),
    ("mamba2", "norm: rms(eps: 1e-6)"),
    ("t5", "encoder_layer.attention.scale: 0.99"),
    ("clip", "text_layer.ffn.activation: gelu"),
]


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_the_comparison_notices_a_small_change(name: str, change: str) -> None:
    both = pair(name)
    changed = tantra_dsl.loads(both.family.spec, sets=[change.replace(": ", "=", 1)]).compile().eval()
    changed.load_state_dict(both.model.state_dict())
    assert largest_difference(both, changed) > 10 * OUTPUT_BUDGET
