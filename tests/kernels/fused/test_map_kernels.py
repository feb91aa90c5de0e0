"""Elementwise functions in triton's interpreter, against the same functions in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tantra_compiler.kernels.fused import elementwise as kernels
from tantra_compiler.kernels.fused.elementwise import SAMPLES, generate_map
from tantra_compiler.kernels.fused.generate_map import MapSource
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Program

CASES: dict[str, tuple[list[tuple[int, ...]], int]] = {
    "one column": ([(3, 1), (3, 1)], 1),
    "an odd width": ([(2, 5, 7), (2, 5, 7)], 7),
    "side by side": ([(3, 5, 96)], 48),
    "beyond a tile": ([(2, 1025), (2, 1025)], 1025),
    "very wide": ([(1, 65_536), (1, 65_536)], 65_536),
    "a vector": ([(4, 33), (33,)], 33),
    "a number and a column": ([(), (4, 33)], 33),
    "a column": ([(2, 4, 1), (2, 4, 33)], 33),
    "many rows": ([(300, 3), (300, 3)], 3),
    "no row": ([(0, 12), (0, 12)], 12),
}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def exact(text: str, operands: list[Tensor], width: int, grad: Tensor) -> list[Tensor]:
    """Value and gradients by torch's autograd, in the precision of the operands."""
    from tantra_compiler.emit.expr import Expr
    from tantra_compiler.emit.formulas import Formula

    given = [operand.detach().clone().requires_grad_() for operand in operands]
    parts = [part for x in given for part in (x.split(width, -1) if x.dim() and x.shape[-1] > width else (x,))]
    names = [f"x{number}" for number in range(len(parts))]
    program = Program("fn", tuple(names), parse_scalar(text.partition(": ")[2]))
    source = Formula({name: Expr(name) for name in names}).expr(program.body).text
    value = eval(source, {"torch": torch, "F": torch.nn.functional, **dict(zip(names, parts, strict=True))})
    return [value.detach(), *torch.autograd.grad(value, given, grad.to(value.dtype))]


def worst(found: Tensor, true: Tensor) -> float:
    return float((found.double() - true).norm())


def check(text: str, operands: list[Tensor], width: int) -> None:
    """Within twice the error of torch's own passes in the same precision, and of one rounding."""
    wide = [operand.double() for operand in operands]
    shape = exact(text, wide, width, torch.ones(()).double().expand(kernels.like_result(wide, width).shape))[0]
    grad = torch.randn_like(shape).to(operands[0].dtype)
    true, plain = exact(text, wide, width, grad.double()), exact(text, operands, width, grad)
    value, grads = kernels.backward(grad, operands, width, text)
    alone = kernels.forward(operands, width, text)
    assert torch.equal(alone, value)
    for mine, other, right in zip([value, *grads], plain, true, strict=True):
        assert mine.shape == right.shape
        assert mine.dtype == other.dtype
        rounding = float(right.norm()) * torch.finfo(mine.dtype).eps
        assert worst(mine, right) <= 2 * worst(other, right) + rounding


def made(shapes: list[tuple[int, ...]], dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape).to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_in_every_precision(name: str, dtype: torch.dtype) -> None:
    count = generate_map(SAMPLES[name]).count
    check(SAMPLES[name], made([(5, 40)] * count, dtype), 40)


@pytest.mark.parametrize("case", CASES)
def test_every_shape(case: str) -> None:
    shapes, width = CASES[case]
    check(SAMPLES["silu gate"], made(shapes, torch.float32), width)


def test_strided_operands_and_gradients_are_read_where_they_lie() -> None:
    wide = torch.randn(6, 4, 80)
    check(SAMPLES["silu gate"], [wide[:, ::2, 10:50], wide[:, 1::2, 40:]], 40)
    check(SAMPLES["silu gate"], [wide.transpose(1, 2)[:, :40], wide.transpose(1, 2)[:, 40:]], 4)


@pytest.mark.parametrize(
    "text",
    ["1: if x0 > 0 then x0 else 0.1 * x0", "2: max(x0, x1) * min(x0, 0.5)", "1: x0 ** 3 / (1 + abs(x0))",
     "2: x0 + 0 * x1", "1: floor(x0) * x0", "1: sin(x0) * cos(x0) + log(1 + exp(x0))"],
)  # fmt: skip
def test_functions_of_every_kind_of_step(text: str) -> None:
    check(text, made([(5, 40)] * generate_map(text).count, torch.float32), 40)


def test_a_function_that_does_not_build_is_told() -> None:
    assert kernels.obstacle(SAMPLES["gelu"], "cpu") is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "generate_map", lambda text: MapSource(1, "nothing"))
        kernels.kernels_of.cache_clear()
        assert "does not build" in (kernels.obstacle("1: x0 * x0", "cpu") or "")
    kernels.kernels_of.cache_clear()
