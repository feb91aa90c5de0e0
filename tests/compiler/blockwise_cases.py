"""Masks with their spans and scores with their slopes, written by hand; a case joins one of each with lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tantra_compiler.runtime.program import AttentionProgram, Captures, Site, Span

MakeCaptures = Callable[[int, int, int, torch.dtype], Captures]
"""From batch, heads, keys and the type of reals."""


@dataclass(frozen=True)
class Part:
    """A mask or a score, as a program, and the tensors that it reads."""

    program: AttentionProgram
    captures: MakeCaptures = lambda batch, heads, keys, dtype: ()


def causal_spans(first: int, last: int, b: int, h: int, queries: int, keys: int, *captures: Tensor) -> list[Span]:
    return [(0, min(last + 1, keys), 0, min(first + 1, keys))]


def window_span(first: int, last: int, keys: int, width: int) -> Span:
    return max(first - width + 1, 0), min(last + 1, keys), max(last - width + 1, 0), min(first + 1, keys)


def window(width: int) -> Part:
    return Part(
        AttentionProgram(
            f"window({width})",
            mask=lambda b, h, q, k, *_: (k <= q) & (q - k < width),
            key_spans=lambda first, last, b, h, queries, keys, *_: [window_span(first, last, keys, width)],
        )
    )


def prefix(length: int) -> Part:
    def spans(first: int, last: int, b: int, h: int, queries: int, keys: int, *_: Tensor) -> list[Span]:
        return [(0, min(max(last + 1, length), keys), 0, min(max(first + 1, length), keys))]

    return Part(AttentionProgram("prefix", mask=lambda b, h, q, k, *_: (k <= q) | (k < length), key_spans=spans))


def longformer(width: int, globals_: int) -> Part:
    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor, *_: Tensor) -> Tensor:
        return ((q - k).abs() < width) | (k < globals_) | (q < globals_)

    def spans(first: int, last: int, b: int, h: int, queries: int, keys: int, *_: Tensor) -> list[Span]:
        if last < globals_:
            return [(0, keys, 0, keys)]
        if first < globals_:
            return [(0, keys, 0, 0)]
        near = (max(first - width + 1, 0), min(last + width, keys), max(last - width + 1, 0), min(first + width, keys))
        return [near, (0, min(globals_, keys), 0, min(globals_, keys))]

    return Part(AttentionProgram("longformer", mask=mask, key_spans=spans))


def sinks_and_window(sinks: int, width: int) -> Part:
    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor, *_: Tensor) -> Tensor:
        return (k <= q) & ((q - k < width) | (k < sinks))

    def spans(first: int, last: int, b: int, h: int, queries: int, keys: int, *_: Tensor) -> list[Span]:
        sinks_hi, full_hi = (max(0, min(sinks, end + 1, keys)) for end in (last, first))
        return [(0, sinks_hi, 0, full_hi), window_span(first, last, keys, width)]

    return Part(AttentionProgram("sinks and window", mask=mask, key_spans=spans))


def strided(step: int) -> Part:
    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor, *_: Tensor) -> Tensor:
        return (k <= q) & ((q - k) // 8 % step == 0)

    def test(first_q: int, last_q: int, first_k: int, last_k: int, *_: object) -> int:
        lowest, highest = max(first_q - last_k, 0) // 8, (last_q - first_k) // 8
        if highest < lowest or (highest // step * step < lowest):
            return 0
        return 2 if first_q >= last_k and lowest == highest and lowest % step == 0 else 1

    def spans(first: int, last: int, b: int, h: int, queries: int, keys: int, *_: Tensor) -> list[Span]:
        return [(0, min(last + 1, keys), 0, 0)]

    return Part(AttentionProgram("strided", mask=mask, key_spans=spans, tile_test=test))


def documents(same_length: int | None = None) -> Part:
    """Causal within documents; captures are the document of each token, and its first token."""

    def fields(batch: int, heads: int, keys: int, dtype: torch.dtype) -> Captures:
        generator = torch.Generator().manual_seed(keys)
        starts = torch.rand(batch, keys, generator=generator) < 0.08
        if same_length:
            starts = torch.arange(keys).expand(batch, keys) % same_length == 0
        doc = starts.int().cumsum(1)
        place = torch.arange(keys).expand(batch, keys)
        return doc, torch.where(starts, place, 0).cummax(1).values

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor, doc: Tensor, *_: Tensor) -> Tensor:
        return (k <= q) & (doc[b, q] == doc[b, k])

    def spans(first: int, last: int, b: int, h: int, queries: int, keys: int, *captures: Tensor) -> list[Span]:
        begins = captures[1]
        return [(int(begins[b, first]), last + 1, int(begins[b, last]), first + 1)]

    return Part(AttentionProgram("documents", mask=mask, key_spans=spans, by_b=True), fields)


def windows_of_heads() -> Part:
    """Head h sees a window of 3 * (h + 1) keys."""

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor, *_: Tensor) -> Tensor:
        return (k <= q) & (q - k < 3 * (h + 1))

    def spans(first: int, last: int, b: int, h: int, queries: int, keys: int, *_: Tensor) -> list[Span]:
        return [window_span(first, last, keys, 3 * (h + 1))]

    return Part(AttentionProgram("windows of heads", mask=mask, key_spans=spans, by_h=True))


def late(start: int) -> Part:
    """Causal, without the first keys: the first rows are empty."""

    def spans(first: int, last: int, b: int, h: int, queries: int, keys: int, *_: Tensor) -> list[Span]:
        return [(start, min(last + 1, keys), start, min(first + 1, keys))]

    return Part(AttentionProgram("late", mask=lambda b, h, q, k, *_: (k <= q) & (k >= start), key_spans=spans))


MASKS = {
    "none": Part(AttentionProgram("none")),
    "causal": Part(AttentionProgram("causal", mask=lambda b, h, q, k, *_: k <= q, key_spans=causal_spans)),
    "window": window(9),
    "wide window": window(1000),
    "prefix": prefix(11),
    "longformer": longformer(6, 3),
    "sinks and window": sinks_and_window(3, 7),
    "strided": strided(3),
    "documents": documents(),
    "documents of one token": documents(same_length=1),
    "windows of heads": windows_of_heads(),
    "late": late(5),
    "no query reads": Part(AttentionProgram("empty", mask=lambda b, h, q, k, *_: k < 0)),
    "rows only": Part(AttentionProgram("rows", mask=lambda b, h, q, k, *_: q % 3 > 0)),
    "without spans": Part(AttentionProgram("thirds", mask=lambda b, h, q, k, *_: (q + k + h + b) % 3 > 0)),
}


def softcap(cap: float) -> Part:
    return Part(
        AttentionProgram(
            "softcap",
            score=lambda s, b, h, q, k, *_: cap * torch.tanh(s / cap),
            slope=lambda s, b, h, q, k, *_: 1 - torch.tanh(s / cap) ** 2,
        )
    )


def alibi() -> Part:
    return Part(
        AttentionProgram(
            "alibi",
            score=lambda s, b, h, q, k, *_: s - 2.0 ** (-h - 1.0) * (q - k),
            slope=lambda s, b, h, q, k, *_: torch.ones_like(s),
        )
    )


def distances(q: Tensor, k: Tensor) -> Tensor:
    return (q - k).clamp(-3, 7) + 3


def capped_table(cap: float = 1.5) -> Part:
    """cap * tanh((s + table[h, distance]) / cap) with a learned table."""

    def inner(s: Tensor, h: Tensor, q: Tensor, k: Tensor, table: Tensor) -> Tensor:
        return torch.tanh((s + table[h, distances(q, k)].to(s.dtype)) / cap)

    def slope(s: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor, *captures: Tensor) -> Tensor:
        return 1 - inner(s, h, q, k, captures[-1]) ** 2

    site = Site(0, lambda b, h, q, k, *_: (h, distances(q, k)), slope)
    score = lambda s, b, h, q, k, *captures: cap * inner(s, h, q, k, captures[-1])  # noqa: E731
    return Part(
        AttentionProgram("capped table", score=score, slope=slope, sites=(site,)),
        lambda batch, heads, keys, dtype: (torch.linspace(-1, 1, heads * 11, dtype=dtype).view(heads, 11),),
    )


def learned_slopes() -> Part:
    """s * gain[h] - slope[h] * |q - k|, both from the rows of one learned tensor; the second index is negative."""

    def score(s: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor, *captures: Tensor) -> Tensor:
        return s * captures[-1][0, h].to(s.dtype) - captures[-1][-1, h].to(s.dtype) * (q - k).abs()

    sites = (
        Site(0, lambda b, h, q, k, *_: (torch.tensor(0), h), lambda s, b, h, q, k, *_: s),
        Site(0, lambda b, h, q, k, *_: (torch.tensor(-1), h), lambda s, b, h, q, k, *_: -(q - k).abs()),
    )
    slope = lambda s, b, h, q, k, *captures: captures[-1][0, h]  # noqa: E731
    return Part(
        AttentionProgram("learned slopes", score=score, slope=slope, sites=sites),
        lambda batch, heads, keys, dtype: (torch.linspace(0.2, 1.1, 2 * heads, dtype=dtype).view(2, heads),),
    )


SCORES = {
    "plain": Part(AttentionProgram("plain")),
    "softcap": softcap(2.0),
    "alibi": alibi(),
    "capped table": capped_table(),
    "learned slopes": learned_slopes(),
}


@dataclass(frozen=True)
class Case:
    """Everything that an attention is called with. ``learned`` are the numbers of captures that get a gradient.

    ``lse_matters`` is false where no gradient arrives at the log-sum-exp.
    """

    inputs: list[Tensor]
    program: AttentionProgram
    captures: Captures
    sink: Tensor | None
    lse_matters: bool = True

    @property
    def learned(self) -> list[int]:
        return sorted({site.capture for site in self.program.sites})


def joined(mask: Part, score: Part, batch: int, heads: int, keys: int, dtype: torch.dtype) -> tuple[
    AttentionProgram, Captures
]:  # fmt: skip
    """One program of both; the captures of the mask come first."""
    of_mask, of_score = (part.captures(batch, heads, keys, dtype) for part in (mask, score))
    sites = tuple(replace(site, capture=site.capture + len(of_mask)) for site in score.program.sites)
    changed = replace(mask.program, score=score.program.score, slope=score.program.slope, sites=sites)
    return changed, of_mask + of_score


def case(
    mask: str,
    score: str,
    queries: int,
    keys: int,
    heads: int = 4,
    kv_heads: int = 2,
    *,
    batch: int = 2,
    width: int = 8,
    value_width: int = 5,
    sink: bool = False,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Case:
    """Random inputs for a mask and a score."""
    generator = torch.Generator().manual_seed(10**6 * seed + 1000 * queries + keys)
    shapes = [(batch, queries, heads, width), (batch, keys, kv_heads, width), (batch, keys, kv_heads, value_width)]
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    program, captures = joined(MASKS[mask], SCORES[score], batch, heads, keys, dtype)
    return Case(inputs, program, captures, torch.linspace(-1, 2, heads, dtype=dtype) if sink else None)
