"""Builds every kernel around attention for a target, without a GPU, and tells what each takes of one.

``python -m tantra_compiler.kernels.fused.build --target sm_90`` writes a table of registers, spills and shared memory,
and fails where a kernel spills.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import triton

from tantra_compiler.kernels.attention.configs import TARGETS, shared_memory
from tantra_compiler.kernels.attention.resources import Resources
from tantra_compiler.kernels.fused.builds import KernelBuild

MODULES = ("dropout", "elementwise", "loss", "norm", "rope")
"""Files of this package that know what can be chosen of theirs."""


@dataclass(frozen=True)
class BuiltKernel:
    """One build of ``module``, and what it takes; ``failure`` says why it could not be built."""

    module: str
    name: str
    dtype: str
    warps: int
    taken: Resources
    failure: str = ""

    def fits(self, target: str) -> bool:
        """Whether it runs on the target without spilling."""
        return not self.failure and not self.taken.spills and self.taken.shared <= shared_memory(target)


@cache
def builds_of(module: str, target: str) -> tuple[KernelBuild, ...]:
    """Everything that ``module`` can choose on ``target``."""
    return tuple(import_module(f"tantra_compiler.kernels.fused.{module}").builds(target))


def build(module: str, target: str, number: int) -> BuiltKernel:
    """Builds one of ``builds_of``, by number: generated kernels cannot be sent to another process."""
    chosen = builds_of(module, target)[number]
    try:
        taken, failure = chosen.built(target), ""
    except Exception as error:  # whatever the compiler raises is a row of the table
        taken, failure = Resources(0, 0, 0), f"{type(error).__name__}: {str(error)[:200]}"
    return BuiltKernel(module, chosen.name, chosen.dtype, chosen.warps, taken, failure)


def build_all(target: str, processes: int = 2, every: int = 1) -> list[BuiltKernel]:
    """Builds everything for a target, or one of ``every`` so many, in order."""
    listed = [(module, number) for module in MODULES for number in range(0, len(builds_of(module, target)), every)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        modules, numbers = zip(*listed, strict=True)
        return list(pool.map(build, modules, [target] * len(listed), numbers, chunksize=8))


def table(target: str, rows: Sequence[BuiltKernel]) -> str:
    """The results in Markdown."""
    kept = sum(row.fits(target) for row in rows)
    lines = [
        f"# Fused kernels on {target}",
        "",
        f"Built ahead of time with triton {triton.__version__}: {len(rows)} kernels, {kept} of them without spills and"
        f" within {shared_memory(target)} bytes of shared memory.",
        "",
        "| kernel | type | warps | registers | spills | shared |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(line(row) for row in rows), ""])


def line(row: BuiltKernel) -> str:
    """One line of the table."""
    taken = [row.failure, "", ""] if row.failure else [row.taken.registers, row.taken.spills, row.taken.shared]
    return f"| {row.name} | {row.dtype} | {row.warps} | " + " | ".join(map(str, taken)) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append", help="may be given several times")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    bad: list[str] = []
    for target in given.target or TARGETS:
        began, rows = time.perf_counter(), build_all(target, given.processes)
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / f"fused-kernels-{target}.md").write_text(table(target, rows))
        data = {"target": target, "triton": triton.__version__, "kernels": [asdict(row) for row in rows]}
        (given.out / f"fused-kernels-{target}.json").write_text(json.dumps(data, indent=1) + "\n")
        misfits = [line(row) for row in rows if not row.fits(target)]
        print(f"{target}: {len(rows)} kernels, {len(misfits)} misfits, {time.perf_counter() - began:.0f} s")
        bad += misfits
    print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
