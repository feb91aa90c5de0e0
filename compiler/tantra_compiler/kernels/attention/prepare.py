"""What a launch needs besides its tensors, worked out once for tensors of the same shapes and strides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import torch
import triton
from torch import Tensor

from tantra_compiler.kernels.attention.configs import (
    PADDING,
    Config,
    KernelName,
    Load,
    choose,
    pieces,
    with_dropout,
)
from tantra_compiler.kernels.attention.forward import forward_kernel
from tantra_compiler.kernels.attention.programs import MAX_NUMBERS, MAX_STRIDES, Programs, Unsupported

EMPTY_LSE = torch.finfo(torch.float32).min
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
HERE = nullcontext()
INTERPRETED = not isinstance(forward_kernel, triton.runtime.JITFunction)

Layout = tuple[torch.Size, tuple[int, ...]]


@dataclass(frozen=True)
class Plan:
    """A launch: its configuration, strides as the kernel takes them, and what the kernel is compiled with."""

    config: Config
    strides: list[int]
    constants: dict[str, Any]


def plan(
    kernel: KernelName,
    programs: Programs,
    tensors: Sequence[Tensor],
    scale: float,
    dropout: float,
    tf32: bool,
    config: Config | None,
) -> Plan:
    """The launch of a kernel on (q, k, v) or (q, k, v, dout). Raises Unsupported."""
    q = tensors[0]
    layouts = tuple([(x.shape, x.stride()) for x in tensors])
    dtypes = tuple([x.dtype for x in tensors[:3]])
    return prepare(kernel, programs, layouts, dtypes, q.device, scale > 0, dropout > 0, tf32, config)


@lru_cache(maxsize=1024)
def prepare(
    kernel: KernelName,
    programs: Programs,
    layouts: tuple[Layout, ...],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device,
    positive: bool,
    dropped: bool,
    tf32: bool,
    config: Config | None,
) -> Plan:
    """``plan`` of what decides it."""
    tensors = [
        torch.empty_strided(*x, dtype=t, device="meta") for x, t in zip(layouts, (*dtypes, dtypes[0]), strict=False)
    ]
    q, k, v = tensors[:3]
    check_tensors(q, k, v)
    config = config or chosen(kernel, programs, q, v, device, dropped)
    unit = stride_unit(*tensors)
    constants = kernel_constants(kernel, programs, q, k, v, config, unit, positive, dropped, tf32)
    return Plan(config, in_units(unit, *tensors), constants)


def chosen(kernel: KernelName, programs: Programs, q: Tensor, v: Tensor, device: torch.device, dropped: bool) -> Config:
    """What the table has for a launch on a device."""
    target = "interpreter" if INTERPRETED else target_of(device)
    kernel, load = table_entry(kernel, programs, dropped)
    return choose(target, kernel, q.element_size(), q.shape[-1], v.shape[-1], load)


def table_entry(kernel: KernelName, programs: Programs, dropped: bool) -> tuple[KernelName, Load]:
    """The row and the column of the table of configurations."""
    if kernel == "query_gradient" and any(site.per_pair for site in programs.sites):
        kernel = "table_gradient"
    return kernel, with_dropout(programs.load) if dropped else programs.load


def kernel_constants(
    kernel: KernelName,
    programs: Programs,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: Config,
    unit: int,
    positive: bool,
    dropped: bool,
    tf32: bool,
) -> dict[str, Any]:
    """Everything that a kernel is compiled with but SINK, its warps and stages among it."""
    spans = query_constants if kernel == "key_gradient" else key_constants
    constants = {
        **shape_constants(q, k, v, unit, tf32),
        **program_constants(programs, positive),
        **spans(programs, q, k),
    }
    if kernel == "decode":
        rows = q.shape[1] * q.shape[2] // k.shape[2]
        config = replace(config, block_m=max(16, triton.next_power_of_2(rows)))
    else:
        constants["DROPOUT"] = dropped
    if kernel in ("decode", "key_gradient"):
        asked = constants["SPANS"] is not None or (kernel == "decode" and programs.tile_test is not None)
        constants["BY_HEAD"] = asked and programs.by_h and q.shape[2] > k.shape[2]
    if kernel in ("key_gradient", "query_gradient"):
        constants.update(SLOPE=programs.slope, PADDING=PADDING)
    if kernel == "query_gradient":
        constants.update(SITES=len(programs.sites), PER_PAIR=tuple(s.per_pair for s in programs.sites))
    return {**constants, **tile_constants(config)}


def check_tensors(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raises Unsupported for tensors that the kernels cannot take."""
    if q.dtype not in DTYPES or k.dtype != q.dtype or v.dtype != q.dtype:
        raise Unsupported(f"the kernels take float16, bfloat16 or float32, not {q.dtype} with {k.dtype}, {v.dtype}")
    for width in (q.shape[-1], v.shape[-1]):
        if width % 8 or not 8 <= width <= 256:
            raise Unsupported(f"head width {width} is not a multiple of 8 up to 256")


def result(shape: Sequence[int], like: Tensor) -> Tensor:
    """What a kernel writes to; the interpreter would cut bits off where it is bfloat16."""
    return like.new_empty(shape, dtype=torch.float32 if INTERPRETED else like.dtype)


def stride_unit(*tensors: Tensor) -> int:
    """8 where all strides are multiples of 8 elements and the last dimensions contiguous (wide loads), else 1."""
    wide = all(x.stride(-1) == 1 and all(s % 8 == 0 or n == 1 for s, n in strided(x)) for x in tensors)
    return 8 if wide else 1


def strided(x: Tensor) -> list[tuple[int, int]]:
    """(stride, size) of all but the last dimension."""
    return list(zip(x.stride()[:-1], x.shape[:-1], strict=True))


def in_units(unit: int, *tensors: Tensor) -> list[int]:
    """Strides of the tensors in ``unit`` elements; the last dimension's is 1 where ``unit`` is not."""
    return [s for x in tensors for s in (*(s // unit for s in x.stride()[:-1]), x.stride(-1))]


def program_arguments(captures: Sequence[Tensor], numbers: Sequence[int]) -> list[int]:
    """Strides of the captures and run-time numbers, each padded to what the kernels take. Raises Unsupported."""
    strides = [s for x in captures for s in x.stride()]
    if len(strides) > MAX_STRIDES:
        raise Unsupported(f"the captured tensors have more than {MAX_STRIDES} dimensions together")
    if len(numbers) > MAX_NUMBERS:
        raise Unsupported(f"the mask and the score read more than {MAX_NUMBERS} run-time numbers")
    if numbers and not -(2**31) <= min(numbers) <= max(numbers) < 2**31:
        raise Unsupported(f"a run-time number of the mask does not fit 32 bits: {tuple(numbers)}")
    return [*strides, *[0] * (MAX_STRIDES - len(strides)), *numbers, *[0] * (MAX_NUMBERS - len(numbers))]


def program_constants(programs: Programs, positive: bool) -> dict[str, Any]:
    """What the kernels are compiled with of a program."""
    return {
        "MASK": programs.mask,
        "SCORE": programs.score,
        "TILE_TEST": programs.tile_test,
        "READS_QUERY": programs.reads_query,
        "FOLD": programs.score is None and positive,
    }


def key_constants(programs: Programs, q: Tensor, k: Tensor) -> dict[str, Any]:
    """The spans of keys, where they hold: those that read captures at queries hold for queries that are tokens."""
    if programs.key_spans is None or (programs.reads_query and q.shape[1] > k.shape[1]):
        return {"SPANS": None, "COUNT": 1}
    return {"SPANS": programs.key_spans, "COUNT": programs.key_intervals}


def query_constants(programs: Programs, q: Tensor, k: Tensor) -> dict[str, Any]:
    """The spans of queries, where they hold."""
    if programs.query_spans is None or (programs.reads_query and q.shape[1] > k.shape[1]):
        return {"SPANS": None, "COUNT": 1}
    return {"SPANS": programs.query_spans, "COUNT": programs.query_intervals}


def tile_constants(config: Config) -> dict[str, int]:
    """A configuration as the kernels take it."""
    sizes = {"BLOCK_M": config.block_m, "BLOCK_N": config.block_n}
    return {**sizes, "num_warps": config.warps, "num_stages": config.stages}


def shape_constants(q: Tensor, k: Tensor, v: Tensor, unit: int, tf32: bool) -> dict[str, Any]:
    """What the kernels are compiled with of the tensors."""
    width, value_width = q.shape[-1], v.shape[-1]
    (d0, d1), (dv0, dv1) = (pieces(each, q.element_size()) for each in (width, value_width))
    return {
        "GROUP": q.shape[2] // k.shape[2],
        "D": width,
        "D0": d0,
        "D1": d1,
        "DV": value_width,
        "DV0": dv0,
        "DV1": dv1,
        "UNIT": unit,
        "PRECISION": "tf32" if tf32 else "ieee",
        "UPCAST": INTERPRETED and q.dtype is torch.bfloat16,
    }


@cache
def target_of(device: torch.device) -> str:
    """The name of a device's architecture, as the configurations have it: "sm_90", "gfx942"."""
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        return str(properties.gcnArchName).split(":")[0]
    return f"sm_{properties.major}{properties.minor}"


def on_device(x: Tensor) -> Any:
    """A context in which kernels are launched on the tensor's device."""
    if x.is_cuda and x.device.index != torch.cuda.current_device():
        return torch.cuda.device(x.device)
    return HERE


@cache
def processors(device: torch.device) -> int:
    """Multiprocessors of a device."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
