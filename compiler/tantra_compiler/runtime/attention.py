"""Attention: one operator, several ways to run it, and the plain reference that says what all of them mean.

Every way reads q [batch, queries, heads, d], k [batch, keys, kv_heads, d], v [batch, keys, kv_heads, dv] and gives
[batch, queries, heads, dv]; head h reads kv head h // (heads / kv_heads). Queries are the last positions of the keys.
A mask is a function of (b, h, q, k, *captures) and a score of (s, b, h, q, k, *captures), positions being absolute. A
query without a key gives zeros.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tantra_compiler.runtime.cache import Cache
from tantra_compiler.runtime.remembered import remembered
from tantra_compiler.runtime.short_attention import short_causal_attention

Mask = Callable[..., Tensor]
Score = Callable[..., Tensor]
Captures = tuple[Tensor, ...]
Coordinates = tuple[Tensor, Tensor, Tensor, Tensor]


def coordinates(
    batch: int, heads: int, queries: int, keys: int, device: torch.device, dtype: torch.dtype = torch.int64
) -> Coordinates:
    """b, h, q and k, shaped to broadcast to [batch, heads, queries, keys]; the queries are the last of the keys."""
    b = torch.arange(batch, device=device).view(batch, 1, 1, 1)
    h = torch.arange(heads, device=device, dtype=dtype).view(heads, 1, 1)
    q = torch.arange(keys - queries, keys, device=device, dtype=dtype).view(queries, 1)
    return b, h, q, torch.arange(keys, device=device, dtype=dtype)


def attend_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    mask: Mask | None = None,
    score: Score | None = None,
    mask_captures: Captures = (),
    score_captures: Captures = (),
    sink: Tensor | None = None,
    dropout: float = 0.0,
    cache: Cache | None = None,
) -> Tensor:
    """Softmax attention as it is defined, every step written out; computed in float32, or float64 where q is.

    ``sink`` [heads] is a logit that joins the denominator only.
    """
    if cache is not None:
        k, v = cache.append(k), cache.append(v)
    with torch.autocast(q.device.type, enabled=False):
        wide = torch.promote_types(q.dtype, torch.float32)
        times = q.shape[2] // k.shape[2]
        keys, values = (x.to(wide).repeat_interleave(times, dim=2) for x in (k, v))
        s = torch.einsum("bqhd,bkhd->bhqk", q.to(wide), keys) * scale
        sizes = (q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.device)
        if score is not None:
            real = torch.int64 if score_captures else wide
            s = score(s, *coordinates(*sizes, dtype=real), *score_captures)
        if mask is not None:
            s = s.masked_fill(~mask(*coordinates(*sizes), *mask_captures), -torch.inf)
        weights = F.dropout(softmax_or_zeros(s, sink), dropout)
        return torch.einsum("bhqk,bkhd->bqhd", weights, values).to(v.dtype)


def softmax_or_zeros(s: Tensor, sink: Tensor | None = None) -> Tensor:
    """Softmax of s [batch, heads, queries, keys] over keys; a row of -inf gives zeros, with finite gradients."""
    top = s.amax(-1, keepdim=True)
    if sink is not None:
        sink = sink.to(s.dtype).view(-1, 1, 1)
        top = torch.maximum(top, sink)
    top = top.detach().clamp(min=torch.finfo(s.dtype).min)
    weights = (s - top).exp()
    total = weights.sum(-1, keepdim=True)
    if sink is not None:
        total = total + (sink - top).exp()
    return weights / total.clamp(min=torch.finfo(s.dtype).tiny)


def attend_full(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, dropout: float = 0.0, cache: Cache | None = None
) -> Tensor:
    """Attention without a mask."""
    if cache is not None:
        k, v = cache.append(k), cache.append(v)
    return dot_product_attention(q, k, v, None, False, scale, dropout)


def attend_causal(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, dropout: float = 0.0, cache: Cache | None = None
) -> Tensor:
    """Attention under the mask ``k <= q``."""
    if cache is not None:
        k, v = cache.append(k), cache.append(v)
    if q.shape[1] == k.shape[1] or q.shape[1] == 1:
        return dot_product_attention(q, k, v, None, q.shape[1] > 1, scale, dropout)
    bias = dense_bias(past_mask, None, *bias_sizes(q, k), q.dtype)
    return dot_product_attention(q, k, v, bias, False, scale, dropout)


def past_mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """The mask ``k <= q``."""
    return k <= q


def attend_biased(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    mask: Mask | None = None,
    bias: Score | None = None,
    mask_captures: Captures = (),
    bias_captures: Captures = (),
    dropout: float = 0.0,
    empty_rows: bool = True,
    cache: Cache | None = None,
) -> Tensor:
    """Attention under a mask, and under scores of the form ``s + bias``; ``bias`` is called with s = 0.

    ``empty_rows`` = False promises that the mask leaves every query a key.
    """
    if cache is not None:
        k, v = cache.append(k), cache.append(v)
    sizes = bias_sizes(q, k)
    if not mask_captures and not bias_captures:
        added = dense_bias(mask, bias, *sizes, q.dtype)
    else:
        added = compute_bias(mask, bias, *sizes, q.dtype, mask_captures, bias_captures)
    return dot_product_attention(q, k, v, added, False, scale, dropout, empty_rows and mask is not None)


def bias_sizes(q: Tensor, k: Tensor) -> tuple[int, int, int, int, torch.device]:
    """Batch, heads, queries, keys and device of an attention."""
    return q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.device


@remembered(16)
def dense_bias(
    mask: Mask | None,
    bias: Score | None,
    batch: int,
    heads: int,
    queries: int,
    keys: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """``compute_bias`` of programs without captures, kept for the lengths that it was made for."""
    with torch.inference_mode(False), torch.no_grad():
        return compute_bias(mask, bias, batch, heads, queries, keys, device, dtype).to(dtype)


def compute_bias(
    mask: Mask | None,
    bias: Score | None,
    batch: int,
    heads: int,
    queries: int,
    keys: int,
    device: torch.device,
    dtype: torch.dtype,
    mask_captures: Captures = (),
    bias_captures: Captures = (),
) -> Tensor:
    """What is added to the scores: the bias, and -inf where the mask forbids; it broadcasts to [b, h, q, k]."""
    added = torch.zeros(queries, keys, device=device, dtype=dtype)
    if bias is not None:
        real = torch.int64 if bias_captures else torch.float64
        at = coordinates(batch, heads, queries, keys, device, real)
        added = bias(added, *at, *bias_captures).to(dtype)
    if mask is not None:
        allowed = mask(*coordinates(batch, heads, queries, keys, device), *mask_captures)
        added = torch.where(allowed, added, -torch.inf)
    return added


def dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    causal: bool,
    scale: float,
    dropout: float,
    empty_rows: bool = False,
) -> Tensor:
    """Softmax attention by torch's fused kernel, or by products where those are faster."""
    if causal and not dropout and learns_briefly_on_cpu(q, k, v):
        return short_causal_attention(q, k, v, scale)
    if short_on_cpu(q, k):
        if causal:
            bias = dense_bias(past_mask, None, *bias_sizes(q, k), q.dtype)
        return product_attention(q, k, v, bias, scale, dropout, empty_rows)
    if bias is not None and bias.dim() == 3:
        bias = bias.unsqueeze(0)  # with three dimensions torch's CPU kernel gives way to one that keeps every weight
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=bias,
        dropout_p=dropout,
        is_causal=causal,
        scale=scale,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return out.transpose(1, 2)


def learns_briefly_on_cpu(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether products of blocks beat torch's fused CPU kernel, its backward pass above all, for little memory.

    In float32 that is where heads share keys.
    """
    learns = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    longest = 512 if q.dtype is torch.bfloat16 else 256 if q.shape[2] > k.shape[2] else 0
    return q.is_cpu and learns and k.shape[1] <= longest and not torch.compiler.is_compiling()


def short_on_cpu(q: Tensor, k: Tensor) -> bool:
    """Whether plain products beat torch's fused CPU kernel: in bfloat16, up to some 512 keys."""
    return q.is_cpu and q.dtype is torch.bfloat16 and q.shape[1] > 1 and k.shape[1] <= 512


def product_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, dropout: float, empty_rows: bool
) -> Tensor:
    """Softmax attention as two batched products, with every weight kept for the backward pass."""
    times = q.shape[2] // k.shape[2]
    if times > 1:
        k, v = k.repeat_interleave(times, dim=2), v.repeat_interleave(times, dim=2)
    queries, keys, values = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))
    batch, heads = q.shape[0], q.shape[2]
    if bias is None:
        s = torch.bmm(queries * scale, keys.transpose(1, 2))
    else:
        added = bias if bias.dim() == 2 else bias.expand(batch, heads, *bias.shape[-2:]).flatten(0, 1)
        s = torch.baddbmm(added, queries, keys.transpose(1, 2), alpha=scale)
    weights = torch._safe_softmax(s, -1) if empty_rows else s.softmax(-1)
    weights = F.dropout(weights, dropout) if dropout else weights
    return torch.bmm(weights, values).view(batch, heads, q.shape[1], -1).transpose(1, 2)


def additive_attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor,
    *,
    mask: Mask | None = None,
    mask_captures: Captures = (),
    cache: Cache | None = None,
) -> Tensor:
    """Attention whose score is ``sum(weight * tanh(q + k))`` (Bahdanau et al. 2014); weight [d]."""
    if cache is not None:
        k, v = cache.append(k), cache.append(v)
    times = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(times, dim=2), v.repeat_interleave(times, dim=2)
    s = (q.unsqueeze(2) + k.unsqueeze(1)).tanh() @ weight  # [batch, queries, keys, heads]
    s = s.permute(0, 3, 1, 2)
    if mask is not None:
        at = coordinates(q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.device)
        s = s.masked_fill(~mask(*at, *mask_captures), -torch.inf)
    return torch.einsum("bhqk,bkhd->bqhd", softmax_or_zeros(s), v)
