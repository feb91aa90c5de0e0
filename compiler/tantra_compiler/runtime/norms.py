"""Normalisation over the last dimension."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tantra_compiler.runtime.shape import split_heads


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float) -> Tensor:
    """``(x - mean) / sqrt(variance + eps)``, times ``weight``, plus ``bias`` (Ba et al. 2016)."""
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def rms_norm(x: Tensor, weight: Tensor | None = None, *, eps: float) -> Tensor:
    """``x / sqrt(mean(x ** 2) + eps)``, times ``weight`` (Zhang & Sennrich 2019)."""
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def l2_norm(x: Tensor, *, eps: float) -> Tensor:
    """``x / sqrt(sum(x ** 2) + eps)``."""
    return x * (x.square().sum(-1, keepdim=True) + eps).rsqrt()


def group_layer_norm(x: Tensor, groups: int, *, eps: float) -> Tensor:
    """``layer_norm`` of each of ``groups`` equal parts."""
    return layer_norm(split_heads(x, groups), eps=eps).flatten(-2)


def group_rms_norm(x: Tensor, groups: int, *, eps: float) -> Tensor:
    """``rms_norm`` of each of ``groups`` equal parts."""
    return rms_norm(split_heads(x, groups), eps=eps).flatten(-2)


def group_l2_norm(x: Tensor, groups: int, *, eps: float) -> Tensor:
    """``l2_norm`` of each of ``groups`` equal parts."""
    return l2_norm(split_heads(x, groups), eps=eps).flatten(-2)
