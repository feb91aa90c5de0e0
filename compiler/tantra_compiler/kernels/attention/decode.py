# mypy: ignore-errors
"""The decode kernels: few queries against many keys, which are split over programs and put together by a second kernel.

The query heads that share a key head are rows of one tile, so that keys and values are read once for all of them
(Dao et al., Flash-Decoding, 2023).
"""

import triton
import triton.language as tl

from tantra_compiler.kernels.attention.arguments import run_time
from tantra_compiler.kernels.attention.forward import attend_tile
from tantra_compiler.kernels.attention.tiles import (
    EMPTY_LSE,
    LN_2,
    LOG2_E,
    NO_KEY_YET,
    plan,
    query_positions,
    visit_count,
    visited_tile,
)

RUN_TIME = run_time("q k v", "queries keys heads splits scale")


@triton.jit
def gather_rows(
    base,
    places,
    exists,
    column_stride,
    START: tl.constexpr,
    PIECE: tl.constexpr,
    WIDTH: tl.constexpr,
    ALIGNED: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """PIECE columns from START of rows that begin at ``places``; zeros where none exists."""
    columns = START + tl.arange(0, PIECE)
    at = base + places[:, None]
    if ALIGNED:
        at += columns[None, :]
    else:
        at += columns.to(tl.int64)[None, :] * column_stride
    x = tl.load(at, mask=exists[:, None] & (columns < WIDTH)[None, :], other=0.0)
    if UPCAST:
        x = x.to(tl.float32)
    return x


@triton.jit(do_not_specialize=RUN_TIME)
def decode_kernel(
    q,
    k,
    v,
    parts,
    part_level,
    captures,
    q_b: tl.int64,
    q_t: tl.int64,
    q_h: tl.int64,
    q_d: tl.int64,
    k_b: tl.int64,
    k_t: tl.int64,
    k_h: tl.int64,
    k_d: tl.int64,
    v_b: tl.int64,
    v_t: tl.int64,
    v_h: tl.int64,
    v_d: tl.int64,
    queries: tl.int32,
    keys: tl.int32,
    heads: tl.int32,
    splits: tl.int32,
    scale: tl.float32,
    s0: tl.int64,
    s1: tl.int64,
    s2: tl.int64,
    s3: tl.int64,
    s4: tl.int64,
    s5: tl.int64,
    s6: tl.int64,
    s7: tl.int64,
    s8: tl.int64,
    s9: tl.int64,
    s10: tl.int64,
    s11: tl.int64,
    s12: tl.int64,
    s13: tl.int64,
    s14: tl.int64,
    s15: tl.int64,
    n0: tl.int32,
    n1: tl.int32,
    n2: tl.int32,
    n3: tl.int32,
    n4: tl.int32,
    n5: tl.int32,
    n6: tl.int32,
    n7: tl.int32,
    MASK: tl.constexpr,
    SCORE: tl.constexpr,
    SPANS: tl.constexpr,
    COUNT: tl.constexpr,
    TILE_TEST: tl.constexpr,
    READS_QUERY: tl.constexpr,
    FOLD: tl.constexpr,
    GROUP: tl.constexpr,
    BY_HEAD: tl.constexpr,
    D: tl.constexpr,
    D0: tl.constexpr,
    D1: tl.constexpr,
    DV: tl.constexpr,
    DV0: tl.constexpr,
    DV1: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """One share of the visited keys, for all queries of one key head: normalized parts and their lse in base 2.

    ``parts`` [batch, queries, heads, splits, dv] and ``part_level`` [batch, queries, heads, splits], both float32.
    """
    program = (
        captures,
        (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15),
        (n0, n1, n2, n3, n4, n5, n6, n7),
    )
    ALIGNED: tl.constexpr = UNIT > 1
    kv_heads = heads // GROUP
    split = tl.program_id(0) % splits
    b, kv = tl.program_id(0) // splits // kv_heads, tl.program_id(0) // splits % kv_heads
    row = tl.arange(0, BLOCK_M)
    rows, h = row // GROUP, kv * GROUP + row % GROUP
    exists = rows < queries
    places = (rows.to(tl.int64) * q_t + h.to(tl.int64) * q_h) * UNIT
    q += b.to(tl.int64) * q_b * UNIT
    k += (b.to(tl.int64) * k_b + kv.to(tl.int64) * k_h) * UNIT
    v += (b.to(tl.int64) * v_b + kv.to(tl.int64) * v_h) * UNIT
    key_strides = (k_t.to(tl.int64) * UNIT, k_d, v_t.to(tl.int64) * UNIT, v_d)
    q0 = gather_rows(q, places, exists, q_d, 0, D0, D, ALIGNED, UPCAST)
    q1 = q0
    if D1 > 0:
        q1 = gather_rows(q, places, exists, q_d, D0, D1, D, ALIGNED, UPCAST)
    q_at = query_positions(rows, queries, keys, READS_QUERY)[:, None]
    state = (
        tl.zeros([BLOCK_M, DV0], tl.float32),
        tl.zeros([BLOCK_M, DV1 if DV1 > 0 else 1], tl.float32),
        tl.full([BLOCK_M], NO_KEY_YET, tl.float32),
        tl.zeros([BLOCK_M], tl.float32),
    )

    shift = keys - queries
    if SPANS is None or BY_HEAD:
        runs = plan((0, keys, 0, 0), 1, 0, BLOCK_N)
        INTERVALS: tl.constexpr = 1
    else:
        spans = SPANS(shift, keys - 1, b, kv * GROUP, queries, keys, program[0], program[1], program[2])
        runs = plan(spans, COUNT, 0, BLOCK_N)
        INTERVALS: tl.constexpr = COUNT
    tiles = visit_count(runs, INTERVALS)
    share = (tiles + splits - 1) // splits
    for index in range(split * share, tl.minimum(split * share + share, tiles)):
        start = visited_tile(index, runs, INTERVALS) * BLOCK_N
        verdict = 1
        if TILE_TEST is not None and not BY_HEAD:
            end = tl.minimum(start + BLOCK_N, keys) - 1
            verdict = TILE_TEST(
                shift, keys - 1, start, end, b, kv * GROUP, queries, keys, program[0], program[1], program[2]
            )
        if TILE_TEST is None or verdict > 0:
            state = attend_tile(
                state, start, q0, q1, q_at, rows, 0, k, v, key_strides, b, h[:, None], (queries, keys, scale), 0.0, 0,
                program, True, MASK, SCORE, READS_QUERY, FOLD, D, D0, D1, DV, DV0, DV1, ALIGNED, False, PRECISION,
                UPCAST, BLOCK_N,
            )  # fmt: skip

    acc0, acc1, top, total = state
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    line = ((b.to(tl.int64) * queries + rows) * heads + h) * splits + split
    tl.store(part_level + line, tl.where(empty, NO_KEY_YET, top + tl.math.log2(total)), mask=exists)
    columns = tl.arange(0, DV0)
    there = exists[:, None] & (columns < DV)[None, :]
    tl.store(parts + line[:, None] * DV + columns[None, :], acc0 / total[:, None], mask=there)
    if DV1 > 0:
        columns = DV0 + tl.arange(0, DV1)
        there = exists[:, None] & (columns < DV)[None, :]
        tl.store(parts + line[:, None] * DV + columns[None, :], acc1 / total[:, None], mask=there)


@triton.jit(do_not_specialize=["queries", "heads", "splits"])
def combine_kernel(
    parts,
    part_level,
    out,
    lse,
    sink,
    queries: tl.int32,
    heads: tl.int32,
    splits: tl.int32,
    DV: tl.constexpr,
    DV0: tl.constexpr,
    DV1: tl.constexpr,
    SINK: tl.constexpr,
    MAX_SPLITS: tl.constexpr,
):
    """Out [batch, queries, heads, dv] and lse [batch, heads, queries] of one row from its parts."""
    line = tl.program_id(0).to(tl.int64)
    h = line % heads
    b, row = line // heads // queries, line // heads % queries
    split = tl.arange(0, MAX_SPLITS)
    level = tl.load(part_level + line * splits + split, mask=split < splits, other=NO_KEY_YET)
    top = tl.max(level, 0)
    empty = top == NO_KEY_YET
    if SINK:
        logit = tl.load(sink + h).to(tl.float32) * LOG2_E
        top = tl.maximum(top, logit)
    weight = tl.math.exp2(level - top)
    weight = tl.where(split < splits, weight, 0.0)
    total = tl.sum(weight, 0)
    if SINK:
        total += tl.math.exp2(logit - top)
    places = parts + (line * splits + split)[:, None] * DV
    columns = tl.arange(0, DV0)
    there = (split < splits)[:, None] & (columns < DV)[None, :]
    x = tl.load(places + columns[None, :], mask=there, other=0.0)
    x = tl.sum(x * weight[:, None], 0) / total
    tl.store(out + line * DV + columns, x.to(out.dtype.element_ty), mask=columns < DV)
    if DV1 > 0:
        columns = DV0 + tl.arange(0, DV1)
        there = (split < splits)[:, None] & (columns < DV)[None, :]
        x = tl.load(places + columns[None, :], mask=there, other=0.0)
        x = tl.sum(x * weight[:, None], 0) / total
        tl.store(out + line * DV + columns, x.to(out.dtype.element_ty), mask=columns < DV)
    value = tl.where(empty, EMPTY_LSE, (top + tl.math.log2(total)) * LN_2)
    tl.store(lse + (b * heads + h) * queries + row, value)
