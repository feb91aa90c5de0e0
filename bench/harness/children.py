"""Measuring in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

BENCH = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Run:
    """One run of a command: seconds on the clock, and seconds of processor time."""

    wall: float
    cpu: float


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, with ``bench`` importable and ``changes``."""
    path = os.pathsep.join([str(BENCH), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    return {**os.environ, "PYTHONPATH": path, **changes}


def time_command(command: Sequence[str]) -> Run:
    """Run ``command`` to its end. Raises CalledProcessError where it fails."""
    before = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - before
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, list(command), stderr=errors)
    return Run(wall, usage.ru_utime + usage.ru_stime)


def interleaved(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Run]]:
    """Runs of every command, in rounds that start with a different one each time, after one that is not counted."""
    names = list(commands)
    found: dict[str, list[Run]] = {name: [] for name in names}
    for name in names:
        time_command(commands[name])
    for index in range(rounds):
        for name in rotated(names, index):
            found[name].append(time_command(commands[name]))
    return found


def rotated(names: Sequence[str], by: int) -> list[str]:
    """``names`` from another beginning, so that none always runs first."""
    start = by % len(names)
    return [*names[start:], *names[:start]]


def median_run(runs: Sequence[Run]) -> Run:
    """Medians of both clocks."""
    return Run(median(run.wall for run in runs), median(run.cpu for run in runs))


def ask(worker: str, question: Mapping[str, Any], **changes: str) -> dict[str, Any]:
    """The answer of ``python -m worker``, which reads JSON from its input and prints JSON last.

    An answer with the key ``error`` says why there is none.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", worker],
        input=json.dumps(question), capture_output=True, text=True, env=environment(**changes), check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit status {done.returncode}"}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
