"""Positions, tables over them, and rotary embedding."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from tantra_compiler.runtime.cache import Cache


@lru_cache(maxsize=64)
def position_range(start: int, stop: int, device: torch.device) -> Tensor:
    """``start``, ..., ``stop - 1`` as int [stop - start]. Kept, so never written to."""
    with torch.inference_mode(False):
        return torch.arange(start, stop, device=device)


def positions(x: Tensor, offset: int = 0, cache: Cache | None = None) -> Tensor:
    """Absolute positions of x [batch, time, ...], plus ``offset``: int [time]."""
    start = offset if cache is None else offset + cache.start
    return position_range(start, start + x.shape[1], x.device)


@lru_cache(maxsize=16)
def position_table(
    program: Callable[[Tensor, Tensor], Tensor], width: int, start: int, stop: int, device: torch.device
) -> Tensor:
    """Values of ``program`` at position and channel, computed in float64: float [stop - start, width]."""
    with torch.inference_mode(False), torch.no_grad():
        p = torch.arange(start, stop, device=device, dtype=torch.float64).unsqueeze(1)
        c = torch.arange(width, device=device, dtype=torch.float64)
        table = program(p, c).expand(stop - start, width)
        return table.to(torch.get_default_dtype()).contiguous()


def tabulate(x: Tensor, program: Callable[[Tensor, Tensor], Tensor], width: int, cache: Cache | None = None) -> Tensor:
    """Values of ``program`` at the positions of x [batch, time, ...] and every channel: float [time, width]."""
    start = 0 if cache is None else cache.start
    return position_table(program, width, start, start + x.shape[1], x.device)


Frequency = Callable[[Tensor], Tensor]


@lru_cache(maxsize=64)
def rotation(
    frequency: Frequency, width: int, factor: float, start: int, stop: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosine and sine [stop - start, 1, width / 2] of the angles, times ``factor``; computed in float64."""
    with torch.inference_mode(False), torch.no_grad():
        pair = torch.arange(width // 2, device=device, dtype=torch.float64)
        position = torch.arange(start, stop, device=device, dtype=torch.float64)
        angle = torch.outer(position, frequency(pair).expand(width // 2)).unsqueeze(1)
        return (angle.cos() * factor).to(dtype), (angle.sin() * factor).to(dtype)


def rope(
    x: Tensor,
    frequency: Frequency,
    width: int,
    *,
    interleaved: bool = False,
    factor: float = 1.0,
    cache: Cache | None = None,
) -> Tensor:
    """Rotary embedding (Su et al. 2021) of the first ``width`` channels of x [batch, time, heads, head_dim].

    Pair j turns by ``frequency(j)`` per position: channels (j, j + width / 2), or (2j, 2j + 1) when interleaved.
    """
    start = 0 if cache is None else cache.start
    cos, sin = rotation(frequency, width, factor, start, start + x.shape[1], x.device, x.dtype)
    turned = x if width == x.shape[-1] else x[..., :width]
    if interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
        result = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
    else:
        a, b = turned.chunk(2, dim=-1)
        result = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
    return result if width == x.shape[-1] else torch.cat([result, x[..., width:]], dim=-1)
