"""Losses, in nats."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(
    logits: Tensor, target: Tensor, *, label_smoothing: float = 0.0, ignore: int = -100, z_loss: float = 0.0
) -> Tensor:
    """Mean of -log softmax(logits)[target] over the targets that are not ``ignore``; 0 where there is none.

    logits [..., classes], target int [...]. ``z_loss`` adds z_loss * mean(logsumexp(logits) ** 2) over the same ones.
    """
    logits, target = logits.flatten(0, -2), target.flatten()
    count = (target != ignore).sum().clamp(min=1)
    total = F.cross_entropy(logits, target, ignore_index=ignore, reduction="sum", label_smoothing=label_smoothing)
    if z_loss:
        squares = logits.float().logsumexp(-1).square()
        total = total + z_loss * squares.masked_fill(target == ignore, 0).sum()
    return total / count


def balance_loss(scores: Tensor, experts: Tensor, count: int) -> Tensor:
    """Load balance (Fedus et al. 2021): count * sum over experts of its share of the choices times its mean score.

    scores [batch, time, count], experts int [batch, time, slots].
    """
    chosen = torch.bincount(experts.flatten(), minlength=count).to(scores.dtype)
    return count * (chosen / experts.numel() * scores.flatten(0, -2).mean(0)).sum()
