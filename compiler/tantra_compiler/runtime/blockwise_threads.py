"""The threads of a blockwise attention: each takes some heads or batch elements, and computes with one thread itself.

Products of single blocks are too short to share out: threads would wait for each other thirty times in a block, and
where another process holds a core, for as long as the system lets it run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

from tantra_compiler.runtime.blockwise_plan import AttentionLengths, Share, cut_range

Done = TypeVar("Done")

_WORTH_THREADS = 1 << 20
"""Pairs of a query and a key, over all heads, below which starting threads costs more than it saves."""


def shares_of_threads(lengths: AttentionLengths) -> list[Share]:
    """Parts of batch or kv heads for the threads that torch has, all of nearly equal size; one part if none are."""
    threads, whole = torch.get_num_threads(), ((0, lengths.batch), (0, lengths.kv_heads))
    scores = lengths.batch * lengths.heads * lengths.queries * lengths.keys
    if threads == 1 or scores < _WORTH_THREADS or not has_own_thread_counts():
        return [whole]
    if lengths.kv_heads % threads == 0 or lengths.kv_heads >= 4 * threads:
        return [(whole[0], part) for part in cut_range(whole[1], -(-lengths.kv_heads // threads))]
    if lengths.batch % threads == 0 or lengths.batch >= 4 * threads:
        return [(part, whole[1]) for part in cut_range(whole[0], -(-lengths.batch // threads))]
    return [whole]


@lru_cache(maxsize=256)
def has_own_thread_counts() -> bool:
    """Whether every thread can say how many it wants: OpenMP's can."""
    return "OpenMP" in torch.__config__.parallel_info().partition("ATen parallel backend:")[2].partition("\n")[0]


def run_shares(work: Callable[[Share], Done], shares: Sequence[Share]) -> list[Done]:
    """``work`` on every share, each in a thread of its own that uses no others; results in the order of the shares."""
    if len(shares) == 1:
        return [work(shares[0])]
    threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()

    def alone(share: Share) -> Done:
        torch.set_num_threads(1)
        with torch.inference_mode(inference), torch.no_grad():
            return work(share)

    try:
        with ThreadPoolExecutor(len(shares)) as pool:
            return list(pool.map(alone, shares))
    finally:
        torch.set_num_threads(threads)  # parts of it hold for the whole process
