"""Norm kernels in the interpreter against float64, forward and backward, and built for GPUs that are not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tantra_compiler.kernels.fused import norm
from tantra_compiler.runtime import norm_parts
from tantra_compiler.runtime.norm_parts import NormCall, NormGradient
from tests.kernels.attention.dense import within_budget

ROOT = Path(__file__).parents[3]
BUILD = """
import sys, json
from tantra_compiler.kernels.fused.norm import builds
wanted = json.loads(sys.argv[2])
for build in builds(sys.argv[1]):
    if wanted is None or build.name in wanted:
        taken = build.built(sys.argv[1])
        assert not taken.spills, (build.name, taken)
        print(build.name)
"""
SOME = [
    "norm_kernel, rms, bf16, 4096 columns",
    "norm_kernel, layernorm under autocast, bf16, 16384 columns",
    "norm_gradient_kernel, rms, bf16, 8192 columns",
    "norm_gradient_kernel, layernorm of odd rows, fp32, 4095 columns",
    "wide_norm_kernel, rms, bf16, 65536 columns",
    "wide_gradient_kernel, layernorm under autocast, fp16, 65536 columns",
    "weight_gradient_kernel, layernorm under autocast, bf16, 65536 columns",
]
TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")


@dataclass(frozen=True)
class Problem:
    """One norm: of a sum of x and y where both are given, in these precisions and the norm's."""

    width: int = 40
    rows: int = 21
    x: torch.dtype = torch.float32
    y: torch.dtype | None = torch.float32
    normal: torch.dtype = torch.float32
    centred: bool = True
    weighted: bool = True
    apart: bool = False

    def call(self) -> NormCall:
        """Random numbers; the same for the same problem."""
        generator = torch.Generator().manual_seed(0)

        def rows(dtype: torch.dtype) -> Tensor:
            wide = torch.randn(3, self.rows, self.width + 3 * self.apart, generator=generator).to(dtype)
            return wide[..., : self.width]

        x, y = rows(self.x), None if self.y is None else rows(self.y)
        weight, bias = (torch.randn(self.width, generator=generator) for _ in range(2))
        vectors = (weight if self.weighted else None, bias if self.weighted and self.centred else None)
        return NormCall(x, y, *vectors, self.centred, 1e-5, self.normal)


def step(call: NormCall, kernels: bool) -> list[Tensor]:
    """Everything that both passes give, by the kernels or by torch's own functions."""
    where = (norm.forward, norm.backward) if kernels else (norm_parts.norm_forward, norm_parts.norm_backward)
    total, normal, mean, scale = where[0](call)
    ramp = torch.linspace(-1, 1, normal.numel()).sin().view(normal.shape)
    dsum = None if call.y is None else ramp.flip(0).to(total.dtype)
    other = None if call.y is None or call.y.dtype == call.x.dtype else call.y.dtype
    wanted = call.weight is not None, call.bias is not None
    read = call.x if call.y is None else total
    given = NormGradient(
        dsum, ramp.to(normal.dtype), read, call.weight, mean, scale, call.centred, *wanted, call.x.dtype, other
    )
    dx, dy, *dvectors = where[1](given)
    found = [total, normal, mean, scale, dx, dx if other is None else dy, *dvectors]
    return [each for each in found if each.numel()]


def exactly(call: NormCall) -> NormCall:
    doubles = (None if each is None else each.double() for each in call[:4])
    return NormCall(*doubles, call.centred, call.eps, torch.float64)  # type: ignore[arg-type]


def assert_right(problem: Problem) -> None:
    call = problem.call()
    ours, theirs, exact = step(call, True), step(call, False), step(exactly(call), False)
    assert [each.dtype for each in ours] == [each.dtype for each in theirs]
    within_budget(ours, theirs, exact)


@pytest.mark.parametrize("centred", [True, False], ids=["layernorm", "rms"])
@pytest.mark.parametrize("width", [1, 2, 31, 64, 1000, 4100, 8200, 20_000, 65_536])
def test_rows_of_any_width(width: int, centred: bool) -> None:
    assert_right(Problem(width=width, rows=21 if width < 5000 else 3, centred=centred))


HALVES = [torch.float16, torch.bfloat16]
PRECISIONS = [
    *((half, half, half) for half in HALVES),
    *((torch.float32, half, half) for half in HALVES),
    (torch.bfloat16, torch.float32, torch.float32),
    (torch.bfloat16, None, torch.bfloat16),
    (torch.float32, None, torch.bfloat16),
]


@pytest.mark.parametrize("centred", [True, False], ids=["layernorm", "rms"])
@pytest.mark.parametrize("width", [48, 8200])
@pytest.mark.parametrize("precisions", PRECISIONS)
def test_precisions(precisions: tuple[torch.dtype, torch.dtype | None, torch.dtype], width: int, centred: bool) -> None:
    x, y, normal = precisions
    assert_right(Problem(width=width, rows=9, x=x, y=y, normal=normal, centred=centred))


@pytest.mark.parametrize(
    "problem",
    [
        Problem(weighted=False),
        Problem(weighted=False, centred=False, y=None),
        Problem(apart=True),
        Problem(apart=True, width=8200, rows=2),
        Problem(rows=1),
        Problem(width=8200, rows=1, weighted=False),
    ],
    ids=str,
)
def test_other_forms(problem: Problem) -> None:
    assert_right(problem)


def test_no_rows_and_float64_are_not_the_kernels() -> None:
    call = Problem(rows=0).call()
    assert [each.shape for each in norm.forward(call)] == [each.shape for each in norm_parts.norm_forward(call)]
    ours, theirs = (step(exactly(Problem().call()), kernels) for kernels in (True, False))
    assert all(torch.equal(our, their) for our, their in zip(ours, theirs, strict=True))


def test_every_run_gives_the_same_bits() -> None:
    call = Problem(width=100, rows=50).call()
    assert all(torch.equal(a, b) for a, b in zip(step(call, True), step(call, True), strict=True))


def built(target: str, wanted: list[str] | None) -> subprocess.CompletedProcess[str]:
    """Builds without the interpreter."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "compiler")])
    command = [sys.executable, "-c", BUILD, target, json.dumps(wanted)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", TARGETS)
def test_some_kernels_build_without_spills(target: str) -> None:
    done = built(target, SOME)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(SOME)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_kernel_builds_without_spills(target: str) -> None:
    done = built(target, None)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("kernel", ["norm", "layernorm gradient", "rms gradient"])
def test_every_tile_that_can_be_chosen_is_among_the_builds(kernel: str, aligned: bool) -> None:
    tiles = {(build.constants["ROWS"], build.constants["BLOCK"], build.warps) for build in norm.builds("sm_90")}
    for width in (*range(1, 300), 5119, 5120, 8191, 8192, 8193, 16_384, 16_385, 65_536):
        tile = norm.config(width, norm.held(kernel != "norm", kernel == "layernorm gradient", aligned), aligned)
        assert (tile.rows, tile.block, tile.warps) in tiles
