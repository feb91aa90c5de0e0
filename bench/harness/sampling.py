"""Writes tokens greedily with a cache in this process; reads a question, prints an answer."""

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

from harness import peers
from harness.shapes import SHAPES


@dataclass(frozen=True)
class Question:
    """What to write: ``new`` tokens behind each of ``batch`` prompts, ``repeats`` times after one that is not counted.

    ``precision`` is that of the weights.
    """

    library: str
    shape: str
    precision: str
    batch: int
    prompt: int
    new: int
    repeats: int
    threads: int


def answer(question: Question) -> dict[str, Any]:
    """Seconds of a whole text on both clocks, and the tokens of the first sequence."""
    torch.set_num_threads(question.threads)
    shape = SHAPES[question.shape]
    model: Any = peers.build(question.library, shape).model.to(getattr(torch, question.precision)).eval()
    prompt = peers.tokens(shape, question.batch, 1)[0, :, : question.prompt]
    write = _WRITERS[question.library]
    with torch.inference_mode():
        written = write(model, prompt, question.new)
        times = [timed(lambda: write(model, prompt, question.new)) for _ in range(question.repeats)]
    assert written.shape == (question.batch, question.new), written.shape
    return {
        "wall": median(wall for wall, _ in times),
        "cpu": median(cpu for _, cpu in times),
        "tokens": written[0].tolist(),
    }


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def write_tantra(model: Any, prompt: Tensor, new: int) -> Tensor:
    """Our loop, as a reader of the tutorial would write it."""
    cache = model.new_cache(prompt.shape[0], prompt.shape[1] + new)
    pending, written = prompt, []
    for _ in range(new):
        pending = model(tokens=pending, cache=cache)[:, -1].argmax(-1, keepdim=True)
        written.append(pending)
    return torch.cat(written, dim=1)


def write_transformers(model: Any, prompt: Tensor, new: int) -> Tensor:
    """Its ``generate``, told that nothing is padding and that no token ends a text."""
    text = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new, do_sample=False, use_cache=True,
        pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    return text[:, prompt.shape[1] :]  # type: ignore[no-any-return]


_WRITERS: dict[str, Callable[[Any, Tensor, int], Tensor]] = {
    "tantra": write_tantra,
    "transformers": write_transformers,
}

if __name__ == "__main__":
    print(json.dumps(answer(Question(**json.load(sys.stdin)))))
