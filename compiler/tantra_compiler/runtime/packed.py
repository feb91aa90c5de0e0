"""Linear layers of one input as one product, their weights being views of one piece of memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tantra_compiler.runtime.linear import Linear, linear
from tantra_compiler.runtime.operators import PLAIN_TENSORS


class Packed(nn.Module):
    """A module that keeps the weights of linear layers side by side, wherever it is moved.

    ``packed`` names the layers, group by group. They remain parameters of their own, with names of their own.
    """

    packed: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def _apply(self, fn: Any, recurse: bool = True) -> Packed:
        """As every module, and then puts the weights side by side."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for names in self.packed:
            layers = [self.get_submodule(name) for name in names]
            for kind in ("weight", "bias"):
                put_side_by_side([getattr(layer, kind) for layer in layers if isinstance(layer, nn.Linear)])
        return self


def put_side_by_side(weights: Sequence[Tensor | None]) -> None:
    """Makes ``weights`` views of one piece of memory, one after the other along dimension 0."""
    present = [weight for weight in weights if weight is not None]
    alike = len({(w.dtype, w.device, w.shape[1:]) for w in present}) == 1
    if len(present) < len(weights) or not alike or present[0].is_meta or side_by_side(present) is not None:
        return
    if all(type(weight) in PLAIN_TENSORS for weight in present):
        whole = torch.cat([weight.detach() for weight in present])
        for weight, part in zip(present, torch.split(whole, [len(weight) for weight in present]), strict=True):
            weight.data = part


def side_by_side(weights: Sequence[Tensor]) -> Tensor | None:
    """All of ``weights`` as one view of the memory that they share, or None where they do not lie side by side."""
    first = weights[0]
    storage, place = first.untyped_storage().data_ptr(), first.storage_offset()
    for weight in weights:
        if weight.storage_offset() != place or weight.untyped_storage().data_ptr() != storage:
            return None
        if not weight.is_contiguous():
            return None
        place += weight.numel()
    return first.detach().as_strided((sum(map(len, weights)), *first.shape[1:]), first.stride())


def packed_linear(x: Tensor, *layers: nn.Module) -> Tensor:
    """What linear ``layers`` make of x [..., width], side by side: [..., sum of their widths].

    A layer that was replaced by another kind of module, or has hooks, is called as any module is.
    """
    if not all(is_bare(layer) for layer in layers):
        return torch.cat([layer(x) for layer in layers], -1)
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    given = (x, *weights) if biases[0] is None else (x, *weights, *biases)
    if not torch.is_grad_enabled() or not any(each.requires_grad for each in given):
        return plain_packed(x, weights, biases)  # type: ignore[arg-type]
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return linear(x, torch.cat(weights), None if biases[0] is None else torch.cat(biases))  # type: ignore[arg-type]
    return PackedProduct.apply(*given, len(layers))  # type: ignore[no-any-return, no-untyped-call]


def is_bare(layer: nn.Module) -> bool:
    """Whether ``layer`` is a linear layer that does nothing but its product with weights of its own."""
    if type(layer) is not Linear or type(layer.weight) not in PLAIN_TENSORS:
        return False
    hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    return not hooks and "forward" not in layer.__dict__


def plain_packed(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Tensor:
    """The product where the weights lie side by side and no gradient is wanted; else products side by side."""
    lying = None if torch.compiler.is_compiling() else _packed_whole(weights, biases)
    if lying is None:
        return torch.cat([linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True)], -1)
    return linear(x, *lying)


def _packed_whole(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> tuple[Tensor, Tensor | None] | None:
    weight = side_by_side(weights)
    present = [bias for bias in biases if bias is not None]
    bias = side_by_side(present) if present else None
    return None if weight is None or (present and bias is None) else (weight, bias)


def joined_weights(weights: Sequence[Tensor]) -> Tensor:
    """All of ``weights`` as one: a view where they lie side by side, else a copy."""
    found = side_by_side(weights)
    return torch.cat(list(weights)) if found is None else found


class PackedProduct(torch.autograd.Function):
    """Of x and weights, and biases behind them; under autocast in its precision, one cast for all."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights_and_count: Any) -> Tensor:
        """``x weight^T + bias`` of all layers side by side; keeps x in the precision of the product."""
        *given, count = weights_and_count
        weights, biases = given[:count], given[count:]
        low = product_dtype(x, weights[0])
        rows = x.to(low)
        ctx.save_for_backward(rows, *weights)
        ctx.dtype, ctx.with_biases = x.dtype, bool(biases)
        with torch.autocast(x.device.type, enabled=False):
            return linear(rows, joined_weights(weights).to(low), joined_weights(biases).to(low) if biases else None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, of the weights and of the biases, those of all layers side by side."""
        x, *weights = ctx.saved_tensors
        wanted, sizes = ctx.needs_input_grad[1:-1], [len(weight) for weight in weights]
        for_weights, for_biases = wanted[: len(weights)], wanted[len(weights) :]
        with torch.autocast(x.device.type, enabled=False):
            rows, width = grad.reshape(-1, grad.shape[-1]), x.shape[-1]
            grad_x = None
            if ctx.needs_input_grad[0]:
                grad_x = linear(grad, joined_weights(weights).to(grad.dtype).t()).to(ctx.dtype)
            grads = _packed_parts(rows.t() @ x.reshape(-1, width), sizes, weights[0].dtype, for_weights)
            sums = _packed_parts(rows.sum(0), sizes, weights[0].dtype, for_biases) if ctx.with_biases else []
        return (grad_x, *grads, *sums, None)


def _packed_parts(whole: Tensor, sizes: list[int], dtype: torch.dtype, wanted: Sequence[bool]) -> list[Tensor | None]:
    parts = torch.split(whole.to(dtype), sizes)
    return [part if want else None for part, want in zip(parts, wanted, strict=True)]


def product_dtype(x: Tensor, weight: Tensor) -> torch.dtype:
    """In what a product of ``x`` and ``weight`` is taken: autocast's precision where that is on."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and torch.float64 not in (x.dtype, weight.dtype):
        return torch.get_autocast_dtype(device)
    return x.dtype
