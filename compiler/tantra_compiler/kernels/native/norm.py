"""Norms, with or without a residual add before, as kernels in C: what their operator calls on CPUs."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from tantra_compiler.kernels.native.toolchain import addresses, function, numbers, rows_of_task, typed_source, vector
from tantra_compiler.runtime.norm_parts import NormCall, NormGradient, NormGradients, NormResult

Types = tuple[tuple[str, torch.dtype], ...]
"""The types of ``norm.c`` by their letters."""


def forward(call: NormCall) -> NormResult | None:
    """``runtime.norm_parts.norm_forward``; None where there is no kernel for these tensors."""
    x, y = _rows(call.x), None if call.y is None else _rows(call.y)
    types = (("X", x.dtype), ("Y", x.dtype if y is None else y.dtype), ("T", call.sum_dtype), ("N", call.dtype))
    kernel = _kernel("forward", (*types, ("D", x.dtype)))
    if kernel is None:
        return None
    total = x.new_empty(0 if y is None else x.shape, dtype=call.sum_dtype)
    normal = x.new_empty(x.shape, dtype=call.dtype)
    mean, scale = (x.new_empty(count, 1, dtype=call.wide) for count in (len(x) if call.centred else 0, len(x)))
    weight, bias = vector(call.weight, x, 1.0), vector(call.bias, x, 0.0)
    tensors = [x, y, weight, bias, total, normal, mean, scale]
    strides = numbers([x.stride(0), 0 if y is None else y.stride(0)])
    kernel(_addresses(tensors), strides, *x.shape, call.eps, call.centred, torch.get_num_threads())
    shape, rows = call.x.shape, (*call.x.shape[:-1], 1)
    mean = mean.view(rows) if call.centred else mean
    return total if y is None else total.view(shape), normal.view(shape), mean, scale.view(rows)


def backward(given: NormGradient) -> NormGradients | None:
    """``runtime.norm_parts.norm_backward``; None where there is no kernel for these tensors."""
    total, dnormal = _rows(given.total), _rows(given.dnormal)
    dsum = None if given.dsum is None else _rows(given.dsum)
    other = given.other or given.dtype
    types = (("X", given.dtype), ("Y", other), ("T", total.dtype), ("N", dnormal.dtype))
    kernel = _kernel("backward", (*types, ("D", total.dtype if dsum is None else dsum.dtype)))
    if kernel is None:
        return None
    rows, width = total.shape
    step = rows_of_task(rows)
    dx, *dy = (total.new_empty(given.total.shape, dtype=dtype) for dtype in given.dtypes)
    tasks = -(-rows // step)
    dweights, dbiases = (
        total.new_zeros(tasks, width if wanted else 0, dtype=torch.float32)
        for wanted in (given.for_weight, given.for_bias)
    )
    weight, mean = vector(given.weight, total, 1.0), given.mean if given.centred else None
    tensors = [dsum, dnormal, total, weight, mean, given.scale, dx, dy[0] if dy else None, dweights, dbiases]
    strides = numbers([0 if dsum is None else dsum.stride(0), dnormal.stride(0), total.stride(0)])
    kernel(_addresses(tensors), strides, rows, width, step, torch.get_num_threads())
    return dx, dy[0] if dy else dx.new_empty(0), dweights.sum(0), dbiases.sum(0)


def available(dtype: torch.dtype) -> bool:
    """Whether kernels can be built here that read and write such tensors."""
    return _kernel("forward", tuple((letter, dtype) for letter in "XYTND")) is not None


def _rows(x: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 or rows.shape[1] == 1 else rows.contiguous()


def _addresses(tensors: list[Tensor | None]) -> Any:
    """Those of tensors that hold nothing are nowhere, by which kernels know what is not wanted."""
    return addresses([None if each is None or not each.numel() else each for each in tensors])


@cache
def _kernel(direction: str, types: Types) -> Any:
    source = typed_source("norm.c", types)
    return None if source is None else function(source, direction, ctypes.c_int64, ctypes.c_int64, *_REST[direction])


_REST: Final[dict[str, list[Any]]] = {
    "forward": [ctypes.c_float, ctypes.c_int, ctypes.c_int],
    "backward": [ctypes.c_int64, ctypes.c_int],
}
