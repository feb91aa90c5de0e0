"""Losses, in nats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_LARGE = 2**22
"""From so many logits on, a copy of them in float32 costs more than going over them in parts."""

_PART = 2**18
"""So many logits fit the cache of one core."""


def cross_entropy(
    logits: Tensor, target: Tensor, *, label_smoothing: float = 0.0, ignore: int = -100, z_loss: float = 0.0
) -> Tensor:
    """Mean of -log softmax(logits)[target] over the targets that are not ``ignore``; 0 where there is none.

    logits [..., classes], target int [...]. ``z_loss`` adds z_loss * mean(logsumexp(logits) ** 2) over the same ones.
    """
    logits, target = logits.flatten(0, -2), target.flatten()
    if logits.is_cpu and logits.numel() >= _LARGE and not z_loss and not torch.compiler.is_compiling():
        apply: Callable[..., Tensor] = CrossEntropyInParts.apply
        return apply(logits, target, label_smoothing, ignore)
    count = (target != ignore).sum().clamp(min=1)
    total = F.cross_entropy(logits, target, ignore_index=ignore, reduction="sum", label_smoothing=label_smoothing)
    if z_loss:
        squares = logits.to(torch.promote_types(logits.dtype, torch.float32)).logsumexp(-1).square()
        total = total + z_loss * squares.masked_fill(target == ignore, 0).sum()
    return total / count


class CrossEntropyInParts(torch.autograd.Function):
    """``cross_entropy`` of logits [rows, classes], a few rows at a time: nothing else of their size is kept."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, smoothing: float, ignore: int) -> Tensor:
        """The loss in float32, or float64 where the logits are."""
        wide = torch.promote_types(logits.dtype, torch.float32)
        kept = target != ignore
        chosen = target.where(kept, 0).unsqueeze(1)
        share = (kept.to(wide) / kept.sum().clamp(min=1)).unsqueeze(1)
        loss = share.new_zeros(())
        for rows in parts_of(logits):
            log = torch.log_softmax(logits[rows], -1, dtype=wide)
            gained = log.gather(1, chosen[rows]).mul_(1 - smoothing)
            if smoothing:
                gained += log.mean(-1, keepdim=True) * smoothing
            loss -= (gained * share[rows]).sum()
        ctx.save_for_backward(logits, chosen, share)
        ctx.smoothing = smoothing
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradient of the logits, in their precision."""
        logits, chosen, share = ctx.saved_tensors
        share = share * grad
        made = torch.empty_like(logits)
        for rows in parts_of(logits):
            part = torch.softmax(logits[rows], -1, dtype=share.dtype)
            if ctx.smoothing:
                part -= ctx.smoothing / logits.shape[1]
            part.scatter_add_(1, chosen[rows], torch.full_like(share[rows], ctx.smoothing - 1))
            made[rows] = part.mul_(share[rows])
        return made, None, None, None


def parts_of(logits: Tensor) -> list[slice]:
    """Slices of a few rows each that cover logits [rows, classes]."""
    step = max(1, _PART // logits.shape[1])
    return [slice(start, start + step) for start in range(0, logits.shape[0], step)]


def balance_loss(scores: Tensor, experts: Tensor, count: int) -> Tensor:
    """Load balance (Fedus et al. 2021): count * sum over experts of its share of the choices times its mean score.

    scores [batch, time, count], experts int [batch, time, slots].
    """
    chosen = torch.bincount(experts.flatten(), minlength=count).to(scores.dtype)
    return count * (chosen / experts.numel() * scores.flatten(0, -2).mean(0)).sum()
