"""Jit functions of scores, their slopes, and the learned elements that they read."""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    e = tl.exp(-2.0 * tl.abs(x))
    return tl.where(x < 0, e - 1.0, 1.0 - e) / (1.0 + e)


@triton.jit
def softcap(s, b, h, q, k, queries, keys, captures, strides, numbers):
    return 2.0 * tanh(s / 2.0)


@triton.jit
def softcap_slope(s, b, h, q, k, queries, keys, captures, strides, numbers):
    t = tanh(s / 2.0)
    return 1.0 - t * t


@triton.jit
def alibi(s, b, h, q, k, queries, keys, captures, strides, numbers):
    return s + tl.exp2(-(h + 1.0)) * (k - q)


@triton.jit
def alibi_softcap(s, b, h, q, k, queries, keys, captures, strides, numbers):
    return 2.0 * tanh((s + tl.exp2(-(h + 1.0)) * (k - q)) / 2.0)


@triton.jit
def alibi_softcap_slope(s, b, h, q, k, queries, keys, captures, strides, numbers):
    t = tanh((s + tl.exp2(-(h + 1.0)) * (k - q)) / 2.0)
    return 1.0 - t * t


@triton.jit
def one(s, b, h, q, k, queries, keys, captures, strides, numbers):
    return s * 0.0 + 1.0


# Captures after the three of documents. A table is [heads, 9], read at the distance k - q clipped to -4 .. 4.


@triton.jit
def table(s, b, h, q, k, queries, keys, captures, strides, numbers):
    at = tl.minimum(tl.maximum(k - q, -4), 4) + 4
    return s + tl.load(captures[3] + h * strides[6] + at * strides[7]).to(tl.float32)


@triton.jit
def table_index(b, h, q, k, queries, keys, captures, strides, numbers):
    return h * 9 + tl.minimum(tl.maximum(k - q, -4), 4) + 4


# A learned slope and a learned gain per head, [heads] each, after the three of documents.


@triton.jit
def slopes(s, b, h, q, k, queries, keys, captures, strides, numbers):
    rate = tl.load(captures[3] + h * strides[6]).to(tl.float32)
    gain = tl.load(captures[4] + h * strides[7]).to(tl.float32)
    return s * gain + rate * (k - q)


@triton.jit
def slopes_slope(s, b, h, q, k, queries, keys, captures, strides, numbers):
    return tl.load(captures[4] + h * strides[7]).to(tl.float32) + s * 0.0


@triton.jit
def head_index(b, h, q, k, queries, keys, captures, strides, numbers):
    return h


@triton.jit
def rate_slope(s, b, h, q, k, queries, keys, captures, strides, numbers):
    return (k - q).to(tl.float32) + s * 0.0


@triton.jit
def gain_slope(s, b, h, q, k, queries, keys, captures, strides, numbers):
    return s
