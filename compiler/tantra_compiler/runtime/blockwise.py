"""Attention on the CPU, block by block over the keys that a mask lets be seen: no table of the lengths is ever made.

Shapes are those of ``attention.py``. Scores exist for one block at a time, small enough for the cache; the backward
pass computes them again from the log-sum-exp (Dao et al. 2022). Where a program has no score and no dropout, torch's
kernel takes the blocks of float32. In bfloat16 scores and sums are float32, and weights are rounded for products.
The order of all sums is fixed: results repeat exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tantra_compiler.runtime.blockwise_fused import fits_fused_kernel, fused_gradients, fused_rows
from tantra_compiler.runtime.blockwise_plan import Share
from tantra_compiler.runtime.blockwise_rows import BlockPiece, BlockRows, BlockwiseProblem
from tantra_compiler.runtime.blockwise_threads import run_shares, shares_of_threads
from tantra_compiler.runtime.program import EMPTY_LSE, AttentionProgram, Captures

_LOG2_E = math.log2(math.e)
_LOWEST_SCORE = -1e38  # below every score, and finite when multiplied by log2(e)

BlockwiseGradients = tuple[Tensor, Tensor, Tensor, Tensor | None, tuple[Tensor | None, ...]]


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

    def attend_share(share: Share) -> None:
        buffers, fused = BlockBuffers(), fits_fused_kernel(problem, share)
        for rows in problem.blocks(share, fused):
            found, found_lse, empty = fused_rows(rows) if fused else _attended_rows(rows, buffers)
            if sink is not None:
                total = torch.logaddexp(found_lse, rows.of_heads(sink))
                found, found_lse = found * (found_lse - total).exp_(), total
            rows.put_queries(out, found)
            rows.put_statistics(lse, found_lse.masked_fill(empty, EMPTY_LSE))

    run_shares(attend_share, shares_of_threads(problem.lengths))
    return out, lse


def _attended_rows(rows: BlockRows, buffers: BlockBuffers) -> tuple[Tensor, Tensor, Tensor]:
    """For the rows of a block, without the sink: output, log-sum-exp, and which have no key."""
    problem = rows.problem
    queries = rows.of_queries(problem.q).to(problem.wide) * problem.scale
    found: tuple[Tensor, Tensor, Tensor] | None = None
    for piece in rows.block.pieces:
        here = BlockPiece(rows, piece)
        logits = here.logits(_products(here, queries, buffers))
        top = logits.amax(-1, keepdim=True).clamp_(min=_LOWEST_SCORE)
        if found is not None:
            torch.maximum(top, found[0], out=top)
        weights = torch.add(top * -_LOG2_E, logits, alpha=_LOG2_E, out=logits).exp2_()
        total = weights.sum(-1, keepdim=True)
        if problem.dropout:
            weights *= here.dropped()
        values = rows.of_keys(problem.v, piece).to(problem.narrow)
        sums = torch.bmm(weights.to(problem.narrow), values).to(problem.wide)
        if found is not None:
            shrink = ((found[0] - top) * _LOG2_E).exp2_()
            total.addcmul_(found[1], shrink)
            sums.addcmul_(found[2], shrink)
        found = top, total, sums
    if found is None:
        return rows.without_keys()
    top, total, sums = found
    return sums.div_(total.clamp(min=torch.finfo(total.dtype).tiny)), total.log().add_(top), total == 0


def _products(here: BlockPiece, queries: Tensor, buffers: BlockBuffers) -> Tensor:
    """Q . k of a block, ``queries`` being scaled."""
    keys = here.rows.of_keys(here.rows.problem.k, here.piece).to(queries.dtype)
    into = buffers.take("scores", (here.rows.pairs, here.rows.height, here.piece.width), queries.dtype)
    return torch.bmm(queries, keys.transpose(1, 2), out=into)


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
    """Gradients by q, k, v, the sink and each capture (None for those that the score learns nothing about).

    ``out`` and ``lse`` are what ``forward_blocks`` gave for the same arguments; ``dlse`` is the gradient by ``lse``.
    """
    problem = BlockwiseProblem(q, k, v, program, captures, scale, dropout, seed)
    if dlse is not None and not dlse.any():
        dlse = None
    gradients = (
        torch.empty(q.shape, dtype=q.dtype),
        torch.zeros(k.shape, dtype=problem.wide),
        torch.zeros(v.shape, dtype=problem.wide),
    )

    def add_share(share: Share) -> BlockwiseBackward:
        backward = BlockwiseBackward(dout, out, lse, dlse, sink, *gradients, *learned_zeros(problem, sink))
        fused = fits_fused_kernel(problem, share) and dlse is None
        for rows in problem.blocks(share, fused):
            backward.add_fused(rows) if fused else backward.add(rows)
        return backward

    first, *others = run_shares(add_share, shares_of_threads(problem.lengths))
    for other in others:
        first.add_learned(other)
    return first.results(problem)


def learned_zeros(problem: BlockwiseProblem, sink: Tensor | None) -> tuple[Tensor | None, tuple[Tensor | None, ...]]:
    """Where the gradients by the sink and by captures that a score learns are added up."""
    learned = {site.capture for site in problem.program.sites}
    sums = (torch.zeros(x.shape, dtype=problem.wide) if i in learned else None for i, x in enumerate(problem.captures))
    return None if sink is None else torch.zeros(sink.shape, dtype=problem.wide), tuple(sums)


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

    def add_learned(self, other: BlockwiseBackward) -> None:
        """Add what another share gave to the sink and to captures; the rest is in the same tensors already."""
        pairs = zip((self.dsink, *self.dcaptures), (other.dsink, *other.dcaptures), strict=True)
        for ours, theirs in pairs:
            if ours is not None and theirs is not None:
                ours += theirs

    def results(self, problem: BlockwiseProblem) -> BlockwiseGradients:
        """The sums, in the types of what they are gradients of."""
        dsink = None if self.sink is None or self.dsink is None else self.dsink.to(self.sink.dtype)
        pairs = zip(self.dcaptures, problem.captures, strict=True)
        dcaptures = tuple(None if sums is None else sums.to(capture.dtype) for sums, capture in pairs)
        return self.dq, self.dk.to(problem.k.dtype), self.dv.to(problem.v.dtype), dsink, dcaptures

    def add_fused(self, rows: BlockRows) -> None:
        """Add what the rows of a block give, by torch's kernel."""
        dout, out, lse = rows.of_queries(self.dout), rows.of_queries(self.out), rows.of_statistics(self.lse)
        if self.sink is not None:
            wide = rows.problem.wide
            self._add_sink(rows, (dout.to(wide) * out.to(wide)).sum(-1, keepdim=True), lse)
        if not rows.block.pieces:
            rows.put_queries(self.dq, torch.zeros_like(dout))
            return
        (piece,) = rows.block.pieces
        dq, dk, dv = fused_gradients(rows, dout, out, lse.masked_fill(lse == EMPTY_LSE, 0.0))
        rows.put_queries(self.dq, dq)
        rows.add_keys(self.dk, piece, dk)
        rows.add_keys(self.dv, piece, dv)

    def add(self, rows: BlockRows) -> None:
        """Add what the rows of a block give."""
        problem = rows.problem
        queries = rows.of_queries(problem.q).to(problem.wide) * problem.scale
        dout = rows.of_queries(self.dout).to(problem.wide)
        delta = (dout * rows.of_queries(self.out)).sum(-1, keepdim=True)
        if self.dlse is not None:
            delta -= rows.of_statistics(self.dlse)
        lse = rows.of_statistics(self.lse)
        self._add_sink(rows, delta, lse)
        lowered = lse.masked_fill(lse == EMPTY_LSE, 0.0).mul_(-_LOG2_E)
        dq = torch.zeros(queries.shape, dtype=queries.dtype)
        for piece in rows.block.pieces:
            self._add_piece(BlockPiece(rows, piece), queries, dout, delta, lowered, dq)
        rows.put_queries(self.dq, dq.mul_(problem.scale))

    def _add_sink(self, rows: BlockRows, delta: Tensor, lse: Tensor) -> None:
        """The sink gives nothing to the output, and takes its weight in the softmax; none in rows without keys."""
        if self.sink is not None and self.dsink is not None:
            weight = (rows.of_heads(self.sink) - lse).exp_().masked_fill_(lse == EMPTY_LSE, 0.0)
            self.dsink[slice(*rows.heads)] -= rows.by_head(weight * delta).sum((0, 2, 3))

    def _add_piece(
        self, here: BlockPiece, queries: Tensor, dout: Tensor, delta: Tensor, lowered: Tensor, dq: Tensor
    ) -> None:
        problem, rows = here.rows.problem, here.rows
        raw = _products(here, queries, self.buffers)
        logits = here.logits(raw)
        weights = torch.add(lowered, logits, alpha=_LOG2_E, out=logits).exp2_()
        values = rows.of_keys(problem.v, here.piece).to(problem.wide)
        dweights = self.buffers.take("dweights", tuple(weights.shape), problem.wide)
        torch.bmm(dout, values.transpose(1, 2), out=dweights)
        kept = weights
        if problem.dropout:
            dropped = here.dropped()
            dweights *= dropped
            kept = weights * dropped
        self._add_keys(here, self.dv, kept.to(problem.narrow), rows.of_queries(self.dout))
        dscores = here.through_score(dweights.sub_(delta).mul_(weights), raw, self.dcaptures).to(problem.narrow)
        dq += torch.bmm(dscores, rows.of_keys(problem.k, here.piece).to(problem.narrow))
        self._add_keys(here, self.dk, dscores, rows.of_queries(problem.q), problem.scale)

    def _add_keys(self, here: BlockPiece, into: Tensor, left: Tensor, right: Tensor, scale: float = 1.0) -> None:
        """Add scale * left^T right to the keys of a piece."""
        shape = (here.rows.pairs, here.piece.width, right.shape[-1])
        product = self.buffers.take(f"columns {shape[-1]}", shape, left.dtype)
        torch.bmm(left.transpose(1, 2), right.to(left.dtype), out=product)
        here.rows.add_keys(into, here.piece, product, scale)
