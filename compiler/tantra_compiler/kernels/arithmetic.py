# mypy: ignore-errors
"""Arithmetic of the language where Triton has none of its own, elementwise: for generated programs."""

import triton
import triton.language as tl


@triton.jit
def floor_div(a, b):
    """The quotient of whole numbers, rounded down whatever their signs are."""
    quotient = a // b
    rest = a - quotient * b
    return tl.where((rest != 0) & ((rest < 0) != (b < 0)), quotient - 1, quotient)


@triton.jit
def floor_mod(a, b):
    """The remainder of whole numbers, with the sign of the divisor."""
    return a - floor_div(a, b) * b


@triton.jit
def tanh(x):
    """Of real numbers, without overflow."""
    e = tl.exp(-2.0 * tl.abs(x))
    y = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0, -y, y)


@triton.jit
def sigmoid(x):
    """Of real numbers."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def softplus(x):
    """``log(1 + exp(x))`` of real numbers, without overflow."""
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def power(x, y):
    """``x ** y`` for positive x."""
    return tl.exp2(y * tl.log2(x))
