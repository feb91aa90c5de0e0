"""Kernels are built ahead of time for GPUs that are not there: none spills, all fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tantra_compiler.kernels.attention.configs import TARGETS, choose, family

ROOT = Path(__file__).parents[3]
QUICK = """
import sys, json
from tantra_compiler.kernels.attention.build import Choice, build
for kernel, load, program, width in json.loads(sys.argv[2]):
    built = build(Choice(kernel, "bf16", width, width, load, program), sys.argv[1])
    assert built.fits(sys.argv[1]), built
"""
SOME = {
    "sm_90": [
        ("forward", "plain", "causal", 128),
        ("key_gradient", "plain", "causal", 128),
        ("table_gradient", "rich", "score", 64),
        ("decode", "plain", "full", 80),
    ],
    "sm_80": [("forward", "rich", "tile test", 96), ("key_gradient", "plain", "full", 64)],
    "sm_100": [("forward", "plain", "causal", 64), ("query_gradient", "plain", "causal", 64)],
    "gfx942": [("forward", "plain", "full", 64), ("key_gradient", "plain", "causal", 64)],
}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python without the interpreter of kernels."""
    environment = {x: y for x, y in os.environ.items() if x != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "compiler")])
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("target", TARGETS)
def test_some_kernels_build_without_spills(target: str) -> None:
    done = python("-c", QUICK, target, json.dumps(SOME[target]))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_kernel_that_can_be_chosen_builds_without_spills(target: str, tmp_path: Path) -> None:
    module = "tantra_compiler.kernels.attention.build"
    done = python("-m", module, "--target", target, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads((tmp_path / f"kernels-{target}.json").read_text())["kernels"]) > 100


@pytest.mark.parametrize("target", ["sm_86", "sm_89", "sm_90", "sm_100", "sm_103", "sm_120", "gfx90a", "gfx950"])
@pytest.mark.parametrize("width", [8, 80, 128, 200, 256])
def test_every_chip_and_width_has_a_configuration(target: str, width: int) -> None:
    for kernel in ("forward", "key_gradient", "query_gradient", "decode"):
        for itemsize in (2, 4):
            config = choose(target, kernel, itemsize, width, width, "rich")
            assert config == choose(family(target), kernel, itemsize, width, width, "rich")
            assert config.block_m <= 128
