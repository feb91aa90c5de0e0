"""Any intervals, overlapping and in any order, become loops that visit every tile once and mask all but full ones."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from tantra_compiler.kernels.attention.tiles import (
    full_count,
    full_tile,
    masked_tile,
    plan,
    visit_count,
    visited_tile,
)


@triton.jit
def list_tiles(spans, counts, masked, full, visited, shift, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    given = ()
    for i in range(COUNT * 4):
        given = given + (tl.load(spans + i),)  # noqa: RUF005
    runs = plan(given, COUNT, shift, BLOCK)
    every, whole = visit_count(runs, COUNT), full_count(runs, COUNT)
    tl.store(counts, every)
    tl.store(counts + 1, whole)
    for index in range(every - whole):
        tl.store(masked + index, masked_tile(index, runs, COUNT))
    for index in range(whole):
        tl.store(full + index, full_tile(index, runs, COUNT))
    for index in range(every):
        tl.store(visited + index, visited_tile(index, runs, COUNT))


LENGTH = 40
BOUND = st.integers(-3, LENGTH)


@st.composite
def intervals(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Up to three (visit_lo, visit_hi, full_lo, full_hi); those that visit something lie within the length."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        lo, hi, a, b = (draw(BOUND) for _ in range(4))
        if hi > lo:
            lo, hi = max(lo, 0), max(hi, 0)
        if b > a:
            a, b = max(a, lo), min(b, hi)
        found.append((lo, hi, a, b))
    return found


@settings(max_examples=60, deadline=None)
@given(intervals(), st.sampled_from([4, 16]), st.integers(-20, 20))
def test_tiles_are_visited_once_in_order_and_full_where_intervals_say_so(
    spans: list[tuple[int, int, int, int]], block: int, shift: int
) -> None:
    counts, masked, full, visited = torch.zeros(2, dtype=torch.int32), *torch.full((3, 64), -1, dtype=torch.int32)
    given_spans = torch.tensor(spans, dtype=torch.int32).flatten() + shift
    list_tiles[(1,)](given_spans, counts, masked, full, visited, shift, COUNT=len(spans), BLOCK=block)
    every, whole = counts.tolist()
    touched = {x // block for lo, hi, _, _ in spans for x in range(lo, hi)}
    assert visited[:every].tolist() == sorted(touched)
    assert sorted(masked[: every - whole].tolist() + full[:whole].tolist()) == sorted(touched)
    assert masked[: every - whole].tolist() == sorted(masked[: every - whole].tolist())
    for tile in full[:whole].tolist():
        start, end = tile * block, tile * block + block
        assert any(a <= start and end <= b and lo <= start and end <= hi for lo, hi, a, b in spans)
    if len(spans) == 1:
        (lo, hi, a, b), tiles = spans[0], range(-1, LENGTH)
        expected = [t for t in tiles if hi > lo and b > a and a <= t * block and t * block + block <= b]
        assert full[:whole].tolist() == expected
