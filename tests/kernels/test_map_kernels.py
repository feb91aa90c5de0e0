"""Elementwise functions by Triton in its interpreter and by C, against the same functions in float64."""

from __future__ import annotations

import shutil
from types import ModuleType

import pytest
import torch

from tantra_compiler.kernels.fused import elementwise as triton_maps
from tantra_compiler.kernels.fused.elementwise import SAMPLES
from tantra_compiler.kernels.native import elementwise as native_maps
from tests.kernels.maps import CASES, STEPS, check, made

GCC = pytest.mark.skipif(shutil.which("gcc") is None, reason="wants gcc")
WAYS = [pytest.param(triton_maps, id="triton"), pytest.param(native_maps, id="C", marks=GCC)]
PRECISIONS = [
    *(pytest.param(triton_maps, dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)),
    *(pytest.param(native_maps, dtype, marks=GCC) for dtype in (torch.float32, torch.bfloat16)),
]


@pytest.mark.parametrize(("way", "dtype"), PRECISIONS)
@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_in_every_precision(name: str, way: ModuleType, dtype: torch.dtype) -> None:
    check(way, SAMPLES[name], made([(5, 40)] * int(SAMPLES[name][0]), dtype), 40)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_every_shape(case: str, way: ModuleType) -> None:
    shapes, width = CASES[case]
    check(way, SAMPLES["silu gate"], made(shapes, torch.float32), width)


@pytest.mark.parametrize("way", WAYS)
def test_strided_operands_and_gradients_are_read_where_they_lie(way: ModuleType) -> None:
    wide = torch.randn(6, 4, 80)
    check(way, SAMPLES["silu gate"], [wide[:, ::2, 10:50], wide[:, 1::2, 40:]], 40)
    check(way, SAMPLES["silu gate"], [wide.transpose(1, 2)[:, :40], wide.transpose(1, 2)[:, 40:]], 4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", STEPS)
def test_functions_of_every_kind_of_step(text: str, way: ModuleType) -> None:
    check(way, text, made([(5, 40)] * int(text[0]), torch.float32), 40)
