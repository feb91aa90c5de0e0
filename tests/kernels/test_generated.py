"""Triton functions generated from masks and scores written as text, in triton's interpreter, against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tantra_compiler.kernels import run
from tantra_compiler.kernels.generate import generate
from tantra_compiler.runtime.program import EMPTY_LSE, AttentionProgram
from tantra_compiler.runtime.reference import reference
from tests.compiler.attention_models import CASES, AttentionCase

SCALE = 0.25


def program_of(case: AttentionCase) -> AttentionProgram:
    module = __import__("sys").modules[type(case.model()).__module__]
    return next(value for value in vars(module).values() if isinstance(value, AttentionProgram))


def captures_of(name: str, keys: int) -> tuple[Tensor, ...]:
    fields = tuple(CASES[name].fields(2, keys).values())
    return (*fields, torch.randn(32, 4, generator=torch.Generator().manual_seed(3))) if name == "t5" else fields


def operands(queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    sizes = ((queries, 4), (keys, 2), (keys, 2))
    return tuple(torch.randn(2, time, heads, 16, generator=generator) for time, heads in sizes)  # type: ignore[return-value]


def error(found: Tensor, exact: Tensor) -> float:
    """Relative, by norms."""
    return float((found - exact).norm() / exact.norm().clamp(min=1e-9))


@pytest.mark.parametrize(("queries", "keys"), [(37, 37), (5, 41)])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_within_twice_the_error_of_plain_float32(name: str, queries: int, keys: int) -> None:
    program, operand = program_of(CASES[name]), operands(queries, keys)
    everything = program.all_captures(queries, keys, captures_of(name, keys))
    out, lse = run.forward(*operand, program.text, everything, scale=SCALE)
    generator = torch.Generator().manual_seed(4)
    dout, dlse = torch.randn(out.shape, generator=generator), torch.randn(lse.shape, generator=generator)
    dq, dk, dv, _, dcaptures = run.backward(dout, *operand, out, lse, program.text, everything, scale=SCALE, dlse=dlse)
    found = [out, lse, dq, dk, dv, *(x for x in dcaptures if x is not None)]
    exact = dense(program, operand, everything, dout, dlse, torch.float64)
    plain = dense(program, operand, everything, dout, dlse, torch.float32)
    for got, best, usual in zip(found, exact, plain, strict=True):
        assert got.isfinite().all()
        assert error(got, best) <= 2 * error(usual, best) + 1e-7


def dense(
    program: AttentionProgram,
    operand: tuple[Tensor, ...],
    captures: tuple[Tensor, ...],
    dout: Tensor,
    dlse: Tensor,
    dtype: torch.dtype,
) -> list[Tensor]:
    """The same by the reference and autograd."""
    inputs = [x.to(dtype).requires_grad_() for x in operand]
    read = [x.to(dtype).requires_grad_() if x.is_floating_point() else x for x in captures]
    out, lse = reference(*inputs, program, tuple(read), scale=SCALE)  # type: ignore[call-arg, arg-type, misc]
    taught = lse.masked_fill(lse == EMPTY_LSE, 0.0)
    learned = [*inputs, *(x for x in read if x.requires_grad)]
    gradients = torch.autograd.grad((out * dout).sum() + (taught * dlse).sum(), learned)
    return [out.detach(), lse.detach(), *gradients]


def test_masks_that_differ_in_thresholds_share_their_functions() -> None:
    one, other = (generate(program_of(AttentionCase(f"mask: causal and window({w})")).text) for w in (40, 90))
    assert one.text == other.text
    assert (one.numbers, other.numbers) == ((40,), (90,))


def test_divisors_stay_in_the_functions() -> None:
    one, other = (generate(program_of(AttentionCase(f"mask: strided({s})")).text) for s in (64, 128))
    assert one.text != other.text


def test_an_obstacle_is_told() -> None:
    text, device = program_of(CASES["window"]).text, torch.device("cpu")
    assert run.obstacle(text, device, torch.float32, 64, 64) is None
    assert "head width 20" in (run.obstacle(text, device, torch.float32, 20, 20) or "")
    assert "float64" in (run.obstacle(text, device, torch.float64, 64, 64) or "")
