"""Sampling speed with a cache on CPU against transformers.

python bench/sample_cpu.py [--quick] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from harness import children
from harness.report import Report, Target
from harness.sampling import Question
from harness.shapes import SHAPES

LIBRARIES = ("tantra", "transformers")
SPEED = 1.2


def main() -> None:
    """Measure every shape, precision and batch, then publish."""
    options = parsed()
    settings = {
        "prompt": options.prompt, "new_tokens": options.new, "rounds": options.rounds, "repeats": options.repeats,
        "threads": options.threads,
    }  # fmt: skip
    report = Report("sample_cpu", "Sampling on CPU, 10M parameters", ("torch", "transformers"), options.quick, settings)
    for shape in SHAPES:
        for precision in options.precisions:
            for batch in options.batches:
                measure(report, shape, precision, batch, options)
    report.publish(options.out)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few tokens of one sequence; nothing is written")
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--new", type=int, default=128, help="tokens to write")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each configuration")
    parser.add_argument("--repeats", type=int, default=3, help="texts in each process")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="folder for the results instead of bench/results")
    options = parser.parse_args()
    if options.quick:
        options.new, options.rounds, options.repeats = 16, 1, 1
        options.batches, options.precisions = options.batches[:1], options.precisions[:1]
    return options


def measure(report: Report, shape: str, precision: str, batch: int, options: argparse.Namespace) -> None:
    """Both libraries, in rounds that begin with either."""
    answers: dict[str, list[dict[str, Any]]] = {library: [] for library in LIBRARIES}
    for index in range(options.rounds):
        for library in children.rotated(LIBRARIES, index):
            question = Question(
                library, shape, precision, batch, options.prompt, options.new, options.repeats, options.threads
            )
            answers[library].append(children.ask("harness.sampling", asdict(question)))
    if error := next((each["error"] for found in answers.values() for each in found if "error" in each), None):
        raise SystemExit(f"{shape}, {precision}, batch {batch}: {error}")
    add_results(report, f"{shape}, {precision}, batch {batch}", batch * options.new, answers)


def add_results(report: Report, name: str, count: int, answers: dict[str, list[dict[str, Any]]]) -> None:
    """Medians over the rounds, our ratio, and how long both write the same text."""
    walls = {library: median(each["wall"] for each in found) for library, found in answers.items()}
    cpus = {library: median(each["cpu"] for each in found) for library, found in answers.items()}
    ratio = walls["transformers"] / walls["tantra"]
    report.tables.setdefault("tokens per second", []).append(
        {
            "model": name,
            **{f"{library} tokens/s": count / wall for library, wall in walls.items()},
            "ratio": ratio,
            "cpu ratio": cpus["transformers"] / cpus["tantra"],
            "same tokens": agreement(*(answers[library][0]["tokens"] for library in LIBRARIES)),
        }
    )
    report.targets.append(Target(f"{name}, tokens/s; transformers generate = 1", ratio, ">=", SPEED, "x"))


def agreement(ours: list[int], theirs: list[int]) -> str:
    """How many tokens are the same before the first that is not, such as ``128 of 128``."""
    same = next((place for place, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]), len(ours))
    return f"{same} of {len(ours)}"


if __name__ == "__main__":
    main()
