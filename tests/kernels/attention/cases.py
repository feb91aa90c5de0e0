"""Masks and scores by name, each as jit functions and as plain torch functions of the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tantra_compiler.kernels.attention.programs import Programs, Site
from tests.kernels.attention import masks as m
from tests.kernels.attention import scores as sc

Dense = Callable[..., Tensor]
Jit = Any


@dataclass(frozen=True)
class MaskCase:
    """Programs, the same mask as ``dense(q, k, b, h, keys, fields, numbers)``, and the numbers that they read."""

    programs: Programs
    dense: Dense | None = None
    numbers: tuple[int, ...] = ()
    fields: bool = False


@dataclass(frozen=True)
class ScoreCase:
    """Jit functions of a score and the same as ``dense(s, q, k, h, *learned)``; ``learned`` makes what it reads."""

    score: Jit = None
    slope: Jit = None
    dense: Dense | None = None
    sites: tuple[Site, ...] = ()
    learned: Callable[[int, torch.Generator], tuple[Tensor, ...]] = field(default=lambda heads, generator: ())


def document_fields(batch: int, keys: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Documents of random lengths, many of length 1: number, first and last position of each token's document."""
    cuts = torch.rand(batch, keys, generator=generator) < 0.15
    doc = cuts.long().cumsum(1)
    at = torch.arange(keys)
    same = doc[:, :, None] == doc[:, None, :]
    first = torch.where(same, at, keys).amin(-1) if keys else doc
    last = torch.where(same, at, -1).amax(-1) if keys else doc
    return doc.int(), first.int(), last.int()


MASKS = {
    "full": MaskCase(Programs()),
    "causal": MaskCase(
        Programs(m.causal, key_spans=m.causal_keys, query_spans=m.causal_queries, by_h=False),
        lambda q, k, b, h, keys, fields, n: k <= q,
    ),
    "causal without spans": MaskCase(Programs(m.causal), lambda q, k, b, h, keys, fields, n: k <= q),
    "window": MaskCase(
        Programs(m.window, key_spans=m.window_keys, query_spans=m.window_queries, by_h=False),
        lambda q, k, b, h, keys, fields, n: (k <= q) & (q - k < n[0]),
        numbers=(21,),
    ),
    "wide window": MaskCase(
        Programs(m.window, key_spans=m.window_keys, query_spans=m.window_queries, by_h=False),
        lambda q, k, b, h, keys, fields, n: (k <= q) & (q - k < n[0]),
        numbers=(1000,),
    ),
    "documents": MaskCase(
        Programs(
            m.documents, key_spans=m.documents_keys, query_spans=m.documents_queries, reads_query=True, by_h=False
        ),
        lambda q, k, b, h, keys, fields, n: (q >= 0) & (fields[0][b, q.clamp(0)] == fields[0][b, k]) & (k <= q),
        fields=True,
    ),
    "longformer": MaskCase(
        Programs(
            m.longformer,
            key_spans=m.longformer_keys,
            query_spans=m.longformer_queries,
            key_intervals=2,
            query_intervals=2,
            by_h=False,
        ),
        lambda q, k, b, h, keys, fields, n: ((q - k).abs() <= n[0]) | (k < n[1]) | (q < n[1]),
        numbers=(9, 3),
    ),
    "three": MaskCase(
        Programs(m.three, key_spans=m.three_keys, query_spans=m.three_queries, key_intervals=3, query_intervals=3),
        lambda q, k, b, h, keys, fields, n: (
            (k < n[1]) | ((q - k).abs() < n[0]) | ((k >= keys // 2) & (k < keys // 2 + n[2]))
        ),
        numbers=(7, 5, 11),
    ),
    "strided": MaskCase(
        Programs(
            m.strided,
            key_spans=m.causal_keys_visited,
            query_spans=m.causal_queries_visited,
            tile_test=m.strided_test,
        ),
        lambda q, k, b, h, keys, fields, n: (k <= q) & (((q - k) % n[0] == 0) | (q - k < n[1])),
        numbers=(40, 3),
    ),
    "by head": MaskCase(
        Programs(m.by_head, key_spans=m.by_head_keys, query_spans=m.by_head_queries),
        lambda q, k, b, h, keys, fields, n: (k <= q) & (q - k < n[0] * (h + 1)),
        numbers=(6,),
    ),
    "odd": MaskCase(Programs(m.odd), lambda q, k, b, h, keys, fields, n: (q % 2 == 1) & (k >= 0)),
}


def softcap(x: Tensor) -> Tensor:
    """Between -2 and 2."""
    return 2 * (x / 2).tanh()


def alibi(s: Tensor, q: Tensor, k: Tensor, h: Tensor) -> Tensor:
    """The score of a linear bias per head."""
    return s + torch.exp2(-(h + 1.0)).to(s.dtype) * (k - q)


SCORES = {
    "none": ScoreCase(),
    "softcap": ScoreCase(sc.softcap, sc.softcap_slope, lambda s, q, k, h: softcap(s)),
    "alibi": ScoreCase(sc.alibi, sc.one, alibi),
    "alibi softcap": ScoreCase(sc.alibi_softcap, sc.alibi_softcap_slope, lambda s, q, k, h: softcap(alibi(s, q, k, h))),
    "table": ScoreCase(
        sc.table,
        sc.one,
        lambda s, q, k, h, table: s + table[h, (k - q).clamp(-4, 4) + 4],
        (Site(3, sc.table_index, sc.one),),
        lambda heads, generator: (torch.randn(heads, 9, generator=generator),),
    ),
    "slopes": ScoreCase(
        sc.slopes,
        sc.slopes_slope,
        lambda s, q, k, h, rate, gain: s * gain[h] + rate[h] * (k - q),
        (Site(3, sc.head_index, sc.rate_slope, per_pair=False), Site(4, sc.head_index, sc.gain_slope, per_pair=False)),
        lambda heads, generator: (
            torch.rand(heads, generator=generator) / 32,
            1 + torch.rand(heads, generator=generator),
        ),
    ),
}


def programs_of(mask: str, score: str) -> Programs:
    """The programs of a mask and a score by their names."""
    chosen = SCORES[score]
    return replace(MASKS[mask].programs, score=chosen.score, slope=chosen.slope, sites=chosen.sites)
