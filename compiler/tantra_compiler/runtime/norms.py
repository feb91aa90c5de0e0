"""Normalisation over the last dimension."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tantra_compiler.runtime.shape import split_heads


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float) -> Tensor:
    """``(x - mean) / sqrt(variance + eps)``, times ``weight``, plus ``bias`` (Ba et al. 2016)."""
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def rms_norm(x: Tensor, weight: Tensor | None = None, *, eps: float) -> Tensor:
    """``x / sqrt(mean(x ** 2) + eps)``, times ``weight`` (Zhang & Sennrich 2019)."""
    trains = torch.is_grad_enabled() and x.dtype in (torch.float32, torch.bfloat16)
    if weight is not None and x.is_cpu and trains:
        return RmsNorm.apply(x, weight, eps)  # type: ignore[no-any-return, no-untyped-call]
    return F.rms_norm(x, x.shape[-1:], weight if weight is None else weight.to(x.dtype), eps)


class RmsNorm(torch.autograd.Function):
    """``rms_norm`` in half as many passes over memory as torch takes on CPU; the mean is taken in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """The norm; ``x`` and the scale of each row are kept."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return torch.mul(x, scale.to(x.dtype)).mul_(weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of x and of the weight."""
        x, weight, scale = ctx.saved_tensors
        w, s = weight.to(x.dtype), scale.to(x.dtype)
        product = (grad * x).flatten(0, -2)
        grad_weight = (s.reshape(1, -1) @ product).view(-1)
        share = (product @ w).view(scale.shape) * scale.pow(3) / x.shape[-1]
        grad_x = torch.mul(grad, w).mul_(s).addcmul_(x, share.to(x.dtype), value=-1)
        return grad_x, grad_weight.to(weight.dtype), None


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
