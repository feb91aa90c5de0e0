# mypy: ignore-errors
"""Kernels that normalise and turn heads, and their way back.

A vector is one head at one position; its channels are H pairs that turn and D - 2 H others. A program takes some
vectors, and their channels in blocks. Arithmetic is in float32.
"""

import triton
import triton.language as tl


@triton.jit
def load_pairs(base, rows, at, H: tl.constexpr, INTERLEAVED: tl.constexpr, BLOCK: tl.constexpr):
    """First and second channels of the pairs from ``at`` on, of the vectors at the pointers ``base`` [n, 1]."""
    if INTERLEAVED and BLOCK <= 128:
        c = 2 * at + tl.arange(0, 2 * BLOCK)[None, :]
        x = tl.load(base + c, mask=rows & (c < 2 * H), other=0.0).to(tl.float32)
        return tl.split(tl.reshape(x, (x.shape[0], BLOCK, 2)))
    else:
        j = at + tl.arange(0, BLOCK)[None, :]
        STEP: tl.constexpr = 2 if INTERLEAVED else 1
        APART: tl.constexpr = 1 if INTERLEAVED else H
        a = tl.load(base + STEP * j, mask=rows & (j < H), other=0.0).to(tl.float32)
        b = tl.load(base + STEP * j + APART, mask=rows & (j < H), other=0.0).to(tl.float32)
        return a, b


@triton.jit
def store_pairs(base, a, b, rows, at, H: tl.constexpr, INTERLEAVED: tl.constexpr, BLOCK: tl.constexpr):
    """Writes what ``load_pairs`` reads."""
    dtype = base.dtype.element_ty
    if INTERLEAVED and BLOCK <= 128:
        c = 2 * at + tl.arange(0, 2 * BLOCK)[None, :]
        x = tl.reshape(tl.join(a, b), (a.shape[0], 2 * BLOCK))
        tl.store(base + c, x.to(dtype), mask=rows & (c < 2 * H))
    else:
        j = at + tl.arange(0, BLOCK)[None, :]
        STEP: tl.constexpr = 2 if INTERLEAVED else 1
        APART: tl.constexpr = 1 if INTERLEAVED else H
        tl.store(base + STEP * j, a.to(dtype), mask=rows & (j < H))
        tl.store(base + STEP * j + APART, b.to(dtype), mask=rows & (j < H))


@triton.jit
def load_rest(base, rows, at, D: tl.constexpr, BLOCK: tl.constexpr):
    """Channels from ``at`` on."""
    k = at + tl.arange(0, BLOCK)[None, :]
    return tl.load(base + k, mask=rows & (k < D), other=0.0).to(tl.float32)


@triton.jit
def store_rest(base, x, rows, at, D: tl.constexpr, BLOCK: tl.constexpr):
    """Writes what ``load_rest`` reads."""
    k = at + tl.arange(0, BLOCK)[None, :]
    tl.store(base + k, x.to(base.dtype.element_ty), mask=rows & (k < D))


@triton.jit
def rotation(cos, sin, rows, at, H: tl.constexpr, INTERLEAVED: tl.constexpr, BLOCK: tl.constexpr):
    """Cosine and sine of the pairs from ``at`` on, from the tables' rows at the pointers ``cos`` and ``sin`` [n, 1]."""
    j = at + tl.arange(0, BLOCK)[None, :]
    inside = rows & (j < H)
    if INTERLEAVED:
        return tl.load(cos + 2 * j, mask=inside, other=0.0), tl.load(sin + 2 * j + 1, mask=inside, other=0.0)
    else:
        return tl.load(cos + j, mask=inside, other=0.0), tl.load(sin + H + j, mask=inside, other=0.0)


@triton.jit
def place(v, time, count):
    """Batch, position and head of the vectors numbered ``v``, for offsets of 64 bits."""
    row = v // count  # divisions of 64 bits would be calls, with a stack
    return (row // time).to(tl.int64), (row % time).to(tl.int64), (v % count).to(tl.int64)


@triton.jit
def one_row(pointer):
    """The pointer as a row of vectors."""
    return pointer + tl.zeros((1, 1), tl.int64)


@triton.jit
def statistics(
    base,
    rows,
    eps,
    H: tl.constexpr,
    D: tl.constexpr,
    CENTRED: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """Mean (zero where the norm has none) and 1 / deviation of each vector: [n, 1]."""
    mean = tl.zeros((BLOCK_V, 1), tl.float32)
    if CENTRED:
        for at in range(0, H, BLOCK_H):
            a, b = load_pairs(base, rows, at, H, INTERLEAVED, BLOCK_H)
            mean += tl.sum(a + b, 1, keep_dims=True)
        for at in range(2 * H, D, BLOCK_R):
            mean += tl.sum(load_rest(base, rows, at, D, BLOCK_R), 1, keep_dims=True)
        mean = mean / D
    total = tl.zeros((BLOCK_V, 1), tl.float32)
    for at in range(0, H, BLOCK_H):
        a, b = load_pairs(base, rows, at, H, INTERLEAVED, BLOCK_H)
        if CENTRED:
            inside = at + tl.arange(0, BLOCK_H)[None, :] < H
            a, b = tl.where(inside, a - mean, 0.0), tl.where(inside, b - mean, 0.0)
        total += tl.sum(a * a + b * b, 1, keep_dims=True)
    for at in range(2 * H, D, BLOCK_R):
        x = load_rest(base, rows, at, D, BLOCK_R)
        if CENTRED:
            x = tl.where(at + tl.arange(0, BLOCK_R)[None, :] < D, x - mean, 0.0)
        total += tl.sum(x * x, 1, keep_dims=True)
    return mean, tl.rsqrt(total / D + eps)


@triton.jit
def heads_kernel(
    x,
    y,
    stats,
    cos,
    sin,
    weight,
    bias,
    vectors: tl.int32,
    time: tl.int32,
    count: tl.int32,
    x_batch: tl.int64,
    x_time: tl.int64,
    x_head: tl.int64,
    y_batch: tl.int64,
    y_time: tl.int64,
    y_head: tl.int64,
    eps: tl.float32,
    H: tl.constexpr,
    D: tl.constexpr,
    NORM: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    WHOLE: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """Y = the heads x through a norm (1: rms, 2: layernorm), then turned.

    Where there is no norm y may be x, and only what turns is written unless ``WHOLE``.
    """
    v = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)[:, None]
    rows = v < vectors
    batch, t, head = place(v, time, count)
    x += batch * x_batch + t * x_time + head * x_head
    y += batch * y_batch + t * y_time + head * y_head
    if NORM:
        mean, scale = statistics(x, rows, eps, H, D, NORM == 2, INTERLEAVED, BLOCK_V, BLOCK_H, BLOCK_R)
        tl.store(stats + v, scale, mask=rows)
        if NORM == 2:
            tl.store(stats + vectors.to(tl.int64) + v, mean, mask=rows)
    for at in range(0, H, BLOCK_H):
        a, b = load_pairs(x, rows, at, H, INTERLEAVED, BLOCK_H)
        if NORM:
            a, b = (a - mean) * scale, (b - mean) * scale
            if HAS_WEIGHT:
                wa, wb = load_pairs(one_row(weight), True, at, H, INTERLEAVED, BLOCK_H)
                a, b = a * wa, b * wb
            if HAS_BIAS:
                ba, bb = load_pairs(one_row(bias), True, at, H, INTERLEAVED, BLOCK_H)
                a, b = a + ba, b + bb
        c, s = rotation(cos + t * 2 * H, sin + t * 2 * H, rows, at, H, INTERLEAVED, BLOCK_H)
        a, b = a * c - b * s, b * c + a * s
        store_pairs(y, a, b, rows, at, H, INTERLEAVED, BLOCK_H)
    if WHOLE:
        for at in range(2 * H, D, BLOCK_R):
            r = load_rest(x, rows, at, D, BLOCK_R)
            if NORM:
                r = (r - mean) * scale
                if HAS_WEIGHT:
                    r *= load_rest(one_row(weight), True, at, D, BLOCK_R)
                if HAS_BIAS:
                    r += load_rest(one_row(bias), True, at, D, BLOCK_R)
            store_rest(y, r, rows, at, D, BLOCK_R)


@triton.jit
def turned_back(g, cos, sin, rows, at, H: tl.constexpr, INTERLEAVED: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of pairs before they turned."""
    a, b = load_pairs(g, rows, at, H, INTERLEAVED, BLOCK)
    c, s = rotation(cos, sin, rows, at, H, INTERLEAVED, BLOCK)
    return a * c + b * s, b * c - a * s


@triton.jit
def heads_backward_kernel(
    g,
    x,
    dx,
    stats,
    cos,
    sin,
    weight,
    weight_sums,
    bias_sums,
    vectors: tl.int32,
    time: tl.int32,
    count: tl.int32,
    g_batch: tl.int64,
    g_time: tl.int64,
    g_head: tl.int64,
    x_batch: tl.int64,
    x_time: tl.int64,
    x_head: tl.int64,
    dx_batch: tl.int64,
    dx_time: tl.int64,
    dx_head: tl.int64,
    H: tl.constexpr,
    D: tl.constexpr,
    NORM: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """Dx of ``heads_kernel`` for the gradient g of y; a row of ``weight_sums`` and ``bias_sums`` for each program.

    A program goes through several groups of vectors; one only, where their channels take several blocks.
    """
    program = tl.program_id(0)
    sums = program.to(tl.int64) * D
    wa_sum = tl.zeros((1, BLOCK_H), tl.float32)
    wb_sum = tl.zeros((1, BLOCK_H), tl.float32)
    wr_sum = tl.zeros((1, BLOCK_R), tl.float32)
    ba_sum = tl.zeros((1, BLOCK_H), tl.float32)
    bb_sum = tl.zeros((1, BLOCK_H), tl.float32)
    br_sum = tl.zeros((1, BLOCK_R), tl.float32)
    for group in range(program, tl.cdiv(vectors, BLOCK_V), tl.num_programs(0)):
        v = group * BLOCK_V + tl.arange(0, BLOCK_V)[:, None]
        rows = v < vectors
        batch, t, head = place(v, time, count)
        g_at = g + batch * g_batch + t * g_time + head * g_head
        x_at = x + batch * x_batch + t * x_time + head * x_head
        dx_at = dx + batch * dx_batch + t * dx_time + head * dx_head
        cos_at, sin_at = cos + t * 2 * H, sin + t * 2 * H
        if NORM:
            scale = tl.load(stats + v, mask=rows, other=0.0)
            mean = tl.zeros((BLOCK_V, 1), tl.float32)
            if NORM == 2:
                mean = tl.load(stats + vectors.to(tl.int64) + v, mask=rows, other=0.0)
            share = tl.zeros((BLOCK_V, 1), tl.float32)
            level = tl.zeros((BLOCK_V, 1), tl.float32)
            for at in range(0, H, BLOCK_H):
                a, b = turned_back(g_at, cos_at, sin_at, rows, at, H, INTERLEAVED, BLOCK_H)
                na, nb = load_pairs(x_at, rows, at, H, INTERLEAVED, BLOCK_H)
                na, nb = (na - mean) * scale, (nb - mean) * scale
                if HAS_BIAS:
                    ba_sum += tl.sum(a, 0, keep_dims=True)
                    bb_sum += tl.sum(b, 0, keep_dims=True)
                    if H > BLOCK_H:
                        store_pairs(one_row(bias_sums + sums), ba_sum, bb_sum, True, at, H, INTERLEAVED, BLOCK_H)
                        ba_sum, bb_sum = tl.zeros_like(ba_sum), tl.zeros_like(bb_sum)
                if HAS_WEIGHT:
                    wa_sum += tl.sum(a * na, 0, keep_dims=True)
                    wb_sum += tl.sum(b * nb, 0, keep_dims=True)
                    if H > BLOCK_H:
                        store_pairs(one_row(weight_sums + sums), wa_sum, wb_sum, True, at, H, INTERLEAVED, BLOCK_H)
                        wa_sum, wb_sum = tl.zeros_like(wa_sum), tl.zeros_like(wb_sum)
                    wa, wb = load_pairs(one_row(weight), True, at, H, INTERLEAVED, BLOCK_H)
                    a, b = a * wa, b * wb
                share += tl.sum(a * na + b * nb, 1, keep_dims=True)
                level += tl.sum(a + b, 1, keep_dims=True)
            for at in range(2 * H, D, BLOCK_R):
                r = load_rest(g_at, rows, at, D, BLOCK_R)
                nr = (load_rest(x_at, rows, at, D, BLOCK_R) - mean) * scale
                if HAS_BIAS:
                    br_sum += tl.sum(r, 0, keep_dims=True)
                    if D - 2 * H > BLOCK_R:
                        store_rest(one_row(bias_sums + sums), br_sum, True, at, D, BLOCK_R)
                        br_sum = tl.zeros_like(br_sum)
                if HAS_WEIGHT:
                    wr_sum += tl.sum(r * nr, 0, keep_dims=True)
                    if D - 2 * H > BLOCK_R:
                        store_rest(one_row(weight_sums + sums), wr_sum, True, at, D, BLOCK_R)
                        wr_sum = tl.zeros_like(wr_sum)
                    r *= load_rest(one_row(weight), True, at, D, BLOCK_R)
                share += tl.sum(r * nr, 1, keep_dims=True)
                level += tl.sum(r, 1, keep_dims=True)
            share, level = share / D, level / D
            if NORM == 1:
                level = tl.zeros((BLOCK_V, 1), tl.float32)
        for at in range(0, H, BLOCK_H):
            a, b = turned_back(g_at, cos_at, sin_at, rows, at, H, INTERLEAVED, BLOCK_H)
            if NORM:
                if HAS_WEIGHT:
                    wa, wb = load_pairs(one_row(weight), True, at, H, INTERLEAVED, BLOCK_H)
                    a, b = a * wa, b * wb
                na, nb = load_pairs(x_at, rows, at, H, INTERLEAVED, BLOCK_H)
                na, nb = (na - mean) * scale, (nb - mean) * scale
                a, b = scale * (a - na * share - level), scale * (b - nb * share - level)
            store_pairs(dx_at, a, b, rows, at, H, INTERLEAVED, BLOCK_H)
        for at in range(2 * H, D, BLOCK_R):
            r = load_rest(g_at, rows, at, D, BLOCK_R)
            if NORM:
                if HAS_WEIGHT:
                    r *= load_rest(one_row(weight), True, at, D, BLOCK_R)
                nr = (load_rest(x_at, rows, at, D, BLOCK_R) - mean) * scale
                r = scale * (r - nr * share - level)
            store_rest(dx_at, r, rows, at, D, BLOCK_R)
    if HAS_WEIGHT:
        if H <= BLOCK_H:
            store_pairs(one_row(weight_sums + sums), wa_sum, wb_sum, True, 0, H, INTERLEAVED, BLOCK_H)
        if D - 2 * H <= BLOCK_R:
            store_rest(one_row(weight_sums + sums), wr_sum, True, 2 * H, D, BLOCK_R)
    if HAS_BIAS:
        if H <= BLOCK_H:
            store_pairs(one_row(bias_sums + sums), ba_sum, bb_sum, True, 0, H, INTERLEAVED, BLOCK_H)
        if D - 2 * H <= BLOCK_R:
            store_rest(one_row(bias_sums + sums), br_sum, True, 2 * H, D, BLOCK_R)
