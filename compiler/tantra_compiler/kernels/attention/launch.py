"""The attention kernels as host functions on tensors.

q [batch, queries, heads, d], k [batch, keys, kv_heads, d], v [batch, keys, kv_heads, dv], any strides. Nothing is
compiled anew when lengths, strides, captured tensors of other sizes or ``numbers`` change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tantra_compiler.kernels.attention.backward import key_gradient_kernel, query_gradient_kernel, row_kernel
from tantra_compiler.kernels.attention.configs import PADDING, Config, pieces
from tantra_compiler.kernels.attention.decode import combine_kernel, decode_kernel
from tantra_compiler.kernels.attention.forward import forward_kernel
from tantra_compiler.kernels.attention.prepare import (
    EMPTY_LSE,
    INTERPRETED,
    check_tensors,
    in_units,
    on_device,
    plan,
    processors,
    program_arguments,
    result,
    stride_unit,
)
from tantra_compiler.kernels.attention.programs import Programs

MAX_SPLITS = 32
MAX_DECODE_ROWS = 64
LEAST_DECODE_KEYS = 256

Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None, tuple[Tensor | None, ...]]


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
    if decodes(q, k, dropout):
        return decode(q, k, v, programs, captures, numbers, scale=scale, sink=sink, config=config, tf32=tf32)
    planned = plan("forward", programs, (q, k, v), scale, dropout, tf32, config)
    batch, queries, heads, _ = q.shape
    out = result((batch, queries, heads, v.shape[-1]), q)
    lse = q.new_empty(batch, heads, queries, dtype=torch.float32)
    grid = (-(-queries // planned.config.block_m) * batch * heads,)
    if grid[0] == 0:
        return out.to(q.dtype), lse
    with on_device(q):
        forward_kernel[grid](
            q,
            k,
            v,
            out,
            lse,
            sink,
            tuple(captures),
            *planned.strides,
            queries,
            k.shape[1],
            heads,
            scale,
            dropout,
            seed,
            *program_arguments(captures, numbers),
            SINK=sink is not None,
            **planned.constants,
        )
    return out.to(q.dtype), lse


def check(q: Tensor, k: Tensor, v: Tensor, captures: Sequence[Tensor] = (), numbers: Sequence[int] = ()) -> None:
    """Raises Unsupported for what the kernels cannot do; runs nothing."""
    check_tensors(q, k, v)
    program_arguments(captures, numbers)


def decodes(q: Tensor, k: Tensor, dropout: float) -> bool:
    """Whether splitting the keys pays: so few queries that one tile holds all that read a key head, and many keys."""
    keys = k.shape[1]
    if dropout > 0 or keys < LEAST_DECODE_KEYS:
        return False
    rows = q.shape[1] * q.shape[2] // k.shape[2]
    return rows <= MAX_DECODE_ROWS and keys >= 4 * rows


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

    ``splits`` says how many share them, up to 32; by default as many as fill the device.
    """
    planned = plan("decode", programs, (q, k, v), scale, 0.0, tf32, config)
    (batch, queries, heads, _), width, keys, kv_heads = q.shape, v.shape[-1], k.shape[1], k.shape[2]
    splits = splits or split_count(batch * kv_heads, -(-keys // planned.config.block_n), q.device)
    assert splits <= MAX_SPLITS
    out, lse = result((batch, queries, heads, width), q), q.new_empty(batch, heads, queries, dtype=torch.float32)
    parts = q.new_empty(batch, queries, heads, splits, width, dtype=torch.float32)
    level = q.new_empty(batch, queries, heads, splits, dtype=torch.float32)
    if lse.numel() == 0:
        return out.to(q.dtype), lse
    with on_device(q):
        decode_kernel[(splits * batch * kv_heads,)](
            q,
            k,
            v,
            parts,
            level,
            tuple(captures),
            *planned.strides,
            queries,
            keys,
            heads,
            splits,
            scale,
            *program_arguments(captures, numbers),
            **planned.constants,
        )
        widths = {x: planned.constants[x] for x in ("DV", "DV0", "DV1")}
        combine_kernel[(batch * queries * heads,)](
            parts, level, out, lse, sink, queries, heads, splits, **widths, SINK=sink is not None, MAX_SPLITS=MAX_SPLITS
        )
    return out.to(q.dtype), lse


def split_count(programs: int, tiles: int, device: torch.device) -> int:
    """How many parts to split ``tiles`` key tiles into, so that ``programs`` times as many fill the device twice."""
    wanted = 1 if INTERPRETED else -(-2 * processors(device) // max(programs, 1))
    return max(1, min(wanted, -(-tiles // 2), MAX_SPLITS))


@dataclass(frozen=True)
class Shared:
    """What both gradient kernels take: tensors (q, k, v, dout) and (level, delta), the programs and what they read."""

    tensors: tuple[Tensor, Tensor, Tensor, Tensor]
    rows: tuple[Tensor, Tensor]
    programs: Programs
    captures: tuple[Tensor, ...]
    arguments: list[int]
    scale: float
    dropout: float
    seed: int
    tf32: bool

    def scalars(self) -> tuple[int, int, int, float, float, int]:
        """Sizes, scale, and what dropout needs."""
        q, k = self.tensors[:2]
        return q.shape[1], k.shape[1], q.shape[2], self.scale, self.dropout, self.seed


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
    rows = row_values(out, dout, lse.contiguous(), dlse)
    arguments = program_arguments(captures, numbers)
    shared = Shared((q, k, v, dout), rows, programs, tuple(captures), arguments, scale, dropout, seed, tf32)
    dk, dv = key_gradients(shared, key_config)
    dq, dcaptures = query_gradients(shared, query_config)
    dsink = None if sink is None else sink_gradient(sink, lse, rows[1])
    return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype), dsink, dcaptures


def row_values(out: Tensor, dout: Tensor, lse: Tensor, dlse: Tensor | None) -> tuple[Tensor, Tensor]:
    """Level and delta [batch, heads, padded queries] in float32: see ``row_kernel``."""
    batch, heads, queries = lse.shape
    level = lse.new_empty(batch, heads, -(-queries // PADDING) * PADDING)
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


def key_gradients(x: Shared, config: Config | None) -> tuple[Tensor, Tensor]:
    """Dk and dv."""
    k, v = x.tensors[1:3]
    planned = plan("key_gradient", x.programs, x.tensors, x.scale, x.dropout, x.tf32, config)
    dk, dv = result(k.shape, k), result(v.shape, v)
    if dk.numel() == 0:
        return dk, dv
    grid = (-(-k.shape[1] // planned.config.block_n) * k.shape[0] * k.shape[2],)
    with on_device(k):
        key_gradient_kernel[grid](
            *x.tensors, *x.rows, dk, dv, x.captures, *planned.strides, *x.scalars(), *x.arguments, **planned.constants
        )
    return dk, dv


def query_gradients(x: Shared, config: Config | None) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """dq, and the gradients of the captures that the programs' sites are in."""
    q, sites = x.tensors[0], x.programs.sites
    planned = plan("query_gradient", x.programs, x.tensors, x.scale, x.dropout, x.tf32, config)
    tables = empty_tables(x)
    dq = result(q.shape, q)
    if dq.numel() == 0:
        return dq, tables
    tiles, heads = -(-q.shape[1] // planned.config.block_m), q.shape[0] * q.shape[2]
    sums: list[Any] = [
        tables[s.capture] if s.per_pair else q.new_empty(heads, tiles, dtype=torch.float32) for s in sites
    ]
    places = [q.new_empty(heads, dtype=torch.int32) for _ in sites]
    functions = (tuple(s.index for s in sites), tuple(s.slope for s in sites))
    with on_device(q):
        query_gradient_kernel[(tiles * heads,)](
            *x.tensors,
            *x.rows,
            dq,
            x.captures,
            tuple(sums),
            tuple(places),
            *functions,
            *planned.strides,
            *x.scalars(),
            *x.arguments,
            **planned.constants,
        )
    for site, part, place in zip(sites, sums, places, strict=True):
        table = tables[site.capture]
        if not site.per_pair and table is not None:
            table.view(-1).index_put_((place.long(),), part.sum(1), accumulate=True)
    return dq, tables


def empty_tables(x: Shared) -> tuple[Tensor | None, ...]:
    """Zeros in float32 for every capture that a site is in, None for the others."""
    learned = {site.capture for site in x.programs.sites}
    return tuple(
        torch.zeros_like(c, dtype=torch.float32, memory_format=torch.contiguous_format) if i in learned else None
        for i, c in enumerate(x.captures)
    )


def sink_gradient(sink: Tensor, lse: Tensor, delta: Tensor) -> Tensor:
    """The gradient of the sinks [heads] in float32; rows without a key have none."""
    weight = (sink.to(torch.float32)[:, None] - lse).exp().masked_fill(lse == EMPTY_LSE, 0.0)
    return -(weight * delta[..., : lse.shape[-1]]).sum((0, 2))
