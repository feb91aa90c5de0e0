# mypy: ignore-errors
"""The kernels of norms of rows too wide to be held: a block of columns at a time, read again from the cache."""

import triton
import triton.language as tl

from tantra_compiler.kernels.fused.norm_kernels import (
    RUN_TIME,
    block_at,
    gradient,
    normal_at,
    put,
    sum_at,
    vector_at,
    weighted,
)


@triton.jit(do_not_specialize=RUN_TIME)
def wide_norm_kernel(
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
    """One row, BLOCK columns at a time; what was read is in the cache when it is read again."""
    row = (tl.program_id(0) + tl.arange(0, 1)).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    middle = tl.zeros([1], tl.float32)
    if CENTRED:
        sums = tl.zeros([1, BLOCK], tl.float32)
        for start in range(0, WIDTH, BLOCK):
            column = start + columns
            inside = (column < WIDTH)[None, :]
            sums += sum_at(x, y, row, x_row, y_row, column, inside, total, ADDED, ALIGNED)
        middle = tl.sum(sums, 1) / WIDTH
        tl.store(mean + row, middle)
    squares = tl.zeros([1, BLOCK], tl.float32)
    for start in range(0, WIDTH, BLOCK):
        column = start + columns
        inside = (column < WIDTH)[None, :]
        found = sum_at(x, y, row, x_row, y_row, column, inside, total, ADDED, ALIGNED)
        found = tl.where(inside, found - middle[:, None], 0.0)
        squares += found * found
    spread = tl.rsqrt(tl.sum(squares, 1) / WIDTH + eps)
    tl.store(scale + row, spread)
    for start in range(0, WIDTH, BLOCK):
        column = start + columns
        inside = (column < WIDTH)[None, :]
        found = sum_at(x, y, row, x_row, y_row, column, inside, total, ADDED, ALIGNED)
        if ADDED:
            put(total, found, row, column, inside, WIDTH)
        made = (found - middle[:, None]) * spread[:, None]
        put(normal, weighted(made, weight, bias, column, WIDTH, WEIGHTED, BIASED), row, column, inside, WIDTH)


@triton.jit(do_not_specialize=RUN_TIME)
def wide_gradient_kernel(
    dsum,
    dnormal,
    total,
    weight,
    mean,
    scale,
    dx,
    dy,
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
    CENTRED: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """The gradient of one row, BLOCK columns at a time."""
    row = (tl.program_id(0) + tl.arange(0, 1)).to(tl.int64)
    here = row < rows
    columns = tl.arange(0, BLOCK)
    shares = tl.zeros([1, BLOCK], tl.float32)
    centres = tl.zeros([1, BLOCK], tl.float32)
    for start in range(0, WIDTH, BLOCK):
        column = start + columns
        inside = (column < WIDTH)[None, :]
        made, spread = normal_at(total, mean, scale, row, total_row, column, here, inside, CENTRED, ALIGNED)
        given = block_at(dnormal, row, dnormal_row, column, inside, ALIGNED)
        if WEIGHTED:
            given *= vector_at(weight, column, WIDTH)
        shares += given * made
        centres += given
    share, centre = tl.sum(shares, 1) / WIDTH, tl.sum(centres, 1) / WIDTH
    for start in range(0, WIDTH, BLOCK):
        column = start + columns
        inside = (column < WIDTH)[None, :]
        made, spread = normal_at(total, mean, scale, row, total_row, column, here, inside, CENTRED, ALIGNED)
        given = block_at(dnormal, row, dnormal_row, column, inside, ALIGNED)
        if WEIGHTED:
            given *= vector_at(weight, column, WIDTH)
        found = gradient(
            made, given, spread, share, centre, dsum, row, dsum_row, column, inside, CENTRED, SUMMED, ALIGNED
        )
        put(dx, found, row, column, inside, WIDTH)
        if OTHER:
            put(dy, found, row, column, inside, WIDTH)


@triton.jit(do_not_specialize=RUN_TIME)
def weight_gradient_kernel(
    dnormal,
    total,
    mean,
    scale,
    weight_parts,
    bias_parts,
    dnormal_row: tl.int64,
    total_row: tl.int64,
    rows: tl.int32,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    FOR_WEIGHT: tl.constexpr,
    FOR_BIAS: tl.constexpr,
    CENTRED: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Sums of BLOCK columns over every so manieth ROWS rows, for weight and bias of wide rows."""
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    part, parts = tl.program_id(1), tl.num_programs(1)
    weight_sums = tl.zeros([ROWS, BLOCK], tl.float32)
    bias_sums = tl.zeros([ROWS, BLOCK], tl.float32)
    for first in range(part * ROWS, rows, parts * ROWS):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)
        here = row < rows
        inside = here[:, None] & (column < WIDTH)[None, :]
        given = block_at(dnormal, row, dnormal_row, column, inside, ALIGNED)
        if FOR_WEIGHT:
            made, _ = normal_at(total, mean, scale, row, total_row, column, here, inside, CENTRED, ALIGNED)
            weight_sums += given * made
        if FOR_BIAS:
            bias_sums += given
    at = part.to(tl.int64) * WIDTH + column
    if FOR_WEIGHT:
        tl.store(weight_parts + at, tl.sum(weight_sums, 0), mask=column < WIDTH)
    if FOR_BIAS:
        tl.store(bias_parts + at, tl.sum(bias_sums, 0), mask=column < WIDTH)
