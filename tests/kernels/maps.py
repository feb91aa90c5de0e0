"""Elementwise functions and operands to try kernels on, and the measure that they are held to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tantra_compiler.emit.expr import Expr
from tantra_compiler.emit.formulas import Formula
from tantra_compiler.runtime.elementwise import like_result
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Program

STEPS = (
    "1: if x0 > 0 then x0 else 0.1 * x0", "2: max(x0, x1) * min(x0, 0.5)", "1: x0 ** 3 / (1 + abs(x0))",
    "2: x0 + 0 * x1", "1: floor(x0) * x0", "1: sin(x0) * cos(x0) + log(1 + exp(x0))",
)  # fmt: skip
"""Functions of every kind of step."""

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


def exact(text: str, operands: list[Tensor], width: int, grad: Tensor) -> list[Tensor]:
    """Value and gradients by torch's autograd, in the precision of the operands."""
    given = [operand.detach().clone().requires_grad_() for operand in operands]
    parts = [part for x in given for part in (x.split(width, -1) if x.dim() and x.shape[-1] > width else (x,))]
    names = [f"x{number}" for number in range(len(parts))]
    program = Program("fn", tuple(names), parse_scalar(text.partition(": ")[2]))
    source = Formula({name: Expr(name) for name in names}).expr(program.body).text
    value = eval(source, {"torch": torch, "F": torch.nn.functional, **dict(zip(names, parts, strict=True))})
    return [value.detach(), *torch.autograd.grad(value, given, grad.to(value.dtype))]


def worst(found: Tensor, true: Tensor) -> float:
    return float((found.double() - true).norm())


def check(kernels: Any, text: str, operands: list[Tensor], width: int) -> None:
    """Within twice the error of torch's own passes in the same precision, and of one rounding."""
    wide = [operand.double() for operand in operands]
    shape = exact(text, wide, width, torch.ones(()).double().expand(like_result(wide, width).shape))[0]
    grad = torch.randn_like(shape).to(operands[0].dtype)
    true, plain = exact(text, wide, width, grad.double()), exact(text, operands, width, grad)
    value = kernels.forward(operands, width, text)
    again = torch.empty_like(value).copy_(grad)
    grads = kernels.backward(again, again, operands, width, text)
    assert torch.equal(again, value)
    for one, other in zip(kernels.backward(None, grad, operands, width, text), grads, strict=True):
        assert torch.equal(one, other)
    for mine, other, right in zip([value, *grads], plain, true, strict=True):
        assert mine.shape == right.shape
        assert mine.dtype == other.dtype
        rounding = float(right.norm()) * torch.finfo(mine.dtype).eps
        assert worst(mine, right) <= 2 * worst(other, right) + rounding


def made(shapes: list[tuple[int, ...]], dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape).to(dtype) for shape in shapes]
