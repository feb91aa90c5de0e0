"""Running commands, in this process and in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tantra_dsl.cli import main

ROOT = Path(__file__).resolve().parents[2]

TINY = """\
model tiny {
  vocab: 64
  context: 32
  dim: 16

  embed: tokens + learned_positions
  layers: 2 of block {
    wiring: pre(layernorm)
    attention { heads: 2, mask: causal }
    ffn { hidden: 4 * dim, activation: gelu_tanh }
  }
  final_norm: layernorm
  head: tied
  objective: next_token
}
"""

BROKEN = TINY.replace("heads: 2", "haeds: 2")


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str


Tantra = Callable[..., Outcome]


@pytest.fixture
def tantra(capsys: pytest.CaptureFixture[str]) -> Tantra:
    """Runs ``tantra`` with the given arguments inside this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(status, said.out, said.err)

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small valid spec in canonical form."""
    path = tmp_path / "tiny.tantra"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The same with a misspelt key."""
    path = tmp_path / "broken.tantra"
    path.write_text(BROKEN, encoding="utf-8")
    return path


def spawn(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``tantra`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tantra_dsl", *map(str, arguments)],
        cwd=cwd,
        env=process_environment(environment),
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


def process_environment(extra: dict[str, str]) -> dict[str, str]:
    """The environment of a spawned command."""
    return os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/compiler", "OMP_NUM_THREADS": "1"} | extra
