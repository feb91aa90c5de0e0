"""Cutting, joining and moving."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tantra_compiler.runtime.cache import Cache


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[..., heads * head_dim] -> [..., heads, head_dim]."""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads)


def merge_heads(x: Tensor) -> Tensor:
    """[..., heads, head_dim] -> [..., heads * head_dim]."""
    return x.flatten(-2)


def repeat_heads(x: Tensor, times: int) -> Tensor:
    """[..., heads, d] -> [..., heads * times, d]; head j of the result is head j // times."""
    return x.repeat_interleave(times, dim=-2)


def join(*xs: Tensor, axis: int) -> Tensor:
    """Concatenation along ``axis`` (counted from the end); what lacks the batch dimension is repeated over it."""
    widest = max(xs, key=lambda x: x.dim())
    return torch.cat([x if x.dim() == widest.dim() else x.expand(widest.shape[0], *x.shape) for x in xs], dim=axis)


def image_patches(x: Tensor, size: int) -> Tensor:
    """[batch, channels, height, width] -> [batch, patches, channels * size * size], rows first, channel first."""
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, height // size, size, width // size, size)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, (height // size) * (width // size), channels * size * size)


def time_patches(x: Tensor, size: int) -> Tensor:
    """[batch, time, d] -> [batch, time / size, size * d]."""
    return x.reshape(x.shape[0], x.shape[1] // size, size * x.shape[2])


def unpatch(x: Tensor, size: int) -> Tensor:
    """[batch, n, size * d] -> [batch, n * size, d]."""
    return x.reshape(x.shape[0], x.shape[1] * size, x.shape[2] // size)


def shift(x: Tensor, by: int, fill: int = 0, cache: Cache | None = None) -> Tensor:
    """Moves [batch, time, ...] along time: out[t] = x[t - by]; places without a source hold ``fill``."""
    if cache is not None:
        return _shift_on(x, by, fill, cache)
    length, moved = x.shape[1], min(abs(by), x.shape[1])
    empty = x.new_full((x.shape[0], moved, *x.shape[2:]), fill)
    return torch.cat([empty, x[:, : length - moved]] if by >= 0 else [x[:, moved:], empty], dim=1)


def _shift_on(x: Tensor, by: int, fill: int, cache: Cache) -> Tensor:
    """``shift`` towards the future, of what comes after the positions in ``cache``."""
    seen = cache.state(lambda: [x.new_full((x.shape[0], by, *x.shape[2:]), fill)])
    longer = torch.cat([seen[0], x], dim=1)
    seen[0] = longer[:, x.shape[1] :].detach()
    return longer[:, : x.shape[1]]


def gather_time(x: Tensor, index: Tensor) -> Tensor:
    """One position of each sequence: x [batch, time, ...] at index [batch] -> [batch, ...]."""
    return x[torch.arange(x.shape[0], device=x.device), index]


def expand_time(x: Tensor, like: Tensor, axis: int) -> Tensor:
    """``x`` repeated along the time axis of ``like`` [batch, time, ...], inserted at ``axis``."""
    x = x.unsqueeze(axis)
    return x.expand(*x.shape[:axis], like.shape[1], *x.shape[axis + 1 :])


def weighted_sum(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Sum of ``x`` along ``axis``, each element times its weight; weights are [axis] or [..., axis]."""
    if weights.dim() == 1:
        return (x.movedim(axis, -1) * weights).sum(-1)
    if axis % x.dim() == x.dim() - 1:
        return (x * weights).sum(-1)
    return (weights.unsqueeze(-2) @ x.movedim(axis, -2)).squeeze(-2)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    causal: bool,
    groups: int = 1,
    stride: int = 1,
    dilation: int = 1,
    cache: Cache | None = None,
) -> Tensor:
    """Convolution of x [batch, time, in] along time with weight [out, in / groups, width].

    Causal pads on the left only; otherwise the larger half of the padding is on the left.
    """
    reach = (weight.shape[-1] - 1) * dilation
    x = x.transpose(1, 2)
    if cache is not None:
        x = _with_tail(x, reach, cache)
    else:
        right = 0 if causal else reach // 2
        x = F.pad(x, (reach - right, right))
    return F.conv1d(x, weight, bias, stride=stride, dilation=dilation, groups=groups).transpose(1, 2)


def _with_tail(x: Tensor, reach: int, cache: Cache) -> Tensor:
    """[batch, in, time] with the last ``reach`` columns of what ``cache`` saw put first."""
    seen = cache.state(lambda: [x.new_zeros(*x.shape[:2], reach)])
    longer = torch.cat([seen[0], x], dim=2)
    seen[0] = longer[:, :, x.shape[2] :].detach()
    return longer
