"""Runs one attention forward and backward in this process; reads a question, prints an answer."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import memory
from harness.attention_cases import CASES, AttentionCase
from tantra_compiler.runtime.attention import coordinates
from tantra_compiler.runtime.blockwise import backward_blocks, forward_blocks
from tantra_compiler.runtime.reference import reference

Way = Callable[[], tuple[float, float, list[Tensor]]]
"""One forward and one backward pass: seconds of each, then the output and the gradients by q, k and v."""


@dataclass(frozen=True)
class Question:
    """Which case of ``attention_cases``, in which way, how often after one pass that is not counted."""

    case: str
    way: str
    repeats: int
    threads: int
    length: int | None = None


def answer(question: Question) -> dict[str, Any]:
    """Median seconds of both passes, processor time of one of each, and the most bytes beyond the inputs.

    Those are mask, output, gradients and all between.
    """
    torch.set_num_threads(question.threads)
    case = CASES[question.case]
    length = question.length or case.length
    warm_up(case)
    inputs = case.inputs(length)
    memory.restart_peak()
    base = memory.resident()
    run = _WAYS[question.way](case, inputs)
    made = run()[2]
    peak = memory.peak() - base
    sums = [float(each.detach().float().double().square().sum()) for each in made]
    del made
    begin = time.process_time()
    times = [run()[:2] for _ in range(question.repeats)]
    cpu = (time.process_time() - begin) / question.repeats
    forward, backward = (median(each) for each in zip(*times, strict=True))
    return {"forward": forward, "backward": backward, "cpu": cpu, "peak": peak, "sums": sums}


def warm_up(case: AttentionCase) -> None:
    """Every way on a few tokens, so that what torch loads and keeps is not counted as an attention's."""
    inputs = case.inputs(64)
    for way in _WAYS.values():
        way(case, inputs)()


def blockwise(case: AttentionCase, inputs: list[Tensor]) -> Way:
    """Ours."""
    q, k, v, dout = inputs

    def run() -> tuple[float, float, list[Tensor]]:
        begin = time.perf_counter()
        captures = case.captures(q.shape[0], k.shape[1])
        settings = {"scale": q.shape[-1] ** -0.5, "dropout": case.dropout}
        out, lse = forward_blocks(q, k, v, case.program, captures, **settings)
        middle = time.perf_counter()
        gradients = backward_blocks(dout, q, k, v, out, lse, case.program, captures, **settings)
        return middle - begin, time.perf_counter() - middle, [out, *gradients[:3]]

    return run


def sdpa(case: AttentionCase, inputs: list[Tensor]) -> Way:
    """torch's, with its own causal flag where that is all, else with a table of the mask or of what a score adds.

    Making the table is not timed: a model would keep it.
    """
    q, k, v, dout = inputs
    length = k.shape[1]
    table = None if case.causal else dense_table(case, q.shape[2], length, q.dtype)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = F.scaled_dot_product_attention(
            *(x.transpose(1, 2) for x in (q, k, v)), attn_mask=table, is_causal=case.causal, dropout_p=case.dropout,
            enable_gqa=q.shape[2] != k.shape[2],
        )  # fmt: skip
        return out.transpose(1, 2)

    return by_autograd(attend, [q, k, v], dout)


def dense_table(case: AttentionCase, heads: int, length: int, dtype: torch.dtype) -> Tensor:
    """The mask as booleans, or what the score adds with -inf where the mask forbids; four dimensions."""
    at = coordinates(1, heads, length, length, torch.device("cpu"))
    captures = case.captures(1, length)
    assert case.program.mask is not None
    allowed = case.program.mask(*at, *captures)
    if case.program.score is None:
        return allowed.view(1, 1, length, length)
    real = coordinates(1, heads, length, length, torch.device("cpu"), dtype)
    return case.program.score(torch.zeros((), dtype=dtype), *real).masked_fill(~allowed, -torch.inf)


def eager(case: AttentionCase, inputs: list[Tensor]) -> Way:
    """The reference: every weight is held."""
    q, k, v, dout = inputs
    captures = case.captures(q.shape[0], k.shape[1])

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return reference(q, k, v, case.program, captures, scale=q.shape[-1] ** -0.5, dropout=case.dropout)[0]

    return by_autograd(attend, [q, k, v], dout)


def by_autograd(attend: Callable[..., Tensor], inputs: list[Tensor], dout: Tensor) -> Way:
    """Both passes of a differentiable function."""
    leaves = [x.detach().requires_grad_() for x in inputs]

    def run() -> tuple[float, float, list[Tensor]]:
        begin = time.perf_counter()
        out = attend(*leaves)
        middle = time.perf_counter()
        gradients = torch.autograd.grad(out, leaves, dout)
        return middle - begin, time.perf_counter() - middle, [out, *gradients]

    return run


_WAYS: dict[str, Callable[[AttentionCase, list[Tensor]], Way]] = {
    "blockwise": blockwise,
    "sdpa": sdpa,
    "eager": eager,
}

if __name__ == "__main__":
    print(json.dumps(answer(Question(**json.load(sys.stdin)))))
