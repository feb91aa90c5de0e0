"""Attention as it is defined, every step written out: what all other executions are compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from tantra_compiler.runtime.attention import coordinates
from tantra_compiler.runtime.philox import keep_weights
from tantra_compiler.runtime.program import EMPTY_LSE, AttentionProgram, Captures


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    program: AttentionProgram,
    captures: Captures,
    *,
    scale: float,
    sink: Tensor | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Attention, and the log-sum-exp of its rows [batch, heads, queries]; computed in float32, or float64 where q is.

    Shapes are those of ``attention.py``. ``sink`` [heads] joins the denominator only. A row without an allowed key
    gives 0 and EMPTY_LSE. Differentiable by autograd, and the same in every call.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    times = q.shape[2] // k.shape[2]
    keys, values = (x.to(wide).repeat_interleave(times, dim=2) for x in (k, v))
    s = torch.einsum("bqhd,bkhd->bhqk", q.to(wide), keys) * scale
    sizes = (q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.device)
    if program.score is not None:
        real = torch.int64 if captures else wide
        s = program.score(s, *coordinates(*sizes, dtype=real), *captures).expand(s.shape)
    empty = s.new_full(s.shape[:-1], s.shape[-1] == 0, dtype=torch.bool)
    if program.mask is not None:
        allowed = program.mask(*coordinates(*sizes), *captures).expand(s.shape)
        s, empty = s.masked_fill(~allowed, -torch.inf), ~allowed.any(-1)
    lse = log_sum_exp(s, empty, sink)
    weights = (s - lse.unsqueeze(-1)).exp()
    if dropout:
        b, h, position, k_position = coordinates(*sizes)
        row = position - (k.shape[1] - q.shape[1])
        weights = weights * keep_weights(seed, dropout, b, h, row, k_position, (sizes[1], sizes[2], sizes[3]))
    out = torch.einsum("bhqk,bkhd->bqhd", weights, values).to(v.dtype)
    return out, lse.masked_fill(empty, EMPTY_LSE)


def log_sum_exp(s: Tensor, empty: Tensor, sink: Tensor | None) -> Tensor:
    """Over the last dimension of s [batch, heads, queries, keys], and the sink; 0 in the ``empty`` rows."""
    s = s.masked_fill(empty.unsqueeze(-1), 0.0)
    if sink is not None:
        s = torch.cat([s, sink.to(s.dtype).view(-1, 1, 1).expand(*s.shape[:-1], 1)], dim=-1)
    elif s.shape[-1] == 0:
        return s.new_zeros(s.shape[:-1])
    return s.logsumexp(-1).masked_fill(empty, 0.0)
