"""Kernels around attention, built ahead of time for chips that are not at hand."""

from __future__ import annotations

import json

import pytest

from tantra_compiler.kernels.attention.configs import TARGETS
from tests.kernels.attention.test_build import python

MAPS = """
import json, sys
from tantra_compiler.kernels.fused.build import build, builds_of
target, every = sys.argv[1], int(sys.argv[2])
modules = ("dropout", "elementwise", "loss")
rows = [build(each, target, number) for each in modules for number in range(0, len(builds_of(each, target)), every)]
print(json.dumps([len(rows), [row.name for row in rows if not row.fits(target)]]))
"""


@pytest.mark.parametrize("target", TARGETS)
def test_some_kernels_build_without_spills(target: str) -> None:
    assert misfits(target, every=18) == []


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_kernel_builds_without_spills(target: str) -> None:
    assert misfits(target, every=1) == []


def misfits(target: str, every: int) -> list[str]:
    done = python("-c", MAPS, target, str(every))
    assert done.returncode == 0, done.stderr
    count, found = json.loads(done.stdout.splitlines()[-1])
    assert count >= 4
    return list(found)


def test_what_does_not_build_is_a_row_of_the_table() -> None:
    from tantra_compiler.kernels.attention.resources import Resources
    from tantra_compiler.kernels.fused.build import BuiltKernel, table

    good = BuiltKernel("norm", "a norm", "bf16", 4, Resources(40, 0, 1024))
    spilling = BuiltKernel("norm", "wide", "bf16", 4, Resources(255, 16, 1024))
    broken = BuiltKernel("rope", "odd", "fp32", 4, Resources(0, 0, 0), "CompilationError: no")
    assert [each.fits("sm_90") for each in (good, spilling, broken)] == [True, False, False]
    page = table("sm_90", [good, spilling, broken])
    assert "3 kernels, 1 of them without spills" in page
    assert "| odd | fp32 | 4 | CompilationError: no |  |  |" in page
