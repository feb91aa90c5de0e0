"""What attention masks cost and keep, from their predicates."""

from __future__ import annotations

import math
from functools import lru_cache

from tantra_dsl.graph.costs.figures import UNKNOWN, Amount
from tantra_dsl.scalars.count import allowed_pairs
from tantra_dsl.scalars.facts import lookahead, lookback
from tantra_dsl.scalars.ir import Program


@lru_cache(maxsize=4096)
def pairs(mask: Program | None, queries: int, keys: int, heads: int) -> Amount:
    """Pairs of query and key that the mask allows, over all heads of one sequence."""
    if mask is not None and queries > keys:
        return UNKNOWN
    count = allowed_pairs(mask, queries, keys, heads=heads)
    return Amount(count.value, count.bound)


def is_causal(mask: Program | None) -> bool:
    """Whether no query reads a later key."""
    return lookahead(mask) <= 0


def window(mask: Program | None) -> int | None:
    """How many positions, its own included, a query of a causal mask can read; None where there is no limit."""
    back = lookback(mask)
    return None if math.isinf(back) else int(back) + 1
