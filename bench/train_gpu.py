"""Training GPT-2 124M on a GPU: tokens a second and the share of the chip's peak, eager and compiled.

python bench/train_gpu.py [--quick]

Without a GPU it says so and ends with status 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from harness.report import Report, Row, Target
from torch import Tensor, nn

import tantra_dsl
from tantra_dsl.graph.costs import cost

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "B200": 2250e12}
"""Dense bfloat16 FLOPs a second, by a part of the chip's name."""

TARGET = 470_000
FUSIONS = frozenset({"pack_linears", "fuse_add_norm", "narrow_norms", "turn_heads", "fuse_activations",
                     "fuse_linear_loss"})  # fmt: skip


def main() -> None:
    """Train every candidate for some steps, then publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few small steps; nothing is written")
    parser.add_argument("--batch", type=int, default=32, help="sequences of 1024 tokens")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--out", type=Path, help="folder for the results instead of bench/results")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU here: run this on one")
        sys.exit(1)
    if options.quick:
        options.batch, options.steps = 2, 2
    chip = torch.cuda.get_device_name()
    settings = {"chip": chip, "batch": options.batch, "context": 1024, "steps": options.steps, "precision": "bfloat16"}
    report = Report("train_gpu", f"Training GPT-2 124M on {chip}", ("torch", "triton", "transformers"), options.quick,
                    settings)  # fmt: skip
    rows = list(trained(options, chip))
    report.tables["tokens a second"] = rows
    ours = [float(str(row["tokens/s"])) for row in rows if str(row["model"]).startswith("tantra")]
    report.targets.append(Target("tokens/s, the best of ours", max(ours), ">=", TARGET))
    report.publish(options.out)


def trained(options: argparse.Namespace, chip: str) -> Iterator[Row]:
    """A row for each model, eager and compiled."""
    spec = tantra_dsl.load("gpt2")
    flops = cost(spec.graph(), seq=1024, batch=options.batch)["flops_training_step"].value or 0
    peak = next((value for name, value in PEAKS.items() if name in chip), None)
    for name, build in candidates(spec).items():
        for compiled in (False, True):
            try:
                found = timed(build(), compiled, options)
            except Exception as error:  # a peer that cannot run here is a row that says so
                yield {"model": name, "compiled": compiled, "error": f"{type(error).__name__}: {error}"[:80]}
                continue
            share = None if peak is None else flops / found["seconds"] / peak
            yield {
                "model": name, "compiled": compiled, "tokens/s": options.batch * 1024 / found["seconds"],
                "ms/step": 1000 * found["seconds"], "share of peak": share, "peak GB": found["peak"] / 1e9,
                "last loss": found["loss"],
            }  # fmt: skip


Loss = Callable[[Tensor], Tensor]


def candidates(spec: tantra_dsl.Spec) -> dict[str, Callable[[], tuple[nn.Module, Loss]]]:
    """What is trained: ours with and without fused operators, and transformers' own."""

    def ours(without: frozenset[str] = frozenset()) -> tuple[nn.Module, Loss]:
        model: Any = spec.compile(seed=0, device="cuda", without=without)
        return model, model.loss

    def theirs() -> tuple[nn.Module, Loss]:
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="sdpa")
        model = GPT2LMHeadModel(config).cuda()
        return model, lambda tokens: model(input_ids=tokens, labels=tokens, use_cache=False).loss

    return {"tantra": ours, "tantra without fused operators": lambda: ours(FUSIONS), "transformers": theirs}


def timed(candidate: tuple[nn.Module, Loss], compiled: bool, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step, the most memory, and the last loss."""
    model, loss_of = candidate
    loss_of = torch.compile(loss_of) if compiled else loss_of
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, weight_decay=0.1, fused=True)
    generator = torch.Generator("cuda").manual_seed(0)
    seconds, loss = [], torch.zeros(())
    torch.cuda.reset_peak_memory_stats()
    for step in range(3 + options.steps):
        tokens = torch.randint(50_257, (options.batch, 1024), device="cuda", generator=generator)
        torch.cuda.synchronize()
        begin = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = loss_of(tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        if step >= 3:
            seconds.append(time.perf_counter() - begin)
    return {"seconds": median(seconds), "peak": torch.cuda.max_memory_allocated(), "loss": loss.item()}


if __name__ == "__main__":
    main()
