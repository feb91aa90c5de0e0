"""A block of an attention on the CPU: its tensors, cut out without copies where strides allow, its mask, its score.

A block's rows of all heads that read one kv head are stacked: [pairs of batch element and kv head, rows, width]. So
keys and values are never expanded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from tantra_compiler.runtime.blockwise_plan import AttentionLengths, KeyPiece, QueryBlock, Range, Share, visited_blocks
from tantra_compiler.runtime.philox import keep_weights
from tantra_compiler.runtime.program import AttentionProgram, Captures, Site


@dataclass(frozen=True)
class BlockwiseProblem:
    """An attention: its inputs and its settings. Scores are computed in ``wide``."""

    q: Tensor
    k: Tensor
    v: Tensor
    program: AttentionProgram
    captures: Captures
    scale: float
    dropout: float
    seed: int

    @cached_property
    def lengths(self) -> AttentionLengths:
        """Sizes of the inputs."""
        return AttentionLengths(self.q.shape[0], self.q.shape[1], self.k.shape[1], self.q.shape[2], self.k.shape[2])

    @cached_property
    def wide(self) -> torch.dtype:
        """float32, or float64 where the inputs are."""
        return torch.promote_types(self.q.dtype, torch.float32)

    @cached_property
    def narrow(self) -> torch.dtype:
        """What weights and their gradients are rounded to before products: bfloat16 where inputs and chip have it."""
        return self.q.dtype if self.q.dtype is torch.bfloat16 and has_bfloat16_products() else self.wide

    def blocks(self, share: Share, whole_rows: bool = False) -> Iterator[BlockRows]:
        """All query rows of a share, block by block; see ``visited_blocks``."""
        found = visited_blocks(self.program, self.lengths, self.captures, share, whole_rows)
        return (BlockRows(self, block) for block in found)


@dataclass(frozen=True)
class BlockRows:
    """A block with its tensors: [pairs of batch element and kv head, rows of all its heads, width]."""

    problem: BlockwiseProblem
    block: QueryBlock

    @cached_property
    def heads(self) -> Range:
        """The query heads of the block's kv heads."""
        lo, hi = self.block.kv_heads
        return lo * self.problem.lengths.group, hi * self.problem.lengths.group

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Batch elements, heads and rows."""
        (b0, b1), (h0, h1), (r0, r1) = self.block.batch, self.heads, self.block.rows
        return b1 - b0, h1 - h0, r1 - r0

    @cached_property
    def height(self) -> int:
        """BlockRows of all heads that read one kv head."""
        return self.shape[2] * self.problem.lengths.group

    @cached_property
    def pairs(self) -> int:
        """Batch elements times kv heads."""
        return self.shape[0] * (self.block.kv_heads[1] - self.block.kv_heads[0])

    def of_queries(self, x: Tensor) -> Tensor:
        """The block of x [batch, queries, heads, width]."""
        part = x[slice(*self.block.batch), slice(*self.block.rows), slice(*self.heads)].transpose(1, 2)
        return part.reshape(self.pairs, self.height, x.shape[-1])

    def of_statistics(self, x: Tensor) -> Tensor:
        """The block of x [batch, heads, queries], as a column."""
        part = x[slice(*self.block.batch), slice(*self.heads), slice(*self.block.rows)]
        return part.reshape(self.pairs, self.height, 1)

    def of_keys(self, x: Tensor, piece: KeyPiece) -> Tensor:
        """The keys of a piece out of x [batch, keys, kv_heads, width]."""
        batch, kv_heads = slice(*self.block.batch), slice(*self.block.kv_heads)
        parts = [x[batch, lo:hi, kv_heads] for lo, hi in piece.parts]
        part = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return part.transpose(1, 2).reshape(self.pairs, piece.width, x.shape[-1])

    def of_heads(self, x: Tensor) -> Tensor:
        """X [heads] for every row, as a column."""
        part = x[slice(*self.heads)].to(self.problem.wide).view(-1, 1, 1)
        return part.expand(*self.shape, 1).reshape(self.pairs, self.height, 1)

    def without_keys(self) -> tuple[Tensor, Tensor, Tensor]:
        """Output, log-sum-exp and emptiness of rows that visit nothing."""
        column = torch.zeros(self.pairs, self.height, 1, dtype=self.problem.wide)
        return column.expand(-1, -1, self.problem.v.shape[-1]), column, torch.ones_like(column, dtype=torch.bool)

    def put_queries(self, into: Tensor, rows: Tensor) -> None:
        """Write the block of ``into`` [batch, queries, heads, width]."""
        place = into[slice(*self.block.batch), slice(*self.block.rows), slice(*self.heads)]
        place.copy_(rows.reshape(*self.shape, rows.shape[-1]).transpose(1, 2))

    def put_statistics(self, into: Tensor, column: Tensor) -> None:
        """Write the block of ``into`` [batch, heads, queries]."""
        into[slice(*self.block.batch), slice(*self.heads), slice(*self.block.rows)] = column.view(self.shape)

    def add_keys(self, into: Tensor, piece: KeyPiece, columns: Tensor, scale: float = 1.0) -> None:
        """Add scale * columns to the keys of a piece in ``into`` [batch, keys, kv_heads, width]."""
        batch, kv_heads = slice(*self.block.batch), slice(*self.block.kv_heads)
        added = columns.view(self.shape[0], -1, piece.width, columns.shape[-1]).transpose(1, 2)
        start = 0
        for lo, hi in piece.parts:
            into[batch, lo:hi, kv_heads].add_(added[:, start : start + hi - lo], alpha=scale)
            start += hi - lo

    def by_head(self, s: Tensor) -> Tensor:
        """BlockScores [pairs, rows of all heads, columns] as [batch, heads, rows, columns]."""
        return s.view(*self.shape, s.shape[-1])

    @cached_property
    def b(self) -> Tensor:
        """Batch elements."""
        return torch.arange(*self.block.batch).view(-1, 1, 1, 1)

    @cached_property
    def h(self) -> Tensor:
        """Heads."""
        return torch.arange(*self.heads).view(-1, 1, 1)

    @cached_property
    def row(self) -> Tensor:
        """Query rows, counted from 0."""
        return torch.arange(*self.block.rows).view(-1, 1)

    @cached_property
    def q(self) -> Tensor:
        """Absolute positions of the queries."""
        return self.row + self.problem.lengths.offset


@dataclass(frozen=True)
class BlockPiece:
    """The rows of a block and one piece of their keys: where they are, what the mask allows, what the score makes."""

    rows: BlockRows
    piece: KeyPiece

    @cached_property
    def k(self) -> Tensor:
        """Positions of the piece's keys."""
        return joined_ranges(self.piece.parts)

    @cached_property
    def at(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Coordinates for scores: integers where captures are indexed, else reals, which is faster."""
        real = torch.int64 if self.rows.problem.captures else self.rows.problem.wide
        return self.rows.b, self.rows.h.to(real), self.rows.q.to(real), self.k.to(real)

    @cached_property
    def allowed(self) -> Tensor:
        """The mask, for the columns that need it; it broadcasts to [batch, heads, rows, columns]."""
        mask = self.rows.problem.program.mask
        assert mask is not None
        columns = torch.cat([self.k[lo:hi] for lo, hi in self.piece.masked])
        found = mask(self.rows.b, self.rows.h, self.rows.q, columns, *self.rows.problem.captures)
        return found.expand(*found.shape[:-2], len(self.rows.row), len(columns))

    def masked_columns(self) -> Iterator[tuple[slice, slice]]:
        """Columns that need the mask, and where ``allowed`` has them."""
        start = 0
        for lo, hi in self.piece.masked:
            yield slice(lo, hi), slice(start, start + hi - lo)
            start += hi - lo

    def logits(self, raw: Tensor) -> Tensor:
        """What the softmax is taken of, from scale * (q . k), which is overwritten unless a score changes it."""
        program, captures = self.rows.problem.program, self.rows.problem.captures
        by_head = self.rows.by_head(raw)
        if program.score is not None:
            found = program.score(by_head, *self.at, *captures).to(raw.dtype)
            by_head = found.expand(by_head.shape).contiguous()
            if by_head.data_ptr() == raw.data_ptr():
                by_head = by_head.clone()  # the gradient needs both
        if self.piece.masked:
            self._forbid(by_head)
        return by_head.view(raw.shape)

    def _forbid(self, by_head: Tensor) -> None:
        """Set what the mask forbids to -inf: by adding where numbers are finite, which is several times faster."""
        finite = self.rows.problem.program.score is None
        if finite:
            added = torch.zeros(self.allowed.shape, dtype=by_head.dtype).masked_fill_(~self.allowed, -torch.inf)
        for columns, of_mask in self.masked_columns():
            if finite:
                by_head[..., columns].add_(added[..., of_mask])
            else:
                keep_where(self.allowed[..., of_mask], by_head[..., columns], -torch.inf)

    def through_score(self, gradient: Tensor, raw: Tensor, sums: tuple[Tensor | None, ...]) -> Tensor:
        """The gradient by ``raw``, of that by the logits; those of learned elements are added to ``sums``."""
        program, captures = self.rows.problem.program, self.rows.problem.captures
        by_head, s = self.rows.by_head(gradient), self.rows.by_head(raw)
        for site in program.sites:
            total = sums[site.capture]
            assert total is not None
            add_at_site(total, self._product(by_head, site.slope(s, *self.at, *captures)), self._index(site))
        if program.score is None or program.slope is None:
            return gradient
        return self._product(by_head, program.slope(s, *self.at, *captures)).reshape(gradient.shape)

    def _index(self, site: Site) -> tuple[Tensor, ...]:
        return site.index(self.rows.b, self.rows.h, self.rows.q, self.k, *self.rows.problem.captures)

    def _product(self, gradient: Tensor, slope: Tensor) -> Tensor:
        """Their product; 0 where the mask forbids, whatever the slope is there."""
        product = gradient * slope.to(gradient.dtype)
        for columns, of_mask in self.masked_columns():
            keep_where(self.allowed[..., of_mask], product[..., columns], 0.0)
        return product

    def dropped(self) -> Tensor:
        """What dropout multiplies the weights by, [pairs, rows of all heads, columns]."""
        problem, rows = self.rows.problem, self.rows
        sizes = (problem.lengths.heads, problem.lengths.queries, problem.lengths.keys)
        kept = keep_weights(problem.seed, problem.dropout, rows.b, rows.h, rows.row, self.k, sizes)
        return kept.to(problem.wide).view(rows.pairs, rows.height, self.piece.width)


@lru_cache(maxsize=256)
def has_bfloat16_products() -> bool:
    """Whether the chip multiplies bfloat16 itself; else float32 is faster."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def joined_ranges(ranges: tuple[Range, ...]) -> Tensor:
    """The integers of all ranges."""
    parts = [torch.arange(lo, hi) for lo, hi in ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def keep_where(allowed: Tensor, values: Tensor, other: float) -> None:
    """Overwrite ``values`` with ``other`` wherever it is not allowed."""
    torch.where(allowed, values, torch.tensor(other, dtype=values.dtype), out=values)


def add_at_site(total: Tensor, gradient: Tensor, index: tuple[Tensor, ...]) -> None:
    """Add the gradient [batch, heads, rows, columns] to the elements of ``total`` that the score read."""
    place = torch.zeros((), dtype=torch.int64)
    for size, each in zip(total.shape, index, strict=True):
        place = place * size + torch.where(each < 0, each + size, each)
    gradient = gradient.sum_to_size((1,) * (gradient.dim() - place.dim()) + place.shape)
    total.view(-1).scatter_add_(0, place.reshape(-1), gradient.reshape(-1))
