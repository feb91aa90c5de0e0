"""Normalisation over the last dimension."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tantra_compiler.runtime.norm_operator import has_native_norm, narrowed, narrows, norm_dtype, norm_pays, run_norm
from tantra_compiler.runtime.shape import split_heads


def layer_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float, narrow: bool = False
) -> Tensor:
    """``(x - mean) / sqrt(variance + eps)``, times ``weight``, plus ``bias`` (Ba et al. 2016).

    A ``narrow`` norm is in autocast's precision, as the products that read it would round it.
    """
    pays = not x.is_cpu or (narrow and narrows(x)) or has_native_norm(x)
    if pays and norm_pays("layer_norm", x, weight, bias):
        return _norm_alone(x, weight, bias, True, eps, narrow)
    return layer_norm_reference(x, weight, bias, eps=eps, narrow=narrow)


def rms_norm(x: Tensor, weight: Tensor | None = None, *, eps: float, narrow: bool = False) -> Tensor:
    """``x / sqrt(mean(x ** 2) + eps)``, times ``weight`` (Zhang & Sennrich 2019).

    A ``narrow`` norm is in autocast's precision, as the products that read it would round it.
    """
    if norm_pays("norm", x, weight):
        return _norm_alone(x, weight, None, False, eps, narrow)
    return rms_norm_reference(x, weight, eps=eps, narrow=narrow)


def _norm_alone(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, centred: bool, eps: float, narrow: bool
) -> Tensor:
    return run_norm(x, None, weight, bias, centred, eps, norm_dtype(x, x.dtype, centred, narrow))[1]


def layer_norm_reference(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float, narrow: bool = False
) -> Tensor:
    """The plain form of ``layer_norm``."""
    return narrowed(F.layer_norm(x, x.shape[-1:], weight, bias, eps), narrow)


def rms_norm_reference(x: Tensor, weight: Tensor | None = None, *, eps: float, narrow: bool = False) -> Tensor:
    """The plain form of ``rms_norm``: torch's functions or, where it learns on a CPU uncompiled, ``RmsNorm``."""
    trains = torch.is_grad_enabled() and x.dtype in (torch.float32, torch.bfloat16)
    if weight is not None and x.is_cpu and trains and not torch.compiler.is_compiling():
        return narrowed(RmsNorm.apply(x, weight, eps), narrow)  # type: ignore[no-untyped-call]
    return narrowed(F.rms_norm(x, x.shape[-1:], weight if weight is None else weight.to(x.dtype), eps), narrow)


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


class LayerNorm(nn.LayerNorm):
    """torch's layer, giving what products read; see ``layer_norm`` on what ``narrow`` is."""

    def forward(self, input: Tensor) -> Tensor:
        """The narrow norm of ``input``."""
        return layer_norm(input, self.weight, self.bias, eps=self.eps, narrow=True)


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
