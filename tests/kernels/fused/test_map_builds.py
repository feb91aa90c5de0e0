"""Elementwise functions in triton's interpreter, against the same functions in float64."""

from __future__ import annotations

import pytest

from tantra_compiler.kernels.fused import elementwise as kernels
from tantra_compiler.kernels.fused.elementwise import SAMPLES
from tantra_compiler.kernels.fused.generate_map import MapSource


def test_a_function_that_does_not_build_is_told() -> None:
    assert kernels.obstacle(SAMPLES["gelu"], "cpu") is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "generate_map", lambda text: MapSource(1, "nothing"))
        kernels.kernels_of.cache_clear()
        assert "does not build" in (kernels.obstacle("1: x0 * x0", "cpu") or "")
    kernels.kernels_of.cache_clear()
