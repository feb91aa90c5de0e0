# mypy: ignore-errors
"""The forward kernel: flash attention over the tiles that a program visits, saving the lse.

One program of the grid does one tile of queries of one head. The softmax runs in base 2; where there is no score, its
scale is folded into the exponent (Dao, FlashAttention-2, 2023).
"""

import triton
import triton.language as tl

from tantra_compiler.kernels.attention.arguments import run_time
from tantra_compiler.kernels.attention.tiles import (
    EMPTY_LSE,
    LN_2,
    LOG2_E,
    NO_KEY_YET,
    allowed,
    exponent,
    full_count,
    full_tile,
    kept,
    masked_tile,
    narrow,
    plan,
    query_positions,
    read,
    visit_count,
    write,
)

RUN_TIME = run_time("q k v", "queries keys heads scale dropout seed")


@triton.jit
def attend_tile(
    state,
    start,
    q0,
    q1,
    q_at,
    rows,
    element,
    k,
    v,
    key_strides,
    b,
    h,
    sizes,
    dropout,
    seed,
    program,
    MASKED: tl.constexpr,
    MASK: tl.constexpr,
    SCORE: tl.constexpr,
    READS_QUERY: tl.constexpr,
    FOLD: tl.constexpr,
    D: tl.constexpr,
    D0: tl.constexpr,
    D1: tl.constexpr,
    DV: tl.constexpr,
    DV0: tl.constexpr,
    DV1: tl.constexpr,
    ALIGNED: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """The state (acc0, acc1, top, total) of a tile of queries after BLOCK_N keys from ``start``."""
    acc0, acc1, top, total = state
    _, keys, scale = sizes
    k_t, k_d, v_t, v_d = key_strides
    columns = start + tl.arange(0, BLOCK_N)
    k0 = read(k, start, keys, k_t, k_d, BLOCK_N, 0, D0, D, ALIGNED, MASKED, UPCAST)
    s = tl.dot(q0, tl.trans(k0), input_precision=PRECISION)
    if D1 > 0:
        k1 = read(k, start, keys, k_t, k_d, BLOCK_N, D0, D1, D, ALIGNED, MASKED, UPCAST)
        s = tl.dot(q1, tl.trans(k1), s, input_precision=PRECISION)
    k_at = columns[None, :]
    if MASKED:
        k_at = tl.minimum(k_at, keys - 1)
    s = exponent(s, b, h, q_at, k_at, sizes, program, SCORE, FOLD)
    if MASKED:
        keep = allowed(b, h, q_at, k_at, rows[:, None], columns[None, :], sizes, program, MASK, READS_QUERY)
        s = tl.where(keep, s, float("-inf"))
    if FOLD:
        new = tl.maximum(top, tl.max(s, 1) * (scale * LOG2_E))
        p = tl.math.exp2(s * (scale * LOG2_E) - new[:, None])
    else:
        new = tl.maximum(top, tl.max(s, 1))
        p = tl.math.exp2(s - new[:, None])
    alpha = tl.math.exp2(top - new)
    total = total * alpha + tl.sum(p, 1)
    if DROPOUT:
        p = tl.where(kept(seed, element, keys, columns[None, :], dropout), p, 0.0)
    p = narrow(p, v.dtype.element_ty, UPCAST)
    v0 = read(v, start, keys, v_t, v_d, BLOCK_N, 0, DV0, DV, ALIGNED, MASKED, UPCAST)
    acc0 = tl.dot(p, v0, acc0 * alpha[:, None], input_precision=PRECISION)
    if DV1 > 0:
        v1 = read(v, start, keys, v_t, v_d, BLOCK_N, DV0, DV1, DV, ALIGNED, MASKED, UPCAST)
        acc1 = tl.dot(p, v1, acc1 * alpha[:, None], input_precision=PRECISION)
    return acc0, acc1, new, total


@triton.jit(do_not_specialize=RUN_TIME)
def forward_kernel(
    q,
    k,
    v,
    out,
    lse,
    sink,
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
    scale: tl.float32,
    dropout: tl.float32,
    seed: tl.int64,
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
    D: tl.constexpr,
    D0: tl.constexpr,
    D1: tl.constexpr,
    DV: tl.constexpr,
    DV0: tl.constexpr,
    DV1: tl.constexpr,
    UNIT: tl.constexpr,
    SINK: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Out and lse, both contiguous, of one tile of queries; strides are in units of UNIT elements."""
    program = (
        captures,
        (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15),
        (n0, n1, n2, n3, n4, n5, n6, n7),
    )
    sizes = (queries, keys, scale)
    ALIGNED: tl.constexpr = UNIT > 1
    tiles = tl.cdiv(queries, BLOCK_M)
    at = tl.program_id(0)
    first = (tiles - 1 - at % tiles) * BLOCK_M  # under a causal mask the last queries have the most keys: they go first
    head = at // tiles
    b, h = head // heads, head % heads
    q += (b.to(tl.int64) * q_b + h.to(tl.int64) * q_h) * UNIT
    k += (b.to(tl.int64) * k_b + (h // GROUP).to(tl.int64) * k_h) * UNIT
    v += (b.to(tl.int64) * v_b + (h // GROUP).to(tl.int64) * v_h) * UNIT
    key_strides = (k_t.to(tl.int64) * UNIT, k_d, v_t.to(tl.int64) * UNIT, v_d)

    rows = first + tl.arange(0, BLOCK_M)
    q_at = query_positions(rows, queries, keys, READS_QUERY)[:, None]
    q0 = read(q, first, queries, q_t * UNIT, q_d, BLOCK_M, 0, D0, D, ALIGNED, True, UPCAST)
    q1 = q0
    if D1 > 0:
        q1 = read(q, first, queries, q_t * UNIT, q_d, BLOCK_M, D0, D1, D, ALIGNED, True, UPCAST)
    acc0 = tl.zeros([BLOCK_M, DV0], tl.float32)
    acc1 = tl.zeros([BLOCK_M, DV1 if DV1 > 0 else 1], tl.float32)
    top = tl.full([BLOCK_M], NO_KEY_YET, tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    state = (acc0, acc1, top, total)
    element = (head.to(tl.int64) * queries + rows)[:, None]

    low, high = first + keys - queries, tl.minimum(first + BLOCK_M, queries) - 1 + keys - queries
    if SPANS is not None:
        spans = SPANS(low, high, b, h, queries, keys, program[0], program[1], program[2])
    elif MASK is not None or READS_QUERY:
        spans = (0, keys, 0, 0)
    else:
        spans = (0, keys, 0, keys)
    runs = plan(spans, COUNT, 0, BLOCK_N)
    full_tiles = full_count(runs, COUNT)
    masked_tiles = visit_count(runs, COUNT) - full_tiles

    for index in range(full_tiles):
        start = full_tile(index, runs, COUNT) * BLOCK_N
        state = attend_tile(
            state, start, q0, q1, q_at, rows, element, k, v, key_strides, b, h, sizes, dropout, seed, program,
            False, MASK, SCORE, READS_QUERY, FOLD, D, D0, D1, DV, DV0, DV1, ALIGNED, DROPOUT, PRECISION, UPCAST,
            BLOCK_N,
        )  # fmt: skip
    for index in range(masked_tiles):
        start = masked_tile(index, runs, COUNT) * BLOCK_N
        verdict = 1
        if TILE_TEST is not None:
            end = tl.minimum(start + BLOCK_N, keys) - 1
            verdict = TILE_TEST(low, high, start, end, b, h, queries, keys, program[0], program[1], program[2])
        if TILE_TEST is None or verdict > 0:
            state = attend_tile(
                state, start, q0, q1, q_at, rows, element, k, v, key_strides, b, h, sizes, dropout, seed, program,
                True, MASK, SCORE, READS_QUERY, FOLD, D, D0, D1, DV, DV0, DV1, ALIGNED, DROPOUT, PRECISION, UPCAST,
                BLOCK_N,
            )  # fmt: skip

    acc0, acc1, top, total = state
    empty = total == 0.0
    share = tl.full([BLOCK_M], 1.0, tl.float32)
    if SINK:
        logit = tl.load(sink + h).to(tl.float32) * LOG2_E
        new = tl.maximum(top, logit)
        share = tl.math.exp2(top - new)
        total = total * share + tl.math.exp2(logit - new)
        top = new
    total = tl.where(empty, 1.0, total)
    share = tl.where(empty, 0.0, share / total)
    if DROPOUT:
        share = share / (1.0 - dropout)
    out_row = heads.to(tl.int64) * DV
    out += (b.to(tl.int64) * queries * heads + h) * DV
    write(out, acc0 * share[:, None], rows, queries, out_row, 0, DV0, DV)
    if DV1 > 0:
        write(out, acc1 * share[:, None], rows, queries, out_row, DV0, DV1, DV)
    value = tl.where(empty, EMPTY_LSE, (top + tl.math.log2(total)) * LN_2)
    tl.store(lse + head.to(tl.int64) * queries + rows, value, mask=rows < queries)
