"""What compiled models compute, against transformers with the same weights: outputs, loss and every gradient."""

from __future__ import annotations

import pytest
import torch
from tiny_twins import FAMILIES, Pair, outputs, pair
from torch import Tensor

BUDGET = 1e-4  # of the scale of what is compared

families = pytest.mark.parametrize("name", FAMILIES)


def difference(ours: Tensor, theirs: Tensor, floor: float = 0.0) -> float:
    """Largest difference relative to the scale of ``theirs``, which is taken to be ``floor`` at least."""
    assert ours.shape == theirs.shape
    scale = max(theirs.detach().abs().max().item(), floor)
    return (ours - theirs).detach().abs().max().item() / scale


@families
def test_outputs(name: str) -> None:
    both = pair(name)
    with torch.no_grad():
        theirs, _ = both.family.call(both.twin, both.inputs)
        ours = outputs(both.model, both.inputs)
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert difference(our, their) <= BUDGET


@families
def test_loss_and_gradients(name: str) -> None:
    both = pair(name)
    loss = both.model.loss(**both.inputs)
    _, expected = both.family.call(both.twin, both.inputs)
    assert difference(loss, expected) <= BUDGET
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
        assert difference(weight.grad, view(theirs[name]), floor) <= BUDGET, path
        compared += weight.numel()
    assert compared == sum(gradient.numel() for gradient in theirs.values())
