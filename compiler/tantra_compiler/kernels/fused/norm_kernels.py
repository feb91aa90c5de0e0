# mypy: ignore-errors
"""The kernels of norms, with or without an add before, of rows that a program holds at once.

Arithmetic is in float32. No program adds to what another has written, so that every run gives the same bits.
"""

import os

import triton
import triton.language as tl

RUN_TIME = ["x_row", "y_row", "total_row", "dsum_row", "dnormal_row", "rows", "eps"]
BY_HAND = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def rounded(x, dtype: tl.constexpr):
    """X in ``dtype``; the interpreter cuts bits off for bfloat16 where chips round to nearest even."""
    if BY_HAND and dtype == tl.bfloat16:
        bits = x.to(tl.int32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        x = ((bits >> 16) << 16).to(tl.float32, bitcast=True)
    return x.to(dtype)


@triton.jit
def block_at(base, row, stride, column, inside, ALIGNED: tl.constexpr):
    """Elements of rows that lie ``stride`` apart, in float32; zeros where none is."""
    if ALIGNED:
        stride = tl.multiple_of(stride, 16)
    return tl.load(base + (row * stride)[:, None] + column[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def vector_at(base, column, WIDTH: tl.constexpr):
    """Elements of a vector in float32."""
    return tl.load(base + column, mask=column < WIDTH, other=0.0).to(tl.float32)[None, :]


@triton.jit
def sum_at(x, y, row, x_row, y_row, column, inside, total, ADDED: tl.constexpr, ALIGNED: tl.constexpr):
    """``x + y`` as the precision of ``total`` holds it, or x alone."""
    found = block_at(x, row, x_row, column, inside, ALIGNED)
    if ADDED:
        found += block_at(y, row, y_row, column, inside, ALIGNED)
        found = rounded(found, total.dtype.element_ty).to(tl.float32)
    return found


@triton.jit
def weighted(normal, weight, bias, column, WIDTH: tl.constexpr, WEIGHTED: tl.constexpr, BIASED: tl.constexpr):
    """The norm times its weight, plus its bias."""
    if WEIGHTED:
        normal *= vector_at(weight, column, WIDTH)
    if BIASED:
        normal += vector_at(bias, column, WIDTH)
    return normal


@triton.jit
def put(base, found, row, column, inside, WIDTH: tl.constexpr):
    """Writes rows without gaps between them."""
    tl.store(base + (row * WIDTH)[:, None] + column[None, :], rounded(found, base.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=RUN_TIME)
def norm_kernel(
    x,
    y,
    weight,
    bias,
    total,
    normal,
    mean,
    scale,
    x_row: tl.int64,
    y_row: tl.int64,
    rows: tl.int32,
    eps: tl.float32,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    ADDED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BIASED: tl.constexpr,
    CENTRED: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """ROWS rows of ``total`` and ``normal`` in one go: BLOCK columns hold a row."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    column = tl.arange(0, BLOCK)
    here = row < rows
    inside = here[:, None] & (column < WIDTH)[None, :]
    found = sum_at(x, y, row, x_row, y_row, column, inside, total, ADDED, ALIGNED)
    if ADDED:
        put(total, found, row, column, inside, WIDTH)
    if CENTRED:
        middle = tl.sum(found, 1) / WIDTH
        tl.store(mean + row, middle, mask=here)
        found = tl.where(inside, found - middle[:, None], 0.0)
    spread = tl.rsqrt(tl.sum(found * found, 1) / WIDTH + eps)
    tl.store(scale + row, spread, mask=here)
    made = weighted(found * spread[:, None], weight, bias, column, WIDTH, WEIGHTED, BIASED)
    put(normal, made, row, column, inside, WIDTH)


# --- gradients -----------------------------------------------------------------------------


@triton.jit
def normal_at(total, mean, scale, row, total_row, column, here, inside, CENTRED: tl.constexpr, ALIGNED: tl.constexpr):
    """The norm before its weight, made again; and what each row was multiplied by."""
    found = block_at(total, row, total_row, column, inside, ALIGNED)
    spread = tl.load(scale + row, mask=here, other=0.0)[:, None]
    if CENTRED:
        found -= tl.load(mean + row, mask=here, other=0.0)[:, None]
    return found * spread, spread


@triton.jit
def gradient(
    made,
    weighed,
    spread,
    share,
    centre,
    dsum,
    row,
    dsum_row,
    column,
    inside,
    CENTRED: tl.constexpr,
    SUMMED: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Of the sum: through its norm ``made``, whose own gradient is ``weighed``, and from elsewhere."""
    found = weighed - made * share[:, None]
    if CENTRED:
        found -= centre[:, None]
    found *= spread
    if SUMMED:
        found += block_at(dsum, row, dsum_row, column, inside, ALIGNED)
    return found


@triton.jit(do_not_specialize=RUN_TIME)
def norm_gradient_kernel(
    dsum,
    dnormal,
    total,
    weight,
    mean,
    scale,
    dx,
    dy,
    weight_parts,
    bias_parts,
    dsum_row: tl.int64,
    dnormal_row: tl.int64,
    total_row: tl.int64,
    rows: tl.int32,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    SUMMED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    OTHER: tl.constexpr,
    FOR_WEIGHT: tl.constexpr,
    FOR_BIAS: tl.constexpr,
    CENTRED: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Each program takes every so manieth ROWS rows, and its part of the sums that weight and bias get."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    column = tl.arange(0, BLOCK)
    if FOR_WEIGHT:
        weight_sums = tl.zeros([ROWS, BLOCK], tl.float32)
    if FOR_BIAS:
        bias_sums = tl.zeros([ROWS, BLOCK], tl.float32)
    for first in range(program * ROWS, rows, programs * ROWS):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)
        here = row < rows
        inside = here[:, None] & (column < WIDTH)[None, :]
        made, spread = normal_at(total, mean, scale, row, total_row, column, here, inside, CENTRED, ALIGNED)
        given = block_at(dnormal, row, dnormal_row, column, inside, ALIGNED)
        if FOR_WEIGHT:
            weight_sums += given * made
        if FOR_BIAS:
            bias_sums += given
        if WEIGHTED:
            given *= vector_at(weight, column, WIDTH)
        share, centre = tl.sum(given * made, 1) / WIDTH, tl.sum(given, 1) / WIDTH
        found = gradient(
            made, given, spread, share, centre, dsum, row, dsum_row, column, inside, CENTRED, SUMMED, ALIGNED
        )
        put(dx, found, row, column, inside, WIDTH)
        if OTHER:
            put(dy, found, row, column, inside, WIDTH)
    at = program.to(tl.int64) * WIDTH + column
    if FOR_WEIGHT:
        tl.store(weight_parts + at, tl.sum(weight_sums, 0), mask=column < WIDTH)
    if FOR_BIAS:
        tl.store(bias_parts + at, tl.sum(bias_sums, 0), mask=column < WIDTH)
