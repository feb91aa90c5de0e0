"""Runs one fused operator, or the same work in another way, in both directions: reads a question, prints an answer."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from harness import memory
from harness.fused_cases import CASES, Made, Place, Results, liger

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Question:
    """Which case of ``fused_cases``, in which way ("fused", "eager", "compiled", "liger"), over how many rows."""

    case: str
    way: str
    dtype: str
    device: str
    rows: int
    dim: int
    repeats: int
    threads: int


def answer(question: Question) -> dict[str, Any]:
    """Median seconds of a forward and backward pass, processor time, the most bytes beyond inputs, bytes kept between.

    ``against_wall`` and ``against_cpu`` are those of the eager way, which takes turns with the one that is asked for:
    two processes on one machine may differ by a third. ``sums`` of results and gradients tell whether both agree.
    """
    torch.set_num_threads(question.threads)
    torch.manual_seed(0)
    place = Place(question.rows, question.dim, question.device, DTYPES[question.dtype])
    warm = CASES[question.case](Place(256, 64, question.device, place.dtype))
    _passes(warm, _way(question, warm))()
    torch.manual_seed(0)
    made = CASES[question.case](place)
    run = _passes(made, _way(question, made))
    if question.way == "compiled":
        run()
    base = _restart(question.device)
    sums = [float(each.detach().double().square().sum()) for each in run()]
    peak = _peak(question.device) - base
    eager = run if question.way == "eager" else _passes(made, made.ways["eager"])
    eager()
    pairs = [(_timed(run, question.device), _timed(eager, question.device)) for _ in range(question.repeats)]
    (wall, cpu), (against_wall, against_cpu) = (
        [median(column) for column in zip(*each, strict=True)] for each in zip(*pairs, strict=True)
    )
    kept = _kept(made, _way(question, made))
    size = torch.empty(0, dtype=place.dtype).element_size()
    return {
        "wall": wall, "cpu": cpu, "against_wall": against_wall, "against_cpu": against_cpu, "peak": peak, "kept": kept,
        "sums": sums, "moved": made.moved * size,
    }  # fmt: skip


def _way(question: Question, made: Made) -> Callable[..., Results]:
    if question.way == "compiled":
        return torch.compile(made.ways["eager"])  # type: ignore[return-value]
    if question.way == "liger":
        found = liger(question.case, made)
        if found is None:
            raise SystemExit("liger-kernel has no such kernel here")
        return found
    return made.ways[question.way]


def _passes(made: Made, way: Callable[..., Results]) -> Callable[[], list[Tensor]]:
    """Both passes; the same arriving gradients every time."""
    grads: list[Tensor] = []

    def run() -> list[Tensor]:
        results = way(*made.inputs)
        if not grads:
            grads.extend(torch.ones_like(each) for each in results)
        found = torch.autograd.grad(results, [*made.inputs, *made.weights], grads)
        return [*results, *found]

    return run


def _kept(made: Made, way: Callable[..., Results]) -> int:
    """Bytes that the backward pass holds beyond inputs and weights."""
    given = {each.untyped_storage().data_ptr() for each in (*made.inputs, *made.weights)}
    held: dict[int, int] = {}

    def hold(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in given:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        results = way(*made.inputs)
    del results
    return sum(held.values())


def _restart(device: str) -> int:
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    memory.restart_peak()
    return memory.resident()


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else memory.peak()


def _timed(run: Callable[[], list[Tensor]], device: str) -> tuple[float, float]:
    """Seconds by the clock, and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    print(json.dumps(answer(Question(**json.load(sys.stdin)))))
