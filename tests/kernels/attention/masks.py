"""Jit functions of masks, in the form in which they are generated from scalar programs."""

import triton
import triton.language as tl


@triton.jit
def causal(b, h, q, k, queries, keys, captures, strides, numbers):
    return k <= q


@triton.jit
def causal_keys(first, last, b, h, queries, keys, captures, strides, numbers):
    return 0, tl.minimum(last + 1, keys), 0, tl.minimum(first + 1, keys)


@triton.jit
def causal_queries(first, last, b, h, queries, keys, captures, strides, numbers):
    return tl.maximum(first, keys - queries), keys, tl.maximum(last, keys - queries), keys


@triton.jit
def window(b, h, q, k, queries, keys, captures, strides, numbers):
    return (k <= q) & (q - k < numbers[0])


@triton.jit
def window_keys(first, last, b, h, queries, keys, captures, strides, numbers):
    lo = tl.maximum(first - numbers[0] + 1, 0)
    return lo, tl.minimum(last + 1, keys), tl.maximum(last - numbers[0] + 1, 0), tl.minimum(first + 1, keys)


@triton.jit
def window_queries(first, last, b, h, queries, keys, captures, strides, numbers):
    lo = tl.maximum(first, keys - queries)
    return lo, tl.minimum(last + numbers[0], keys), tl.maximum(last, lo), tl.minimum(first + numbers[0], keys)


# Captures: the document of a token, and the first and last position of that document, each [batch, time].


@triton.jit
def documents(b, h, q, k, queries, keys, captures, strides, numbers):
    doc_q = tl.load(captures[0] + b * strides[0] + q * strides[1])
    doc_k = tl.load(captures[0] + b * strides[0] + k * strides[1])
    return (doc_q == doc_k) & (k <= q)


@triton.jit
def documents_keys(first, last, b, h, queries, keys, captures, strides, numbers):
    first_begin = tl.load(captures[1] + b * strides[2] + tl.maximum(first, 0) * strides[3])
    last_begin = tl.load(captures[1] + b * strides[2] + tl.maximum(last, 0) * strides[3])
    return first_begin, tl.minimum(last + 1, keys), last_begin, tl.where(first_begin == last_begin, first + 1, 0)


@triton.jit
def documents_queries(first, last, b, h, queries, keys, captures, strides, numbers):
    first_end = tl.load(captures[2] + b * strides[4] + first * strides[5])
    last_end = tl.load(captures[2] + b * strides[4] + last * strides[5])
    lo = tl.maximum(first, keys - queries)
    return lo, last_end + 1, tl.maximum(last, lo), tl.where(first_end == last_end, first_end + 1, 0)


# Longformer: a window to both sides (numbers[0]), and global tokens at the start (numbers[1]), seen by and seeing all.


@triton.jit
def longformer(b, h, q, k, queries, keys, captures, strides, numbers):
    return ((q - k <= numbers[0]) & (k - q <= numbers[0])) | (k < numbers[1]) | (q < numbers[1])


@triton.jit
def longformer_keys(first, last, b, h, queries, keys, captures, strides, numbers):
    w, g = numbers[0], tl.minimum(numbers[1], keys)
    lo, hi = tl.maximum(first - w, 0), tl.minimum(last + w + 1, keys)
    full_lo, full_hi = tl.maximum(last - w, 0), tl.minimum(first + w + 1, keys)
    every = tl.where(first < g, keys, 0)
    return lo, hi, full_lo, full_hi, 0, tl.maximum(g, every), 0, tl.where(last < g, keys, g)


@triton.jit
def longformer_queries(first, last, b, h, queries, keys, captures, strides, numbers):
    w, g, low = numbers[0], tl.minimum(numbers[1], keys), keys - queries
    lo, hi = tl.maximum(first - w, low), tl.minimum(last + w + 1, keys)
    full_lo, full_hi = tl.maximum(last - w, low), tl.minimum(first + w + 1, keys)
    return lo, hi, full_lo, full_hi, low, tl.where(first < g, keys, g), low, tl.where(last < g, keys, g)


# Three intervals, given in no order and overlapping: first keys, a window, and keys around the middle.


@triton.jit
def three(b, h, q, k, queries, keys, captures, strides, numbers):
    middle = (k >= keys // 2) & (k < keys // 2 + numbers[2])
    return (k < numbers[1]) | ((q - k < numbers[0]) & (k - q < numbers[0])) | middle


@triton.jit
def three_keys(first, last, b, h, queries, keys, captures, strides, numbers):
    w, n = numbers[0], tl.minimum(numbers[1], keys)
    middle, end = keys // 2, tl.minimum(keys // 2 + numbers[2], keys)
    lo, hi = tl.maximum(first - w + 1, 0), tl.minimum(last + w, keys)
    full_lo, full_hi = tl.maximum(last - w + 1, 0), tl.minimum(first + w, keys)
    return middle, end, middle, end, lo, hi, full_lo, full_hi, 0, n, 0, n


@triton.jit
def three_queries(first, last, b, h, queries, keys, captures, strides, numbers):
    w, n, low = numbers[0], numbers[1], keys - queries
    middle, end = keys // 2, keys // 2 + numbers[2]
    lo, hi = tl.maximum(first - w + 1, low), tl.minimum(last + w, keys)
    full_lo, full_hi = tl.maximum(last - w + 1, low), tl.minimum(first + w, keys)
    some = tl.where((last >= middle) & (first < end), keys, low)
    every = tl.where((first >= middle) & (last < end), keys, low)
    some_first = tl.where(first < n, keys, low)
    every_first = tl.where(last < n, keys, low)
    return lo, hi, full_lo, full_hi, low, some, low, every, low, some_first, low, every_first


# Strided: every numbers[0]-th key before the query, and the last numbers[1]; tiles between are asked one by one.


@triton.jit
def strided(b, h, q, k, queries, keys, captures, strides, numbers):
    return (k <= q) & (((q - k) % numbers[0] == 0) | (q - k < numbers[1]))


@triton.jit
def strided_test(first_q, last_q, first_k, last_k, b, h, queries, keys, captures, strides, numbers):
    near, far = first_q - last_k, last_q - first_k
    hit = (tl.maximum(near, 0) + numbers[0] - 1) // numbers[0] * numbers[0] <= far
    return tl.where((far >= 0) & (hit | (near < numbers[1])), 1, 0)


# A window per head: numbers[0] * (h + 1).


@triton.jit
def by_head(b, h, q, k, queries, keys, captures, strides, numbers):
    return (k <= q) & (q - k < numbers[0] * (h + 1))


@triton.jit
def by_head_keys(first, last, b, h, queries, keys, captures, strides, numbers):
    w = numbers[0] * (h + 1)
    lo = tl.maximum(first - w + 1, 0)
    return lo, tl.minimum(last + 1, keys), tl.maximum(last - w + 1, 0), tl.minimum(first + 1, keys)


@triton.jit
def by_head_queries(first, last, b, h, queries, keys, captures, strides, numbers):
    w = numbers[0] * (h + 1)
    lo = tl.maximum(first, keys - queries)
    return lo, tl.minimum(last + w, keys), tl.maximum(last, lo), tl.minimum(first + w, keys)


# Every second query sees nothing at all; without spans.


@triton.jit
def odd(b, h, q, k, queries, keys, captures, strides, numbers):
    return (q & 1 == 1) & (k >= 0)


@triton.jit
def causal_keys_visited(first, last, b, h, queries, keys, captures, strides, numbers):
    return 0, tl.minimum(last + 1, keys), 0, 0


@triton.jit
def causal_queries_visited(first, last, b, h, queries, keys, captures, strides, numbers):
    return tl.maximum(first, keys - queries), keys, 0, 0
