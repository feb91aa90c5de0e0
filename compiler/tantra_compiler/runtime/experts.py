"""Mixtures of experts: the choice, the experts, and putting their results together."""

from __future__ import annotations

import torch
from torch import Tensor

from tantra_compiler.runtime.linear import linear


def route(
    scores: Tensor,
    top_k: int,
    bias: Tensor | None = None,
    *,
    groups: int = 1,
    kept_groups: int = 1,
    normalize: bool = False,
    scale: float = 1.0,
    softmax: bool = False,
) -> tuple[Tensor, Tensor]:
    """Chooses experts for scores [batch, time, experts] -> (int [batch, time, top_k], weights [batch, time, top_k]).

    ``bias`` [experts] joins the choice, not the weights. With groups, only the ``kept_groups`` of them whose two best
    scores sum highest are open (DeepSeek-V3). The weights are the scores of the chosen: through a ``softmax`` over
    them, divided by their sum where ``normalize``, and times ``scale``.
    """
    ranked = scores if bias is None else scores + bias
    if groups > 1:
        ranked = open_groups(ranked, groups, kept_groups)
    experts = ranked.topk(top_k, dim=-1).indices
    weights = scores.gather(-1, experts)
    if softmax:
        weights = weights.softmax(-1)
    if normalize:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return experts, weights if scale == 1.0 else weights * scale


def open_groups(scores: Tensor, groups: int, kept: int) -> Tensor:
    """``scores`` with -inf in all but the ``kept`` groups whose two best sum highest."""
    grouped = scores.view(*scores.shape[:-1], groups, -1)
    rank = grouped.topk(min(2, grouped.shape[-1]), dim=-1).values.sum(-1)
    chosen = torch.zeros_like(rank, dtype=torch.bool).scatter(-1, rank.topk(kept, dim=-1).indices, True)
    return grouped.masked_fill(~chosen.unsqueeze(-1), -torch.inf).flatten(-2)


def expert_linear(x: Tensor, experts: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Each slot through its own expert: x [batch, time, in] or [batch, time, slots, in] -> [batch, time, slots, out].

    experts int [batch, time, slots]; weight [experts, out, in]; bias [experts, out]. Rows are sorted by expert, so that
    each expert is one matrix product over the rows that chose it.
    """
    slots = experts.shape[-1]
    rows = x.unsqueeze(2).expand(-1, -1, slots, -1) if x.dim() == 3 else x
    order = experts.flatten().argsort(stable=True)
    counts = torch.bincount(experts.flatten(), minlength=weight.shape[0]).tolist()
    parts = torch.split(rows.reshape(-1, x.shape[-1])[order], counts)
    biases = [None] * len(counts) if bias is None else bias.unbind()
    made = [linear(part, weight[i], biases[i]) for i, part in enumerate(parts) if counts[i]]
    sorted_rows = torch.cat(made)
    out = torch.empty_like(sorted_rows).index_copy(0, order, sorted_rows)
    return out.view(*experts.shape, weight.shape[1])


def combine_experts(y: Tensor, weights: Tensor) -> Tensor:
    """Sum of y [batch, time, slots, d] over slots, each times its weight [batch, time, slots]."""
    return (weights.unsqueeze(-2).to(y.dtype) @ y).squeeze(-2)
