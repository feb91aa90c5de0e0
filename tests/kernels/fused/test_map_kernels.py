"""Elementwise functions in triton's interpreter, against the same functions in float64."""

from __future__ import annotations

import pytest
import torch

from tantra_compiler.kernels.fused import elementwise as kernels
from tantra_compiler.kernels.fused.elementwise import SAMPLES, generate_map
from tantra_compiler.kernels.fused.generate_map import MapSource
from tests.kernels.maps import CASES, STEPS, check, made

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_in_every_precision(name: str, dtype: torch.dtype) -> None:
    count = generate_map(SAMPLES[name]).count
    check(kernels, SAMPLES[name], made([(5, 40)] * count, dtype), 40)


@pytest.mark.parametrize("case", CASES)
def test_every_shape(case: str) -> None:
    shapes, width = CASES[case]
    check(kernels, SAMPLES["silu gate"], made(shapes, torch.float32), width)


def test_strided_operands_and_gradients_are_read_where_they_lie() -> None:
    wide = torch.randn(6, 4, 80)
    check(kernels, SAMPLES["silu gate"], [wide[:, ::2, 10:50], wide[:, 1::2, 40:]], 40)
    check(kernels, SAMPLES["silu gate"], [wide.transpose(1, 2)[:, :40], wide.transpose(1, 2)[:, 40:]], 4)


@pytest.mark.parametrize("text", STEPS)
def test_functions_of_every_kind_of_step(text: str) -> None:
    check(kernels, text, made([(5, 40)] * generate_map(text).count, torch.float32), 40)


def test_a_function_that_does_not_build_is_told() -> None:
    assert kernels.obstacle(SAMPLES["gelu"], "cpu") is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "generate_map", lambda text: MapSource(1, "nothing"))
        kernels.kernels_of.cache_clear()
        assert "does not build" in (kernels.obstacle("1: x0 * x0", "cpu") or "")
    kernels.kernels_of.cache_clear()
