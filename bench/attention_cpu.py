"""Attention on CPU, forward and backward: ours, block by block, against torch's with a dense mask and against eager.

python bench/attention_cpu.py [--quick] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from harness import children
from harness.attention import Question
from harness.attention_cases import CASES
from harness.report import Report, Row, Target

WORKER = "harness.attention"
WINDOW, SPEED, MEMORY = "window 512 at 8k", 9.0, 0.15
RIVALS = {"sdpa": "SDPA", "eager": "eager"}


def main() -> None:
    """Measure every case, then publish."""
    options = parsed()
    settings = {"rounds": options.rounds, "repeats": options.repeats, "threads": options.threads, "batch": 1}
    report = Report("attention_cpu", "Attention on CPU, forward and backward", ("torch",), options.quick, settings)
    rows = {title: measured(title, options) for title in options.cases}
    report.tables["forward + backward"] = list(rows.values())
    if WINDOW in rows:
        row = rows[WINDOW]
        report.targets += [
            Target(f"{WINDOW}, float32, SDPA with a dense mask = 1, speed", number(row, "speed"), ">=", SPEED, "x"),
            Target(f"{WINDOW}, float32, SDPA with a dense mask = 1, memory", number(row, "memory"), "<=", MEMORY, "x"),
        ]
    report.notes += [
        "Speed is by the clock; the cpu ratio is that of processor time, which a busy machine disturbs less.",
        "Memory is the most that is resident beyond q, k, v and the arriving gradient: mask, output and gradients are "
        "part of it. Making the dense mask is not timed.",
        "Full and causal attention without a score run by SDPA in a model; the rows show what blocks would take.",
    ]
    report.publish(options.out)


def parsed() -> argparse.Namespace:
    """The command line; ``--quick`` only shows that everything works."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short sequences, once; nothing is written")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each way, taking turns")
    parser.add_argument("--repeats", type=int, default=3, help="passes that are timed in each process")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="folder for the results instead of bench/results")
    options = parser.parse_args()
    options.length = None
    if options.quick:
        options.rounds, options.repeats, options.length = 1, 1, 256
    return options


def measured(title: str, options: argparse.Namespace) -> dict[str, Any]:
    """The row of a case: both ways in turn, round by round."""
    rival = CASES[title].rival
    answers: dict[str, list[dict[str, Any]]] = {"blockwise": [], rival: []}
    for index in range(options.rounds):
        for way in children.rotated(list(answers), index):
            question = Question(title, way, options.repeats, options.threads, options.length)
            found = children.ask(WORKER, asdict(question))
            if "error" in found:
                raise RuntimeError(f"{title}, {way}: {found['error']}")
            answers[way].append(found)
    same_work(title, answers)
    return row_of(title, rival, answers)


def same_work(title: str, answers: dict[str, list[dict[str, Any]]]) -> None:
    """Both ways gave outputs and gradients of the same size, dropout included: both draw it alike."""
    ours, theirs = (each[0]["sums"] for each in answers.values())
    for a, b in zip(ours, theirs, strict=True):
        if abs(a - b) > 0.01 * b:
            raise RuntimeError(f"{title}: the two ways differ, {ours} and {theirs}")


def row_of(title: str, rival: str, answers: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over the rounds, and ratios in our favour."""
    ours, theirs = answers["blockwise"], answers[rival]
    both = [median(each["forward"] + each["backward"] for each in side) for side in (ours, theirs)]
    work = [median(each["cpu"] for each in side) for side in (ours, theirs)]
    peaks = [median(each["peak"] for each in side) for side in (ours, theirs)]
    return {
        "attention": title,
        "against": RIVALS[rival],
        "forward ms": 1000 * median(each["forward"] for each in ours),
        "backward ms": 1000 * median(each["backward"] for each in ours),
        "its forward ms": 1000 * median(each["forward"] for each in theirs),
        "its backward ms": 1000 * median(each["backward"] for each in theirs),
        "speed": both[1] / both[0],
        "cpu ratio": work[1] / work[0],
        "peak MB": peaks[0] / 1e6,
        "its peak MB": peaks[1] / 1e6,
        "memory": peaks[0] / peaks[1],
    }


def number(row: Row, column: str) -> float:
    """A figure of a row."""
    value = row[column]
    assert isinstance(value, float)
    return value


if __name__ == "__main__":
    main()
