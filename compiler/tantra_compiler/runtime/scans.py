"""Scans along time: linear recurrences whose state is a matrix per head."""

from __future__ import annotations

import torch
from torch import Tensor

from tantra_compiler.runtime.cache import Cache, held_state


def linear_scan(q: Tensor, k: Tensor, v: Tensor, decay: Tensor | None = None, *, cache: Cache | None = None) -> Tensor:
    """S_t = decay_t S_{t-1} + k_t v_t^T; y_t = q_t S_t, from S = 0.

    q, k [batch, time, groups, n]; v [batch, time, heads, p] -> [batch, time, heads, p]; decay [heads], [batch, time,
    heads] or [batch, time, heads, n]; head h reads group h // (heads / groups).
    """
    times = v.shape[2] // q.shape[2]
    q, k = q.repeat_interleave(times, dim=2), k.repeat_interleave(times, dim=2)
    held = held_state(cache)
    state = v.new_zeros(v.shape[0], v.shape[2], q.shape[3], v.shape[3]) if held[0] is None else held[0]
    keep = decay_over_time(decay, v)
    made = []
    for t in range(v.shape[1]):
        state = keep[:, t] * state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        made.append((q[:, t].unsqueeze(-2) @ state).squeeze(-2))
    held[0] = state.detach()
    return torch.stack(made, dim=1)


def decay_over_time(decay: Tensor | None, v: Tensor) -> Tensor:
    """A decay as [batch or 1, time, heads or 1, n or 1, 1], to multiply states [batch, heads, n, p] at each time."""
    if decay is None:
        return v.new_ones(1, 1, 1, 1, 1).expand(1, v.shape[1], 1, 1, 1)
    if decay.dim() == 1:
        return decay.view(1, 1, -1, 1, 1).expand(1, v.shape[1], -1, 1, 1)
    return decay[..., None, None] if decay.dim() == 3 else decay.unsqueeze(-1)


def selective_scan(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, *, cache: Cache | None = None) -> Tensor:
    """h_t = exp(delta_t a) h_{t-1} + delta_t b_t x_t; y_t = c_t h_t, from h = 0 (Mamba, Gu & Dao 2023).

    x, delta [batch, time, dim]; a [dim, n]; b, c [batch, time, n] -> [batch, time, dim].
    """
    held = held_state(cache)
    state = x.new_zeros(x.shape[0], x.shape[2], a.shape[1]) if held[0] is None else held[0]
    keep = (delta.unsqueeze(-1) * a).exp()
    added = (delta * x).unsqueeze(-1) * b.unsqueeze(-2)
    made = []
    for t in range(x.shape[1]):
        state = keep[:, t] * state + added[:, t]
        made.append((state @ c[:, t].unsqueeze(-1)).squeeze(-1))
    held[0] = state.detach()
    return torch.stack(made, dim=1)


def delta_scan(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, decay: Tensor | None = None, *, cache: Cache | None = None
) -> Tensor:
    """S_t = decay_t S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T; y_t = S_t q_t (Yang et al. 2024).

    q, k [batch, time, heads, n]; v [batch, time, heads, p]; beta [batch, time, heads] -> [batch, time, heads, p].
    """
    held = held_state(cache)
    state = v.new_zeros(v.shape[0], v.shape[2], v.shape[3], q.shape[3]) if held[0] is None else held[0]
    keep = decay_over_time(decay, v).transpose(-1, -2)
    made = []
    for t in range(v.shape[1]):
        state = keep[:, t] * state
        error = v[:, t] - (state @ k[:, t].unsqueeze(-1)).squeeze(-1)
        state = state + (beta[:, t].unsqueeze(-1) * error).unsqueeze(-1) * k[:, t].unsqueeze(-2)
        made.append((state @ q[:, t].unsqueeze(-1)).squeeze(-1))
    held[0] = state.detach()
    return torch.stack(made, dim=1)
