"""Where the time of a training step goes, by kind of work."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.profiler import ProfilerActivity, profile

GROUPS: dict[str, tuple[str, ...]] = {
    "optimizer": ("adam", "zero_grad"),
    "loss": ("log_softmax", "logsumexp", "nll_loss", "crossentropy", "cross_entropy"),
    "attention": ("attention", "bmm", "flash", "softmax"),
    "norm": ("layer_norm", "rmsnorm", "rms_norm", "vector_norm", "rsqrt"),
    "matmul": ("aten::mm", "addmm", "linear", "matmul", "mkldnn", "aten::mv"),
    "activation": ("gelu", "silu", "relu", "sigmoid"),
    "casts and copies": ("copy_", "_to_copy", "aten::to", "clone", "contiguous", "aten::cat"),
    "embedding": ("embedding", "index_put", "index_add"),
}
OTHER = "elementwise and other"


def group_of(name: str) -> str:
    """The kind of work of the op ``name``."""
    lowered = name.lower()
    return next((group for group, marks in GROUPS.items() if any(mark in lowered for mark in marks)), OTHER)


def profile_steps(step: Callable[[Tensor], Tensor], batches: Tensor) -> dict[str, Any]:
    """Milliseconds per step of each group: every op's own time, and what lies between ops as ``python``."""
    before = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for batch in batches:
            step(batch)
    elapsed = (time.perf_counter() - before) * 1000 / len(batches)
    groups: dict[str, float] = defaultdict(float)
    for event in found.key_averages():
        groups[group_of(event.key)] += event.self_cpu_time_total / 1000 / len(batches)
    return {"groups": dict(groups), "elapsed": elapsed}
