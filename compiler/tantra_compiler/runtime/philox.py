"""The random numbers of dropout: Philox 4x32-10 (Salmon et al. 2011), bit for bit those of triton's ``tl.rand``.

A number depends on the seed and on its own place only, so a backward pass and another device draw the same ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 10
_MULTIPLY = (0xD2511F53, 0xCD9E8D57)
_RAISE_KEY = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_UNIT = 4.6566127342e-10  # the largest float32 that takes 2**31 - 1 below 1


def uniform(seed: int, offset: Tensor) -> Tensor:
    """A float32 in [0, 1) for every 64-bit ``offset``."""
    bits = philox(seed, offset)
    signed = torch.where(bits > _LOW >> 1, _LOW - bits, bits)
    return signed.to(torch.float32) * _UNIT


def philox(seed: int, offset: Tensor) -> Tensor:
    """The first of the four 32-bit words that Philox makes of the counter (``offset``, 0), as int64.

    Words live in int64: the lower halves of products are cut off only where that matters, and memory is used again.
    The last rounds leave out what no longer reaches the first word.
    """
    key = [seed & _LOW, seed >> 32 & _LOW]
    word, other = offset & _LOW, torch.zeros_like(offset)
    low, other_low = offset >> 32 & _LOW, torch.zeros_like(offset)
    for left in reversed(range(_ROUNDS)):
        other_product = other * _MULTIPLY[1]
        if left == 0:
            break
        product = word.mul_(_MULTIPLY[0])
        if left > 1:
            word = _high_word(other_product, low, key[0], out=other)
        other = _high_word(product, other_low, key[1], out=low)
        low, other_low = other_product, product
        key = [(each + step) & _LOW for each, step in zip(key, _RAISE_KEY, strict=True)]
    return _high_word(other_product, low, key[0], out=other_product)


def _high_word(product: Tensor, low: Tensor, key: int, out: Tensor) -> Tensor:
    """The upper half of a product, mixed with the lower half of another and with the key."""
    return torch.bitwise_right_shift(product, 32, out=out).bitwise_xor_(low).bitwise_xor_(key).bitwise_and_(_LOW)


def keep_weights(
    seed: int, dropout: float, b: Tensor, h: Tensor, row: Tensor, k: Tensor, sizes: tuple[int, int, int]
) -> Tensor:
    """What dropout multiplies the weights at (b, h, row, k) by: 0 or 1 / (1 - dropout), as float32.

    ``sizes`` are heads, queries and keys; ``row`` counts queries from 0.
    """
    heads, queries, keys = sizes
    offset = ((b * heads + h) * queries + row) * keys + k
    kept = uniform(seed, offset) >= dropout
    return kept.to(torch.float32) * (1.0 / (1.0 - dropout) if dropout < 1 else 0.0)
