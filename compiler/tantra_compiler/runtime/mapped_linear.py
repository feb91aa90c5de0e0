"""A linear layer of an elementwise function: the function's value is not kept for the backward pass, but made again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tantra_compiler.runtime.elementwise import (
    MAPPED,
    MAPPED_BACKWARD,
    Elementwise,
    keeping_less_pays,
    mapped_reference,
)
from tantra_compiler.runtime.linear import linear
from tantra_compiler.runtime.packed import is_bare, product_dtype


def mapped_linear(function: Elementwise, layer: nn.Module, *operands: Tensor, width: int) -> Tensor:
    """``layer`` of ``mapped_reference(function, *operands, width=width)``, whose operands alone are kept.

    ``width`` is the number of inputs of the linear ``layer``. One that was replaced by another kind of module, or has
    hooks, is called as any module is. The gradient cannot be differentiated again.
    """
    if torch.is_grad_enabled() and keeping_less_pays(operands) and is_bare(layer):
        return MappedProduct.apply(function.key, width, layer.weight, layer.bias, *operands)  # type: ignore[no-any-return, no-untyped-call]
    result: Tensor = layer(mapped_reference(function, *operands, width=width))
    return result


class MappedProduct(torch.autograd.Function):
    """Of the name and width of a function, a weight, a bias or None, and the operands of the function."""

    @staticmethod
    def forward(ctx: Any, function: str, width: int, weight: Tensor, bias: Tensor | None, *operands: Tensor) -> Tensor:
        """The product; keeps weight and operands."""
        ctx.save_for_backward(weight, *operands)
        ctx.function, ctx.width, ctx.with_bias = function, width, bias is not None
        value = MAPPED(list(operands), width, function)
        low, ctx.dtype = product_dtype(value, weight), value.dtype
        with torch.autocast(value.device.type, enabled=False):
            return linear(value.to(low), weight.to(low), None if bias is None else bias.to(low))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Gradients of weight, bias and operands."""
        weight, *operands = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            value = linear(grad, weight.to(grad.dtype).t()).to(ctx.dtype)  # its own gradient, which it replaces
            grads = MAPPED_BACKWARD(value, operands, ctx.width, ctx.function)
            rows = grad.reshape(-1, grad.shape[-1])
            by_weight = by_bias = None
            if ctx.needs_input_grad[2]:
                by_weight = (rows.t() @ value.to(grad.dtype).reshape(-1, ctx.width)).to(weight.dtype)
            if ctx.with_bias and ctx.needs_input_grad[3]:
                by_bias = rows.sum(0).to(weight.dtype)
        return (None, None, by_weight, by_bias, *grads)
