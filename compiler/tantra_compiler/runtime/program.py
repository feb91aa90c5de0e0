"""What an attention computes beyond softmax(q k) v, as functions that every execution of it reads.

A pair of a query and a key is named by b, h, q and k: tensors that broadcast against each other, q and k being absolute
positions. Spans are in the same positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

Captures = tuple[Tensor, ...]
Span = tuple[int, int, int, int]
"""Half-open (visit_lo, visit_hi, full_lo, full_hi): what has to be visited, and what in it is allowed throughout."""

EMPTY_LSE = torch.finfo(torch.float32).min
"""The log-sum-exp of a row without an allowed key: finite, so that nothing that reads it becomes NaN."""


@dataclass(frozen=True)
class Site:
    """One learned element that a score reads: number of its tensor among the captures, its place there, its slope.

    ``index(b, h, q, k, *captures)`` gives one tensor of integers for each dimension of the capture;
    ``slope(s, b, h, q, k, *captures)`` is the derivative of the score by the element.
    """

    capture: int
    index: Callable[..., tuple[Tensor, ...]]
    slope: Callable[..., Tensor]


@dataclass(frozen=True)
class AttentionProgram:
    """The mask and the score of an attention, and what was derived from them.

    ``mask(b, h, q, k, *captures)`` is true where q may read k; ``score(s, b, h, q, k, *captures)`` is applied to
    s = scale * (q . k) and ``slope`` is its derivative by s, None where that is 1; ``sites`` are the learned elements
    that it reads.

    ``key_spans(first, last, b, h, queries, keys, *captures)`` gives the spans that hold every key allowed to one of
    the query positions first..last; ``query_spans`` gives the same for key positions, in query positions.
    ``tile_test(first_q, last_q, first_k, last_k, b, h, queries, keys, *captures)`` is 0 where no pair of a tile is
    allowed, 2 where all are, else 1. ``by_b`` and ``by_h`` say whether those three depend on b and on h.
    Without ``key_spans`` everything is visited.

    ``derived(queries, keys, *captures)`` makes further tensors of the batch, which all these functions are given behind
    the captures. ``text`` is the same program in the language, for kernels to be made from; operators know a program by
    its ``name``, which must say all that it is.
    """

    known: ClassVar[dict[str, AttentionProgram]] = {}

    name: str
    mask: Callable[..., Tensor] | None = None
    score: Callable[..., Tensor] | None = None
    slope: Callable[..., Tensor] | None = None
    sites: tuple[Site, ...] = ()
    key_spans: Callable[..., list[Span]] | None = None
    query_spans: Callable[..., list[Span]] | None = None
    tile_test: Callable[..., int] | None = None
    by_b: bool = False
    by_h: bool = False
    derived: Callable[..., Captures] | None = None
    text: str = ""

    def __post_init__(self) -> None:
        self.known[self.name] = self

    def all_captures(self, queries: int, keys: int, captures: Captures) -> Captures:
        """The captures, and what is derived from them."""
        return captures if self.derived is None else (*captures, *self.derived(queries, keys, *captures))


_FAR = 2**62


def floor_of(x: float) -> int:
    """``x`` rounded down, and far away where it has no end: for bounds of spans."""
    return math.floor(x) if -_FAR < x < _FAR else -_FAR if x <= -_FAR else _FAR


def exp_of(x: float) -> float:
    """The exponential, infinite where it does not fit."""
    return math.exp(x) if x < 700 else math.inf


def power_of(x: float, y: float) -> float:
    """``x ** y`` for positive x, infinite where it does not fit."""
    return exp_of(y * math.log(x)) if abs(y * math.log(x)) > 600 else x**y
