"""What compiled models compute, against transformers with the same weights: outputs, loss and every gradient."""

from __future__ import annotations

import pytest
import torch
from tiny_twins import FAMILIES, Pair, outputs, pair
from torch import Tensor, nn

import tantra_dsl

# Of the scale of what is compared. What is allowed is 1e-4; the exact and the approximated GELU differ by hardly more.
OUTPUT_BUDGET = 1e-5
GRADIENT_BUDGET = 5e-5

families = pytest.mark.parametrize("name", FAMILIES)


def difference(ours: Tensor, theirs: Tensor, floor: float = 0.0) -> float:
    """Largest difference relative to the scale of ``theirs``, which is taken to be ``floor`` at least."""
    assert ours.shape == theirs.shape
    scale = max(theirs.detach().abs().max().item(), floor)
    return (ours - theirs).detach().abs().max().item() / scale


@torch.no_grad()
def largest_difference(both: Pair, model: nn.Module) -> float:
    """Of the outputs of ``model`` from those of the twin."""
    theirs, _ = both.family.call(both.twin, both.inputs)
    ours = outputs(model, both.inputs)
    return max(difference(our, their) for our, their in zip(ours, theirs, strict=True))


@families
def test_outputs(name: str) -> None:
    both = pair(name)
    assert largest_difference(both, both.model) <= OUTPUT_BUDGET


@families
def test_loss_and_gradients(name: str) -> None:
    both = pair(name)
    loss = both.model.loss(**both.inputs)
    _, expected = both.family.call(both.twin, both.inputs)
    assert difference(loss, expected) <= OUTPUT_BUDGET
    loss.backward()
    expected.backward()
    compare_gradients(both)


def compare_gradients(both: Pair) -> None:
    """A gradient that is zero in exact arithmetic (a key's bias) is judged by the scale of the others."""
    theirs = {name: weight.grad for name, weight in both.twin.named_parameters() if weight.requires_grad}
    floor = 1e-2 * max(float(gradient.abs().max()) for gradient in theirs.values())
    compared = 0
    for path, weight in both.model.named_parameters():
        name, view = both.family.place(path)
        assert difference(weight.grad, view(theirs[name]), floor) <= GRADIENT_BUDGET, path
        compared += weight.numel()
    assert compared == sum(gradient.numel() for gradient in theirs.values())


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
