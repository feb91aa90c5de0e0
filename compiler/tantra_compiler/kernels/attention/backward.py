# mypy: ignore-errors
# ruff: noqa: RUF005 (the compiler joins tuples, but does not unpack them into others)
"""The backward kernels: row sums, gradients of keys and values, gradients of queries and of learned score elements.

Weights are computed again from the saved lse. Each gradient is summed by one program in a fixed order, so dq, dk and dv
are the same in every run; only learned elements whose place depends on q or k are added atomically. A program of the
key gradient does one tile of keys of one key head and goes through the query heads that share it.
"""

import triton
import triton.language as tl

from tantra_compiler.kernels.attention.arguments import run_time
from tantra_compiler.kernels.attention.tiles import (
    EMPTY_LSE,
    LOG2_E,
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


@triton.jit(do_not_specialize=run_time("out dout", "queries heads", program=False))
def row_kernel(
    out,
    dout,
    lse,
    dlse,
    level,
    delta,
    out_b: tl.int64,
    out_t: tl.int64,
    out_h: tl.int64,
    out_d: tl.int64,
    dout_b: tl.int64,
    dout_t: tl.int64,
    dout_h: tl.int64,
    dout_d: tl.int64,
    queries: tl.int32,
    heads: tl.int32,
    DV: tl.constexpr,
    DV0: tl.constexpr,
    DV1: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    PADDING: tl.constexpr,
):
    """What the other kernels need of a row: level and delta, [batch * heads, queries rounded up to PADDING].

    level is its lse in base 2; where it has no key, and beyond the last row, it is infinite, which makes every weight 0
    without a mask. delta is the sum over the row of dout * out, less the gradient of its lse.
    """
    ALIGNED: tl.constexpr = UNIT > 1
    padded = tl.cdiv(queries, PADDING) * PADDING
    tiles = padded // BLOCK_M
    head = tl.program_id(0) // tiles
    first = tl.program_id(0) % tiles * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    b, h = (head // heads).to(tl.int64), (head % heads).to(tl.int64)
    out += (b * out_b + h * out_h) * UNIT
    dout += (b * dout_b + h * dout_h) * UNIT
    x = read(out, first, queries, out_t * UNIT, out_d, BLOCK_M, 0, DV0, DV, ALIGNED, True, True)
    dx = read(dout, first, queries, dout_t * UNIT, dout_d, BLOCK_M, 0, DV0, DV, ALIGNED, True, True)
    total = tl.sum(x * dx, 1)
    if DV1 > 0:
        x = read(out, first, queries, out_t * UNIT, out_d, BLOCK_M, DV0, DV1, DV, ALIGNED, True, True)
        dx = read(dout, first, queries, dout_t * UNIT, dout_d, BLOCK_M, DV0, DV1, DV, ALIGNED, True, True)
        total += tl.sum(x * dx, 1)
    place = head.to(tl.int64) * queries + rows
    if dlse is not None:
        total -= tl.load(dlse + place, mask=rows < queries, other=0.0)
    value = tl.load(lse + place, mask=rows < queries, other=EMPTY_LSE)
    place = head.to(tl.int64) * padded + rows
    tl.store(level + place, tl.where(value == EMPTY_LSE, float("inf"), value) * LOG2_E)
    tl.store(delta + place, total)


@triton.jit
def weigh(
    s,
    level,
    b,
    h,
    q_at,
    k_at,
    rows,
    columns,
    sizes,
    program,
    MASKED: tl.constexpr,
    MASK: tl.constexpr,
    SCORE: tl.constexpr,
    READS_QUERY: tl.constexpr,
    FOLD: tl.constexpr,
):
    """Softmax weights from products of queries and keys, and which pairs are allowed (all, where not MASKED)."""
    keep = columns < sizes[1]
    s = exponent(s, b, h, q_at, k_at, sizes, program, SCORE, FOLD)
    if FOLD:
        p = tl.math.exp2(s * (sizes[2] * LOG2_E) - level)
    else:
        p = tl.math.exp2(s - level)
    if MASKED:
        keep = allowed(b, h, q_at, k_at, rows, columns, sizes, program, MASK, READS_QUERY)
        p = tl.where(keep, p, 0.0)
    return p, keep


@triton.jit
def through_score(ds, s, keep, b, h, q_at, k_at, sizes, program, MASKED: tl.constexpr, SLOPE: tl.constexpr):
    """The gradient of scaled products from that of scores; 0 where a slope was asked beyond the mask."""
    if SLOPE is not None:
        s = s * sizes[2]
        ds = ds * SLOPE(s, b, h, q_at, k_at, sizes[0], sizes[1], program[0], program[1], program[2])
        if MASKED:
            ds = tl.where(keep, ds, 0.0)
    return ds


@triton.jit
def gather_tile(
    state,
    start,
    k0,
    k1,
    v0,
    v1,
    columns,
    k_at,
    q,
    dout,
    level,
    delta,
    query_strides,
    head_strides,
    b,
    h,
    sizes,
    dropout,
    seed,
    program,
    MASKED: tl.constexpr,
    MASK: tl.constexpr,
    SCORE: tl.constexpr,
    SLOPE: tl.constexpr,
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
    BLOCK_M: tl.constexpr,
    PADDING: tl.constexpr,
):
    """The state (dk0, dk1, dv0, dv1) of a tile of keys after BLOCK_M queries from ``start``; tiles are [keys, rows]."""
    dk0, dk1, dv0, dv1 = state
    queries, keys, _ = sizes
    q_t, q_d, do_t, do_d = query_strides
    head = b * head_strides[2] + h
    q += h.to(tl.int64) * head_strides[0]
    dout += h.to(tl.int64) * head_strides[1]
    line = head.to(tl.int64) * (tl.cdiv(queries, PADDING) * PADDING) + start
    rows = start + tl.arange(0, BLOCK_M)
    q0 = read(q, start, queries, q_t, q_d, BLOCK_M, 0, D0, D, ALIGNED, MASKED, UPCAST)
    s = tl.dot(k0, tl.trans(q0), input_precision=PRECISION)
    if D1 > 0:
        q1 = read(q, start, queries, q_t, q_d, BLOCK_M, D0, D1, D, ALIGNED, MASKED, UPCAST)
        s = tl.dot(k1, tl.trans(q1), s, input_precision=PRECISION)
    q_at = query_positions(rows, queries, keys, READS_QUERY)[None, :]
    steps = tl.arange(0, BLOCK_M)
    p, keep = weigh(
        s,
        tl.load(level + line + steps)[None, :],
        b,
        h,
        q_at,
        k_at,
        rows[None, :],
        columns,
        sizes,
        program,
        MASKED,
        MASK,
        SCORE,
        READS_QUERY,
        FOLD,
    )
    do0 = read(dout, start, queries, do_t, do_d, BLOCK_M, 0, DV0, DV, ALIGNED, MASKED, UPCAST)
    dp = tl.dot(v0, tl.trans(do0), input_precision=PRECISION)
    if DV1 > 0:
        do1 = read(dout, start, queries, do_t, do_d, BLOCK_M, DV0, DV1, DV, ALIGNED, MASKED, UPCAST)
        dp = tl.dot(v1, tl.trans(do1), dp, input_precision=PRECISION)
    dropped = p
    if DROPOUT:
        stay = kept(seed, (head.to(tl.int64) * queries + rows)[None, :], keys, columns, dropout)
        dropped = tl.where(stay, p, 0.0)
        dp = tl.where(stay, dp / (1.0 - dropout), 0.0)
    dropped = narrow(dropped, dout.dtype.element_ty, UPCAST)
    dv0 = tl.dot(dropped, do0, dv0, input_precision=PRECISION)
    if DV1 > 0:
        dv1 = tl.dot(dropped, do1, dv1, input_precision=PRECISION)
    ds = p * (dp - tl.load(delta + line + steps)[None, :])
    ds = through_score(ds, s, keep, b, h, q_at, k_at, sizes, program, MASKED, SLOPE)
    ds = narrow(ds, q.dtype.element_ty, UPCAST)
    dk0 = tl.dot(ds, q0, dk0, input_precision=PRECISION)
    if D1 > 0:
        dk1 = tl.dot(ds, q1, dk1, input_precision=PRECISION)
    return dk0, dk1, dv0, dv1


RUN_TIME = run_time("q k v do", "queries keys heads scale dropout seed")


@triton.jit(do_not_specialize=RUN_TIME)
def key_gradient_kernel(
    q,
    k,
    v,
    dout,
    level,
    delta,
    dk,
    dv,
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
    do_b: tl.int64,
    do_t: tl.int64,
    do_h: tl.int64,
    do_d: tl.int64,
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
    SLOPE: tl.constexpr,
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
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PADDING: tl.constexpr,
):
    """Dk and dv, both contiguous, of one tile of keys of one key head; strides are in units of UNIT elements."""
    program = (
        captures,
        (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15),
        (n0, n1, n2, n3, n4, n5, n6, n7),
    )
    sizes = (queries, keys, scale)
    ALIGNED: tl.constexpr = UNIT > 1
    tiles = tl.cdiv(keys, BLOCK_N)
    first = tl.program_id(0) % tiles * BLOCK_N  # under a causal mask the first keys have the most queries
    kv_heads = heads // GROUP
    b, kv = tl.program_id(0) // tiles // kv_heads, tl.program_id(0) // tiles % kv_heads
    k += (b.to(tl.int64) * k_b + kv.to(tl.int64) * k_h) * UNIT
    v += (b.to(tl.int64) * v_b + kv.to(tl.int64) * v_h) * UNIT
    query_strides = (q_t.to(tl.int64) * UNIT, q_d, do_t.to(tl.int64) * UNIT, do_d)

    lines = first + tl.arange(0, BLOCK_N)
    columns = lines[:, None]
    k_at = tl.minimum(columns, keys - 1)
    k0 = read(k, first, keys, k_t * UNIT, k_d, BLOCK_N, 0, D0, D, ALIGNED, True, UPCAST)
    k1 = k0
    if D1 > 0:
        k1 = read(k, first, keys, k_t * UNIT, k_d, BLOCK_N, D0, D1, D, ALIGNED, True, UPCAST)
    v0 = read(v, first, keys, v_t * UNIT, v_d, BLOCK_N, 0, DV0, DV, ALIGNED, True, UPCAST)
    v1 = v0
    if DV1 > 0:
        v1 = read(v, first, keys, v_t * UNIT, v_d, BLOCK_N, DV0, DV1, DV, ALIGNED, True, UPCAST)
    state = (
        tl.zeros([BLOCK_N, D0], tl.float32),
        tl.zeros([BLOCK_N, D1 if D1 > 0 else 1], tl.float32),
        tl.zeros([BLOCK_N, DV0], tl.float32),
        tl.zeros([BLOCK_N, DV1 if DV1 > 0 else 1], tl.float32),
    )
    last = tl.minimum(first + BLOCK_N, keys) - 1
    shift = keys - queries

    q += b.to(tl.int64) * q_b * UNIT
    dout += b.to(tl.int64) * do_b * UNIT
    head_strides = (q_h.to(tl.int64) * UNIT, do_h.to(tl.int64) * UNIT, heads)

    # Heads that visit the same tiles take turns within one loop: loops in a loop would take more registers.
    ROUNDS: tl.constexpr = GROUP if BY_HEAD else 1
    MEMBERS: tl.constexpr = 1 if BY_HEAD else GROUP
    for turn in range(ROUNDS):
        h0 = kv * GROUP + turn
        if SPANS is not None:
            spans = SPANS(first, last, b, h0, queries, keys, program[0], program[1], program[2])
        elif MASK is not None or READS_QUERY:
            spans = (shift, keys, shift, shift)
        else:
            spans = (shift, keys, shift, keys)
        runs = plan(spans, COUNT, shift, BLOCK_M)
        full_tiles = full_count(runs, COUNT)
        masked_tiles = visit_count(runs, COUNT) - full_tiles
        for index in range(full_tiles * MEMBERS):
            h, step = h0, index
            if MEMBERS > 1:
                h, step = h0 + index // full_tiles, index % full_tiles
            start = full_tile(step, runs, COUNT) * BLOCK_M
            state = gather_tile(
                state, start, k0, k1, v0, v1, columns, k_at, q, dout, level, delta, query_strides, head_strides,
                b, h, sizes, dropout, seed, program, False, MASK, SCORE, SLOPE, READS_QUERY, FOLD, D, D0, D1,
                DV, DV0, DV1, ALIGNED, DROPOUT, PRECISION, UPCAST, BLOCK_M, PADDING,
            )  # fmt: skip
        for index in range(masked_tiles * MEMBERS):
            h, step = h0, index
            if MEMBERS > 1:
                h, step = h0 + index // masked_tiles, index % masked_tiles
            start = masked_tile(step, runs, COUNT) * BLOCK_M
            verdict = 1
            if TILE_TEST is not None:
                low, high = start + shift, tl.minimum(start + BLOCK_M, queries) - 1 + shift
                verdict = TILE_TEST(low, high, first, last, b, h, queries, keys, program[0], program[1], program[2])
            if TILE_TEST is None or verdict > 0:
                state = gather_tile(
                    state, start, k0, k1, v0, v1, columns, k_at, q, dout, level, delta, query_strides, head_strides,
                    b, h, sizes, dropout, seed, program, True, MASK, SCORE, SLOPE, READS_QUERY, FOLD, D, D0, D1,
                    DV, DV0, DV1, ALIGNED, DROPOUT, PRECISION, UPCAST, BLOCK_M, PADDING,
                )  # fmt: skip

    dk0, dk1, dv0, dv1 = state
    if DROPOUT:
        dv0, dv1 = dv0 / (1.0 - dropout), dv1 / (1.0 - dropout)
    place = b.to(tl.int64) * keys * kv_heads + kv
    k_row, v_row = kv_heads.to(tl.int64) * D, kv_heads.to(tl.int64) * DV
    write(dk + place * D, dk0 * scale, lines, keys, k_row, 0, D0, D)
    write(dv + place * DV, dv0, lines, keys, v_row, 0, DV0, DV)
    if D1 > 0:
        write(dk + place * D, dk1 * scale, lines, keys, k_row, D0, D1, D)
    if DV1 > 0:
        write(dv + place * DV, dv1, lines, keys, v_row, DV0, DV1, DV)


@triton.jit
def site_gradients(
    sums,
    ds,
    s,
    keep,
    b,
    h,
    q_at,
    k_at,
    sizes,
    program,
    site_out,
    site_index,
    site_slope,
    SITES: tl.constexpr,
    PER_PAIR: tl.constexpr,
):
    """Adds a tile's gradients of learned elements: to memory where places differ by pair, else to ``sums`` by row."""
    queries, keys, scale = sizes
    captures, strides, numbers = program
    added = ()
    for i in tl.static_range(0, SITES):
        part = ds * site_slope[i](s * scale, b, h, q_at, k_at, queries, keys, captures, strides, numbers)
        part = tl.where(keep, part, 0.0)
        if PER_PAIR[i]:
            place = site_index[i](b, h, q_at, k_at, queries, keys, captures, strides, numbers)
            tl.atomic_add(site_out[i] + (place + tl.zeros_like(part).to(tl.int32)), part, mask=keep & (part != 0.0))
            added = added + (sums[i],)
        else:
            added = added + (sums[i] + tl.sum(part, 1),)
    return added


@triton.jit
def scatter_tile(
    dq0,
    dq1,
    sums,
    start,
    q0,
    q1,
    do0,
    do1,
    q_at,
    rows,
    level,
    delta,
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
    site_out,
    site_index,
    site_slope,
    SITES: tl.constexpr,
    PER_PAIR: tl.constexpr,
    MASKED: tl.constexpr,
    MASK: tl.constexpr,
    SCORE: tl.constexpr,
    SLOPE: tl.constexpr,
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
    """Dq of a tile of queries, in two pieces, and sums of learned elements after BLOCK_N keys from ``start``."""
    _, keys, _ = sizes
    k_t, k_d, v_t, v_d = key_strides
    columns = start + tl.arange(0, BLOCK_N)
    k0 = read(k, start, keys, k_t, k_d, BLOCK_N, 0, D0, D, ALIGNED, MASKED, UPCAST)
    s = tl.dot(q0, tl.trans(k0), input_precision=PRECISION)
    if D1 > 0:
        k1 = read(k, start, keys, k_t, k_d, BLOCK_N, D0, D1, D, ALIGNED, MASKED, UPCAST)
        s = tl.dot(q1, tl.trans(k1), s, input_precision=PRECISION)
    v0 = read(v, start, keys, v_t, v_d, BLOCK_N, 0, DV0, DV, ALIGNED, MASKED, UPCAST)
    dp = tl.dot(do0, tl.trans(v0), input_precision=PRECISION)
    if DV1 > 0:
        v1 = read(v, start, keys, v_t, v_d, BLOCK_N, DV0, DV1, DV, ALIGNED, MASKED, UPCAST)
        dp = tl.dot(do1, tl.trans(v1), dp, input_precision=PRECISION)
    columns = columns[None, :]
    k_at = columns
    if MASKED:
        k_at = tl.minimum(columns, keys - 1)
    p, keep = weigh(s, level, b, h, q_at, k_at, rows, columns, sizes, program, MASKED, MASK, SCORE, READS_QUERY, FOLD)
    if DROPOUT:
        dp = tl.where(kept(seed, element, keys, columns, dropout), dp / (1.0 - dropout), 0.0)
    ds = p * (dp - delta)
    sums = site_gradients(
        sums, ds, s, keep & (rows < sizes[0]), b, h, q_at, k_at, sizes, program, site_out, site_index, site_slope,
        SITES, PER_PAIR,
    )  # fmt: skip
    ds = through_score(ds, s, keep, b, h, q_at, k_at, sizes, program, MASKED, SLOPE)
    ds = narrow(ds, k.dtype.element_ty, UPCAST)
    dq0 = tl.dot(ds, k0, dq0, input_precision=PRECISION)
    if D1 > 0:
        dq1 = tl.dot(ds, k1, dq1, input_precision=PRECISION)
    return dq0, dq1, sums


@triton.jit(do_not_specialize=RUN_TIME)
def query_gradient_kernel(
    q,
    k,
    v,
    dout,
    level,
    delta,
    dq,
    captures,
    site_out,
    site_places,
    site_index,
    site_slope,
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
    do_b: tl.int64,
    do_t: tl.int64,
    do_h: tl.int64,
    do_d: tl.int64,
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
    SITES: tl.constexpr,
    PER_PAIR: tl.constexpr,
    MASK: tl.constexpr,
    SCORE: tl.constexpr,
    SLOPE: tl.constexpr,
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
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PADDING: tl.constexpr,
):
    """dq, contiguous, of one tile of queries of one head, and what it adds to learned elements.

    For a site whose place depends on no pair, ``site_out`` [batch * heads, tiles] gets this program's sum and
    ``site_places`` [batch * heads] the place; else ``site_out`` is the gradient itself.
    """
    program = (
        captures,
        (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15),
        (n0, n1, n2, n3, n4, n5, n6, n7),
    )
    sizes = (queries, keys, scale)
    ALIGNED: tl.constexpr = UNIT > 1
    tiles = tl.cdiv(queries, BLOCK_M)
    tile = tiles - 1 - tl.program_id(0) % tiles
    first = tile * BLOCK_M
    head = tl.program_id(0) // tiles
    b, h = head // heads, head % heads
    q += (b.to(tl.int64) * q_b + h.to(tl.int64) * q_h) * UNIT
    dout += (b.to(tl.int64) * do_b + h.to(tl.int64) * do_h) * UNIT
    k += (b.to(tl.int64) * k_b + (h // GROUP).to(tl.int64) * k_h) * UNIT
    v += (b.to(tl.int64) * v_b + (h // GROUP).to(tl.int64) * v_h) * UNIT
    key_strides = (k_t.to(tl.int64) * UNIT, k_d, v_t.to(tl.int64) * UNIT, v_d)

    lines = first + tl.arange(0, BLOCK_M)
    rows = lines[:, None]
    q_at = query_positions(rows, queries, keys, READS_QUERY)
    q0 = read(q, first, queries, q_t * UNIT, q_d, BLOCK_M, 0, D0, D, ALIGNED, True, UPCAST)
    q1 = q0
    if D1 > 0:
        q1 = read(q, first, queries, q_t * UNIT, q_d, BLOCK_M, D0, D1, D, ALIGNED, True, UPCAST)
    do0 = read(dout, first, queries, do_t * UNIT, do_d, BLOCK_M, 0, DV0, DV, ALIGNED, True, UPCAST)
    do1 = do0
    if DV1 > 0:
        do1 = read(dout, first, queries, do_t * UNIT, do_d, BLOCK_M, DV0, DV1, DV, ALIGNED, True, UPCAST)
    element = head.to(tl.int64) * queries + rows
    line = head.to(tl.int64) * (tl.cdiv(queries, PADDING) * PADDING)
    level = tl.load(level + line + rows)
    delta = tl.load(delta + line + rows)
    dq0 = tl.zeros([BLOCK_M, D0], tl.float32)
    dq1 = tl.zeros([BLOCK_M, D1 if D1 > 0 else 1], tl.float32)
    sums = ()
    for _ in tl.static_range(0, SITES):
        sums = sums + (tl.zeros([BLOCK_M], tl.float32),)

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
        dq0, dq1, sums = scatter_tile(
            dq0, dq1, sums, start, q0, q1, do0, do1, q_at, rows, level, delta, element, k, v, key_strides, b, h, sizes,
            dropout, seed, program, site_out, site_index, site_slope, SITES, PER_PAIR, False, MASK, SCORE, SLOPE,
            READS_QUERY, FOLD, D, D0, D1, DV, DV0, DV1, ALIGNED, DROPOUT, PRECISION, UPCAST, BLOCK_N,
        )  # fmt: skip
    for index in range(masked_tiles):
        start = masked_tile(index, runs, COUNT) * BLOCK_N
        verdict = 1
        if TILE_TEST is not None:
            end = tl.minimum(start + BLOCK_N, keys) - 1
            verdict = TILE_TEST(low, high, start, end, b, h, queries, keys, program[0], program[1], program[2])
        if TILE_TEST is None or verdict > 0:
            dq0, dq1, sums = scatter_tile(
                dq0, dq1, sums, start, q0, q1, do0, do1, q_at, rows, level, delta, element, k, v, key_strides, b, h,
                sizes, dropout, seed, program, site_out, site_index, site_slope, SITES, PER_PAIR, True, MASK, SCORE,
                SLOPE, READS_QUERY, FOLD, D, D0, D1, DV, DV0, DV1, ALIGNED, DROPOUT, PRECISION, UPCAST, BLOCK_N,
            )  # fmt: skip

    row = heads.to(tl.int64) * D
    dq += (b.to(tl.int64) * queries * heads + h) * D
    write(dq, dq0 * scale, lines, queries, row, 0, D0, D)
    if D1 > 0:
        write(dq, dq1 * scale, lines, queries, row, D0, D1, D)
    for i in tl.static_range(0, SITES):
        if not PER_PAIR[i]:
            zero = head * 0
            place = site_index[i](b, h, zero, zero, queries, keys, program[0], program[1], program[2])
            tl.store(site_out[i] + head.to(tl.int64) * tiles + tile, tl.sum(sums[i], 0))
            tl.store(site_places[i] + head, place)
