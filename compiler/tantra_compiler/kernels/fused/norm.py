"""Norms by Triton kernels: what a norm's operator calls on GPUs, and every kernel that it can choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from tantra_compiler.kernels.attention.prepare import INTERPRETED, on_device, processors
from tantra_compiler.kernels.fused.builds import KernelBuild
from tantra_compiler.kernels.fused.norm_kernels import norm_gradient_kernel, norm_kernel
from tantra_compiler.kernels.fused.wide_norm_kernels import (
    weight_gradient_kernel,
    wide_gradient_kernel,
    wide_norm_kernel,
)
from tantra_compiler.runtime.norm_parts import (
    NormCall,
    NormGradient,
    NormGradients,
    NormResult,
    norm_backward,
    norm_forward,
)

_HELD = 16_384
"""Columns of the widest rows that a program holds at once in the forward pass."""

_HELD_BACKWARD = 8192
"""The same for the gradient of an rms norm, which keeps sums for its weight beside them."""

_TILE = 2048
"""Numbers of a program, where rows are narrow."""


@dataclass(frozen=True)
class Config:
    """A kernel's tile, in rows and columns, and its warps; ``whole`` where it holds rows at once."""

    rows: int
    block: int
    warps: int
    whole: bool


def config(width: int, held: int, aligned: bool) -> Config:
    """The tile for rows of ``width`` columns, which are ``aligned`` where they begin at multiples of 16 elements."""
    block = 1 << (width - 1).bit_length()
    if block > held:
        return Config(1, 4096, 8, False)
    rows = max(1, min(32, _TILE // block))
    each = 512 if aligned or held == _HELD else 256
    return Config(rows, block, min(16, max(1, rows * block // each)), True)


def held(backward: bool, centred: bool, aligned: bool) -> int:
    """Columns of the widest rows that a program holds at once; beyond, its registers would spill."""
    if not backward:
        return _HELD
    return _HELD_BACKWARD // 2 if centred or not aligned else _HELD_BACKWARD


_COLUMNS = Config(8, 256, 4, False)
"""The tile of sums over the rows of wide norms."""


def forward(call: NormCall) -> NormResult:
    """What ``norm_forward`` gives; numbers in float64 are not the kernels'."""
    if call.wide != torch.float32 or not call.x.numel():
        return norm_forward(call)
    x, y = _rows(call.x), None if call.y is None else _rows(call.y)
    total = call.x.new_empty(0 if y is None else call.x.shape, dtype=call.sum_dtype)
    normal = torch.empty(call.x.shape, dtype=call.dtype, device=x.device)
    rows = (*call.x.shape[:-1], 1)
    scale = x.new_empty(rows, dtype=torch.float32)
    mean = x.new_empty(rows if call.centred else (0, 1), dtype=torch.float32)
    tile, vectors = config(x.shape[1], _HELD, _aligned(x, y)), (_vector(call.weight), _vector(call.bias))
    arguments = x, y, *vectors, total, normal, mean, scale, x.stride(0), 0 if y is None else y.stride(0), len(x)
    constants = {
        **_tile_constants(tile, x, y, width=x.shape[1]),
        "ADDED": y is not None,
        "WEIGHTED": call.weight is not None,
        "BIASED": call.bias is not None,
        "CENTRED": call.centred,
    }
    kernel = norm_kernel if tile.whole else wide_norm_kernel
    with on_device(x):
        kernel[(-(-len(x) // tile.rows),)](*_pointers(arguments, x), call.eps, **constants, num_warps=tile.warps)
    return total, normal, mean, scale


def backward(given: NormGradient) -> NormGradients:
    """What ``norm_backward`` gives."""
    if given.scale.dtype != torch.float32 or not given.total.numel():
        return norm_backward(given)
    total, dnormal = _rows(given.total), _rows(given.dnormal)
    dsum = None if given.dsum is None else _rows(given.dsum)
    dx, *dy = (torch.empty(given.total.shape, dtype=dtype, device=total.device) for dtype in given.dtypes)
    other = dy[0] if dy else None
    made = _launched(given, total, dnormal, dsum, dx, other)
    dweight, dbias = (total.new_empty(0, dtype=torch.float32) if part is None else part.sum(0) for part in made)
    return dx, dx.new_empty(0) if other is None else other, dweight, dbias


def _launched(
    given: NormGradient, total: Tensor, dnormal: Tensor, dsum: Tensor | None, dx: Tensor, other: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Fills the gradients of the rows; parts of the weights' gradients."""
    width, aligned = total.shape[1], _aligned(total, dnormal, dsum)
    tile = config(width, held(True, given.centred, aligned), aligned)
    constants = {
        **_tile_constants(tile, total, dnormal, dsum, width=width),
        "SUMMED": dsum is not None,
        "WEIGHTED": given.weight is not None,
        "OTHER": other is not None,
        "CENTRED": given.centred,
    }
    statistics = given.mean, given.scale
    strides = 0 if dsum is None else dsum.stride(0), dnormal.stride(0), total.stride(0)
    inputs = dsum, dnormal, total, _vector(given.weight), *statistics, dx, other
    wanted = {"FOR_WEIGHT": given.for_weight, "FOR_BIAS": given.for_bias}
    with on_device(total):
        if not tile.whole:
            kernel = wide_gradient_kernel[(len(total),)]
            kernel(*_pointers((*inputs, *strides), total), len(total), **constants, num_warps=tile.warps)
            return _wide_weight_parts(given, total, dnormal, wanted)
        programs = _programs(-(-len(total) // tile.rows), total, tile.warps)
        parts = _parts(given, total, programs)
        norm_gradient_kernel[(programs,)](
            *_pointers((*inputs, *parts, *strides), total), len(total), **constants, **wanted, num_warps=tile.warps
        )
    return parts


def _wide_weight_parts(
    given: NormGradient, total: Tensor, dnormal: Tensor, wanted: Mapping[str, bool]
) -> tuple[Tensor | None, Tensor | None]:
    if not any(wanted.values()):
        return None, None
    width, tile = total.shape[1], _COLUMNS
    blocks = -(-width // tile.block)
    count = max(1, _programs(-(-len(total) // tile.rows) * blocks, total, tile.warps) // blocks)
    parts = _parts(given, total, count)
    arguments = dnormal, total, given.mean, given.scale, *parts, dnormal.stride(0), total.stride(0), len(total)
    constants = {**_tile_constants(tile, total, dnormal, width=width), **wanted, "CENTRED": given.centred}
    weight_gradient_kernel[(blocks, count)](*_pointers(arguments, total), **constants, num_warps=tile.warps)
    return parts


def _parts(given: NormGradient, total: Tensor, count: int) -> tuple[Tensor | None, Tensor | None]:
    """Room for ``count`` parts of the gradients of weight and bias that are wanted."""
    made = (total.new_empty(count, total.shape[1], dtype=torch.float32) if each else None
            for each in (given.for_weight, given.for_bias))  # fmt: skip
    weight, bias = made
    return weight, bias


def _programs(tiles: int, x: Tensor, warps: int) -> int:
    """Programs that share ``tiles``: as many as a device holds at once, a fixed number for each kind of device."""
    full = 3 if INTERPRETED else processors(x.device) * max(1, 16 // warps)
    return min(tiles, full)


def _rows(x: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.shape[1] == 1 or rows.stride(1) == 1 else rows.contiguous()


def _vector(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _pointers(arguments: tuple[Any, ...], instead: Tensor) -> tuple[Any, ...]:
    """Arguments of a kernel; where a tensor is missing, one that is not read."""
    return tuple(instead if each is None else each for each in arguments)


def _tile_constants(tile: Config, *tensors: Tensor | None, width: int) -> dict[str, Any]:
    return {"WIDTH": width, "BLOCK": tile.block, "ROWS": tile.rows, "ALIGNED": _aligned(*tensors)}


def _aligned(*tensors: Tensor | None) -> bool:
    return all(each is None or each.stride(0) % 16 == 0 for each in tensors)


# --- ahead of time -------------------------------------------------------------------------

_EVERYTHING = {"ADDED": True, "SUMMED": True, "WEIGHTED": True, "BIASED": True, "OTHER": True, "FOR_WEIGHT": True,
               "FOR_BIAS": True, "CENTRED": True, "ALIGNED": True}  # fmt: skip
_RMS = {**_EVERYTHING, **dict.fromkeys(("OTHER", "CENTRED", "FOR_BIAS", "BIASED"), False)}
_STATISTICS = dict.fromkeys(("mean", "scale", "weight_parts", "bias_parts"), "*fp32")
_AUTOCAST = {**_STATISTICS, **dict.fromkeys(("x", "total", "dsum", "dx", "weight", "bias"), "*fp32")}
_VARIANTS: tuple[tuple[str, dict[str, bool], dict[str, str]], ...] = (
    ("layernorm under autocast", _EVERYTHING, _AUTOCAST),
    ("layernorm of odd rows", {**_EVERYTHING, "ALIGNED": False}, _AUTOCAST),
    ("rms", _RMS, _STATISTICS),
    ("rms of odd rows", {**_RMS, "OTHER": True, "ALIGNED": False}, _AUTOCAST),
)


def builds(target: str) -> Iterator[KernelBuild]:
    """Every tile of every kernel, with all that it can be asked for and as plainly as a large model asks.

    None of them depends on ``target``.
    """
    for title, constants, pointers in _VARIANTS:
        powers = (_chosen(1 << power, constants["CENTRED"], constants["ALIGNED"]) for power in range(18))
        for kernel, tile in dict.fromkeys(pair for pairs in powers for pair in pairs):
            taken = signature(kernel.fn).parameters.keys()
            width = (tile.block if tile.whole else 65_536) - (tile.block > 1 and not constants["ALIGNED"])
            given = {"WIDTH": width, "BLOCK": tile.block, "ROWS": tile.rows, **constants}
            given = {key: value for key, value in given.items() if key in taken}
            for dtype in ("bf16", "fp16", "fp32"):
                name = f"{kernel.__name__}, {title}, {dtype}, {width} columns"
                yield KernelBuild(name, kernel, dtype, given, tile.warps, pointers=pointers)


def _chosen(width: int, centred: bool, aligned: bool) -> Iterator[tuple[Any, Config]]:
    ahead, back = (config(width, held(each, centred, aligned), aligned) for each in (False, True))
    yield norm_kernel if ahead.whole else wide_norm_kernel, ahead
    yield norm_gradient_kernel if back.whole else wide_gradient_kernel, back
    if not back.whole:
        yield weight_gradient_kernel, _COLUMNS
