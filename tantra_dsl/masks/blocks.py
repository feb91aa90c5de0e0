"""Tiles of queries and keys that a plan visits, for given lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from tantra_dsl.masks.plan import Plan, Spans
from tantra_dsl.scalars.evaluate import Read, Value, evaluate, no_captures

_FAR: Final = 2**62
Cover = Literal["partial", "full"]
Span = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lengths and tiles: the queries are the last ``queries`` of the positions up to ``keys``."""

    queries: int
    keys: int
    tile_q: int = 128
    tile_k: int = 128


def spans_of(
    spans: Spans, first: int, last: int, sizes: Sizes, b: int = 0, h: int = 0, read: Read = no_captures
) -> list[Span]:
    """The intervals of a block of positions ``first``..``last`` as numbers."""
    values: dict[str, Value] = {
        "first": first, "last": last, "b": b, "h": h, "queries": sizes.queries, "keys": sizes.keys,
    }  # fmt: skip
    return [tuple(_whole(evaluate(end, values, read)) for end in each) for each in spans.intervals]  # type: ignore[misc]


def _whole(value: Value) -> int:
    """A bound, which may be a real number without an end."""
    return int(value) if -_FAR < value < _FAR else -_FAR if value <= -_FAR else _FAR


def visited(
    plan: Plan, sizes: Sizes, b: int = 0, h: int = 0, read: Read = no_captures
) -> Iterator[tuple[int, int, Cover]]:
    """Tiles that are visited, as (tile of queries, tile of keys, how); each once, row by row, in order."""
    start = sizes.keys - sizes.queries
    for row in range(-(-sizes.queries // sizes.tile_q)):
        first = start + row * sizes.tile_q
        last = min(first + sizes.tile_q, sizes.keys) - 1
        spans = spans_of(plan.keys, first, last, sizes, b, h, read)
        yield from ((row, column, cover) for column, cover in _row(plan, spans, first, last, sizes, b, h, read))


def _row(
    plan: Plan, spans: list[Span], first: int, last: int, sizes: Sizes, b: int, h: int, read: Read
) -> Iterator[tuple[int, Cover]]:
    tile = sizes.tile_k
    covers: dict[int, Cover] = {}
    for low, high, full_low, full_high in spans:
        for column in range(low // tile, -(-high // tile)) if high > low else ():
            whole = column * tile >= full_low and min((column + 1) * tile, sizes.keys) <= full_high
            covers[column] = "full" if whole or covers.get(column) == "full" else "partial"
    for column in sorted(covers):
        cover = covers[column]
        if plan.test is not None:
            tested = _tested(plan, cover, (first, last, column), sizes, b, h, read)
            if tested is None:
                continue
            cover = tested
        yield column, cover


def _tested(
    plan: Plan, cover: Cover, place: tuple[int, int, int], sizes: Sizes, b: int, h: int, read: Read
) -> Cover | None:
    assert plan.test is not None
    first, last, column = place
    values: dict[str, Value] = {
        "first_q": first, "last_q": last, "b": b, "h": h, "queries": sizes.queries, "keys": sizes.keys,
        "first_k": column * sizes.tile_k, "last_k": min((column + 1) * sizes.tile_k, sizes.keys) - 1,
    }  # fmt: skip
    if not evaluate(plan.test.may, values, read):
        return None
    return "full" if cover == "full" or evaluate(plan.test.must, values, read) else "partial"
