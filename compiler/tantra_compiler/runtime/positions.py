"""Positions, tables over them, and rotary embedding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tantra_compiler.runtime.cache import Cache
from tantra_compiler.runtime.remembered import remembered


@remembered(64)
def position_range(start: int, stop: int, device: torch.device) -> Tensor:
    """``start``, ..., ``stop - 1`` as int [stop - start]. Kept, so never written to."""
    with torch.inference_mode(False):
        return torch.arange(start, stop, device=device)


def positions(x: Tensor, offset: int = 0, cache: Cache | None = None) -> Tensor:
    """Absolute positions of x [batch, time, ...], plus ``offset``: int [time]."""
    start = offset if cache is None else offset + cache.start
    return position_range(start, start + x.shape[1], x.device)


@remembered(16)
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

_EXPANDED = 2**20
"""Up to so many numbers a table of rotations is written out for every head: the kernels then run along memory."""


@remembered(32)
def rotation(
    frequency: Frequency,
    width: int,
    factor: float,
    interleaved: bool,
    heads: int,
    length: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """What channels [length, heads or 1, width] are multiplied by, and what their partners are.

    Cosine and signed sine of the angles, times ``factor``; computed in float64.
    """
    with torch.inference_mode(False), torch.no_grad():
        pair = torch.arange(width // 2, device=device, dtype=torch.float64)
        position = torch.arange(length, device=device, dtype=torch.float64)
        angle = torch.outer(position, frequency(pair).expand(width // 2)).unsqueeze(1)
        cos, sin = angle.cos() * factor, angle.sin() * factor
        if interleaved:
            tables = torch.stack([cos, cos], -1).flatten(-2), torch.stack([-sin, sin], -1).flatten(-2)
        else:
            tables = torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)
        if length * heads * width <= _EXPANDED:
            tables = tables[0].expand(length, heads, width), tables[1].expand(length, heads, width)
        return tables[0].to(dtype).contiguous(), tables[1].to(dtype).contiguous()


@remembered(64)
def rotation_between(
    start: int,
    stop: int,
    frequency: Frequency,
    width: int,
    factor: float,
    interleaved: bool,
    heads: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """``rotation`` of the positions from ``start`` up to ``stop``; one token's serves all layers."""
    length = max(256, 1 << (stop - 1).bit_length())
    cos, sin = rotation(frequency, width, factor, interleaved, heads, length, device, dtype)
    return cos[start:stop], sin[start:stop]


def partners(x: Tensor, interleaved: bool) -> Tensor:
    """Channels x [..., width] with the two of each pair exchanged."""
    if interleaved:
        return x.view(*x.shape[:-1], -1, 2).flip(-1).flatten(-2)
    return x.roll(x.shape[-1] // 2, -1)


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
    span = (start, start + x.shape[1])
    cos, sin = rotation_between(*span, frequency, width, factor, interleaved, x.shape[2], x.device, x.dtype)
    turned = x if width == x.shape[-1] else x[..., :width]
    result = torch.addcmul(turned * cos, partners(turned, interleaved), sin)
    return result if width == x.shape[-1] else torch.cat([result, x[..., width:]], dim=-1)
