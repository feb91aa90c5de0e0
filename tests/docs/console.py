"""Console examples: what a page says that a command prints is what it prints."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.docs.markdown import ROOT, Example

PROMPT = "$ "
PREAMBLE = f'tantra() {{ {shlex.quote(sys.executable)} -m tantra_dsl "$@"; }}; '


def run_session(example: Example, folder: Path) -> str:
    """Run the commands of a ``console`` fence in ``folder``, one after the other; all that they print."""
    return "".join(run_command(command, folder) for command, _ in steps(example))


def steps(example: Example) -> list[tuple[str, list[str]]]:
    """Each command with the lines that the page says it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in example.text.splitlines():
        if line.startswith(PROMPT):
            found.append((line.removeprefix(PROMPT), []))
        elif found:
            found[-1][1].append(line)
    return found


def run_command(command: str, folder: Path) -> str:
    """Run ``command`` in bash, with ``tantra`` being the one under test; its output and errors as they come."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT}/compiler", "NO_COLOR": "1", "COLUMNS": "100"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # a command short of room would cut off bytecode that others read
    done = subprocess.run(
        ["bash", "-c", PREAMBLE + command],
        cwd=folder,
        env=environment | {"HOME": str(folder), "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    return done.stdout


def matches(said: list[str], printed: str) -> bool:
    """Whether ``printed`` is what a page says: ``...`` alone stands for any lines, within a line for any text."""
    parts = [_pattern(line) for line in said]
    return re.fullmatch("".join(parts), printed.rstrip("\n") + "\n" if printed else "") is not None


def _pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:[^\n]*\n)*?"
    return r"[^\n]*?".join(re.escape(piece) for piece in line.rstrip().split("...")) + r"[ ]*\n"
