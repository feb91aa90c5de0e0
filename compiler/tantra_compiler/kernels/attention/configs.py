"""Tile sizes, warps and stages of the attention kernels: a table, chosen offline, and all that it can give.

Every entry was the first of a list of candidates, largest tiles first, that builds for the target without spilling and
within its shared memory. No kernel is tuned while a program runs; figures of a GPU may refine the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

KernelName = Literal["forward", "key_gradient", "query_gradient", "table_gradient", "decode"]
Load = Literal["plain", "rich", "dropout", "heavy"]

LOADS: tuple[Load, ...] = ("plain", "rich", "dropout", "heavy")
TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")
PADDING = 128  # rows that values of rows are padded to: no query tile is longer


@dataclass(frozen=True, order=True)
class Config:
    """Rows of the query tile and of the key tile, warps of a program, and stages of its loads."""

    block_m: int
    block_n: int
    warps: int
    stages: int


INTERPRETER = Config(16, 32, 4, 1)

# target, kernel, the largest head width, then query tile x key tile x warps x stages for each load: "plain" (one
# interval, no score, nothing read), "rich" (a score, fields, several intervals, intervals by head or a tile test),
# "dropout" (of what is plain) and "heavy" (tables by position, long programs, dropout of what is rich); one for all
# where only one is given. table_gradient is the gradient of queries where a score reads a learned table by position.
# sm_80 stands for all chips with some 100 KB of shared memory. The decode kernels choose their query tile by the number
# of rows.
HALF = """
sm_80  forward        64   128x128x8x2 128x64x8x2  64x64x4x2   128x32x8x2
sm_80  forward        96   128x64x8x2  64x32x4x2   64x32x4x2   64x32x4x2
sm_80  forward        128  128x64x8x2  64x32x4x2   64x32x4x2   64x32x4x2
sm_80  forward        160  128x32x8x2  128x32x8x2  64x32x4x1   64x16x4x1
sm_80  forward        192  64x32x4x1   64x32x4x1   64x16x4x1   64x16x4x1
sm_80  forward        256  32x32x4x1   32x32x4x1   32x32x4x1   32x16x4x1
sm_80  key_gradient   64   64x128x8x2  32x64x4x2   32x64x4x2   32x64x8x2
sm_80  key_gradient   96   32x128x8x2  32x128x8x2  32x128x8x2  32x64x8x2
sm_80  key_gradient   128  64x64x8x2   32x32x4x1   32x32x4x1   32x32x8x1
sm_80  key_gradient   144  16x32x4x1   16x64x8x1   16x64x8x1   16x16x8x1
sm_80  key_gradient   160  16x32x4x1   16x32x4x1   16x16x8x1   16x16x8x1
sm_80  key_gradient   192  32x32x8x1   32x32x8x1   32x32x8x1   32x32x8x1
sm_80  key_gradient   256  32x32x8x1   32x32x8x1   32x32x8x1   32x32x8x1
sm_80  query_gradient 64   128x64x8x2  128x64x8x2  128x64x8x2  128x32x8x2
sm_80  query_gradient 96   64x64x8x2   64x32x4x2   64x32x4x2   64x32x8x2
sm_80  query_gradient 128  64x64x8x2   64x64x8x2   64x64x8x2   64x64x8x2
sm_80  query_gradient 160  64x32x8x2   32x16x4x1   32x16x4x1   32x16x4x1
sm_80  query_gradient 192  32x16x4x1   32x16x4x1   32x16x4x1   32x16x4x1
sm_80  query_gradient 256  32x32x8x1   32x16x4x1   32x16x4x1   32x16x4x1
sm_80  table_gradient 64   64x32x8x1
sm_80  table_gradient 128  32x32x8x1
sm_80  table_gradient 192  16x32x8x1
sm_80  table_gradient 256  32x32x4x1
sm_80  decode         64   16x64x4x2
sm_80  decode         128  16x64x4x2
sm_80  decode         256  16x32x4x2
sm_90  forward        64   128x128x8x2 128x64x8x2  128x64x8x2  128x32x8x2
sm_90  forward        96   128x128x8x2 128x64x8x2  128x64x8x2  128x32x8x2
sm_90  forward        128  128x128x8x2 128x64x8x2  128x32x8x2  128x32x8x2
sm_90  forward        160  128x64x8x2  128x64x8x2  128x32x8x2  64x16x4x1
sm_90  forward        192  128x64x8x2  128x32x8x2  128x32x8x2  64x16x4x1
sm_90  forward        256  128x32x8x2  128x32x8x2  128x32x8x2  32x16x4x1
sm_90  key_gradient   64   64x128x8x2  64x128x8x2  32x64x4x2   32x128x8x2
sm_90  key_gradient   96   64x128x8x2  32x128x8x2  32x64x8x2   32x64x8x2
sm_90  key_gradient   128  64x128x8x2  32x128x8x2  32x128x8x2  32x32x8x1
sm_90  key_gradient   144  32x128x8x2  16x64x8x1   16x64x8x1   16x16x8x1
sm_90  key_gradient   160  32x128x8x2  32x64x8x2   32x64x8x2   16x16x8x1
sm_90  key_gradient   192  32x64x8x2   32x32x8x1   32x32x8x1   32x32x8x1
sm_90  key_gradient   256  32x32x8x1   32x32x8x1   32x32x8x1   32x32x8x1
sm_90  query_gradient 64   128x128x8x2 128x64x8x2  64x64x8x2   128x32x8x2
sm_90  query_gradient 96   128x64x8x2  64x64x8x2   64x64x8x2   128x32x8x2
sm_90  query_gradient 128  128x64x8x2  128x64x8x2  128x32x8x2  128x32x8x2
sm_90  query_gradient 160  128x32x8x2  128x32x8x2  128x32x8x2  128x32x8x2
sm_90  query_gradient 192  128x32x8x2  128x32x8x2  128x32x8x2  32x32x8x1
sm_90  query_gradient 256  128x32x8x2  16x32x4x1   32x32x4x1   32x32x8x1
sm_90  table_gradient 64   32x32x8x1
sm_90  table_gradient 128  32x32x8x1
sm_90  table_gradient 192  16x16x4x1
sm_90  table_gradient 256  32x32x4x1
sm_90  decode         64   16x64x4x2
sm_90  decode         128  16x64x4x2
sm_90  decode         256  16x32x4x2
sm_100 forward        64   128x128x8x2 128x64x8x2  128x64x8x2  128x32x8x2
sm_100 forward        96   128x128x8x2 128x64x8x2  128x64x8x2  128x32x8x2
sm_100 forward        128  128x128x8x2 64x64x4x2   64x32x8x2   128x32x8x2
sm_100 forward        160  128x64x8x2  128x64x8x2  128x32x8x2  64x16x4x1
sm_100 forward        192  128x64x8x2  128x32x8x2  128x32x8x2  64x16x4x1
sm_100 forward        256  128x32x8x2  64x32x8x2   128x32x8x2  32x16x4x1
sm_100 key_gradient   64   32x128x8x2  32x64x8x2   32x64x4x2   32x128x8x2
sm_100 key_gradient   96   64x128x8x2  32x128x8x2  32x64x8x2   32x64x8x2
sm_100 key_gradient   128  64x128x8x2  32x64x8x2   32x128x8x2  32x32x8x1
sm_100 key_gradient   144  32x128x8x2  32x64x8x2   32x64x8x2   16x16x8x1
sm_100 key_gradient   160  32x128x8x2  32x64x8x2   32x64x8x2   16x16x8x1
sm_100 key_gradient   192  32x64x8x1   32x32x8x1   32x32x8x1   32x32x8x1
sm_100 key_gradient   256  32x32x8x1   32x32x8x1   32x32x8x1   32x32x8x1
sm_100 query_gradient 64   128x128x8x2 64x64x8x2   64x32x4x2   128x32x8x2
sm_100 query_gradient 96   64x64x8x2   64x64x8x2   64x32x4x2   128x32x8x2
sm_100 query_gradient 128  64x64x4x2   64x64x8x2   64x32x4x2   128x32x8x2
sm_100 query_gradient 160  128x32x8x2  128x32x8x2  128x32x8x2  128x32x8x2
sm_100 query_gradient 192  64x32x8x2   128x32x8x2  128x32x8x2  32x32x8x1
sm_100 query_gradient 256  128x32x8x2  16x32x4x1   32x32x4x1   32x32x8x1
sm_100 table_gradient 64   32x32x8x1
sm_100 table_gradient 128  32x32x8x1
sm_100 table_gradient 192  16x16x4x1
sm_100 table_gradient 256  32x32x4x1
sm_100 decode         64   16x64x4x2
sm_100 decode         128  16x64x4x2
sm_100 decode         256  16x32x4x2
gfx942 forward        64   128x64x4x2  128x64x4x2  128x64x4x2  64x64x4x2
gfx942 forward        96   128x64x8x2  64x64x4x2   64x64x4x2   64x32x4x2
gfx942 forward        128  64x64x4x2   64x64x4x2   64x64x4x2   64x32x4x2
gfx942 forward        160  128x32x8x2  64x64x4x2   64x64x4x2   64x32x4x2
gfx942 forward        192  128x32x8x2  64x64x4x2   64x32x4x2   64x32x4x2
gfx942 forward        256  64x32x4x2   64x32x4x2   64x32x4x2   64x32x4x2
gfx942 key_gradient   64   64x64x4x2   32x64x4x2   32x64x4x2   32x64x4x2
gfx942 key_gradient   96   32x64x8x1   32x32x4x1   32x32x4x1   32x32x4x1
gfx942 key_gradient   128  32x64x8x1   32x32x4x1   32x64x8x1   32x32x4x1
gfx942 key_gradient   144  32x32x4x1   32x32x4x1   32x32x4x1   32x32x4x1
gfx942 key_gradient   160  32x32x4x1   32x32x4x1   32x32x4x1   32x32x4x1
gfx942 key_gradient   192  32x32x4x1   32x32x4x1   32x32x4x1   32x32x4x1
gfx942 key_gradient   256  32x32x4x1   32x32x4x1   32x32x4x1   32x32x4x1
gfx942 query_gradient 64   64x64x4x2   64x32x4x2   64x32x4x2   64x32x4x2
gfx942 query_gradient 96   64x64x4x2   64x32x4x2   64x32x4x2   64x32x4x2
gfx942 query_gradient 128  64x64x4x2   64x32x4x2   64x32x4x2   64x32x4x2
gfx942 query_gradient 160  64x32x8x1   64x32x4x2   64x32x4x2   64x32x4x2
gfx942 query_gradient 192  64x32x8x1   64x32x4x2   64x32x4x2   64x32x4x2
gfx942 query_gradient 256  64x32x4x2   64x32x4x1   64x32x4x1   64x32x4x1
gfx942 table_gradient 64   64x32x4x2
gfx942 table_gradient 128  64x32x4x1
gfx942 table_gradient 256  32x32x4x1
gfx942 decode         64   16x64x4x2
gfx942 decode         128  16x64x4x2
gfx942 decode         256  16x32x4x2
"""
SINGLE = """
sm_80  forward        64   32x32x4x1   32x32x4x1   32x32x4x1   32x16x4x1
sm_80  forward        128  32x16x4x1
sm_80  forward        256  16x16x8x1
sm_80  key_gradient   64   32x32x8x1
sm_80  key_gradient   128  16x16x8x1
sm_80  key_gradient   256  16x16x8x1
sm_80  query_gradient 64   32x32x8x1
sm_80  query_gradient 128  32x32x8x1
sm_80  query_gradient 256  16x16x8x1
sm_80  table_gradient 64   32x32x8x1
sm_80  table_gradient 128  32x32x8x1
sm_80  table_gradient 256  16x16x8x1
sm_80  decode         64   16x32x4x1
sm_80  decode         128  16x16x4x1
sm_80  decode         256  16x16x8x1
sm_90  forward        64   32x32x4x1   32x32x4x1   32x32x4x1   32x16x4x1
sm_90  forward        128  32x16x4x1
sm_90  forward        256  16x16x8x1
sm_90  key_gradient   64   32x32x8x1
sm_90  key_gradient   128  16x16x8x1
sm_90  key_gradient   256  16x16x8x1
sm_90  query_gradient 64   32x32x8x1
sm_90  query_gradient 128  32x32x8x1
sm_90  query_gradient 256  16x16x8x1
sm_90  table_gradient 64   32x32x8x1
sm_90  table_gradient 128  32x32x8x1
sm_90  table_gradient 256  16x16x8x1
sm_90  decode         64   16x32x4x1
sm_90  decode         128  16x16x4x1
sm_90  decode         256  16x16x8x1
sm_100 forward        64   32x32x4x1   32x32x4x1   32x32x4x1   32x32x8x1
sm_100 forward        128  32x16x4x1
sm_100 forward        256  16x16x8x1
sm_100 key_gradient   64   32x32x8x1
sm_100 key_gradient   128  16x16x8x1
sm_100 key_gradient   256  16x16x8x1
sm_100 query_gradient 64   32x32x8x1
sm_100 query_gradient 128  32x32x8x1
sm_100 query_gradient 256  16x16x8x1
sm_100 table_gradient 64   32x32x8x1
sm_100 table_gradient 128  32x32x8x1
sm_100 table_gradient 256  16x16x8x1
sm_100 decode         64   16x32x4x1
sm_100 decode         128  16x16x4x1
sm_100 decode         256  16x16x8x1
gfx942 forward        64   32x32x4x1   32x32x4x1   32x32x4x1   32x16x4x1
gfx942 forward        128  32x16x4x1
gfx942 forward        256  16x16x8x1
gfx942 key_gradient   64   16x16x8x1
gfx942 key_gradient   128  16x16x8x1
gfx942 key_gradient   256  16x16x8x1
gfx942 query_gradient 64   32x32x8x1
gfx942 query_gradient 128  16x16x8x1
gfx942 query_gradient 256  16x16x8x1
gfx942 table_gradient 64   16x16x8x1
gfx942 table_gradient 128  16x16x8x1
gfx942 table_gradient 256  16x16x8x1
gfx942 decode         64   16x32x4x1
gfx942 decode         128  16x16x4x1
gfx942 decode         256  16x16x4x1
"""


def pieces(width: int, itemsize: int = 2) -> tuple[int, int]:
    """Two powers of two, at least 16 or none, that hold a head width: 80 -> (64, 16), 128 -> (128, 0).

    Wide heads of float32 are halved: without tensor cores the operands of a product lie in registers.

    >>> pieces(96), pieces(120), pieces(8), pieces(256, 4)
    ((64, 32), (128, 0), (16, 0), (128, 128))
    """
    first = max(16, 1 << (width.bit_length() - 1))
    second = 0 if width <= first else max(16, 1 << (width - first - 1).bit_length())
    if second == first:
        first, second = 2 * first, 0
    return (first // 2, first // 2) if itemsize == 4 and first >= 128 and not second else (first, second)


@cache
def entries(table: str) -> dict[tuple[str, str, Load], list[tuple[int, Config]]]:
    """The table by family, kernel and load: configurations by largest width, in order."""
    found: dict[tuple[str, str, Load], list[tuple[int, Config]]] = {}
    for line in table.split("\n")[1:-1]:
        family, kernel, width, *cells = line.split()
        for load, cell in zip(LOADS, cells * len(LOADS) if len(cells) == 1 else cells, strict=True):
            config = Config(*(int(x) for x in cell.split("x")))
            found.setdefault((family, kernel, load), []).append((int(width), config))
    return found


@cache
def choose(target: str, kernel: KernelName, itemsize: int, width: int, value_width: int, load: Load) -> Config:
    """The configuration of a kernel on a target ("sm_90", "gfx942", ... or "interpreter")."""
    if target == "interpreter":
        return INTERPRETER
    widest = max(sum(pieces(width)), sum(pieces(value_width)))
    table = entries(SINGLE if itemsize == 4 else HALF)[family(target), kernel, load]
    return next(config for limit, config in table if widest <= limit)


def with_dropout(load: Load) -> Load:
    """The load of the same program where weights are dropped."""
    return "dropout" if load == "plain" else "heavy"


def family(target: str) -> str:
    """The target of the table that stands for a chip.

    >>> [family(x) for x in ("sm_86", "sm_90", "sm_103", "sm_120", "gfx950")]
    ['sm_80', 'sm_90', 'sm_100', 'sm_80', 'gfx942']
    """
    if target.startswith("gfx"):
        return "gfx942"
    number = int(re.sub(r"\D", "", target))
    return "sm_90" if number == 90 else "sm_100" if 100 <= number < 120 else "sm_80"


def shared_memory(target: str) -> int:
    """Bytes of shared memory that one program can have; for sm_80 those of its smaller relatives."""
    return {"sm_80": 101376, "sm_90": 232448, "sm_100": 232448, "gfx942": 65536}[family(target)]
