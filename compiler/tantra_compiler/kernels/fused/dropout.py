# mypy: ignore-errors
"""Dropout from a seed by a Triton kernel: the same numbers in both directions, none of them kept."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from tantra_compiler.kernels.attention.prepare import on_device
from tantra_compiler.kernels.fused.builds import KernelBuild

_BLOCK, _WARPS = 1024, 4


@triton.jit
def dropout_kernel(out, x, count: tl.int64, seed: tl.int64, rate: tl.float32, scale: tl.float32, BLOCK: tl.constexpr):
    """Each number of x, a row in memory, times ``scale``, or 0 where Philox at its place draws less than ``rate``."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    kept = tl.rand(seed, place) >= rate
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, tl.where(kept, value * scale, 0.0), mask=inside)


def dropout(x: Tensor, seed: int, rate: float) -> Tensor:
    """``x`` with numbers dropped at ``rate``, those that are kept scaled by 1 / (1 - rate)."""
    given = x.contiguous()
    out = torch.empty_like(given)
    if x.numel():
        with on_device(x):
            dropout_kernel[(triton.cdiv(x.numel(), _BLOCK),)](
                out, given, x.numel(), seed, rate, 1 / (1 - rate), BLOCK=_BLOCK, num_warps=_WARPS
            )
    return out


def obstacle(device: str) -> str | None:
    """Why the kernel cannot be built on ``device``, or None. Builds and runs it on a few numbers."""
    try:
        dropout(torch.zeros(16, device=device), 1, 0.5)
    except Exception as error:
        return f"it does not build: {error}".splitlines()[0]
    return None


def builds(target: str) -> Iterator[KernelBuild]:
    """The kernel in every precision: the same for all targets."""
    for dtype in ("bf16", "fp16", "fp32"):
        yield KernelBuild("dropout", dropout_kernel, dtype, {"BLOCK": _BLOCK}, _WARPS)
