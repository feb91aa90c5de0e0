"""Fused operators against torch's eager passes, against torch.compile and, on a GPU, against liger-kernel.

python bench/fused.py [--quick] [--rounds 3] [--device cuda] [--models]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from harness import children
from harness.fused import DTYPES, Question
from harness.fused_cases import CASES, LIGER
from harness.report import Report, Row, Target
from harness.training import Question as Training

WORKER, TRAINING = "harness.fused", "harness.training"
PASSES = ("pack_linears", "fuse_add_norm", "narrow_norms", "turn_heads", "fuse_activations", "fuse_linear_loss")
LIMIT = {"cpu": None, "cuda": 3.0e12}
"""Bytes a second that a copy reaches on an H100."""


def main() -> None:
    """Measure every case, then what each pass does for whole models, then publish."""
    options = parsed()
    settings = {"rows": options.rows, "dim": options.dim, "threads": options.threads, "device": options.device,
                "rounds": options.rounds, "repeats": options.repeats}  # fmt: skip
    name = "fused" if options.device == "cpu" else "fused_gpu"
    report = Report(name, f"Fused operators on {options.device}", ("torch", "triton"), options.quick, settings)
    for dtype in options.dtypes:
        report.tables[f"forward + backward, {dtype}"] = [measured(case, dtype, options) for case in options.cases]
    if options.models:
        for shape in ("gpt2", "llama"):
            for precision in options.dtypes:
                report.tables[f"a training step, {shape}, {precision}"] = list(shares(shape, precision, options))
    add_targets(report)
    report.notes += [
        "Ratios are eager = 1 of the same run, larger is better for speed and smaller for memory. Memory is the most "
        "that is resident beyond inputs and weights; kept is what the backward pass holds from the forward pass.",
        "Arriving gradients are part of no pass. Speed is by the clock; the cpu ratio is that of processor time.",
    ]
    report.publish(options.out)


def parsed() -> argparse.Namespace:
    """The command line; ``--quick`` only shows that everything works."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, once; nothing is written")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each way, taking turns")
    parser.add_argument("--repeats", type=int, default=7, help="passes that are timed in each process")
    parser.add_argument("--rows", type=int, help="positions; 2048, on a GPU 16384")
    parser.add_argument("--dim", type=int, help="width of the model; 384, on a GPU 4096")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--ways", nargs="+", default=["fused", "eager", "compiled", "liger"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--models", action="store_true", help="also what each pass does for a training step (CPU)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="folder for the results instead of bench/results")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.rows = options.rows or (16_384 if on_gpu else 2048)
    options.dim = options.dim or (4096 if on_gpu else 384)
    if options.quick:
        options.rows, options.dim, options.rounds, options.repeats, options.ways = 256, 128, 1, 1, ["fused", "eager"]
    return options


def measured(case: str, dtype: str, options: argparse.Namespace) -> Row:
    """The row of a case: all ways in turn, round by round."""
    ways = [way for way in options.ways if way != "liger" or (options.device == "cuda" and case in LIGER)]
    answers: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for index in range(options.rounds):
        for way in children.rotated(ways, index):
            question = Question(case, way, dtype, options.device, options.rows, options.dim, options.repeats,
                                options.threads)  # fmt: skip
            found = children.ask(WORKER, asdict(question))
            if "error" in found and way in ("fused", "eager"):
                raise RuntimeError(f"{case}, {way}: {found['error']}")
            answers[way].append(found)
    same_work(case, answers)
    row = row_of(case, answers, options.device)
    print(row)
    return row


def same_work(case: str, answers: dict[str, list[dict[str, Any]]]) -> None:
    """Both ways gave results and gradients of the same size."""
    ours, theirs = (answers[way][0]["sums"] for way in ("fused", "eager"))
    for a, b in zip(ours, theirs, strict=True):
        if abs(a - b) > 0.02 * b:
            raise RuntimeError(f"{case}: the two ways differ, {ours} and {theirs}")


def row_of(case: str, answers: dict[str, list[dict[str, Any]]], device: str) -> Row:
    """Medians over the rounds, and ratios in our favour."""
    good = {way: [each for each in found if "error" not in each] for way, found in answers.items()}

    def middle(way: str, key: str) -> float | None:
        return median(each[key] for each in good[way]) if good.get(way) else None

    def gain(way: str, clock: str) -> float | None:
        """How many times faster than eager, which ran beside it."""
        return median(each[f"against_{clock}"] / each[clock] for each in good[way]) if good.get(way) else None

    ours, eager = middle("fused", "wall") or 0.0, middle("fused", "against_wall") or 0.0
    limit, speed = LIMIT[device], gain("fused", "wall") or 0.0
    row: dict[str, Any] = {"case": case, "ms": 1000 * ours, "eager ms": 1000 * eager, "speed": speed}
    row["cpu ratio"] = gain("fused", "cpu")
    for way in ("compiled", "liger"):
        if way in answers:
            theirs = gain(way, "wall")
            row[f"against {way}"] = None if theirs is None else speed / theirs
    row["peak MB"] = (middle("fused", "peak") or 0.0) / 1e6
    row["memory"] = (middle("fused", "peak") or 0.0) / max(middle("eager", "peak") or 0.0, 1.0)
    row["kept MB"], row["eager kept MB"] = ((middle(way, "kept") or 0.0) / 1e6 for way in ("fused", "eager"))
    row["GB/s"] = good["fused"][0]["moved"] / ours / 1e9
    if limit is not None:
        row["share of a copy"] = good["fused"][0]["moved"] / ours / limit
    return row


def shares(shape: str, precision: str, options: argparse.Namespace) -> Iterator[Row]:
    """Whole models with every pass, without each, and without any: how much each one gives."""
    ways = {"all passes": "tantra", **{f"without {name}": f"tantra-{name}" for name in PASSES}}
    ways["without any"] = "tantra-" + "-".join(PASSES)
    answers: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for index in range(options.rounds):
        for way in children.rotated(list(ways), index):
            question = Training(ways[way], shape, precision, False, 8, 1, 3, options.threads)
            found = children.ask(TRAINING, asdict(question))
            if "error" in found:
                raise RuntimeError(f"{shape}, {way}: {found['error']}")
            answers[way].append(found)
    every = {key: median(each[key] for each in answers["all passes"]) for key in ("wall", "cpu", "peak")}
    for way, found in answers.items():
        wall, cpu, peak = (median(each[key] for each in found) for key in ("wall", "cpu", "peak"))
        yield {
            "passes": way, "ms/step": 1000 * wall, "time, all = 1": wall / every["wall"],
            "cpu time, all = 1": cpu / every["cpu"], "peak MB": peak / 1e6, "memory, all = 1": peak / every["peak"],
        }  # fmt: skip


def add_targets(report: Report) -> None:
    """At least as fast as eager, and smaller."""
    rows = [row for title, table in report.tables.items() if title.startswith("forward") for row in table]
    if not rows:
        return
    report.targets += [
        Target("speed, eager = 1, worst case, by processor time", min(_figure(r, "cpu ratio") for r in rows), ">=", 1.0,
               "x"),
        Target("kept for the backward pass, eager = 1, worst case",
               max(_figure(r, "kept MB") / max(_figure(r, "eager kept MB"), 1e-9) for r in rows), "<=", 1.0, "x"),
    ]  # fmt: skip


def _figure(row: Row, column: str) -> float:
    value = row[column]
    assert isinstance(value, float)
    return value


if __name__ == "__main__":
    main()
