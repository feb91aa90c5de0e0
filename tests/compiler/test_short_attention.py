"""Causal attention by products of blocks, against attention with a mask as a tensor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tantra_compiler.runtime import attention
from tantra_compiler.runtime.attention import attend_causal, attend_reference, past_mask
from tantra_compiler.runtime.short_attention import short_causal_attention

SCALE = 0.3


def inputs(length: int, heads: int, kv_heads: int, dtype: torch.dtype) -> list[Tensor]:
    """q, k and v, of other widths, in memory as split heads are."""
    generator = torch.Generator().manual_seed(length)
    shapes = ((heads, 24), (kv_heads, 24), (kv_heads, 16))
    return [torch.randn(2, length, *shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def step(made: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """The result and the gradients of a sum that weighs its elements differently."""
    weights = torch.linspace(-1, 1, made.numel(), dtype=torch.float64).view(made.shape).to(made.dtype)
    return [made.detach(), *torch.autograd.grad(made, leaves, weights)]


def reference(leaves: list[Tensor]) -> Tensor:
    q, k, v = leaves
    made = attend_reference(q, k, v, mask=past_mask, scale=SCALE)
    assert isinstance(made, Tensor)
    return made


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 130])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
def test_is_the_reference_in_float64(length: int, heads: int, kv_heads: int) -> None:
    leaves = inputs(length, heads, kv_heads, torch.float64)
    ours, theirs = step(short_causal_attention(*leaves, SCALE), leaves), step(reference(leaves), leaves)
    assert all(torch.allclose(our, their, rtol=1e-10, atol=1e-12) for our, their in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("dtype", "heads", "kv_heads"), [(torch.float32, 6, 2), (torch.bfloat16, 6, 2), (torch.bfloat16, 4, 4)]
)
def test_errs_at_most_twice_as_much_as_torch(
    dtype: torch.dtype, heads: int, kv_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = inputs(130, heads, kv_heads, dtype)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    right, ours = step(reference(exact), exact), step(attend_causal(*leaves, scale=SCALE), leaves)
    monkeypatch.setattr(attention, "learns_briefly_on_cpu", lambda q, k, v: False)
    theirs = step(attend_causal(*leaves, scale=SCALE), leaves)
    for our, their, wanted in zip(ours, theirs, right, strict=True):
        error, plain = ((each.double() - wanted).norm() / wanted.norm() for each in (our, their))
        assert error <= 2 * plain


def test_float32_heads_with_keys_of_their_own_go_to_torch() -> None:
    own = inputs(20, 4, 4, torch.float32)
    assert "ShortCausal" not in type(attend_causal(*own, scale=SCALE).grad_fn).__name__


def test_serves_training_alone() -> None:
    leaves = inputs(20, 4, 2, torch.float32)
    assert "ShortCausal" in type(attend_causal(*leaves, scale=SCALE).grad_fn).__name__
    with torch.no_grad():
        quiet = attend_causal(*leaves, scale=SCALE)
    assert torch.allclose(quiet, attend_causal(*leaves, scale=SCALE), atol=1e-6)
    dropped = attend_causal(*leaves, scale=SCALE, dropout=0.5)
    assert "ShortCausal" not in type(dropped.grad_fn).__name__


def test_autocast_takes_products_in_its_precision() -> None:
    q, k, v = inputs(70, 4, 2, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        made = attend_causal(q, k.bfloat16(), v, scale=SCALE)
    low = attend_causal(*(leaf.bfloat16() for leaf in (q, k, v)), scale=SCALE)
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, low)
