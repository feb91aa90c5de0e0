"""A residual add and the norm behind it: one pass over memory, or the plain form where that does not pay."""

from __future__ import annotations

import torch
from torch import Tensor

from tantra_compiler.runtime.norm_operator import has_native_norm, narrows, norm_dtype, norm_pays, run_norm
from tantra_compiler.runtime.norms import layer_norm_reference, rms_norm_reference


def add_layer_norm(
    x: Tensor, y: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float, narrow: bool = False
) -> tuple[Tensor, Tensor]:
    """``x + y`` and its ``layer_norm``; x and y [..., width]. A ``narrow`` norm is in autocast's precision."""
    if not _layer_norm_pays(x, y, narrow, weight, bias):
        return add_layer_norm_reference(x, y, weight, bias, eps=eps, narrow=narrow)
    return _added_norm(x, y, weight, bias, True, eps, narrow)


def add_rms_norm(
    x: Tensor, y: Tensor, weight: Tensor | None = None, *, eps: float, narrow: bool = False
) -> tuple[Tensor, Tensor]:
    """``x + y`` and its ``rms_norm``; x and y [..., width]. A ``narrow`` norm is in autocast's precision."""
    if not norm_pays("norm", x, y, weight):
        return add_rms_norm_reference(x, y, weight, eps=eps, narrow=narrow)
    return _added_norm(x, y, weight, None, False, eps, narrow)


def add_layer_norm_reference(
    x: Tensor, y: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float, narrow: bool = False
) -> tuple[Tensor, Tensor]:
    """The plain form of ``add_layer_norm``."""
    total = x + y
    return total, layer_norm_reference(total, weight, bias, eps=eps, narrow=narrow)


def add_rms_norm_reference(
    x: Tensor, y: Tensor, weight: Tensor | None = None, *, eps: float, narrow: bool = False
) -> tuple[Tensor, Tensor]:
    """The plain form of ``add_rms_norm``."""
    total = x + y
    return total, rms_norm_reference(total, weight, eps=eps, narrow=narrow)


def _layer_norm_pays(x: Tensor, y: Tensor, narrow: bool, *weights: Tensor | None) -> bool:
    """On CPUs without C torch's own layernorm is as good in half precision, and for small sums at one precision."""
    if x.dtype != y.dtype or (narrow and narrows(x)) or has_native_norm(x):
        return norm_pays("norm", x, y, *weights)
    is_half = x.is_cpu and x.dtype in (torch.float16, torch.bfloat16)
    return not is_half and norm_pays("layer_norm at one precision", x, y, *weights)


def _added_norm(
    x: Tensor, y: Tensor, weight: Tensor | None, bias: Tensor | None, centred: bool, eps: float, narrow: bool
) -> tuple[Tensor, Tensor]:
    dtype = norm_dtype(x, torch.promote_types(x.dtype, y.dtype), centred, narrow)
    return run_norm(x, y, weight, bias, centred, eps, dtype)
