"""Heads of a projection normalised and turned by Triton kernels; as ``runtime/turned_parts.py`` does it on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import torch
import triton
from torch import Tensor

from tantra_compiler.kernels.attention.prepare import INTERPRETED, on_device, processors
from tantra_compiler.kernels.fused.builds import KernelBuild
from tantra_compiler.kernels.fused.rope_kernels import heads_backward_kernel, heads_kernel
from tantra_compiler.runtime.shape import split_heads
from tantra_compiler.runtime.turned_parts import HeadsLayout

_CHANNELS: Final = 2**10
"""Channels of a program at once: those of several vectors, or a part of those of one. Half as many on the way back."""
_WIDEST: Final = 2**10
"""Pairs, or other channels, of one vector at once. Half as many on the way back."""
_PROGRAMS_OF_A_PROCESSOR: Final = 8
"""Programs of a backward pass, each of which leaves a row of sums."""


@dataclass(frozen=True)
class HeadsConfig:
    """What the kernels are compiled with, for vectors of ``width`` channels of which ``pairs`` pairs turn."""

    width: int
    pairs: int
    norm: int
    weight: bool
    bias: bool
    interleaved: bool
    whole: bool = True

    def blocks(self, backward: bool) -> tuple[int, int, int]:
        """Vectors, pairs and other channels at once."""
        rest = self.width - 2 * self.pairs
        pairs, others = (
            min(_WIDEST >> backward, triton.next_power_of_2(max(1, count))) for count in (self.pairs, rest)
        )
        taken = 2 * pairs * (self.pairs > 0) + others * (rest > 0)
        return max(1, (_CHANNELS >> backward) // triton.next_power_of_2(taken)), pairs, others

    @property
    def one_block(self) -> bool:
        """Whether all channels of a vector are there at once on the way back."""
        return max(self.pairs, self.width - 2 * self.pairs) <= _WIDEST >> 1

    def constants(self, backward: bool) -> dict[str, Any]:
        """As in a launch."""
        vectors, pairs, others = self.blocks(backward)
        found = {"H": self.pairs, "D": self.width, "NORM": self.norm, "HAS_WEIGHT": self.weight, "HAS_BIAS": self.bias}
        found |= {"INTERLEAVED": self.interleaved, "BLOCK_V": vectors, "BLOCK_H": pairs, "BLOCK_R": others}
        return found if backward else found | {"WHOLE": self.whole}

    @property
    def warps(self) -> int:
        """Warps of a program."""
        return 4


def config_of(
    layout: HeadsLayout, at: int, cos: Tensor | None, weight: Tensor | None, bias: Tensor | None
) -> HeadsConfig:
    """The configuration for part ``at``."""
    turning = cos.shape[-1] if cos is not None and layout.turned[at] else 0
    norm = layout.norms[at]
    return HeadsConfig(
        layout.widths[at],
        turning // 2,
        norm,
        weight is not None,
        bias is not None,
        bool(turning) and layout.interleaved,
    )


# --- launches ------------------------------------------------------------------------------


def turn(packed: Tensor, cos: Tensor, sin: Tensor, *fields: Any) -> None:
    """Turns the heads of ``packed`` [batch, time, columns] where they lie; cosines and sines [time, 1, width].

    ``fields`` are those of a ``HeadsLayout``, here as below.
    """
    layout = HeadsLayout(*fields)
    for start, count, width in layout.runs():
        x = split_heads(packed[..., start : start + count * width], count)
        config = HeadsConfig(width, cos.shape[-1] // 2, 0, False, False, layout.interleaved, whole=False)
        _forward(x, x, None, cos, sin, None, None, 0.0, config)


def norm(
    packed: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    weights: list[Tensor | None],
    biases: list[Tensor | None],
    *fields: Any,
) -> tuple[list[Tensor], list[Tensor]]:
    """The changed parts of ``packed``, normalised and turned, and the statistics; see ``HeadsLayout.memory``."""
    layout = HeadsLayout(*fields)
    made, stats = layout.memory(packed)
    views, pending = layout.views(packed), iter(stats)
    for at, out in zip(layout.changed, made, strict=True):
        weight, bias = weights[at], biases[at]
        kept = next(pending) if layout.norms[at] else None
        config = config_of(layout, at, cos, weight, bias)
        _forward(views[at], out, kept, cos, sin, weight, bias, layout.eps[at], config)
    return made, stats


def _forward(
    x: Tensor,
    y: Tensor,
    stats: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    config: HeadsConfig,
) -> None:
    batch, time, count, _ = x.shape
    vectors = batch * time * count
    assert vectors < 2**31
    if not vectors:
        return
    grid = (triton.cdiv(vectors, config.blocks(backward=False)[0]),)
    with on_device(x):
        heads_kernel[grid](
            x, y, stats, *_tables(cos, sin, x), weight, bias, vectors, time, count, *x.stride()[:3],
            *y.stride()[:3], eps, **config.constants(backward=False), num_warps=config.warps,
        )  # fmt: skip


def backward(
    grads: list[Tensor],
    packed: Tensor | None,
    stats: list[Tensor],
    cos: Tensor | None,
    sin: Tensor | None,
    weights: list[Tensor | None],
    biases: list[Tensor | None],
    *fields: Any,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The gradient of the projection, and of each part's weight and bias (empty where it has none)."""
    layout = HeadsLayout(*fields)
    whole = grads[0].new_empty(*grads[0].shape[:2], sum(layout.sizes))
    outs, pending = layout.views(whole), iter(stats)
    before = [None] * len(grads) if packed is None else layout.views(packed)
    of_weights, of_biases = ([whole.new_empty(0) for _ in grads] for _ in range(2))
    for at, (grad, out) in enumerate(zip(grads, outs, strict=True)):
        if at not in layout.changed:
            out.copy_(grad)
            continue
        weight, bias = weights[at], biases[at]
        config = config_of(layout, at, cos, weight, bias)
        kept = next(pending) if layout.norms[at] else None
        grad = grad if grad.stride(-1) == 1 else grad.contiguous()
        sums = _backward(grad, before[at], out, kept, cos, sin, weight, config)
        pairs = zip((weight, bias), sums, strict=True)
        of_weights[at], of_biases[at] = (whole.new_empty(0) if v is None else s.sum(0).to(v.dtype) for v, s in pairs)
    return whole, of_weights, of_biases


def _backward(
    g: Tensor,
    x: Tensor | None,
    dx: Tensor,
    stats: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    weight: Tensor | None,
    config: HeadsConfig,
) -> tuple[Tensor, Tensor]:
    """``dx`` is written; the sums of each program for weight and bias [programs, width], empty where there is none."""
    batch, time, count, width = dx.shape
    vectors = batch * time * count
    assert vectors < 2**31
    programs = groups = triton.cdiv(vectors, config.blocks(backward=True)[0])
    if config.one_block:
        programs = min(groups, _programs(dx.device))
    shape = (programs, width)
    of_weight, of_bias = (dx.new_empty(shape if has else (0, width), dtype=torch.float32) for has in
                          (config.weight, config.bias))  # fmt: skip
    if vectors:
        x = g if x is None else x
        with on_device(dx):
            constants = config.constants(backward=True)
            heads_backward_kernel[(programs,)](
                g, x, dx, stats, *_tables(cos, sin, g), weight, of_weight, of_bias, vectors, time, count,
                *g.stride()[:3], *x.stride()[:3], *dx.stride()[:3], **constants, num_warps=config.warps,
            )  # fmt: skip
    return of_weight, of_bias


def _tables(cos: Tensor | None, sin: Tensor | None, unread: Tensor) -> tuple[Tensor, Tensor]:
    """Both, or something in their place where nothing turns."""
    return (unread, unread) if cos is None or sin is None else (cos, sin)


def _programs(device: torch.device) -> int:
    return 4 if INTERPRETED else _PROGRAMS_OF_A_PROCESSOR * processors(device)


# --- what can be chosen --------------------------------------------------------------------

_WIDTHS: Final = (64, 96, 128, 192, 256, 512, 8192)
_POINTERS: Final = dict.fromkeys(("stats", "cos", "sin", "weight_sums", "bias_sums"), "*fp32")


@lru_cache(maxsize=256)
def obstacle(device: torch.device) -> str | None:
    """Why the kernels cannot be built for a device, or None."""
    if INTERPRETED or device.type != "cuda":
        return None
    try:
        _try(device)
    except Exception as error:  # whatever Triton or its compilers raise
        return f"{type(error).__name__}: {error}"
    return None


def _try(device: torch.device) -> None:
    x, table = torch.zeros(1, 1, 1, 64, device=device), torch.zeros(1, 1, 64, device=device)
    _forward(x, x, None, table, table, None, None, 0.0, HeadsConfig(64, 32, 0, False, False, False, whole=False))


def builds(target: str) -> Iterator[KernelBuild]:
    """Every kind of configuration, at the usual widths of heads and at one that takes several blocks."""
    for width in _WIDTHS:
        plain = HeadsConfig(width, width // 2, 0, False, False, False)
        normed = replace(plain, norm=1, weight=True)
        layer = replace(normed, norm=2, bias=True)
        both = [normed, replace(normed, interleaved=True), replace(normed, pairs=width // 4), replace(normed, pairs=0)]
        forward = [plain, replace(plain, whole=False), replace(plain, interleaved=True, whole=False), layer, *both]
        for name, kernel, configs in (
            ("heads", heads_kernel, forward),
            ("heads_backward", heads_backward_kernel, [plain, replace(plain, interleaved=True), layer, *both]),
        ):
            for config in configs:
                constants = config.constants(backward=name != "heads")
                yield KernelBuild(f"{name} {config}", kernel, "bf16", constants, config.warps, pointers=_POINTERS)
