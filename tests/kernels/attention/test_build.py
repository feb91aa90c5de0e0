"""Kernels are built ahead of time for GPUs that are not there: none spills, all fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tantra_compiler.kernels.attention.configs import LOADS, TARGETS, choose, family
from tantra_compiler.kernels.attention.samples import SAMPLES, capture_types, program_text, programs
from tantra_compiler.kernels.generate import meaning_of
from tantra_compiler.kernels.load import load_of
from tantra_compiler.runtime.program import AttentionProgram

ROOT = Path(__file__).parents[3]
QUICK = """
import sys, json
from tantra_compiler.kernels.attention.build import Choice, build
for kernel, program, width in json.loads(sys.argv[2]):
    built = build(Choice(kernel, "bf16", width, width, program), sys.argv[1])
    assert built.fits(sys.argv[1]), built
"""
SOME = {
    "sm_90": [("forward", "causal", 128), ("key_gradient", "documents, window", 64), ("query_gradient", "t5", 64)],
    "sm_80": [("forward", "strided, alibi, softcap", 96), ("key_gradient", "all", 64)],
    "sm_100": [("decode", "causal", 64), ("query_gradient", "longformer", 64)],
    "gfx942": [("forward", "all", 64), ("key_gradient", "causal", 64)],
}
LOAD_OF = {
    "plain": ("all", "causal", "window"),
    "rich": ("documents", "padding", "heads", "longformer", "strided", "dense", "alibi", "learned slope"),
    "heavy": ("t5", "longformer, t5"),
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
    rows = json.loads((tmp_path / f"kernels-{target}.json").read_text())["kernels"]
    built = {(row["kernel"], *row["config"].values()) for row in rows}
    kernels = ("forward", "key_gradient", "query_gradient", "decode")
    for width in (64, 96, 128, 160, 192, 256):
        for kernel in kernels:
            for load in LOADS:
                config = choose(target, kernel, 2, width, width, load)
                assert (kernel, config.block_m, config.block_n, config.warps, config.stages) in built


def test_samples_cover_every_way_to_visit_keys_with_and_without_a_score() -> None:
    meanings = [meaning_of(program_text(name)) for name in SAMPLES]
    for scored in (False, True):
        kinds = {meaning.plan.kind for meaning in meanings if (meaning.score is not None) == scored}
        assert kinds == {"all", "interval", "intervals", "tested", "dense"}
    assert {site.per_pair for name in SAMPLES for site in programs(name).sites} == {False, True}


@pytest.mark.parametrize("name", SAMPLES)
def test_kernels_are_built_for_what_the_runtime_passes(name: str) -> None:
    text = program_text(name)
    program = next(each for each in AttentionProgram.known.values() if each.text == text)
    names = {torch.int64: "*i64", torch.int32: "*i32", torch.float32: "*fp32"}
    given = tuple(
        torch.zeros(32, 8) if capture.learned else torch.zeros((1,) if capture.name == "length" else (1, 16)).long()
        for capture in meaning_of(text).captures
    )
    assert capture_types(text) == tuple(names[x.dtype] for x in program.all_captures(16, 16, given))


@pytest.mark.parametrize(("load", "name"), [(load, name) for load, names in LOAD_OF.items() for name in names])
def test_loads_of_programs(load: str, name: str) -> None:
    assert load_of(meaning_of(program_text(name))) == programs(name).load == load


@pytest.mark.parametrize("target", ["sm_86", "sm_89", "sm_90", "sm_100", "sm_103", "sm_120", "gfx90a", "gfx950"])
@pytest.mark.parametrize("width", [8, 80, 128, 200, 256])
def test_every_chip_and_width_has_a_configuration(target: str, width: int) -> None:
    for kernel in ("forward", "key_gradient", "query_gradient", "decode"):
        for itemsize in (2, 4):
            config = choose(target, kernel, itemsize, width, width, "rich")
            assert config == choose(family(target), kernel, itemsize, width, width, "rich")
            assert config.block_m <= 128
