"""The operator behind norms, with or without a residual add before: one pass over memory on every device.

On CPUs rows are taken in parts; on GPUs Triton kernels take them.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tantra_compiler.runtime.norm_parts import (
    NormCall,
    NormGradient,
    NormGradients,
    NormResult,
    norm_backward,
    norm_forward,
)
from tantra_compiler.runtime.operators import fused_pays, native_kernels, operator_namespace

NATIVE_NORM_PAYS = 2**17
"""Numbers from which on kernels in C beat torch's own functions."""

NORM_PAYS = {"norm": 2**20, "layer_norm": 2**21, "layer_norm at one precision": 2**22}
"""Where they cannot be built, from which on parts of rows do; torch's layernorm is a single pass itself."""


def norm_pays(kind: str, x: Tensor, *others: Tensor | None) -> bool:
    """Whether the operator pays for a norm of such a ``kind``."""
    return fused_pays(x, *others) and (not x.is_cpu or x.numel() >= NORM_PAYS[kind] or has_native_norm(x))


def has_native_norm(x: Tensor) -> bool:
    """Whether a kernel in C takes the norm of ``x``."""
    if not (x.is_cpu and fused_pays(x) and x.numel() >= NATIVE_NORM_PAYS):
        return False
    kernels = native_kernels("norm")
    return kernels is not None and kernels.available(x.dtype)


def narrows(x: Tensor) -> bool:
    """Whether what products read of ``x`` is rounded to autocast's precision first."""
    return torch.is_autocast_enabled(x.device.type) and x.is_floating_point() and x.dtype != torch.float64


def narrowed(normal: Tensor, narrow: bool) -> Tensor:
    """``normal``; where it is ``narrow``, as a product under autocast would read it."""
    if not (narrow and narrows(normal)):
        return normal
    return normal.to(torch.get_autocast_dtype(normal.device.type))


def norm_dtype(x: Tensor, dtype: torch.dtype, centred: bool, narrow: bool) -> torch.dtype:
    """Precision of the norm of a sum in ``dtype``: its own; on GPUs torch takes layernorms wide under autocast."""
    if not narrows(x) or dtype == torch.float64:
        return dtype
    if narrow:
        return torch.get_autocast_dtype(x.device.type)
    return torch.float32 if centred and x.is_cuda else dtype


def run_norm(
    x: Tensor,
    y: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    centred: bool,
    eps: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The sum and its norm, with gradients where they are wanted."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, y, weight, bias)):
        return AddNorm.apply(x, y, weight, bias, centred, eps, dtype)  # type: ignore[no-any-return, no-untyped-call]
    total, normal, _, _ = NORM(x, y, weight, bias, centred, eps, dtype)
    return total, normal


class AddNorm(torch.autograd.Function):
    """The operator with its gradients, which are made in one pass as well and cannot be differentiated again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, weight: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor]:
        """The sum, empty where x stands alone, and its norm; of these the sum is kept, and two numbers for each row."""
        total, normal, mean, scale = NORM(x, y, weight, *rest)
        ctx.save_for_backward(x if y is None else total, weight, mean, scale)
        ctx.dtypes = x.dtype, None if y is None or y.dtype == x.dtype else y.dtype
        ctx.bias, ctx.centred, ctx.alone = None if rest[0] is None else rest[0].dtype, rest[1], y is None
        ctx.set_materialize_grads(False)
        if y is None:
            ctx.mark_non_differentiable(total)
        return total, normal

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dsum: Tensor | None, dnormal: Tensor | None) -> tuple[Any, ...]:
        """Gradients of x, y, weight and bias."""
        total, weight, mean, scale = ctx.saved_tensors
        if dnormal is None:
            assert dsum is not None
            return dsum.to(ctx.dtypes[0]), dsum.to(ctx.dtypes[1] or ctx.dtypes[0]), None, None, None, None, None
        wanted = ctx.needs_input_grad[2], ctx.needs_input_grad[3]
        found = NORM_BACKWARD(dsum, dnormal, total, weight, mean, scale, ctx.centred, *wanted, *ctx.dtypes)
        dx, dy, dweight, dbias = found
        dy = None if ctx.alone else dx if ctx.dtypes[1] is None else dy
        dweight = dweight.to(weight.dtype) if wanted[0] else None
        return dx, dy, dweight, dbias.to(ctx.bias) if wanted[1] else None, None, None, None


# --- the operators -------------------------------------------------------------------------

_NORM_SCHEMA = (
    "add_norm(Tensor x, Tensor? y, Tensor? weight, Tensor? bias, bool centred, float eps, ScalarType dtype) "
    "-> (Tensor total, Tensor normal, Tensor mean, Tensor scale)"
)
_NORM_BACKWARD_SCHEMA = (
    "add_norm_backward(Tensor? dsum, Tensor dnormal, Tensor total, Tensor? weight, Tensor mean, Tensor scale, "
    "bool centred, bool for_weight, bool for_bias, ScalarType dtype, ScalarType? other) "
    "-> (Tensor dx, Tensor dy, Tensor dweight, Tensor dbias)"
)


def _norm_on_cpu(*inputs: Any) -> NormResult:
    kernels, call = native_kernels("norm"), NormCall(*inputs)
    with torch.autocast("cpu", enabled=False):
        made = None if kernels is None else kernels.forward(call)
        return norm_forward(call) if made is None else made


def _norm_on_gpu(*inputs: Any) -> NormResult:
    call = NormCall(*inputs)
    kernels = _norm_kernels(call.x.device.type)
    with torch.autocast(call.x.device.type, enabled=False):
        return norm_forward(call) if kernels is None else kernels.forward(call)


def _norm_backward_on_cpu(*inputs: Any) -> NormGradients:
    kernels, given = native_kernels("norm"), NormGradient(*inputs)
    with torch.autocast("cpu", enabled=False):
        made = None if kernels is None else kernels.backward(given)
        return norm_backward(given) if made is None else made


def _norm_backward_on_gpu(*inputs: Any) -> NormGradients:
    given = NormGradient(*inputs)
    kernels = _norm_kernels(given.total.device.type)
    with torch.autocast(given.total.device.type, enabled=False):
        return norm_backward(given) if kernels is None else kernels.backward(given)


def _norm_fake(*inputs: Any) -> NormResult:
    call = NormCall(*inputs)
    x, rows = call.x, (*call.x.shape[:-1], 1)
    total = x.new_empty(0) if call.y is None else x.new_empty(x.shape, dtype=call.sum_dtype)
    mean = x.new_empty(rows if call.centred else (0, 1), dtype=call.wide)
    return total, x.new_empty(x.shape, dtype=call.dtype), mean, x.new_empty(rows, dtype=call.wide)


def _norm_backward_fake(*inputs: Any) -> NormGradients:
    given = NormGradient(*inputs)
    total, width, wide = given.total, given.total.shape[-1], given.scale.dtype
    dx, *dy = (total.new_empty(total.shape, dtype=dtype) for dtype in given.dtypes)
    dweight, dbias = (total.new_empty(width if each else 0, dtype=wide) for each in (given.for_weight, given.for_bias))
    return dx, dy[0] if dy else dx.new_empty(0), dweight, dbias


@lru_cache(maxsize=256)
def _norm_kernels(device: str) -> Any:
    """The module of the Triton kernels, tried on one row; None, with one warning, where they cannot be had."""
    try:
        kernels = importlib.import_module("tantra_compiler.kernels.fused.norm")
        x = torch.zeros(1, 64, device=device)
        kernels.forward(NormCall(x, x, None, None, False, 1.0, x.dtype))
    except Exception as error:
        warnings.warn(f"norms on {device} run without their kernels, which is slow: {error}", stacklevel=2)
        return None
    return kernels


def _registered_norm(name: str, schema: str, on_cpu: Callable[..., Any], on_gpu: Callable[..., Any], fake: Any) -> Any:
    namespace = operator_namespace(__name__)
    _NORM_LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    _NORM_LIBRARY.impl(name, on_cpu, "CPU")  # type: ignore[no-untyped-call]
    _NORM_LIBRARY.impl(name, on_gpu, "CUDA")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{namespace}::{name}", fake, lib=_NORM_LIBRARY)
    return getattr(getattr(torch.ops, namespace), name).default


_NORM_LIBRARY = torch.library.Library(operator_namespace(__name__), "FRAGMENT")  # type: ignore[no-untyped-call]
NORM = _registered_norm("add_norm", _NORM_SCHEMA, _norm_on_cpu, _norm_on_gpu, _norm_fake)
NORM_BACKWARD = _registered_norm(
    "add_norm_backward", _NORM_BACKWARD_SCHEMA, _norm_backward_on_cpu, _norm_backward_on_gpu, _norm_backward_fake
)
