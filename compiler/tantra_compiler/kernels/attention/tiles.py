# mypy: ignore-errors
"""What the attention templates share: which tiles a program visits, and how a tile is read, scored and masked.

A tile of one side (queries or keys) visits tiles of the other. A program's spans say which positions; ``plan`` turns
them into sorted, disjoint runs of tiles, and two mappings turn a running index into a tile: ``masked_tile`` over the
tiles that need the mask and ``full_tile`` over those that do not. So a kernel has two loops, however many intervals
its mask has, and no branch within them.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
NO_KEY_YET = tl.constexpr(-1.0e38)  # a finite start of the running maximum: differences to it never give NaN
EMPTY_LSE = tl.constexpr(-3.4028234663852886e38)  # the least float32, the lse of a row without a key


@triton.jit
def in_tiles(visit_lo, visit_hi, full_lo, full_hi, BLOCK: tl.constexpr):
    """An interval of positions as tiles: what it touches, and within that what it holds entirely."""
    some = visit_hi > visit_lo
    lo = tl.where(some, visit_lo // BLOCK, 0)
    hi = tl.where(some, (visit_hi + BLOCK - 1) // BLOCK, 0)
    return lo, (tl.maximum(full_lo, 0) + BLOCK - 1) // BLOCK, tl.maximum(full_hi, 0) // BLOCK, hi


@triton.jit
def in_order(a0, a1, a2, a3, b0, b1, b2, b3):
    """Two intervals of tiles, the one that begins first put first."""
    swap = a0 > b0
    x0, y0 = tl.where(swap, b0, a0), tl.where(swap, a0, b0)
    x1, y1 = tl.where(swap, b1, a1), tl.where(swap, a1, b1)
    x2, y2 = tl.where(swap, b2, a2), tl.where(swap, a2, b2)
    x3, y3 = tl.where(swap, b3, a3), tl.where(swap, a3, b3)
    return x0, x1, x2, x3, y0, y1, y2, y3


@triton.jit
def after(end, lo, full_lo, full_hi, hi):
    """An interval of tiles without what lies before ``end``; its full part lies within it, or is empty at its end."""
    lo = tl.maximum(lo, end)
    hi = tl.maximum(hi, lo)
    full_lo = tl.minimum(tl.maximum(full_lo, lo), hi)
    full_hi = tl.minimum(full_hi, hi)
    some = full_hi > full_lo
    return lo, tl.where(some, full_lo, hi), tl.where(some, full_hi, hi), hi


@triton.jit
def plan(spans, COUNT: tl.constexpr, shift, BLOCK: tl.constexpr):
    """COUNT intervals of positions, as many disjoint ones of tiles in order: (lo, full_lo, full_hi, hi) each.

    ``shift`` is the position of the first row: it is subtracted, so that tiles count from there.
    """
    a0, a1, a2, a3 = in_tiles(spans[0] - shift, spans[1] - shift, spans[2] - shift, spans[3] - shift, BLOCK)
    if COUNT > 1:
        b0, b1, b2, b3 = in_tiles(spans[4] - shift, spans[5] - shift, spans[6] - shift, spans[7] - shift, BLOCK)
        a0, a1, a2, a3, b0, b1, b2, b3 = in_order(a0, a1, a2, a3, b0, b1, b2, b3)
    if COUNT > 2:
        c0, c1, c2, c3 = in_tiles(spans[8] - shift, spans[9] - shift, spans[10] - shift, spans[11] - shift, BLOCK)
        b0, b1, b2, b3, c0, c1, c2, c3 = in_order(b0, b1, b2, b3, c0, c1, c2, c3)
        a0, a1, a2, a3, b0, b1, b2, b3 = in_order(a0, a1, a2, a3, b0, b1, b2, b3)
    a0, a1, a2, a3 = after(0, a0, a1, a2, a3)
    runs = (a0, a1, a2, a3)
    if COUNT > 1:
        b0, b1, b2, b3 = after(a3, b0, b1, b2, b3)
        runs = (a0, a1, a2, a3, b0, b1, b2, b3)
    if COUNT > 2:
        c0, c1, c2, c3 = after(b3, c0, c1, c2, c3)
        runs = (a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3)
    return runs


@triton.jit
def full_count(runs, COUNT: tl.constexpr):
    """How many tiles the full loop visits."""
    count = runs[2] - runs[1]
    if COUNT > 1:
        count += runs[6] - runs[5]
    if COUNT > 2:
        count += runs[10] - runs[9]
    return count


@triton.jit
def visit_count(runs, COUNT: tl.constexpr):
    """How many tiles both loops visit."""
    count = runs[3] - runs[0]
    if COUNT > 1:
        count += runs[7] - runs[4]
    if COUNT > 2:
        count += runs[11] - runs[8]
    return count


@triton.jit
def masked_tile(index, runs, COUNT: tl.constexpr):
    """The tile of the ``index``-th step of the loop over tiles that need the mask."""
    tile = index + runs[0]
    tile += tl.where(tile >= runs[1], runs[2] - runs[1], 0)
    if COUNT > 1:
        tile += tl.where(tile >= runs[3], runs[4] - runs[3], 0)
        tile += tl.where(tile >= runs[5], runs[6] - runs[5], 0)
    if COUNT > 2:
        tile += tl.where(tile >= runs[7], runs[8] - runs[7], 0)
        tile += tl.where(tile >= runs[9], runs[10] - runs[9], 0)
    return tile


@triton.jit
def full_tile(index, runs, COUNT: tl.constexpr):
    """The tile of the ``index``-th step of the loop over tiles that need no mask."""
    tile = index + runs[1]
    if COUNT > 1:
        tile += tl.where(tile >= runs[2], runs[5] - runs[2], 0)
    if COUNT > 2:
        tile += tl.where(tile >= runs[6], runs[9] - runs[6], 0)
    return tile


@triton.jit
def visited_tile(index, runs, COUNT: tl.constexpr):
    """The tile of the ``index``-th step of one loop over all visited tiles."""
    tile = index + runs[0]
    if COUNT > 1:
        tile += tl.where(tile >= runs[3], runs[4] - runs[3], 0)
    if COUNT > 2:
        tile += tl.where(tile >= runs[7], runs[8] - runs[7], 0)
    return tile


@triton.jit
def read(
    base,
    start,
    length,
    row_stride,
    column_stride,
    BLOCK: tl.constexpr,
    START: tl.constexpr,
    PIECE: tl.constexpr,
    WIDTH: tl.constexpr,
    ALIGNED: tl.constexpr,
    CHECK_ROWS: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """PIECE columns from START of BLOCK rows from ``start``; zeros beyond ``length`` rows and WIDTH columns.

    Places are found in 64 bits, anew for every tile: kept offsets would take registers that the products need.
    """
    rows = start + tl.arange(0, BLOCK)
    columns = START + tl.arange(0, PIECE)
    if ALIGNED:
        places = base + rows.to(tl.int64)[:, None] * row_stride + columns[None, :]
    else:
        places = base + rows.to(tl.int64)[:, None] * row_stride + columns.to(tl.int64)[None, :] * column_stride
    exists = (rows < length)[:, None]
    if START + PIECE > WIDTH:
        if CHECK_ROWS:
            x = tl.load(places, mask=exists & (columns < WIDTH)[None, :], other=0.0)
        else:
            x = tl.load(places, mask=(columns < WIDTH)[None, :], other=0.0)
    elif CHECK_ROWS:
        x = tl.load(places, mask=exists, other=0.0)
    else:
        x = tl.load(places)
    if UPCAST:
        x = x.to(tl.float32)
    return x


@triton.jit
def write(base, x, rows, length, row_stride, START: tl.constexpr, PIECE: tl.constexpr, WIDTH: tl.constexpr):
    """Stores x [rows, PIECE] at columns from START, where rows and columns exist; columns are contiguous."""
    columns = START + tl.arange(0, PIECE)
    places = base + rows.to(tl.int64)[:, None] * row_stride + columns[None, :]
    x = x.to(base.dtype.element_ty)
    if START + PIECE > WIDTH:
        tl.store(places, x, mask=(rows < length)[:, None] & (columns < WIDTH)[None, :])
    else:
        tl.store(places, x, mask=(rows < length)[:, None])


@triton.jit
def narrow(x, like, UPCAST: tl.constexpr):
    """X as an operand of a product beside ``like``; where operands are upcast it is rounded to bfloat16 all the same.

    The interpreter, for which that is, would cut bits off where chips round to nearest even.
    """
    if UPCAST:
        bits = x.to(tl.int32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        x = ((bits >> 16) << 16).to(tl.float32, bitcast=True)
    else:
        x = x.to(like)
    return x


@triton.jit
def kept(seed, row, keys, columns, dropout):
    """Which weights dropout keeps; ``row`` is (b * heads + h) * queries + r in 64 bits, broadcast against columns."""
    return tl.rand(seed, row * keys + columns) >= dropout


@triton.jit
def query_positions(rows, queries, keys, READS_QUERY: tl.constexpr):
    """Absolute positions of rows, those beyond the last row at the last row's; never negative for READS_QUERY."""
    at = tl.minimum(rows, queries - 1) + (keys - queries)
    if READS_QUERY:
        at = tl.maximum(at, 0)
    return at


@triton.jit
def exponent(s, b, h, q_at, k_at, sizes, program, SCORE: tl.constexpr, FOLD: tl.constexpr):
    """Products of queries and keys as exponents of two; with FOLD still before the scale and the change of base."""
    queries, keys, scale = sizes
    captures, strides, numbers = program
    if not FOLD:
        s = s * scale
        if SCORE is not None:
            s = SCORE(s, b, h, q_at, k_at, queries, keys, captures, strides, numbers)
        s = s * LOG2_E
    return s


@triton.jit
def allowed(b, h, q_at, k_at, rows, columns, sizes, program, MASK: tl.constexpr, READS_QUERY: tl.constexpr):
    """Which pairs of a tile exist and are allowed; ``rows`` and ``columns`` may lie beyond the lengths."""
    queries, keys, _scale = sizes
    captures, strides, numbers = program
    keep = columns < keys
    if MASK is not None:
        keep = keep & MASK(b, h, q_at, k_at, queries, keys, captures, strides, numbers)
    if READS_QUERY:
        keep = keep & (rows + (keys - queries) >= 0)
    return keep
