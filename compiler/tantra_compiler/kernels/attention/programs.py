"""What a mask and a score are to the attention kernels: a set of small jit functions, made from one scalar program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tantra_compiler.kernels.attention.arguments import NUMBERS, STRIDES
from tantra_compiler.kernels.attention.configs import Load

JitFunction = Any  # triton.runtime.JITFunction, or InterpretedFunction in the interpreter

MAX_INTERVALS = 3
MAX_STRIDES = len(STRIDES)
MAX_NUMBERS = len(NUMBERS)


@dataclass(frozen=True)
class Site:
    """One learned element that the score reads.

    ``index(b, h, q, k, queries, keys, captures, strides, numbers)`` gives its place in the contiguous float32 gradient
    of capture number ``capture``; ``slope(s, b, h, q, k, queries, keys, captures, strides, numbers)`` gives d score /
    d element. ``per_pair`` says whether the place depends on q or k; where it does not, ``index`` is called with
    q = k = 0 and the gradient is summed without atomics.
    """

    capture: int
    index: JitFunction
    slope: JitFunction
    per_pair: bool = True


@dataclass(frozen=True, eq=False)
class Programs:
    """The jit functions of one attention; None where there is nothing to do. Compared by identity: keep and reuse it.

    Every function ends with (queries, keys, captures, strides, numbers). ``mask(b, h, q, k, ...)`` is the truth of a
    pair, ``score(s, b, h, q, k, ...)`` its score in float32 and ``slope`` the derivative of that by s. Both are called
    on blocks that broadcast: in the forward and dQ kernels q is [BM, 1] and k [1, BN], in the dK/dV kernel q is [1, BM]
    and k [BN, 1], and in the decode kernel h is a block like q. So they consist of elementwise operations only.
    ``key_spans(first, last, b, h, ...)`` and ``query_spans`` return ``key_intervals`` and ``query_intervals`` times
    (visit_lo, visit_hi, full_lo, full_hi), flat. ``tile_test(first_q, last_q, first_k, last_k, b, h, ...)`` is 0 for a
    tile without an allowed pair. ``reads_query`` says that mask or score read a capture at index q: queries before the
    first key (there are some where queries outnumber keys) are then without a key. ``by_b`` and ``by_h``
    say whether spans and test depend on b and h, ``reads_batch`` whether mask or spans depend on them or read captures.
    ``load`` is the column of the configurations' table for kernels that drop nothing.
    """

    mask: JitFunction | None = None
    score: JitFunction | None = None
    slope: JitFunction | None = None
    key_spans: JitFunction | None = None
    query_spans: JitFunction | None = None
    tile_test: JitFunction | None = None
    sites: tuple[Site, ...] = ()
    key_intervals: int = 1
    query_intervals: int = 1
    reads_query: bool = False
    reads_batch: bool = False
    by_b: bool = True
    by_h: bool = True
    load: Load = "heavy"


class Unsupported(ValueError):
    """An attention that these kernels do not do; the message says why, and callers take another way."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
