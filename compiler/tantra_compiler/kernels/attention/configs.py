"""Tile sizes, warps and stages of the attention kernels: a table, chosen offline, and all that it can give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KernelName = Literal["forward", "key_gradient", "query_gradient", "decode"]


@dataclass(frozen=True, order=True)
class Config:
    """Rows of the query tile and of the key tile, warps of a program, and stages of its loads."""

    block_m: int
    block_n: int
    warps: int
    stages: int


PADDING = 128  # rows that values of rows are padded to: no query tile is longer
INTERPRETER = Config(16, 32, 4, 1)


def pieces(width: int) -> tuple[int, int]:
    """Two powers of two, at least 16 or none, that hold a head width: 80 -> (64, 16), 128 -> (128, 0).

    >>> pieces(96), pieces(120), pieces(8)
    ((64, 32), (128, 0), (16, 0))
    """
    first = max(16, 1 << (width.bit_length() - 1))
    if width <= first:
        return first, 0
    second = max(16, 1 << (width - first - 1).bit_length())
    return (first, second) if second < first else (2 * first, 0)


def choose(target: str, kernel: KernelName, itemsize: int, width: int, value_width: int, mask_class: str) -> Config:
    """The configuration of a kernel on a target ("sm_90", "gfx942", ... or "interpreter")."""
    if target == "interpreter":
        return INTERPRETER
    return Config(128, 64, 8, 2)
