"""The loss of rows of scores by Triton in its interpreter and by C, against torch's in float64."""

from __future__ import annotations

import shutil
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tantra_compiler.kernels.fused import loss as triton_loss
from tantra_compiler.kernels.native import loss as native_loss

WAYS = [
    pytest.param(triton_loss, id="triton"),
    pytest.param(native_loss, id="C", marks=pytest.mark.skipif(shutil.which("gcc") is None, reason="wants gcc")),
]
CAP = "1: 5 * tanh(x0 / 5)"
Result = tuple[Tensor, Tensor]


def made(rows: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, classes, and which rows count."""
    generator = torch.Generator().manual_seed(0)
    scores = 4 * torch.randn(rows, classes, generator=generator)
    return scores, torch.randint(classes, (rows,), generator=generator), torch.rand(rows, generator=generator) > 0.3


def torch_loss(scores: Tensor, classes: Tensor, kept: Tensor, capped: bool, smoothing: float, z_loss: float) -> Result:
    """The loss of each row, and the gradient of their sum."""
    leaf = scores.detach().clone().requires_grad_()
    given = 5 * torch.tanh(leaf / 5) if capped else leaf
    losses = F.cross_entropy(given, classes, reduction="none", label_smoothing=smoothing)
    losses = (losses + z_loss * given.logsumexp(-1).square()).masked_fill(~kept, 0)
    losses.sum().backward()
    assert leaf.grad is not None
    return losses.detach(), leaf.grad


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("capped", "smoothing", "z_loss"), [(False, 0.0, 0.0), (True, 0.0, 0.0), (True, 0.1, 0.01)])
def test_errs_at_most_twice_as_much_as_torch(
    way: ModuleType, dtype: torch.dtype, capped: bool, smoothing: float, z_loss: float
) -> None:
    scores, classes, kept = made(37, 211)
    scores = scores.to(dtype)
    exact = torch_loss(scores.double(), classes, kept, capped, smoothing, z_loss)
    theirs = torch_loss(scores, classes, kept, capped, smoothing, z_loss)
    losses = way.row_losses(scores, classes, kept, CAP if capped else "1: x0", smoothing, z_loss, True)
    if losses is None:
        assert way is native_loss
        assert dtype == torch.float16
        return
    for ours, other, right in zip((losses, scores), theirs, exact, strict=True):
        rounding = torch.finfo(ours.dtype).eps * right.norm()
        assert (ours.double() - right).norm() <= 2 * (other.double() - right).norm() + rounding


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (3, 2), (2, 5000), (0, 7), (1, 65_536)])
def test_every_size(way: ModuleType, rows: int, classes: int) -> None:
    scores, target, kept = made(rows, classes)
    losses, gradient = torch_loss(scores, target, kept, False, 0.0, 0.0)
    torch.testing.assert_close(way.row_losses(scores, target, kept, "1: x0", 0.0, 0.0, True), losses)
    torch.testing.assert_close(scores, gradient)


@pytest.mark.parametrize("way", WAYS)
def test_scores_that_are_not_taught_stay(way: ModuleType) -> None:
    scores, target, kept = made(5, 33)
    before = scores.clone()
    way.row_losses(scores, target, kept, CAP, 0.0, 0.0, False)
    assert torch.equal(scores, before)


@pytest.mark.parametrize("way", WAYS)
def test_forbidden_classes_have_no_part(way: ModuleType) -> None:
    scores, target, kept = made(6, 40)
    scores[:, 10:] = -torch.inf
    target %= 10
    losses, gradient = torch_loss(scores, target, kept, False, 0.0, 0.0)
    torch.testing.assert_close(way.row_losses(scores, target, kept, "1: x0", 0.0, 0.0, True), losses)
    torch.testing.assert_close(scores, gradient)


def test_classes_that_no_row_has_are_left_to_torch() -> None:
    scores, target, kept = made(6, 40)
    for wrong in (40, -1):
        target[2] = wrong
        assert native_loss.row_losses(scores, target, kept, "1: x0", 0.0, 0.0, True) is None


def test_what_does_not_build_is_told() -> None:
    assert triton_loss.obstacle("1: x0", "cpu") is None
    assert triton_loss.obstacle("1: nothing(x0)", "cpu") is not None
