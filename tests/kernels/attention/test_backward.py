"""The backward kernels in triton's interpreter: all gradients against autograd of dense attention in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tantra_compiler.kernels.attention import launch
from tests.kernels.attention.cases import MASKS, programs_of
from tests.kernels.attention.dense import EMPTY_LSE, Problem, attend, make, within_budget
from tests.kernels.attention.test_forward import PROBLEMS


def dense_gradients(problem: Problem, dtype: torch.dtype, dout: Tensor, dlse: Tensor) -> list[Tensor]:
    """Gradients by autograd, computed in ``dtype``."""
    x = make(problem)
    leaves = [t.detach().to(dtype).requires_grad_() for t in x.leaves()]
    rest = iter(leaves[3:])
    inputs = type(x)(*leaves[:3], None if x.sink is None else next(rest), x.fields, tuple(rest))
    out, lse = attend(problem, inputs, dtype)
    loss = (out * dout.to(dtype)).sum() + (lse * dlse.to(lse.dtype)).where(lse != EMPTY_LSE, 0).sum()
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, gradients, strict=True)]


def kernel_gradients(problem: Problem, dout: Tensor, dlse: Tensor | None) -> list[Tensor]:
    """Gradients by the kernels, in the order of ``Inputs.leaves``."""
    x = make(problem)
    options = {"scale": problem.width**-0.5, "sink": x.sink}
    program = (programs_of(problem.mask, problem.score), x.captures(), MASKS[problem.mask].numbers)
    out, lse = launch.forward(x.q, x.k, x.v, *program, **options)
    dq, dk, dv, dsink, rest = launch.backward(dout, x.q, x.k, x.v, out, lse, *program, **options, dlse=dlse)
    assert [g is not None for g in rest] == [False] * len(x.fields) + [True] * len(x.learned)
    return [g for g in (dq, dk, dv, dsink, *rest) if g is not None]


def output_gradients(problem: Problem) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    dout = torch.randn(problem.batch, problem.queries, problem.heads, problem.value_width, generator=g)
    return dout.to(problem.dtype), torch.randn(problem.batch, problem.heads, problem.queries, generator=g)


def check(problem: Problem) -> None:
    dout, dlse = output_gradients(problem)
    exact = dense_gradients(problem, torch.float64, dout, dlse)
    plain = dense_gradients(problem, problem.dtype, dout, dlse)
    within_budget(kernel_gradients(problem, dout, dlse), plain, exact)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.mask}-{p.score}-{p.queries}x{p.keys}x{p.width}")
def test_gradients_are_within_twice_the_error_of_plain_torch(problem: Problem) -> None:
    check(problem)
