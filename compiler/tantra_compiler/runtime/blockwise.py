"""Attention on the CPU, block by block over the keys that a mask lets be seen: no table of the lengths is ever made.

Shapes are those of ``attention.py``. Scores exist for one block at a time, small enough for the cache; the rows of the
heads that share a kv head are stacked, so that keys and values are never expanded. The backward pass computes the
scores again from the log-sum-exp (Dao et al. 2022). The order of all sums is fixed: results repeat exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from tantra_compiler.runtime.blockwise_plan import AttentionLengths, KeyPiece, QueryBlock, Range, query_blocks
from tantra_compiler.runtime.philox import keep_weights
from tantra_compiler.runtime.program import EMPTY_LSE, AttentionProgram, Captures, Site

_LOG2_E = math.log2(math.e)
_LOWEST_SCORE = -1e38  # below every score, and finite when multiplied by log2(e)

BlockwiseGradients = tuple[Tensor, Tensor, Tensor, Tensor | None, tuple[Tensor | None, ...]]


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

    def blocks(self) -> Iterator[BlockRows]:
        """All query rows, block by block."""
        return (BlockRows(self, block) for block in query_blocks(self.program, self.lengths, self.captures))


@dataclass
class BlockBuffers:
    """Memory that blocks use one after another."""

    held: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Uninitialised memory, the same whenever the name is."""
        count = math.prod(shape)
        if name not in self.held or self.held[name].numel() < count:
            self.held[name] = torch.empty(count, dtype=dtype)
        return self.held[name][:count].view(shape)


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

    def put_queries(self, into: Tensor, rows: Tensor) -> None:
        """Write the block of ``into`` [batch, queries, heads, width]."""
        place = into[slice(*self.block.batch), slice(*self.block.rows), slice(*self.heads)]
        place.copy_(rows.view(*self.shape, -1).transpose(1, 2))

    def put_statistics(self, into: Tensor, column: Tensor) -> None:
        """Write the block of ``into`` [batch, heads, queries]."""
        into[slice(*self.block.batch), slice(*self.heads), slice(*self.block.rows)] = column.view(self.shape)

    def add_keys(self, into: Tensor, piece: KeyPiece, columns: Tensor) -> None:
        """Add to the keys of a piece in ``into`` [batch, keys, kv_heads, width]."""
        batch, kv_heads = slice(*self.block.batch), slice(*self.block.kv_heads)
        added = columns.view(self.shape[0], -1, piece.width, columns.shape[-1]).transpose(1, 2)
        start = 0
        for lo, hi in piece.parts:
            into[batch, lo:hi, kv_heads].add_(added[:, start : start + hi - lo])
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
class BlockScores:
    """The scores of a block against one piece of its keys, in every form that a pass needs."""

    rows: BlockRows
    piece: KeyPiece
    raw: Tensor
    """scale * (q . k), [pairs, rows of all heads, columns]; overwritten where the program has no score."""

    @cached_property
    def k(self) -> Tensor:
        """Positions of the piece's keys."""
        return joined_ranges(self.piece.parts)

    @cached_property
    def at(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Coordinates for scores: integers where captures are indexed, else reals, which is faster."""
        real = torch.int64 if self.rows.problem.captures else self.raw.dtype
        return self.rows.b, self.rows.h.to(real), self.rows.q.to(real), self.k.to(real)

    def logits(self) -> Tensor:
        """After score and mask: what the softmax is taken of."""
        program, captures = self.rows.problem.program, self.rows.problem.captures
        by_head = self.rows.by_head(self.raw)
        if program.score is not None:
            found = program.score(by_head, *self.at, *captures).to(self.raw.dtype)
            by_head = found.expand(by_head.shape).contiguous()
        if self.piece.masked:
            self._forbid(by_head)
        return by_head.view(self.raw.shape)

    @cached_property
    def allowed(self) -> Tensor:
        """The mask, for the columns that need it; it broadcasts to [batch, heads, rows, columns]."""
        mask = self.rows.problem.program.mask
        assert mask is not None
        columns = torch.cat([self.k[lo:hi] for lo, hi in self.piece.masked])
        found = mask(self.rows.b, self.rows.h, self.rows.q, columns, *self.rows.problem.captures)
        return found.expand(*found.shape[:-2], len(self.rows.row), len(columns))

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

    def masked_columns(self) -> Iterator[tuple[slice, slice]]:
        """Columns that need the mask, and where the mask has them."""
        start = 0
        for lo, hi in self.piece.masked:
            yield slice(lo, hi), slice(start, start + hi - lo)
            start += hi - lo

    def through_score(self, gradient: Tensor, sums: tuple[Tensor | None, ...]) -> Tensor:
        """The gradient by ``raw``, of that by the logits; those of learned elements are added to ``sums``."""
        program, captures = self.rows.problem.program, self.rows.problem.captures
        by_head, s = self.rows.by_head(gradient), self.rows.by_head(self.raw)
        for site in program.sites:
            total = sums[site.capture]
            assert total is not None
            add_at_site(total, site, self._product(by_head, site.slope(s, *self.at, *captures)), self._index(site))
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
        """What dropout multiplies the weights by."""
        problem, rows = self.rows.problem, self.rows
        sizes = (problem.lengths.heads, problem.lengths.queries, problem.lengths.keys)
        kept = keep_weights(problem.seed, problem.dropout, rows.b, rows.h, rows.row, self.k, sizes)
        return kept.to(self.raw.dtype).view(self.raw.shape)


def joined_ranges(ranges: tuple[Range, ...]) -> Tensor:
    """The integers of all ranges."""
    parts = [torch.arange(lo, hi) for lo, hi in ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def keep_where(allowed: Tensor, values: Tensor, other: float) -> None:
    """Overwrite ``values`` with ``other`` wherever it is not allowed."""
    torch.where(allowed, values, torch.tensor(other, dtype=values.dtype), out=values)


def add_at_site(total: Tensor, site: Site, gradient: Tensor, index: tuple[Tensor, ...]) -> None:
    """Add the gradient [batch, heads, rows, columns] to the elements of ``total`` that the score read."""
    place = torch.zeros((), dtype=torch.int64)
    for size, each in zip(total.shape, index, strict=True):
        place = place * size + torch.where(each < 0, each + size, each)
    gradient = gradient.sum_to_size((1,) * (gradient.dim() - place.dim()) + place.shape)
    total.view(-1).scatter_add_(0, place.reshape(-1), gradient.reshape(-1))


@torch.no_grad()
def forward_blocks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    program: AttentionProgram,
    captures: Captures,
    *,
    scale: float,
    sink: Tensor | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Attention, and the log-sum-exp of its rows [batch, heads, queries] in float32 (float64 where q is).

    A row without an allowed key gives 0, and EMPTY_LSE whatever the sink is.
    """
    problem = BlockwiseProblem(q, k, v, program, captures, scale, dropout, seed)
    out = v.new_empty(*q.shape[:3], v.shape[-1])
    lse = q.new_empty(q.shape[0], q.shape[2], q.shape[1], dtype=problem.wide)
    buffers = BlockBuffers()
    for rows in problem.blocks():
        top, total, sums = _attended_rows(rows, buffers)
        empty = total == 0
        found = total.log().add_(top)
        factor = total.clamp_(min=torch.finfo(total.dtype).tiny).reciprocal_()
        if sink is not None:
            sinks = sink.to(problem.wide)[slice(*rows.heads)].view(-1, 1, 1).expand(*rows.shape, 1).reshape(top.shape)
            with_sink = torch.logaddexp(found, sinks)
            factor *= (found - with_sink).exp_()
            found = with_sink
        rows.put_queries(out, sums.mul_(factor))
        rows.put_statistics(lse, found.masked_fill_(empty, EMPTY_LSE))
    return out, lse


def _attended_rows(rows: BlockRows, buffers: BlockBuffers) -> tuple[Tensor, Tensor, Tensor]:
    """For the rows of a block: the largest score, and relative to it the sum of exp and that of exp * v."""
    problem = rows.problem
    queries = rows.of_queries(problem.q).to(problem.wide) * problem.scale
    found: tuple[Tensor, Tensor, Tensor] | None = None
    for piece in rows.block.pieces:
        scores = _block_scores(rows, piece, queries, buffers)
        logits = scores.logits()
        top = logits.amax(-1, keepdim=True).clamp_(min=_LOWEST_SCORE)
        if found is not None:
            torch.maximum(top, found[0], out=top)
        weights = torch.add(top * -_LOG2_E, logits, alpha=_LOG2_E, out=logits).exp2_()
        total = weights.sum(-1, keepdim=True)
        if problem.dropout:
            weights *= scores.dropped()
        sums = torch.bmm(weights, rows.of_keys(problem.v, piece).to(problem.wide))
        if found is not None:
            shrink = ((found[0] - top) * _LOG2_E).exp2_()
            total.addcmul_(found[1], shrink)
            sums.addcmul_(found[2], shrink)
        found = top, total, sums
    if found is None:
        column = queries.new_zeros(rows.pairs, rows.height, 1)
        return column, column.clone(), queries.new_zeros(rows.pairs, rows.height, problem.v.shape[-1])
    return found


def _block_scores(rows: BlockRows, piece: KeyPiece, queries: Tensor, buffers: BlockBuffers) -> BlockScores:
    keys = rows.of_keys(rows.problem.k, piece).to(rows.problem.wide)
    raw = buffers.take("scores", (rows.pairs, rows.height, piece.width), rows.problem.wide)
    return BlockScores(rows, piece, torch.bmm(queries, keys.transpose(1, 2), out=raw))


@torch.no_grad()
def backward_blocks(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    program: AttentionProgram,
    captures: Captures,
    *,
    scale: float,
    sink: Tensor | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    dlse: Tensor | None = None,
) -> BlockwiseGradients:
    """BlockwiseGradients by q, k, v, the sink and each capture (None for those that the score learns nothing about).

    ``out`` and ``lse`` are what ``forward_blocks`` gave for the same arguments; ``dlse`` is the gradient by ``lse``.
    """
    problem = BlockwiseProblem(q, k, v, program, captures, scale, dropout, seed)
    learned = {site.capture for site in program.sites}
    backward = BlockwiseBackward(
        dout, out, lse, dlse, sink,
        torch.empty(q.shape, dtype=q.dtype),
        torch.zeros(k.shape, dtype=problem.wide),
        torch.zeros(v.shape, dtype=problem.wide),
        None if sink is None else torch.zeros(sink.shape, dtype=problem.wide),
        tuple(torch.zeros(x.shape, dtype=problem.wide) if i in learned else None for i, x in enumerate(captures)),
    )  # fmt: skip
    for rows in problem.blocks():
        backward.add(rows)
    return backward.gradients(problem)


@dataclass(frozen=True)
class BlockwiseBackward:
    """The gradients that arrive, and the sums of those that leave."""

    dout: Tensor
    out: Tensor
    lse: Tensor
    dlse: Tensor | None
    sink: Tensor | None
    dq: Tensor
    dk: Tensor
    dv: Tensor
    dsink: Tensor | None
    dcaptures: tuple[Tensor | None, ...]
    buffers: BlockBuffers = field(default_factory=BlockBuffers)

    def gradients(self, problem: BlockwiseProblem) -> BlockwiseGradients:
        """The sums, in the types of what they are gradients of."""
        dsink = None if self.sink is None or self.dsink is None else self.dsink.to(self.sink.dtype)
        pairs = zip(self.dcaptures, problem.captures, strict=True)
        dcaptures = tuple(None if sums is None else sums.to(capture.dtype) for sums, capture in pairs)
        return self.dq, self.dk.to(problem.k.dtype), self.dv.to(problem.v.dtype), dsink, dcaptures

    def add(self, rows: BlockRows) -> None:
        """Add what the rows of a block give."""
        problem = rows.problem
        queries = rows.of_queries(problem.q).to(problem.wide) * problem.scale
        dout = rows.of_queries(self.dout).to(problem.wide)
        delta, lse, empty = self._statistics(rows, dout)
        if self.dsink is not None and self.sink is not None:
            sinks = self.sink.to(problem.wide)[slice(*rows.heads)].view(-1, 1, 1)
            weight = rows.by_head((rows.by_head(lse) - sinks).neg_().exp_().masked_fill_(rows.by_head(empty), 0.0))
            self.dsink[slice(*rows.heads)] -= (weight * rows.by_head(delta)).sum((0, 2, 3))
        dq = torch.zeros(queries.shape, dtype=queries.dtype)
        for piece in rows.block.pieces:
            self._add_piece(rows, piece, queries, dout, delta, lse * -_LOG2_E, dq)
        rows.put_queries(self.dq, dq.mul_(problem.scale))

    def _statistics(self, rows: BlockRows, dout: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the softmax subtracts from its gradient; the lse, 0 in rows without keys; which rows those are."""
        delta = (dout * rows.of_queries(self.out)).sum(-1, keepdim=True)
        lse = rows.of_statistics(self.lse)
        empty = lse == EMPTY_LSE
        if self.dlse is not None:
            delta -= rows.of_statistics(self.dlse)
        return delta, lse.masked_fill(empty, 0.0), empty

    def _add_piece(
        self, rows: BlockRows, piece: KeyPiece, queries: Tensor, dout: Tensor, delta: Tensor, shift: Tensor, dq: Tensor
    ) -> None:
        problem, buffers = rows.problem, self.buffers
        scores = _block_scores(rows, piece, queries, buffers)
        logits = scores.logits()
        weights = torch.add(shift, logits, alpha=_LOG2_E, out=logits).exp2_()
        values = rows.of_keys(problem.v, piece).to(problem.wide)
        dweights = buffers.take("dweights", tuple(weights.shape), problem.wide)
        torch.bmm(dout, values.transpose(1, 2), out=dweights)
        kept = weights
        if problem.dropout:
            dropped = scores.dropped()
            dweights *= dropped
            kept = weights * dropped
        self._add_keys(rows, piece, self.dv, kept, dout)
        dscores = scores.through_score(dweights.sub_(delta).mul_(weights), self.dcaptures)
        dq.baddbmm_(dscores, rows.of_keys(problem.k, piece).to(problem.wide))
        self._add_keys(rows, piece, self.dk, dscores, queries)

    def _add_keys(self, rows: BlockRows, piece: KeyPiece, into: Tensor, left: Tensor, right: Tensor) -> None:
        """Add left^T right to the keys of a piece."""
        product = self.buffers.take("columns", (rows.pairs, piece.width, right.shape[-1]), rows.problem.wide)
        rows.add_keys(into, piece, torch.bmm(left.transpose(1, 2), right, out=product))
