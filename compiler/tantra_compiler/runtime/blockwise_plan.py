"""Which keys each chunk of queries visits, and how chunks are cut so that a block of scores stays in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from tantra_compiler.runtime.program import AttentionProgram, Captures, Span

Range = tuple[int, int]
Share = tuple[Range, Range]
"""Batch elements and kv heads."""
Segment = tuple[int, int, bool]
"""Keys lo..hi (half-open), and whether the mask is needed there."""

SCORES_AT_ONCE = 1 << 20
"""Scores held at a time: 4 MiB of float32."""
CHUNK_ROWS = (32, 64, 128, 256, 512)
KEY_WIDTH = 64
"""Numbers held for a key where scores are not: a gradient of one head."""
TESTED_KEYS = 64
"""Keys that a tile test is asked about at a time."""
_SAMPLED_CHUNKS = 4
_COST_OF_CALLS = 1 << 15
"""What the calls for one chunk cost, in scores that could be computed meanwhile."""
_COST_OF_KEYS = 12
"""What it costs to read a key for one chunk, in scores; both were fitted to times measured on two cores."""


@dataclass(frozen=True)
class AttentionLengths:
    """Sizes of an attention."""

    batch: int
    queries: int
    keys: int
    heads: int
    kv_heads: int

    @property
    def group(self) -> int:
        """Heads that read one kv head."""
        return self.heads // self.kv_heads

    @property
    def offset(self) -> int:
        """Absolute position of query row 0."""
        return self.keys - self.queries


@dataclass(frozen=True)
class KeyPiece:
    """Keys that are multiplied at once: ``parts`` of the keys, side by side, and the columns that need the mask."""

    parts: tuple[Range, ...]
    masked: tuple[Range, ...]
    width: int


@dataclass(frozen=True)
class QueryBlock:
    """Query rows of some batch elements and kv heads, with all that they read."""

    batch: Range
    kv_heads: Range
    rows: Range
    pieces: tuple[KeyPiece, ...]


def visited_blocks(
    program: AttentionProgram, lengths: AttentionLengths, captures: Captures, share: Share, whole_rows: bool = False
) -> Iterator[QueryBlock]:
    """The blocks of a share of an attention, each query row of each head in exactly one.

    ``whole_rows`` is for those who hold no scores: all keys of a row are in one piece.
    """
    if lengths.queries == 0:
        return
    for batch, kv_heads, h in _span_scopes(program, lengths, share):
        ask = SpanReader(program, lengths, captures, batch[0], h)
        count = (batch[1] - batch[0]) * (kv_heads[1] - kv_heads[0])
        size = ask.chunk_rows(count * lengths.group)
        for first in range(0, lengths.queries, size):
            rows = (first, min(first + size, lengths.queries))
            height = (rows[1] - rows[0]) * lengths.group
            most = max(lengths.keys, 1) if whole_rows else max(SCORES_AT_ONCE // height, 2 * TESTED_KEYS)
            pieces = pieces_of(ask.segments(rows), most)
            widest = max((piece.width for piece in pieces), default=1)
            pairs = _pairs_at_once(KEY_WIDTH * widest if whole_rows else height * widest)
            for part in _divided_pairs(batch, kv_heads, max(pairs, torch.get_num_threads()) if whole_rows else pairs):
                yield QueryBlock(*part, rows, pieces)


def pairs_of_scope(program: AttentionProgram, share: Share) -> int:
    """Pairs of a batch element and a kv head that have the same spans."""
    (b0, b1), (g0, g1) = share
    return (1 if program.by_b else b1 - b0) * (1 if program.by_h else g1 - g0)


def _span_scopes(
    program: AttentionProgram, lengths: AttentionLengths, share: Share
) -> Iterator[tuple[Range, Range, int]]:
    """Batch elements and kv heads that share their spans, and a head to ask for."""
    batches = [(b, b + 1) for b in range(*share[0])] if program.by_b else [share[0]]
    for batch in batches:
        if program.by_h:
            yield from ((batch, (g, g + 1), g * lengths.group) for g in range(*share[1]))
        else:
            yield batch, share[1], 0


def _pairs_at_once(scores: int) -> int:
    """Pairs of a batch element and a kv head that are multiplied at once, so many that every thread gets as many."""
    most, threads = SCORES_AT_ONCE // scores, torch.get_num_threads()
    return max(1, most // threads * threads if most >= threads else most)


def _divided_pairs(batch: Range, kv_heads: Range, most: int) -> Iterator[tuple[Range, Range]]:
    """Parts of at most ``most`` pairs of a batch element and a kv head."""
    wide = kv_heads[1] - kv_heads[0]
    if most >= wide:
        yield from ((part, kv_heads) for part in cut_range(batch, most // wide))
    else:
        yield from (((b, b + 1), part) for b in range(*batch) for part in cut_range(kv_heads, most))


def cut_range(whole: Range, most: int) -> Iterator[Range]:
    """Parts of about equal size, none above ``most``."""
    length = whole[1] - whole[0]
    count = -(-length // most)
    yield from pairwise(whole[0] + length * i // count for i in range(count + 1)) if count else ()


@dataclass(frozen=True)
class SpanReader:
    """The spans of one batch element; of all heads that share a kv head, where spans depend on the head."""

    program: AttentionProgram
    lengths: AttentionLengths
    captures: Captures
    b: int
    h: int

    def segments(self, rows: Range) -> list[Segment]:
        """What the query rows visit: disjoint, in order."""
        keys, first, last = self.lengths.keys, rows[0] + self.lengths.offset, rows[1] - 1 + self.lengths.offset
        if self.program.key_spans is None:
            found = [(0, keys, self.program.mask is not None)] if keys else []
        else:
            found = joined_spans([self._spans(first, last, h) for h in self._heads()])
        if self.program.tile_test is None:
            return found
        return list(coalesced_segments(part for segment in found for part in self._tested(first, last, segment)))

    def chunk_rows(self, heads: int) -> int:
        """Rows of a chunk: what costs least, the columns that chunks visit weighed against the calls that they take."""
        queries = self.lengths.queries
        sizes = [size for size in CHUNK_ROWS if size < queries] + [min(queries, CHUNK_ROWS[-1])]
        return min(sizes, key=lambda size: self._cost(size, heads)) if len(sizes) > 1 else sizes[0]

    def _cost(self, size: int, heads: int) -> float:
        """Estimated from some chunks, evenly spread."""
        chunks = -(-self.lengths.queries // size)
        step = -(-chunks // _SAMPLED_CHUNKS)
        firsts = range(step // 2 * size, self.lengths.queries, step * size)
        widths = [self._width((first, min(first + size, self.lengths.queries))) for first in firsts]
        return chunks * (_COST_OF_CALLS + heads * (size + _COST_OF_KEYS) * (sum(widths) / len(widths)))

    def _width(self, rows: Range) -> int:
        return sum(hi - lo for lo, hi, _ in self.segments(rows))

    def _heads(self) -> range:
        return range(self.h, self.h + self.lengths.group) if self.program.by_h else range(1)

    def _spans(self, first: int, last: int, h: int) -> list[Span]:
        assert self.program.key_spans is not None
        return self.program.key_spans(first, last, self.b, h, self.lengths.queries, self.lengths.keys, *self.captures)

    def _tested(self, first: int, last: int, segment: Segment) -> Iterator[Segment]:
        """The segment, tile by tile, without what the test excludes."""
        lo, hi, masked = segment
        if not masked:
            yield segment
            return
        for start in range(lo // TESTED_KEYS * TESTED_KEYS, hi, TESTED_KEYS):
            tile = (max(start, lo), min(start + TESTED_KEYS, hi))
            found = [self._test(first, last, tile, h) for h in self._heads()]
            if any(found):
                yield *tile, min(found) < 2

    def _test(self, first: int, last: int, tile: Range, h: int) -> int:
        assert self.program.tile_test is not None
        sizes = (self.lengths.queries, self.lengths.keys)
        return self.program.tile_test(first, last, tile[0], tile[1] - 1, self.b, h, *sizes, *self.captures)


def joined_spans(spans_of_heads: Sequence[Sequence[Span]]) -> list[Segment]:
    """Disjoint segments that visit what some head visits; the mask is spared where every head has everything."""
    visits = united_ranges([(lo, hi) for spans in spans_of_heads for lo, hi, _, _ in spans])
    fulls = [united_ranges([(lo, hi) for _, _, lo, hi in spans]) for spans in spans_of_heads]
    edges = sorted({edge for each in (visits, *fulls) for pair in each for edge in pair})
    inside = (
        (lo, hi, not all(covers_key(full, lo) for full in fulls))
        for lo, hi in pairwise(edges)
        if covers_key(visits, lo)
    )
    return list(coalesced_segments(inside))


def united_ranges(ranges: Sequence[Range]) -> list[Range]:
    """The same keys in ranges that are disjoint, in order and not empty."""
    found: list[Range] = []
    for lo, hi in sorted(ranges):
        if hi <= lo:
            continue
        if found and lo <= found[-1][1]:
            found[-1] = (found[-1][0], max(hi, found[-1][1]))
        else:
            found.append((lo, hi))
    return found


def covers_key(ranges: Sequence[Range], key: int) -> bool:
    """Whether ``key`` lies in one of the ranges."""
    return any(lo <= key < hi for lo, hi in ranges)


def coalesced_segments(segments: Iterator[Segment]) -> Iterator[Segment]:
    """Neighbours that agree on the mask become one."""
    held: Segment | None = None
    for segment in segments:
        if held is not None and held[1] == segment[0] and held[2] == segment[2]:
            held = (held[0], segment[1], held[2])
            continue
        if held is not None:
            yield held
        held = segment
    if held is not None:
        yield held


def pieces_of(segments: Sequence[Segment], most: int) -> tuple[KeyPiece, ...]:
    """The segments side by side, in pieces of at most ``most`` keys and of about equal width."""
    total = sum(hi - lo for lo, hi, _ in segments)
    count = -(-total // most)
    ends = [total * (i + 1) // count for i in range(count)]
    pieces: list[KeyPiece] = []
    held: list[Segment] = []
    done = 0
    for lo, hi, masked in segments:
        while lo < hi:
            stop = min(hi, lo + ends[len(pieces)] - done)
            held.append((lo, stop, masked))
            done, lo = done + stop - lo, stop
            if done == ends[len(pieces)]:
                pieces.append(_piece_of(held))
                held = []
    return tuple(pieces)


def _piece_of(segments: Sequence[Segment]) -> KeyPiece:
    masked: list[Range] = []
    column = 0
    for lo, hi, needed in segments:
        if needed:
            masked.append((column, column + hi - lo))
        column += hi - lo
    return KeyPiece(tuple(united_ranges([(lo, hi) for lo, hi, _ in segments])), tuple(masked), column)
