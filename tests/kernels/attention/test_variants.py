"""No kernel is compiled anew when a length, a window, documents, a layout, a seed or a scale changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def variants() -> dict[str, dict[str, int]]:
    """Compiled variants by what changes, by kernel."""
    environment = {x: y for x, y in os.environ.items() if x != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "compiler")])
    command = [sys.executable, "-m", "tests.kernels.attention.count_variants"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("change", ["lengths", "windows", "documents", "layouts", "seeds_and_scales", "learned"])
def test_one_variant_whatever_changes(change: str, variants: dict[str, dict[str, int]]) -> None:
    counted = dict(variants[change])
    rows = counted.pop("decode_kernel")
    assert rows == (2 if change == "lengths" else 1)  # one query and sixteen take tiles of 16 and of 32 rows
    expected = {"forward_kernel", "key_gradient_kernel", "query_gradient_kernel", "row_kernel", "combine_kernel"}
    assert counted == dict.fromkeys(expected, 1)
