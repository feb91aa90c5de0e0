"""The attention kernels as host functions on tensors.

q [batch, queries, heads, d], k [batch, keys, kv_heads, d], v [batch, keys, kv_heads, dv], any strides. Nothing is
recompiled when lengths, strides, captured tensors of other sizes or ``numbers`` change.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor

from tantra_compiler.kernels.attention.backward import key_gradient_kernel, query_gradient_kernel, row_kernel
from tantra_compiler.kernels.attention.configs import PADDING, Config, KernelName, choose, pieces
from tantra_compiler.kernels.attention.decode import combine_kernel, decode_kernel
from tantra_compiler.kernels.attention.forward import forward_kernel
from tantra_compiler.kernels.attention.programs import MAX_NUMBERS, MAX_STRIDES, Programs, Unsupported

MAX_SPLITS = 32
MAX_DECODE_ROWS = 64
LEAST_DECODE_KEYS = 256
EMPTY_LSE = torch.finfo(torch.float32).min
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
INTERPRETED = not isinstance(forward_kernel, triton.runtime.JITFunction)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    programs: Programs,
    captures: Sequence[Tensor] = (),
    numbers: Sequence[int] = (),
    *,
    scale: float,
    sink: Tensor | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    config: Config | None = None,
    tf32: bool = False,
) -> tuple[Tensor, Tensor]:
    """Out [batch, queries, heads, dv] and lse [batch, heads, queries] in float32, both contiguous.

    A query without an allowed key has out 0 and lse ``EMPTY_LSE``. ``sink`` [heads] is a logit that joins the
    denominator only; a weight is dropped iff ``tl.rand(seed, its number)`` < ``dropout``. ``config`` overrides the
    table. ``tf32`` lets products of float32 lose bits. Raises Unsupported.
    """
    check(q, k, v, captures, numbers)
    batch, queries, heads, _ = q.shape
    out = result((batch, queries, heads, v.shape[-1]), q)
    lse = q.new_empty(batch, heads, queries, dtype=torch.float32)
    if lse.numel() == 0:
        return out, lse
    if decodes(q, k, dropout):
        return decode(q, k, v, programs, captures, numbers, scale=scale, sink=sink, config=config, tf32=tf32)
    config = config or chosen("forward", q, v, programs)
    unit = stride_unit(q, k, v)
    grid = (triton.cdiv(queries, config.block_m) * batch * heads,)
    with on_device(q):
        forward_kernel[grid](
            q,
            k,
            v,
            out,
            lse,
            sink,
            tuple(captures),
            *in_units(unit, q, k, v),
            queries,
            k.shape[1],
            heads,
            scale,
            dropout,
            seed,
            *program_arguments(captures, numbers),
            **key_constants(programs, q, k),
            **program_constants(programs, scale),
            **shape_constants(q, k, v, unit, dropout, tf32),
            SINK=sink is not None,
            **tile_constants(config),
        )
    return out.to(q.dtype), lse


def decodes(q: Tensor, k: Tensor, dropout: float) -> bool:
    """Whether splitting the keys pays: so few queries that one tile holds all that read a key head, and many keys."""
    rows = q.shape[1] * q.shape[2] // k.shape[2]
    return dropout == 0 and rows <= MAX_DECODE_ROWS and k.shape[1] >= 4 * rows and k.shape[1] >= LEAST_DECODE_KEYS


def decode(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    programs: Programs,
    captures: Sequence[Tensor] = (),
    numbers: Sequence[int] = (),
    *,
    scale: float,
    sink: Tensor | None = None,
    config: Config | None = None,
    splits: int | None = None,
    tf32: bool = False,
) -> tuple[Tensor, Tensor]:
    """What ``forward`` gives, by programs that share the keys; queries * heads / kv_heads is at most 64.

    ``splits`` says how many share them; by default as many as fill the device.
    """
    check(q, k, v, captures, numbers)
    (batch, queries, heads, _), width, kv_heads = q.shape, v.shape[-1], k.shape[2]
    config = config or chosen("decode", q, v, programs)
    rows = max(16, triton.next_power_of_2(queries * heads // kv_heads))
    splits = splits or split_count(batch * kv_heads, triton.cdiv(k.shape[1], config.block_n), q.device)
    out, lse = result((batch, queries, heads, width), q), q.new_empty(batch, heads, queries, dtype=torch.float32)
    parts = q.new_empty(batch, queries, heads, splits, width, dtype=torch.float32)
    level, unit = q.new_empty(parts.shape[:-1], dtype=torch.float32), stride_unit(q, k, v)
    if lse.numel() == 0:
        return out.to(q.dtype), lse
    constants = shape_constants(q, k, v, unit, 0.0, tf32)
    constants.pop("DROPOUT")
    with on_device(q):
        decode_kernel[(splits * batch * kv_heads,)](
            q,
            k,
            v,
            parts,
            level,
            tuple(captures),
            *in_units(unit, q, k, v),
            queries,
            k.shape[1],
            heads,
            splits,
            scale,
            *program_arguments(captures, numbers),
            **key_constants(programs, q, k),
            **program_constants(programs, scale),
            **constants,
            BY_HEAD=programs.by_h and heads > kv_heads,
            **tile_constants(replace(config, block_m=rows)),
        )
        widths = {x: constants[x] for x in ("DV", "DV0", "DV1")}
        combine_kernel[(batch * queries * heads,)](
            parts, level, out, lse, sink, queries, heads, splits, **widths, SINK=sink is not None, MAX_SPLITS=MAX_SPLITS
        )
    return out.to(q.dtype), lse


def split_count(programs: int, tiles: int, device: torch.device) -> int:
    """How many parts to split ``tiles`` key tiles into, so that ``programs`` times as many fill the device twice."""
    wanted = 1 if INTERPRETED else triton.cdiv(2 * processors(device), programs)
    return max(1, min(wanted, triton.cdiv(tiles, 2), MAX_SPLITS))


@cache
def processors(device: torch.device) -> int:
    """Multiprocessors of a device."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None, tuple[Tensor | None, ...]]


def backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    programs: Programs,
    captures: Sequence[Tensor] = (),
    numbers: Sequence[int] = (),
    *,
    scale: float,
    sink: Tensor | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    dlse: Tensor | None = None,
    key_config: Config | None = None,
    query_config: Config | None = None,
    tf32: bool = False,
) -> Gradients:
    """dq, dk, dv, dsink (or None) and one gradient per capture (None where the score has no site in it).

    ``out`` and ``lse`` are what ``forward`` gave for the other arguments; ``dlse`` [batch, heads, queries] is the
    gradient of lse. dq, dk and dv are contiguous and of the dtype of q; the rest is float32. Raises Unsupported.
    """
    check(q, k, v, captures, numbers)
    dq, dk, dv = (result(x.shape, x) for x in (q, k, v))
    tables = [torch.zeros_like(x, dtype=torch.float32, memory_format=torch.contiguous_format) for x in captures]
    rows = row_values(out, dout, lse.contiguous(), dlse)
    shared = (q, k, v, dout, *rows, programs, captures, numbers, scale, dropout, seed, tf32)
    with on_device(q):
        if dk.numel() + dv.numel():
            key_gradients(dk, dv, key_config or chosen("key_gradient", q, v, programs), *shared)
        if dq.numel():
            query_gradients(dq, tables, query_config or chosen("query_gradient", q, v, programs), *shared)
    learned = {site.capture for site in programs.sites}
    dcaptures = tuple(x if i in learned else None for i, x in enumerate(tables))
    dsink = None if sink is None else sink_gradient(sink, lse, rows[1])
    return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype), dsink, dcaptures


def row_values(out: Tensor, dout: Tensor, lse: Tensor, dlse: Tensor | None) -> tuple[Tensor, Tensor]:
    """Level and delta [batch, heads, padded queries] in float32: see ``row_kernel``."""
    batch, heads, queries = lse.shape
    level = lse.new_empty(batch, heads, triton.cdiv(queries, PADDING) * PADDING)
    delta = torch.empty_like(level)
    unit, (dv0, dv1) = stride_unit(out, dout), pieces(out.shape[-1])
    block = PADDING if INTERPRETED else 64
    if level.numel() == 0:
        return level, delta
    with on_device(out):
        row_kernel[(level.numel() // block,)](
            out,
            dout,
            lse,
            None if dlse is None else dlse.to(torch.float32).contiguous(),
            level,
            delta,
            *in_units(unit, out, dout),
            queries,
            heads,
            DV=out.shape[-1],
            DV0=dv0,
            DV1=dv1,
            UNIT=unit,
            BLOCK_M=block,
            PADDING=PADDING,
        )
    return level, delta


def key_gradients(
    dk: Tensor,
    dv: Tensor,
    config: Config,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dout: Tensor,
    level: Tensor,
    delta: Tensor,
    programs: Programs,
    captures: Sequence[Tensor],
    numbers: Sequence[int],
    scale: float,
    dropout: float,
    seed: int,
    tf32: bool,
) -> None:
    """Fills dk and dv."""
    unit = stride_unit(q, k, v, dout)
    grid = (triton.cdiv(k.shape[1], config.block_n) * k.shape[0] * k.shape[2],)
    key_gradient_kernel[grid](
        q,
        k,
        v,
        dout,
        level,
        delta,
        dk,
        dv,
        tuple(captures),
        *in_units(unit, q, k, v, dout),
        q.shape[1],
        k.shape[1],
        q.shape[2],
        scale,
        dropout,
        seed,
        *program_arguments(captures, numbers),
        **query_constants(programs, q, k),
        BY_HEAD=programs.by_h and q.shape[2] > k.shape[2],
        **program_constants(programs, scale),
        **shape_constants(q, k, v, unit, dropout, tf32),
        SLOPE=programs.slope,
        PADDING=PADDING,
        **tile_constants(config),
    )


def query_gradients(
    dq: Tensor,
    tables: list[Tensor],
    config: Config,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dout: Tensor,
    level: Tensor,
    delta: Tensor,
    programs: Programs,
    captures: Sequence[Tensor],
    numbers: Sequence[int],
    scale: float,
    dropout: float,
    seed: int,
    tf32: bool,
) -> None:
    """Fills dq, and adds to ``tables`` what the programs' sites say."""
    unit, sites = stride_unit(q, k, v, dout), programs.sites
    batch, queries, heads, _ = q.shape
    tiles = triton.cdiv(queries, config.block_m)
    sums = [tables[s.capture] if s.per_pair else q.new_empty(batch * heads, tiles, dtype=torch.float32) for s in sites]
    places = [q.new_empty(batch * heads, dtype=torch.int32) for _ in sites]
    query_gradient_kernel[(tiles * batch * heads,)](
        q,
        k,
        v,
        dout,
        level,
        delta,
        dq,
        tuple(captures),
        tuple(sums),
        tuple(places),
        tuple(s.index for s in sites),
        tuple(s.slope for s in sites),
        *in_units(unit, q, k, v, dout),
        queries,
        k.shape[1],
        heads,
        scale,
        dropout,
        seed,
        *program_arguments(captures, numbers),
        SITES=len(sites),
        PER_PAIR=tuple(s.per_pair for s in sites),
        **key_constants(programs, q, k),
        **program_constants(programs, scale),
        **shape_constants(q, k, v, unit, dropout, tf32),
        SLOPE=programs.slope,
        PADDING=PADDING,
        **tile_constants(config),
    )
    for site, part, place in zip(sites, sums, places, strict=True):
        if not site.per_pair:
            tables[site.capture].view(-1).index_put_((place.long(),), part.sum(1), accumulate=True)


def sink_gradient(sink: Tensor, lse: Tensor, delta: Tensor) -> Tensor:
    """The gradient of the sinks [heads] in float32; rows without a key have none."""
    weight = (sink.to(torch.float32)[:, None] - lse).exp().masked_fill(lse == EMPTY_LSE, 0.0)
    return -(weight * delta[..., : lse.shape[-1]]).sum((0, 2))


def check(q: Tensor, k: Tensor, v: Tensor, captures: Sequence[Tensor], numbers: Sequence[int]) -> None:
    """Raises Unsupported for what the kernels cannot do."""
    if q.dtype not in DTYPES or k.dtype != q.dtype or v.dtype != q.dtype:
        raise Unsupported(f"the kernels take float16, bfloat16 or float32, not {q.dtype} with {k.dtype}, {v.dtype}")
    for width in (q.shape[-1], v.shape[-1]):
        if width % 8 or not 8 <= width <= 256:
            raise Unsupported(f"head width {width} is not a multiple of 8 up to 256")
    if sum(x.dim() for x in captures) > MAX_STRIDES:
        raise Unsupported(f"the captured tensors have more than {MAX_STRIDES} dimensions together")
    if len(numbers) > MAX_NUMBERS:
        raise Unsupported(f"the mask and the score read more than {MAX_NUMBERS} run-time numbers")
    if any(not -(2**31) <= x < 2**31 for x in numbers):
        raise Unsupported(f"a run-time number of the mask does not fit 32 bits: {tuple(numbers)}")


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
    """Strides of the captures and run-time numbers, each padded to what the kernels take."""
    strides = [s for x in captures for s in x.stride()]
    return [*strides, *[0] * (MAX_STRIDES - len(strides)), *numbers, *[0] * (MAX_NUMBERS - len(numbers))]


def program_constants(programs: Programs, scale: float) -> dict[str, Any]:
    """What the kernels are compiled with of a program."""
    return {
        "MASK": programs.mask,
        "SCORE": programs.score,
        "TILE_TEST": programs.tile_test,
        "READS_QUERY": programs.reads_query,
        "FOLD": programs.score is None and scale > 0,
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


def shape_constants(q: Tensor, k: Tensor, v: Tensor, unit: int, dropout: float, tf32: bool) -> dict[str, Any]:
    """What the kernels are compiled with of the tensors."""
    width, value_width = q.shape[-1], v.shape[-1]
    (d0, d1), (dv0, dv1) = pieces(width), pieces(value_width)
    return {
        "GROUP": q.shape[2] // k.shape[2],
        "D": width,
        "D0": d0,
        "D1": d1,
        "DV": value_width,
        "DV0": dv0,
        "DV1": dv1,
        "UNIT": unit,
        "DROPOUT": dropout > 0,
        "PRECISION": "tf32" if tf32 else "ieee",
        "UPCAST": INTERPRETED and q.dtype is torch.bfloat16,
    }


def chosen(kernel: KernelName, q: Tensor, v: Tensor, programs: Programs) -> Config:
    """The configuration that the table has for these tensors on their device."""
    target = "interpreter" if INTERPRETED else target_of(q.device)
    return choose(target, kernel, q.element_size(), q.shape[-1], v.shape[-1], programs.mask_class)


@cache
def target_of(device: torch.device) -> str:
    """The name of a device's architecture, as the configurations have it: "sm_90", "gfx942"."""
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        return str(properties.gcnArchName).split(":")[0]
    return f"sm_{properties.major}{properties.minor}"


def on_device(x: Tensor) -> Any:
    """A context in which kernels are launched on the tensor's device."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
