"""Elementwise functions in C, built by this machine's compiler, against the same functions in float64."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tantra_compiler.kernels.fused.elementwise import SAMPLES
from tantra_compiler.kernels.native import elementwise as kernels
from tantra_compiler.kernels.native import toolchain
from tantra_compiler.kernels.native.elementwise import Results, source
from tantra_compiler.runtime import elementwise as runtime
from tests.kernels.maps import check, made

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="kernels in C want gcc")

MORE = {
    "2: x0 // 0.3 + x1 % 0.7", "2: x0 ** x1", "1: 2 ** x0", "1: x0 ** 0.5", "1: x0 ** -2", "1: log2(x0) * sqrt(x0)",
    "2: if x0 > 0.5 and not x1 < 1 or x0 == x1 then x0 * x1 else -x1", "1: exp(exp(x0))", "3: x0 * x1 - x2",
}  # fmt: skip
"""Functions of positive numbers, for the steps that the shared ones leave out."""


@pytest.mark.parametrize("text", sorted(MORE))
def test_functions_of_positive_numbers(text: str) -> None:
    check(kernels, text, [x.abs() + 0.25 for x in made([(5, 40)] * int(text[0]), torch.float32)], 40)


def test_operands_of_two_precisions() -> None:
    a, b = made([(7, 33), (7, 33)], torch.float32)
    check(kernels, SAMPLES["silu gate"], [a, b.bfloat16()], 33)


EDGES = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e-40, 3.4e38, -3.4e38, 90.0, -90.0]


@pytest.mark.parametrize("text", [SAMPLES["gelu"], SAMPLES["mish"], "1: max(x0, 0)", "1: min(x0, 2)", "1: tanh(x0)",
                                  "1: 1 / (1 + exp(-x0))", "1: log(x0)", "1: abs(x0)"])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_at_the_edges_are_what_torch_makes_of_them(text: str, dtype: torch.dtype) -> None:
    from tests.kernels.maps import exact

    x = torch.tensor(EDGES * 5, dtype=dtype)
    value = kernels.forward([x], len(x), text)
    assert value is not None
    torch.testing.assert_close(value, exact(text, [x], len(x), torch.ones_like(x))[0], equal_nan=True)


def test_other_precisions_are_left_to_torch() -> None:
    for dtype in (torch.float64, torch.float16):
        (x,) = made([(4, 8)], dtype)
        assert kernels.forward([x], 8, SAMPLES["gelu"]) is None
        assert kernels.backward(None, x, [x], 8, SAMPLES["gelu"]) is None


def test_threads_share_the_rows() -> None:
    (x,) = made([(64, 5000)], torch.float32)
    alone, threads = kernels.forward([x], 5000, SAMPLES["gelu"]), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        together = kernels.forward([x], 5000, SAMPLES["gelu"])
    finally:
        torch.set_num_threads(threads)
    assert alone is not None
    assert together is not None
    assert torch.equal(alone, together)


# --- building ------------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing is built yet, and nothing of this test is used later."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels._kernel.cache_clear()
    toolchain.library.cache_clear()
    yield tmp_path
    kernels._kernel.cache_clear()
    toolchain.library.cache_clear()


def by_torch(x: Tensor) -> Tensor:
    """What the operator makes of x by torch's own passes."""
    function = runtime.Elementwise(_odd, _odd_gradients, "1: x0 * abs(x0)")
    return runtime._mapped_on_cpu([x], x.shape[-1], function.key)


def _odd(x: Tensor) -> Tensor:
    return x * x.abs()


def _odd_gradients(grad: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    return x * x.abs(), grad * 2 * x.abs()


@pytest.mark.parametrize("compiler", ["a-compiler-that-is-not-there", "false"])
def test_without_a_compiler_torch_does_the_work(fresh: Path, monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setenv("CC", compiler)
    (x,) = made([(4, 8)], torch.float32)
    assert kernels.forward([x], 8, "1: x0 * abs(x0)") is None
    assert torch.equal(by_torch(x), _odd(x))


def test_where_nothing_can_be_written_torch_does_the_work(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh / "tantra").write_text("in the way")
    (x,) = made([(4, 8)], torch.float32)
    assert torch.equal(by_torch(x), _odd(x))


def test_a_source_that_does_not_build_says_what_is_wrong(fresh: Path) -> None:
    with pytest.raises(toolchain.NoToolchain, match=r"gcc: .*error"):
        toolchain.library("nothing at all")


def test_a_kernel_is_built_once(fresh: Path) -> None:
    (x,) = made([(4, 8)], torch.float32)
    kernels.forward([x], 8, "1: x0 * abs(x0)")
    (built,) = (fresh / "tantra" / "native").iterdir()
    before = built.stat().st_mtime_ns
    kernels._kernel.cache_clear()
    toolchain.library.cache_clear()
    kernels.forward([x], 8, "1: x0 * abs(x0)")
    assert [each.stat().st_mtime_ns for each in (fresh / "tantra" / "native").iterdir()] == [before]


BUILD = """
import sys, torch
from tantra_compiler.kernels.native import elementwise
print(float(elementwise.forward([torch.full((2, 8), float(sys.argv[1]))], 8, "1: x0 * x0 + 1")[0, 0]))
"""


def test_several_processes_build_one_kernel_at_once(fresh: Path) -> None:
    commands = [[sys.executable, "-c", BUILD, str(number)] for number in range(3)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    assert [each.communicate(timeout=120)[0] for each in running] == ["1.0\n", "2.0\n", "5.0\n"]
    assert len(list((fresh / "tantra" / "native").iterdir())) == 1


def test_steps_that_occur_twice_are_taken_once() -> None:
    text = source(SAMPLES["gelu by tanh, gated"], Results.BOTH, (("f32", 1),) * 6)
    assert text.count("tanhf(") == 1
