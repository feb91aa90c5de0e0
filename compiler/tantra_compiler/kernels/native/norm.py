"""Norms, with or without a residual add before, as kernels in C: what their operator calls on CPUs."""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from tantra_compiler.kernels.native.toolchain import CODES, NoToolchain, addresses, library, numbers
from tantra_compiler.runtime.norm_parts import NormCall, NormGradient, NormGradients, NormResult

_FEWEST_ROWS, _MOST_TASKS = 64, 256
"""Rows whose gradients of weights are summed in one go, and how many such sums there are at most."""

Types = tuple[tuple[str, torch.dtype], ...]
"""The types of ``norm.c`` by their letters."""


def forward(call: NormCall) -> NormResult | None:
    """``runtime.norm_parts.norm_forward``; None where there is no kernel for these tensors."""
    x, y = _rows(call.x), None if call.y is None else _rows(call.y)
    types = (("X", x.dtype), ("Y", x.dtype if y is None else y.dtype), ("T", call.sum_dtype), ("N", call.dtype))
    kernel = _kernel("forward", (*types, ("D", x.dtype)))
    if kernel is None or not x.is_cpu:
        return None
    total = x.new_empty(0 if y is None else x.shape, dtype=call.sum_dtype)
    normal = x.new_empty(x.shape, dtype=call.dtype)
    mean, scale = (
        x.new_empty(len(x) if call.centred else 0, 1, dtype=call.wide),
        x.new_empty(len(x), 1, dtype=call.wide),
    )
    weight, bias = _vector(call.weight, x, 1.0), _vector(call.bias, x, 0.0)
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
    if kernel is None or not total.is_cpu:
        return None
    rows, width = total.shape
    rows_of_task = max(_FEWEST_ROWS, -(-rows // _MOST_TASKS))
    dx, *dy = (total.new_empty(given.total.shape, dtype=dtype) for dtype in given.dtypes)
    sums = [
        total.new_zeros(-(-rows // rows_of_task), width, dtype=torch.float32) if wanted else None
        for wanted in (given.for_weight, given.for_bias)
    ]
    mean = given.mean if given.centred else None
    tensors = [
        dsum,
        dnormal,
        total,
        _vector(given.weight, total, 1.0),
        mean,
        given.scale,
        dx,
        dy[0] if dy else None,
        *sums,
    ]
    strides = numbers([0 if dsum is None else dsum.stride(0), dnormal.stride(0), total.stride(0)])
    kernel(_addresses(tensors), strides, rows, width, rows_of_task, torch.get_num_threads())
    dweight, dbias = (total.new_empty(0, dtype=torch.float32) if each is None else each.sum(0) for each in sums)
    return dx, dy[0] if dy else dx.new_empty(0), dweight, dbias


def available(*dtypes: torch.dtype) -> bool:
    """Whether kernels can be built here that read and write such tensors."""
    return (
        all(dtype in CODES for dtype in dtypes)
        and _kernel("forward", tuple((each, torch.float32) for each in "XYTND")) is not None
    )


def _rows(x: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 or rows.shape[1] == 1 else rows.contiguous()


def _vector(given: Tensor | None, like: Tensor, otherwise: float) -> Tensor:
    """``given`` as kernels read it, or as many of a number."""
    if given is None:
        return torch.full(like.shape[-1:], otherwise)
    return given.detach().to(torch.float32).contiguous()


def _addresses(tensors: list[Tensor | None]) -> Any:
    return addresses([None if each is None or not each.numel() else each for each in tensors])


@cache
def _kernel(direction: str, types: Types) -> Any:
    if not all(dtype in CODES for _, dtype in types):
        return None
    defined = "".join(f"#define {letter} {CODES[dtype]}\n" for letter, dtype in types)
    try:
        kernel = getattr(library(defined + _source()), direction)
    except NoToolchain as error:
        logging.getLogger(__name__).info("norms run by torch's own passes: %s", error)
        return None
    kernel.restype = None
    kernel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *_REST[direction]]
    return kernel


_REST: Final[dict[str, list[Any]]] = {
    "forward": [ctypes.c_float, ctypes.c_int, ctypes.c_int],
    "backward": [ctypes.c_int64, ctypes.c_int],
}


@cache
def _source() -> str:
    return (Path(__file__).parent / "norm.c").read_text(encoding="utf-8")
