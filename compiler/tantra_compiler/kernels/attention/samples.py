# mypy: ignore-errors
"""Programs to build kernels with ahead of time: one of each form of loops, with and without a score that learns."""

import triton
import triton.language as tl

from tantra_compiler.kernels.attention.programs import Programs, Site


@triton.jit
def causal(b, h, q, k, queries, keys, captures, strides, numbers):
    """Keys up to the query."""
    return k <= q


@triton.jit
def causal_keys(first, last, b, h, queries, keys, captures, strides, numbers):
    """Its keys."""
    return 0, last + 1, 0, first + 1


@triton.jit
def causal_queries(first, last, b, h, queries, keys, captures, strides, numbers):
    """Its queries."""
    lo = tl.maximum(first, keys - queries)
    return lo, keys, tl.maximum(last, lo), keys


@triton.jit
def documents(b, h, q, k, queries, keys, captures, strides, numbers):
    """Keys of the query's document within a window."""
    same = tl.load(captures[0] + b * strides[0] + q * strides[1]) == tl.load(
        captures[0] + b * strides[0] + k * strides[1]
    )
    return (k <= q) & (q - k < numbers[0]) & same


@triton.jit
def documents_keys(first, last, b, h, queries, keys, captures, strides, numbers):
    """First keys, a window, and keys around the middle: three intervals."""
    begin = tl.load(captures[1] + b * strides[2] + first * strides[3])
    end = tl.load(captures[1] + b * strides[2] + last * strides[3])
    lo = tl.maximum(first - numbers[0] + 1, begin)
    full = tl.maximum(tl.maximum(last - numbers[0] + 1, end), 0)
    middle = keys // 2
    return lo, last + 1, full, first + 1, 0, numbers[1], 0, numbers[1], middle, middle + numbers[2], middle, middle


@triton.jit
def documents_queries(first, last, b, h, queries, keys, captures, strides, numbers):
    """Three intervals of queries."""
    low = keys - queries
    begin = tl.load(captures[1] + b * strides[2] + first * strides[3])
    end = tl.load(captures[1] + b * strides[2] + last * strides[3])
    hi, full = tl.minimum(last + numbers[0], end), tl.minimum(first + numbers[0], begin)
    every = tl.where(first < numbers[1], keys, low)
    return tl.maximum(first, low), hi, last, full, low, every, low, every, low, low + numbers[2], low, low


@triton.jit
def strided(b, h, q, k, queries, keys, captures, strides, numbers):
    """Every numbers[0]-th key, and the last numbers[1]."""
    return (k <= q) & (((q - k) % numbers[0] == 0) | (q - k < numbers[1]))


@triton.jit
def strided_test(first_q, last_q, first_k, last_k, b, h, queries, keys, captures, strides, numbers):
    """Whether the tile holds such a key."""
    near, far = first_q - last_k, last_q - first_k
    hit = (tl.maximum(near, 0) + numbers[0] - 1) // numbers[0] * numbers[0] <= far
    return tl.where((far >= 0) & (hit | (near < numbers[1])), 1, 0)


@triton.jit
def capped(s, b, h, q, k, queries, keys, captures, strides, numbers):
    """A bias that grows with distance, at a learned rate of the head, then a soft cap."""
    rate = tl.load(captures[2] + h * strides[4])
    e = tl.exp((s + rate * (k - q)) * (2.0 / 30.0))
    return 30.0 - 60.0 / (e + 1.0)


@triton.jit
def capped_slope(s, b, h, q, k, queries, keys, captures, strides, numbers):
    """Its derivative."""
    y = capped(s, b, h, q, k, queries, keys, captures, strides, numbers) / 30.0
    return 1.0 - y * y


@triton.jit
def rate_place(b, h, q, k, queries, keys, captures, strides, numbers):
    """The head's rate."""
    return h


@triton.jit
def rate_slope(s, b, h, q, k, queries, keys, captures, strides, numbers):
    """The derivative by it."""
    return capped_slope(s, b, h, q, k, queries, keys, captures, strides, numbers) * (k - q)


@triton.jit
def table(s, b, h, q, k, queries, keys, captures, strides, numbers):
    """A learned table [heads, 64] of distances."""
    return s + tl.load(captures[2] + h * strides[4] + tl.minimum(tl.maximum(q - k, 0), 63) * strides[5])


@triton.jit
def table_slope(s, b, h, q, k, queries, keys, captures, strides, numbers):
    """Its derivative."""
    return s * 0.0 + 1.0


@triton.jit
def table_place(b, h, q, k, queries, keys, captures, strides, numbers):
    """The element read."""
    return h * 64 + tl.minimum(tl.maximum(q - k, 0), 63)


FULL = Programs()
CAUSAL = Programs(causal, key_spans=causal_keys, query_spans=causal_queries, by_h=False)
DOCUMENTS = Programs(
    documents, None, None, documents_keys, documents_queries, key_intervals=3, query_intervals=3, by_h=False
)
STRIDED = Programs(strided, None, None, causal_keys, causal_queries, strided_test, by_h=False)
SCORED = Programs(
    documents,
    capped,
    capped_slope,
    documents_keys,
    documents_queries,
    sites=(Site(2, rate_place, rate_slope, per_pair=False),),
    key_intervals=3,
    query_intervals=3,
    by_h=False,
)
TABLE = Programs(
    documents,
    table,
    table_slope,
    documents_keys,
    documents_queries,
    sites=(Site(2, table_place, table_slope),),
    key_intervals=3,
    query_intervals=3,
    by_h=False,
)
CAPTURES = ("*i32", "*i32", "*fp32")
