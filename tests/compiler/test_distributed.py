"""A sharded model trains as one that is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORLD = 2


def test_gradients_under_fsdp2_are_those_of_one_process(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/compiler", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("sharded_model.py"))]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(WORLD), str(tmp_path / "store")],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(WORLD)
    ]  # fmt: skip
    (worst, errors), *others = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * WORLD, (errors, others)
    assert float(worst) < 1e-6
