"""The loss of rows of scores and their gradient by a Triton kernel, with what lies between scores and loss."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from tantra_compiler.kernels.attention.prepare import on_device
from tantra_compiler.kernels.formula import RealFormula
from tantra_compiler.kernels.fused.builds import KernelBuild
from tantra_compiler.kernels.run import imported
from tantra_dsl.scalars.derivative import derivative
from tantra_dsl.scalars.format import parse_scalar

_FILE: Final = '''\
"""The cross-entropy of rows of scores, generated from the text of a function between them."""

import triton
import triton.language as tl

from tantra_compiler.kernels.arithmetic import power, sigmoid, softplus, tanh


@triton.jit
def between(x0):
    return tl.zeros_like(x0) + {value}


@triton.jit
def between_slope(x0):
    return tl.zeros_like(x0) + {slope}


@triton.jit
def loss_kernel(scores, classes, kept, losses, smoothing: tl.float32, z_loss: tl.float32,
                CLASSES: tl.constexpr, TAUGHT: tl.constexpr, BLOCK: tl.constexpr):
    """One row: two readings, the second of which leaves the gradient."""
    row = tl.program_id(0).to(tl.int64)
    place = scores + row * CLASSES
    target = tl.load(classes + row)
    counts = tl.load(kept + row).to(tl.int32) != 0
    columns = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    every = tl.zeros((BLOCK,), tl.float32)
    chosen = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, CLASSES, BLOCK):
        inside = start + columns < CLASSES
        x0 = tl.load(place + start + columns, mask=inside, other=0.0).to(tl.float32)
        score = tl.where(inside, between(x0), float("-inf"))
        higher = tl.maximum(top, score)
        base = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(top - base) + tl.exp(score - base)
        top = higher
        every += tl.where(inside, score, 0.0)
        chosen += tl.where(start + columns == target, score, 0.0)
    highest = tl.max(top, 0)
    norm = highest + tl.log(tl.sum(total * tl.exp(top - highest), 0))
    share = smoothing / CLASSES
    made = norm - (1 - smoothing) * tl.sum(chosen, 0) + z_loss * norm * norm
    made -= tl.where(smoothing > 0, share * tl.sum(every, 0), 0.0)
    tl.store(losses + row, tl.where(counts, made, 0.0))
    if TAUGHT:
        weight = 1 + 2 * z_loss * norm
        for start in range(0, CLASSES, BLOCK):
            inside = start + columns < CLASSES
            x0 = tl.load(place + start + columns, mask=inside, other=0.0).to(tl.float32)
            missed = tl.exp(between(x0) - norm) * weight - share
            missed -= tl.where(start + columns == target, 1 - smoothing, 0.0)
            tl.store(place + start + columns, tl.where(counts, missed * between_slope(x0), 0.0), mask=inside)
'''

_BLOCK, _WARPS = 4096, 16
SAMPLES: Final = {"none": "1: x0", "softcap": "1: 30 * tanh(x0 / 30)"}
"""What may lie between scores and loss, for builds ahead of time."""


@cache
def kernel_of(text: str) -> Any:
    """The kernel for scores that go through the function of one variable that ``text`` describes."""
    body, formula = parse_scalar(text.partition(": ")[2]), RealFormula({}, [], [])
    slope = formula.text(derivative(body, "x0"))
    return imported(_FILE.format(value=formula.text(body), slope=slope)).loss_kernel


def row_losses(
    scores: Tensor, classes: Tensor, kept: Tensor, text: str, smoothing: float, z_loss: float, taught: bool
) -> Tensor | None:
    """What ``kernels.native.loss.row_losses`` gives; None for numbers in float64."""
    if scores.dtype == torch.float64 or not scores.is_contiguous():
        return None
    losses = scores.new_empty(len(scores), dtype=torch.float32)
    if len(scores):
        count = scores.shape[1]
        given = (scores, classes.contiguous(), kept.contiguous(), losses, smoothing, z_loss)
        constants = {"CLASSES": count, "TAUGHT": taught, "BLOCK": _block(count)}
        with on_device(scores):
            kernel_of(text)[(len(scores),)](*given, **constants, num_warps=_WARPS)
    return losses


def _block(count: int) -> int:
    return min(_BLOCK, 1 << max(count - 1, 1).bit_length())


def obstacle(text: str, device: str) -> str | None:
    """Why the kernel cannot be built on ``device``, or None. Builds and runs it on one row."""
    try:
        zeros = torch.zeros(1, 16, device=device)
        row_losses(
            zeros, zeros.new_zeros(1, dtype=torch.int64), zeros.new_ones(1, dtype=torch.bool), text, 0.0, 0.0, True
        )
    except Exception as error:
        return f"it does not build: {error}".splitlines()[0]
    return None


def builds(target: str) -> Iterator[KernelBuild]:
    """The kernel for narrow and for wide rows, in every precision: the same for all targets."""
    for name, text in SAMPLES.items():
        for dtype in ("bf16", "fp16", "fp32"):
            for count in (200, 50_257, 131_072):
                for taught in (True, False):
                    constants = {"CLASSES": count, "TAUGHT": taught, "BLOCK": _block(count)}
                    title = f"loss, {name} between, {'with gradient' if taught else 'alone'}, {count} classes"
                    yield KernelBuild(title, kernel_of(text), dtype, constants, _WARPS, pointers=_POINTERS)


_POINTERS: Final = {"classes": "*i64", "kept": "*i1", "losses": "*fp32"}
