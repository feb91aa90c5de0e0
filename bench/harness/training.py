"""Trains one model in this process and says how fast and in how much memory; reads a question, prints an answer."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from statistics import median
from typing import Any

import torch
from torch import Tensor

from harness import memory, peers
from harness.shapes import SHAPES

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Question:
    """What to train: ``precision`` is float32 or bfloat16 (autocast), ``warmup`` steps are not counted."""

    library: str
    shape: str
    precision: str
    compiled: bool
    batch: int
    warmup: int
    steps: int
    threads: int
    profile: bool = False

    @property
    def autocast(self) -> AbstractContextManager[Any]:
        """The context of the forward pass."""
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bfloat16" else nullcontext()


def answer(question: Question) -> dict[str, Any]:
    """Median seconds of a step on both clocks, bytes at the peak, and the losses.

    The peak counts from after the imports. What torch.compile keeps for itself is no part of a step: there it counts
    from what is resident between steps, less the weights and the optimizer's two moments.
    """
    torch.set_num_threads(question.threads)
    _set_up(question)
    memory.restart_peak()
    base = memory.resident()
    candidate = peers.build(question.library, SHAPES[question.shape])
    batches = peers.tokens(SHAPES[question.shape], question.batch, question.warmup + question.steps)
    step = train_step(candidate, question)
    losses = [step(batch).item() for batch in batches[: question.warmup]]
    memory.restart_peak()
    if question.compiled:
        base = memory.resident() - 3 * 4 * candidate.parameters
    if question.profile:
        from harness.profile import profile_steps

        return {"parameters": candidate.parameters, **profile_steps(step, batches[question.warmup :])}
    times = list(_timed(step, batches[question.warmup :], losses))
    return {
        "parameters": candidate.parameters,
        "wall": median(wall for wall, _ in times),
        "cpu": median(cpu for _, cpu in times),
        "peak": memory.peak() - base,
        "losses": losses,
    }


def _set_up(question: Question) -> None:
    """Trains a model of no size for a step, so that what libraries and torch load is not counted as the model's."""
    if question.compiled:
        import_module("torch._inductor.compile_fx")
    candidate = peers.tiny(question.library, SHAPES[question.shape].llama)
    train_step(candidate, replace(question, compiled=False))(torch.zeros(1, 8, dtype=torch.int64))


def train_step(candidate: peers.Candidate, question: Question) -> Step:
    """One step: loss, gradients, fused AdamW on every weight alike."""
    candidate.model.train()
    optimizer = torch.optim.AdamW(candidate.model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    loss_of = torch.compile(candidate.loss, dynamic=False) if question.compiled else candidate.loss

    def step(tokens: Tensor) -> Tensor:
        with question.autocast:
            loss = loss_of(tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def _timed(step: Step, batches: Tensor, losses: list[float]) -> Iterator[tuple[float, float]]:
    for batch in batches:
        wall, cpu = time.perf_counter(), time.process_time()
        losses.append(step(batch).item())
        yield time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    print(json.dumps(answer(Question(**json.load(sys.stdin)))))
