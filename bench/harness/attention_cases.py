"""Attentions to measure: masks and scores with their spans, shapes and the way that others would take."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tantra_compiler.runtime.program import AttentionProgram, Span


@dataclass(frozen=True)
class AttentionCase:
    """One attention of a batch of one; ``rival`` is the way of ``harness.attention`` that it is compared with."""

    title: str
    program: AttentionProgram
    length: int
    rival: str = "sdpa"
    precision: str = "float32"
    heads: int = 8
    kv_heads: int = 8
    width: int = 64
    causal: bool = False
    dropout: float = 0.0
    documents: bool = False

    def inputs(self, length: int) -> list[Tensor]:
        """q, k, v and the gradient that arrives, each [1, length, heads, width] as a projection lays them out."""
        generator = torch.Generator().manual_seed(length)
        heads = (self.heads, self.kv_heads, self.kv_heads, self.heads)
        dtype = getattr(torch, self.precision)
        return [torch.randn(1, length, each, self.width, generator=generator).to(dtype) for each in heads]

    def captures(self, batch: int, length: int) -> tuple[Tensor, ...]:
        """For documents: the document of each token and its first token, from lengths about 512."""
        if not self.documents:
            return ()
        generator = torch.Generator().manual_seed(1)
        starts = torch.rand(batch, length, generator=generator) < 1 / 512
        first = torch.where(starts, torch.arange(length), 0).cummax(1).values
        return starts.int().cumsum(1), first


def past(b: Tensor, h: Tensor, q: Tensor, k: Tensor, *captures: Tensor) -> Tensor:
    return k <= q


def past_spans(first: int, last: int, b: int, h: int, queries: int, keys: int, *captures: Tensor) -> list[Span]:
    return [(0, min(last + 1, keys), 0, min(first + 1, keys))]


def near(width: int) -> AttentionProgram:
    """The last ``width`` keys."""
    return AttentionProgram(
        f"window {width}",
        mask=lambda b, h, q, k: (k <= q) & (q - k < width),
        key_spans=lambda first, last, b, h, queries, keys: [
            (max(first - width + 1, 0), last + 1, max(last - width + 1, 0), first + 1)
        ],
    )


def longformer(width: int, everywhere: int) -> AttentionProgram:
    """``width`` keys to either side; the first keys are seen by all and see all (Beltagy et al. 2020)."""

    def spans(first: int, last: int, b: int, h: int, queries: int, keys: int) -> list[Span]:
        if first < everywhere:
            return [(0, keys, 0, 0)]
        side = (max(first - width, 0), min(last + width + 1, keys), max(last - width, 0), min(first + width + 1, keys))
        return [(0, min(everywhere, keys), 0, min(everywhere, keys)), side]

    return AttentionProgram(
        "longformer",
        mask=lambda b, h, q, k: ((q - k).abs() <= width) | (k < everywhere) | (q < everywhere),
        key_spans=spans,
    )


def same_document(b: Tensor, h: Tensor, q: Tensor, k: Tensor, doc: Tensor, first: Tensor) -> Tensor:
    return (k <= q) & (doc[b, q] == doc[b, k])


def document_spans(
    first: int, last: int, b: int, h: int, queries: int, keys: int, doc: Tensor, begin: Tensor
) -> list[Span]:
    return [(int(begin[b, first]), last + 1, int(begin[b, last]), first + 1)]


def capped(s: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return 30.0 * torch.tanh(s / 30.0)


def capped_slope(s: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return 1.0 - torch.tanh(s / 30.0).square()


def slanted(s: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return s - torch.exp2(-1.0 - h) * (q - k)


CAUSAL = AttentionProgram("causal", past, key_spans=past_spans)
CAPPED = AttentionProgram("softcap", past, capped, capped_slope, key_spans=past_spans)
ALIBI = AttentionProgram("alibi", past, slanted, lambda s, *_: torch.ones_like(s), key_spans=past_spans)
DOCUMENTS = AttentionProgram("documents", same_document, key_spans=document_spans, by_b=True)

_ALL = [
    AttentionCase("window 512 at 8k", near(512), 8192),
    AttentionCase("window 512 at 8k, head_dim 128", near(512), 8192, heads=4, kv_heads=4, width=128),
    AttentionCase("window 512 at 8k, 2 kv heads", near(512), 8192, kv_heads=2),
    AttentionCase("window 512 at 8k, bfloat16", near(512), 8192, precision="bfloat16"),
    AttentionCase("documents of about 512 at 8k", DOCUMENTS, 8192, documents=True),
    AttentionCase("longformer 256 and 16 at 8k", longformer(256, 16), 8192),
    AttentionCase("causal at 2k", CAUSAL, 2048, causal=True),
    AttentionCase("causal at 8k", CAUSAL, 8192, causal=True),
    AttentionCase("causal and alibi at 2k", ALIBI, 2048),
    AttentionCase("causal and softcap at 2k", CAPPED, 2048, rival="eager"),
    AttentionCase("window 512 at 2k, dropout 0.1", near(512), 2048, rival="eager", dropout=0.1),
]
CASES = {case.title: case for case in _ALL}
