"""Heads normalised and turned by their positions, as kernels in C: what their operators call on CPUs."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from tantra_compiler.kernels.native.toolchain import CODES, addresses, function, rows_of_task, typed_source, vector
from tantra_compiler.runtime.shape import split_heads
from tantra_compiler.runtime.turned_parts import HeadsLayout

_WIDEST: Final = 2**14
"""Numbers of a head that fit the stack of a thread."""

Vectors = list[Tensor | None]
Tables = tuple[Tensor | None, Tensor | None]


class _Shape(ctypes.Structure):
    """``Shape`` of ``heads.c``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "time", "heads", "width", "turning")),
        *((name, ctypes.c_int64 * 3) for name in ("read", "written", "before")),
        ("rows_of_task", ctypes.c_int64),
        *((name, ctypes.c_int) for name in ("pairs", "norm", "threads")),
        *((name, ctypes.c_float) for name in ("eps", "sign")),
    )


def turn(packed: Tensor, cos: Tensor, sin: Tensor, layout: HeadsLayout) -> bool:
    """``runtime.turned_parts.turn_parts``; False where there is no kernel, and then nothing was written."""
    if not _fits(packed, layout):
        return False
    for start, count, width in layout.runs():
        heads = split_heads(packed[..., start : start + count * width], count)
        shape = _shape(heads, cos, layout, 1.0)
        _run("forward", shape, (heads, heads, heads), [heads, heads, *_tables(cos, sin), *[None] * 4])
    return True


def norm(
    packed: Tensor, cos: Tensor | None, sin: Tensor | None, weights: Vectors, biases: Vectors, layout: HeadsLayout
) -> tuple[list[Tensor], list[Tensor]] | None:
    """``runtime.turned_parts.norm_parts``; None where there is no kernel."""
    if not _fits(packed, layout):
        return None
    made, stats = layout.memory(packed)
    views, pending = layout.views(packed), iter(stats)
    for at, out in zip(layout.changed, made, strict=True):
        kept = next(pending) if layout.norms[at] else None
        shape = _shape(out, cos if layout.turned[at] else None, layout, 1.0)
        shape.norm, shape.eps = layout.norms[at], layout.eps[at]
        tables = _tables(cos, sin) if layout.turned[at] else (None, None)
        vectors = vector(weights[at], out, 1.0), vector(biases[at], out, 0.0)
        _run("forward", shape, (views[at], out, out), [views[at], out, *tables, *vectors, *_statistics(kept)])
    return made, stats


def backward(
    grads: list[Tensor], packed: Tensor | None, stats: list[Tensor], cos: Tensor | None, sin: Tensor | None,
    weights: Vectors, biases: Vectors, layout: HeadsLayout,
) -> tuple[Tensor, list[Tensor], list[Tensor]] | None:  # fmt: skip
    """``runtime.turned_parts.backward_parts``; None where there is no kernel."""
    before = grads[0] if packed is None else packed
    if not all(_fits(each, layout) for each in (*grads, before)):
        return None
    whole = grads[0].new_empty(*grads[0].shape[:2], sum(layout.sizes))
    outs, pending = layout.views(whole), iter(stats)
    views = outs if packed is None else layout.views(packed)
    of_weights, of_biases = ([whole.new_empty(0) for _ in grads] for _ in range(2))
    for at, (grad, out) in enumerate(zip(grads, outs, strict=True)):
        if at not in layout.changed:
            out.copy_(grad)
            continue
        kept = next(pending) if layout.norms[at] else None
        shape = _shape(out, cos if layout.turned[at] else None, layout, -1.0)
        shape.norm = layout.norms[at]
        tables = _tables(cos, sin) if layout.turned[at] else (None, None)
        sums = [None if v is None else _sums(shape, whole) for v in (weights[at], biases[at])]
        given = grad if grad.stride(-1) == 1 else grad.contiguous()
        tensors = [given, out, *tables, vector(weights[at], out, 1.0), *sums, *_statistics(kept), views[at]]
        _run("backward", shape, (given, out, views[at]), tensors)
        of_weights[at], of_biases[at] = (
            whole.new_empty(0) if total is None or v is None else total.sum(0).to(v.dtype)
            for total, v in zip(sums, (weights[at], biases[at]), strict=True)
        )
    return whole, of_weights, of_biases


def available(dtype: torch.dtype) -> bool:
    """Whether kernels can be built here that read and write such heads."""
    return dtype in CODES and _kernel("forward", (dtype,) * 3) is not None


def _fits(x: Tensor, layout: HeadsLayout) -> bool:
    return available(x.dtype) and max(layout.widths) <= _WIDEST


def _shape(heads: Tensor, cos: Tensor | None, layout: HeadsLayout, sign: float) -> _Shape:
    """Of heads [batch, time, count, width], or of one [batch, time, width]."""
    batch, time, *count, width = heads.shape
    shape = _Shape(batch=batch, time=time, heads=count[0] if count else 1, width=width)
    shape.turning = 0 if cos is None else cos.shape[-1]
    shape.rows_of_task = rows_of_task(batch * time)
    shape.pairs, shape.sign, shape.threads = layout.interleaved, sign, torch.get_num_threads()
    return shape


def _run(direction: str, shape: _Shape, layouts: tuple[Tensor, Tensor, Tensor], tensors: Vectors) -> None:
    for name, heads in zip(("read", "written", "before"), layouts, strict=True):
        strides = heads.stride()[:-1]
        setattr(shape, name, (ctypes.c_int64 * 3)(*strides, *[0] * (3 - len(strides))))
    kernel = _kernel(direction, tuple(heads.dtype for heads in layouts))
    kernel(addresses(tensors), ctypes.byref(shape))


def _tables(cos: Tensor | None, sin: Tensor | None) -> Tables:
    if cos is None or sin is None:
        return None, None
    turning = cos.shape[-1]
    return cos.reshape(-1, turning).float().contiguous(), sin.reshape(-1, turning).float().contiguous()


def _statistics(kept: Tensor | None) -> Vectors:
    """Scales and means."""
    return [None, None] if kept is None else [kept[0], kept[1] if len(kept) == 2 else None]


def _sums(shape: _Shape, like: Tensor) -> Tensor:
    tasks = -(-shape.batch * shape.time // shape.rows_of_task)
    return like.new_zeros(tasks, shape.width, dtype=torch.float32)


@cache
def _kernel(direction: str, types: tuple[torch.dtype, torch.dtype, torch.dtype]) -> Any:
    source = typed_source("heads.c", tuple(zip("IOX", types, strict=True)))
    return None if source is None else function(source, direction)
