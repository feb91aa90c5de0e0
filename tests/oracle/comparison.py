"""How far two models with the same weights are apart."""

from __future__ import annotations

import torch
from tiny_twins import Pair, outputs
from torch import Tensor, nn

# Of the scale of what is compared. What is allowed is 1e-4; the exact and the approximated GELU differ by hardly more.
OUTPUT_BUDGET = 1e-5
GRADIENT_BUDGET = 5e-5


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


def compare_loss_and_gradients(both: Pair) -> None:
    """Assert that the losses and all gradients are equal within their budgets."""
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
