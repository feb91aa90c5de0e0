"""Training speed and memory on CPU against transformers, litgpt and x-transformers.

    python bench/train_cpu.py [--quick] [--rounds 3] [--compile-rounds 1] ...

Every configuration trains in a process of its own, in rounds that begin with a different library each time.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from harness import children
from harness.peers import LIBRARIES, PACKAGES, PEERS
from harness.report import Report, Row, Target
from harness.shapes import SHAPES
from harness.training import Question

WORKER = "harness.training"
SPEED, MEMORY = 1.15, 0.8
Answers = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, order=True)
class Contest:
    """What all libraries do alike."""

    shape: str
    precision: str
    compiled: bool

    def __str__(self) -> str:
        return f"{self.shape}, {self.precision}, {'torch.compile' if self.compiled else 'eager'}"


def main() -> None:
    """Run every contest, then publish."""
    options = parsed()
    report = Report("train_cpu", "Training on CPU, 10M parameters", PACKAGES, quick=options.quick)
    report.settings = {
        "batch": options.batch, "context": 256, "threads": options.threads, "steps": options.steps,
        "rounds_eager": options.rounds, "rounds_compiled": options.compile_rounds, "optimizer": "torch AdamW fused",
    }  # fmt: skip
    ratios: dict[bool, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as cache:
        for contest in contests(options):
            answers = held(contest, options, cache)
            add_results(report, contest, answers, options.batch, ratios)
        for shape in options.shapes:
            for precision in options.precisions:
                report.tables[f"our step, {shape}, {precision}, eager"] = where_time_goes(shape, precision, options)
    add_targets(report, ratios)
    report.publish(options.out)


def parsed() -> argparse.Namespace:
    """The command line; ``--quick`` only shows that everything works."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one eager contest of two small steps; nothing is written")
    parser.add_argument("--batch", type=int, default=8, help="sequences of 256 tokens")
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed in each process")
    parser.add_argument("--rounds", type=int, default=2, help="processes for each eager configuration")
    parser.add_argument("--compile-rounds", type=int, default=1, help="the same with torch.compile; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--compile-precisions", nargs="+", default=["bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--libraries", nargs="+", default=list(LIBRARIES), choices=LIBRARIES)
    parser.add_argument("--out", type=Path, help="folder for the results instead of bench/results")
    options = parser.parse_args()
    if options.quick:
        options.batch, options.steps, options.rounds, options.compile_rounds = 1, 2, 1, 0
        options.precisions = options.precisions[:1]
    return options


def contests(options: argparse.Namespace) -> Iterator[Contest]:
    """Every combination that has rounds."""
    for compiled, rounds in ((False, options.rounds), (True, options.compile_rounds)):
        for shape in options.shapes if rounds else ():
            for precision in options.compile_precisions if compiled else options.precisions:
                yield Contest(shape, precision, compiled)


def held(contest: Contest, options: argparse.Namespace, cache: str) -> Answers:
    """The answers of every library, round by round."""
    answers: Answers = {library: [] for library in options.libraries}
    rounds = options.compile_rounds if contest.compiled else options.rounds
    for index in range(rounds):
        for library in children.rotated(options.libraries, index):
            found = children.ask(WORKER, asdict(question(library, contest, options)), TORCHINDUCTOR_CACHE_DIR=cache)
            print(f"{contest}, {library}: {found.get('error') or '{:.0f} ms a step'.format(1000 * found['wall'])}")
            answers[library].append(found)
    return answers


def question(library: str, contest: Contest, options: argparse.Namespace) -> Question:
    """What one process is asked."""
    warmup = 2 if contest.compiled else 1
    return Question(library, contest.shape, contest.precision, contest.compiled, options.batch, warmup, options.steps,
                    options.threads)  # fmt: skip


def add_results(
    report: Report,
    contest: Contest,
    answers: Answers,
    batch: int,
    ratios: dict[bool, list[tuple[float, float]]],
) -> None:
    """The table of one contest, and our ratios to its fastest peer."""
    rows = {library: row_of(library, found, batch) for library, found in answers.items() if "wall" in found[0]}
    for library in answers.keys() - rows.keys():
        report.notes.append(f"{contest}: {library} failed: {answers[library][0]['error']}")
    rivals = [library for library in rows if library in PEERS]
    if "tantra" in rows and rivals:
        best = max(rivals, key=lambda library: number(rows[library], "tokens/s"))
        for each in rows.values():
            each["speed ratio"] = number(each, "tokens/s") / number(rows[best], "tokens/s")
            each["cpu ratio"] = number(rows[best], "cpu ms/step") / number(each, "cpu ms/step")
            each["memory ratio"] = number(each, "peak MB") / number(rows[best], "peak MB")
        ratios[contest.compiled].append((number(rows["tantra"], "speed ratio"), number(rows["tantra"], "memory ratio")))
        report.notes.append(f"{contest}: {same_work(rows)}")
    report.tables[str(contest)] = list(rows.values())


def row_of(library: str, found: Sequence[dict[str, Any]], batch: int) -> dict[str, Any]:
    """Medians over the rounds."""
    wall = median(each["wall"] for each in found)
    return {
        "library": library,
        "parameters": found[0]["parameters"],
        "tokens/s": batch * 256 / wall,
        "ms/step": 1000 * wall,
        "cpu ms/step": 1000 * median(each["cpu"] for each in found),
        "peak MB": median(each["peak"] for each in found) / 1e6,
        "first loss": f"{found[0]['losses'][0]:.4f}",
        "last loss": f"{found[0]['losses'][-1]:.4f}",
    }


def number(row: Row, column: str) -> float:
    """A figure of a row."""
    value = row[column]
    assert isinstance(value, int | float)
    return value


def same_work(rows: dict[str, dict[str, Any]]) -> str:
    """How far the first losses of the libraries lie apart: all start from the same weights on the same tokens."""
    losses = [float(row["first loss"]) for row in rows.values()]
    return f"first losses lie within {max(losses) - min(losses):.4f} nats"


def where_time_goes(shape: str, precision: str, options: argparse.Namespace) -> list[Row]:
    """Milliseconds of our step by kind of work, the largest first."""
    asked = replace(question("tantra", Contest(shape, precision, False), options), profile=True)
    found = children.ask(WORKER, asdict(asked))
    groups = sorted(found["groups"].items(), key=lambda each: -each[1])
    total = sum(found["groups"].values())
    rows = [{"work": name, "ms/step": value, "share": f"{value / total:.0%}"} for name, value in groups]
    return [*rows, {"work": "all, profiled", "ms/step": total, "share": "100%"}]


def add_targets(report: Report, ratios: dict[bool, list[tuple[float, float]]]) -> None:
    """Geometric means over the contests, and the worst of each."""
    for compiled, name in ((False, "eager"), (True, "torch.compile")):
        speeds, memories = ([each[index] for each in ratios[compiled]] for index in (0, 1))
        report.targets += [
            Target(f"tokens/s, fastest peer = 1, {name}, worst case", min(speeds, default=None), ">=", SPEED, "x"),
            Target(f"tokens/s, fastest peer = 1, {name}, mean", mean(speeds), ">=", SPEED, "x"),
            Target(f"peak memory, that peer = 1, {name}, worst", max(memories, default=None), "<=", MEMORY, "x"),
        ]


def mean(values: Sequence[float]) -> float | None:
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


if __name__ == "__main__":
    main()
