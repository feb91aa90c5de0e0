"""Attention as it is defined, over every pair at once: the oracle in float64, and what error is allowed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.kernels.attention.cases import MASKS, SCORES, document_fields

EMPTY_LSE = torch.finfo(torch.float32).min


@dataclass(frozen=True)
class Problem:
    """Inputs of one attention: a mask and a score by name, sizes, a dtype, and what else takes part."""

    mask: str = "causal"
    score: str = "none"
    dtype: torch.dtype = torch.float32
    batch: int = 1
    queries: int = 37
    keys: int = 37
    heads: int = 2
    kv_heads: int = 1
    width: int = 16
    value_width: int = 16
    sink: bool = False
    dropout: float = 0.0
    layout: str = "bthd"
    seed: int = 0


@dataclass(frozen=True)
class Inputs:
    """The tensors of a problem; ``leaves`` are those with a gradient."""

    q: Tensor
    k: Tensor
    v: Tensor
    sink: Tensor | None
    fields: tuple[Tensor, ...]
    learned: tuple[Tensor, ...]

    def leaves(self) -> list[Tensor]:
        """What has a gradient, in the order q, k, v, sink, learned tensors."""
        return [self.q, self.k, self.v, *([] if self.sink is None else [self.sink]), *self.learned]

    def captures(self) -> tuple[Tensor, ...]:
        """What the programs capture."""
        return (*self.fields, *self.learned)


def make(problem: Problem) -> Inputs:
    """Random inputs of a problem; the same for the same problem."""
    p, g = problem, torch.Generator().manual_seed(problem.seed)

    def tensor(time: int, heads: int, width: int) -> Tensor:
        x = torch.randn(p.batch, heads, time, width, generator=g).to(p.dtype)
        if p.layout == "bhtd":
            return x.transpose(1, 2)
        if p.layout == "bhdt":
            return x.transpose(2, 3).contiguous().transpose(2, 3).transpose(1, 2)
        return x.transpose(1, 2).contiguous()

    q, k = tensor(p.queries, p.heads, p.width), tensor(p.keys, p.kv_heads, p.width)
    v = tensor(p.keys, p.kv_heads, p.value_width)
    learned = tuple(x.to(p.dtype) for x in SCORES[p.score].learned(p.heads, g))
    fields = document_fields(p.batch, p.keys, g) if MASKS[p.mask].fields or learned else ()
    return Inputs(q, k, v, torch.randn(p.heads, generator=g) if p.sink else None, fields, learned)


def attend(problem: Problem, x: Inputs, dtype: torch.dtype, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """out and lse computed in ``dtype``; ``kept`` [batch, heads, queries, keys] are the weights that dropout keeps."""
    group = problem.heads // problem.kv_heads
    q, k, v = x.q.to(dtype), x.k.to(dtype), x.v.to(dtype)
    k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
    s = torch.einsum("bqhd,bkhd->bhqk", q, k) * problem.width**-0.5
    mask, score = MASKS[problem.mask], SCORES[problem.score]
    at_q = torch.arange(problem.keys - problem.queries, problem.keys)[:, None]
    at_k, h = torch.arange(problem.keys), torch.arange(problem.heads)[:, None, None]
    b = torch.arange(problem.batch)[:, None, None, None]
    if score.dense is not None:
        s = score.dense(s, at_q, at_k, h, *(t.to(dtype) for t in x.learned))
    allowed = torch.ones(problem.queries, problem.keys, dtype=torch.bool)
    if mask.dense is not None and allowed.numel():
        allowed = mask.dense(at_q, at_k, b, h, problem.keys, x.fields, mask.numbers)
    allowed = allowed.expand(s.shape)
    empty = ~allowed.any(-1, keepdim=True)
    s = s.masked_fill(~allowed, -torch.inf).masked_fill(empty, 0.0)
    logits = s if x.sink is None else torch.cat([s, x.sink.to(dtype)[:, None, None].expand(*s.shape[:-1], 1)], -1)
    weights = logits.softmax(-1)[..., : problem.keys].masked_fill(empty, 0.0)
    lse = logits.to(torch.promote_types(dtype, torch.float32)).logsumexp(-1)
    if kept is not None:
        weights = weights * kept / (1 - problem.dropout)
    out = torch.einsum("bhqk,bkhd->bqhd", weights, v)
    return out, lse.masked_fill(empty.squeeze(-1), EMPTY_LSE)


def relative_error(x: Tensor, exact: Tensor) -> float:
    """The norm of the error over the norm of what is exact."""
    norm = torch.linalg.vector_norm
    return float(norm(x.double() - exact) / norm(exact).clamp(min=1e-30))


def within_budget(got: list[Tensor], plain: list[Tensor], exact: list[Tensor]) -> None:
    """Fails where one of ``got`` is relatively more than twice as wrong as plain torch code of the same precision.

    The error of plain code is that of its worst tensor: a learned scalar's own is a matter of luck.
    """
    worst = max(relative_error(x, true) for x, true in zip(plain, exact, strict=True))
    for i, (x, true) in enumerate(zip(got, exact, strict=True)):
        assert x.shape == true.shape
        assert x.isfinite().all(), f"number {i} is not finite"
        slack = 1e-7 if x.dtype is torch.float32 else 0.0
        assert relative_error(x, true) <= 2 * worst + slack, f"number {i}; plain torch's error is {worst:.3g}"
