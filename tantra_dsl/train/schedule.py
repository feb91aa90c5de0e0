"""The learning rate's factor at each step, as pure functions of the step."""

from __future__ import annotations

import math

from tantra_dsl.semantics.recipe import ScheduleChoice


def steps_of(amount: int | float, total: int) -> int:
    """An amount in steps: ints are steps, floats shares of ``total``."""
    return amount if isinstance(amount, int) else round(amount * total)


def factor(schedule: ScheduleChoice, step: int, total: int) -> float:
    """Share of the peak learning rate at ``step`` (from 0) of ``total``; never 0, so that no step is idle."""
    warmup = steps_of(schedule.warmup, total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return _after_warmup(schedule, step, warmup, total)


def _after_warmup(schedule: ScheduleChoice, step: int, warmup: int, total: int) -> float:
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "noam":
        return math.sqrt(max(1, warmup) / max(1, step))
    start = warmup if schedule.kind != "wsd" else max(warmup, total - steps_of(schedule.decay, total))
    done = min(1.0, max(0, step - start) / max(1, total - start))
    shape: float = (1 + math.cos(math.pi * done)) / 2 if schedule.kind == "cosine" else 1 - done
    return schedule.floor + (1 - schedule.floor) * shape


def noam_peak(dim: int, warmup: int) -> float:
    """Vaswani et al. 2017: the rate at the end of warm-up, for a model of width ``dim``."""
    return 1 / math.sqrt(dim * max(1, warmup))
