"""Elementwise functions by Triton kernels: what their operator calls on GPUs, and what can be built ahead of time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor

from tantra_compiler.kernels.attention.prepare import on_device
from tantra_compiler.kernels.fused.builds import KernelBuild
from tantra_compiler.kernels.fused.generate_map import generate_map
from tantra_compiler.kernels.run import imported
from tantra_compiler.runtime.elementwise import as_rows, gradient_places, like_result, summed_gradients, variables

_TILE, _WIDEST, _WARPS = 2048, 1024, 4
"""Numbers of a program, of them in a row at most, and its warps: 16 numbers a thread, in loads of 16 bytes."""

SAMPLES = {
    "silu gate": "2: x1 * sigmoid(x1) * x0",
    "gelu": "1: 0.5 * x0 * (1 + erf(x0 * 0.7071067811865476))",
    "gelu by tanh, gated": "2: 0.5 * x1 * (1 + tanh(0.7978845608028654 * (x1 + 0.044715 * x1 ** 3))) * x0",
    "relu squared": "1: max(x0, 0) ** 2",
    "mish": "1: x0 * tanh(softplus(x0))",
    "three branches": "3: x0 * sigmoid(x0) * x1 + tanh(x2) * exp(-(x0 * x0))",
}
"""Functions that are built ahead of time, simple ones and heavy ones."""


@cache
def kernels_of(text: str) -> Any:
    """The module of the kernels of a function."""
    return imported(generate_map(text).text)


def forward(operands: list[Tensor], width: int, text: str) -> Tensor:
    """The function of the variables that ``operands`` hold, as ``runtime.elementwise.mapped_reference`` has it."""
    found = variables(operands, width)
    out = like_result(operands, width)
    if out.numel():
        inputs = [as_rows(each, out.shape) for each in found]
        _launch(kernels_of(text).value_kernel, out, out, *inputs, _count(out), *_strides(inputs))
    return out


def backward(value: Tensor | None, grad: Tensor, operands: list[Tensor], width: int, text: str) -> list[Tensor]:
    """The gradients of ``operands``; ``value``, without gaps, becomes the function's, where ``grad`` may have lain."""
    found, shape = variables(operands, width), grad.shape
    wholes, places = gradient_places(operands, width, shape)
    if grad.numel():
        inputs, views = ([as_rows(each, shape) for each in many] for many in (found, places))
        slope = as_rows(grad, shape)
        slope = slope if slope.stride(1) == 1 else slope.contiguous()
        strides = (slope.stride(0), *(each.stride(0) for each in views), *_strides(inputs))
        written = (views[0] if value is None else value, *views)
        arguments = (*written, slope, *inputs, _count(grad), *strides)
        _launch(kernels_of(text).gradient_kernel, grad, *arguments, WITH_VALUE=value is not None)
    return summed_gradients(operands, wholes)


def _strides(inputs: list[Tensor]) -> tuple[int, ...]:
    """Of the rows of each, then of the columns of each."""
    return (*(each.stride(0) for each in inputs), *(each.stride(1) for each in inputs))


def _count(x: Tensor) -> int:
    return x.numel() // x.shape[-1]


def tile(width: int) -> tuple[int, int]:
    """Rows and columns of a program for values that are ``width`` wide."""
    columns = min(_WIDEST, triton.next_power_of_2(width))
    return max(1, min(64, _TILE // columns)), columns


def _launch(kernel: Any, like: Tensor, *arguments: Any, **constants: bool) -> None:
    width = like.shape[-1]
    rows, columns = tile(width)
    grid = (triton.cdiv(_count(like), rows), triton.cdiv(width, columns))
    with on_device(like):
        kernel[grid](*arguments, **constants, WIDTH=width, ROWS=rows, COLUMNS=columns, num_warps=_WARPS)


def obstacle(text: str, device: str) -> str | None:
    """Why the kernels of a function cannot be built on ``device``, or None. Builds and runs them on one row."""
    try:
        operands = [torch.zeros(1, 16, device=device) for _ in range(generate_map(text).count)]
        backward(None, forward(operands, 16, text), operands, 16, text)
    except Exception as error:
        return f"it does not build: {error}".splitlines()[0]
    return None


def builds(target: str) -> Iterator[KernelBuild]:
    """Every tile for every sample, in both directions: the same for all targets."""
    for name, text in SAMPLES.items():
        for width in (1, 48, 1024, 11_008):
            for dtype in ("bf16", "fp16", "fp32"):
                if dtype == "bf16" or width == 1024:
                    yield from _builds_of(name, text, width, dtype)


def _builds_of(name: str, text: str, width: int, dtype: str) -> Iterator[KernelBuild]:
    module, count = kernels_of(text), generate_map(text).count
    rows, columns = tile(width)
    columns_of = {f"x{number}_column": 1 for number in range(count)}
    for kernel in (module.value_kernel, module.gradient_kernel):
        value = kernel is module.value_kernel
        constants = {"WIDTH": width, "ROWS": rows, "COLUMNS": columns, **columns_of}
        constants |= {} if value else {"WITH_VALUE": True}
        title = f"{name}, {'value' if value else 'gradient'}, {width} columns"
        yield KernelBuild(title, kernel, dtype, constants, _WARPS)
