"""Causal attention over short sequences on CPUs, by products of blocks: faster there than torch's fused kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_SHORT_BLOCK = 64
"""Queries of a block: few, so that little is computed of what the mask forbids."""


def short_causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Softmax attention under ``k <= q`` of as many queries as keys, with every weight kept for the backward pass.

    q [batch, time, heads, d], k [batch, time, kv_heads, d], v [batch, time, kv_heads, dv] -> [batch, time, heads, dv].
    """
    apply: Callable[..., Tensor] = ShortCausalAttention.apply
    if torch.is_autocast_enabled("cpu") and q.dtype != torch.float64:
        low = torch.get_autocast_dtype("cpu")
        q, k, v = q.to(low), k.to(low), v.to(low)
    with torch.autocast("cpu", enabled=False):
        return apply(q, k, v, scale)


class ShortCausalAttention(torch.autograd.Function):
    """Heads that share keys are rows of one product."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """Block by block of queries, each with the keys up to its end."""
        heads, shared = q.shape[2], q.shape[2] // k.shape[2]
        queries, keys, values = by_shared_head(q, shared), by_shared_head(k, 1), by_shared_head(v, 1)
        out = q.new_empty(*q.shape[:3], v.shape[3])
        kept = []
        for rows, time in query_blocks(q.shape[1], shared):
            weights = block_weights(queries[:, rows], keys[:, : time.stop], scale, shared)
            made = torch.bmm(weights, values[:, : time.stop])
            out[:, time] = from_shared_head(made, heads, shared)
            kept.append(weights)
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of q, k and v; those of a key are summed over the blocks in float32 or wider."""
        queries, keys, values, *kept = ctx.saved_tensors
        heads, shared = grad.shape[2], queries.shape[1] // keys.shape[1]
        grads = by_shared_head(grad, shared)
        grad_q, wide = torch.empty_like(queries), torch.promote_types(grad.dtype, torch.float32)
        grad_k, grad_v = torch.zeros_like(keys, dtype=wide), torch.zeros_like(values, dtype=wide)
        for (rows, time), weights in zip(query_blocks(grad.shape[1], shared), kept, strict=True):
            seen, part = slice(time.stop), grads[:, rows]
            add_scaled_product(grad_v[:, seen], weights.transpose(1, 2), part)
            by_weights = torch.bmm(part, values[:, seen].transpose(1, 2))
            by_scores = torch._softmax_backward_data(by_weights, weights, -1, weights.dtype)
            scaled_product(by_scores, keys[:, seen], ctx.scale, out=grad_q[:, rows])
            add_scaled_product(grad_k[:, seen], by_scores.transpose(1, 2), queries[:, rows], ctx.scale)
        return (
            from_shared_head(grad_q, heads, shared),
            from_shared_head(grad_k.to(keys.dtype), heads // shared, 1),
            from_shared_head(grad_v.to(values.dtype), heads // shared, 1),
            None,
        )


def query_blocks(length: int, shared: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the rows and of the positions of each block of queries."""
    for start in range(0, length, _SHORT_BLOCK):
        stop = min(start + _SHORT_BLOCK, length)
        yield slice(start * shared, stop * shared), slice(start, stop)


def by_shared_head(x: Tensor, shared: int) -> Tensor:
    """[batch, time, heads, d] -> [batch * heads / shared, time * shared, d]."""
    batch, time, heads, width = x.shape
    return x.reshape(batch, time, heads // shared, shared, width).transpose(1, 2).reshape(-1, time * shared, width)


def from_shared_head(x: Tensor, heads: int, shared: int) -> Tensor:
    """The way back."""
    return x.view(-1, heads // shared, x.shape[1] // shared, shared, x.shape[2]).transpose(1, 2).flatten(2, 3)


def block_weights(queries: Tensor, keys: Tensor, scale: float, shared: int) -> Tensor:
    """Softmax of one block's scores; its positions are the last of the keys'."""
    scores = queries.new_empty(len(queries), queries.shape[1], keys.shape[1])
    scaled_product(queries, keys.transpose(1, 2), scale, out=scores)
    count = queries.shape[1] // shared
    later = torch.ones(count, count, dtype=torch.bool).triu_(1).repeat_interleave(shared, 0)
    scores[:, :, keys.shape[1] - count :].masked_fill_(later, -torch.inf)
    return scores.softmax(-1)


def scaled_product(a: Tensor, b: Tensor, scale: float, out: Tensor) -> None:
    """``out = scale * a @ b`` for each of a batch."""
    torch.baddbmm(out, a, b, beta=0, alpha=scale, out=out)


def add_scaled_product(total: Tensor, a: Tensor, b: Tensor, scale: float = 1.0) -> None:
    """``total += scale * a @ b`` for each of a batch, in the precision of ``total``."""
    if total.dtype == a.dtype:
        torch.baddbmm(total, a, b, alpha=scale, out=total)
    else:
        total.add_(torch.bmm(a, b), alpha=scale)
