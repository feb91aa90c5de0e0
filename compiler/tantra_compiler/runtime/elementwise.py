"""Elementwise functions of the language as one operator: what they are made from is kept, never what lies between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tantra_compiler.runtime.operators import fused_pays, native_kernels, operator_namespace, triton_kernels


class Elementwise:
    """An elementwise function with its gradients.

    ``value(*variables)`` computes it. ``gradients(grad, *variables)`` gives the value once more and then, for each
    variable, ``grad`` times the slope by it, before the sums over what was broadcast. ``text`` is the function in the
    language, ``a, b: ...``, for kernels to be made from. Operators know a function by ``key``, the name of ``value``,
    which must be defined at the top of a module.
    """

    known: ClassVar[dict[str, Elementwise]] = {}

    def __init__(self, value: Callable[..., Tensor], gradients: Callable[..., tuple[Tensor, ...]], text: str) -> None:
        self.key = f"{value.__module__}.{value.__qualname__}"
        self.value = value
        self.gradients = gradients
        self.text = text
        self.known[self.key] = self


_MAP_PART = 2**17
"""So many numbers for each thread, and what is made of them, fit the cache of one core."""


def mapped(function: Elementwise, *operands: Tensor, width: int) -> Tensor:
    """``mapped_reference`` that keeps the operands only, and computes the function again in the backward pass.

    Its gradient cannot be differentiated again.
    """
    taught = torch.is_grad_enabled() and any(operand.requires_grad for operand in operands)
    if taught and keeping_less_pays(operands):
        result: Tensor = MAPPED(list(operands), width, function.key)
        return result
    return mapped_reference(function, *operands, width=width)


def keeping_less_pays(operands: Sequence[Tensor]) -> bool:
    """Whether ``fused_pays`` for the largest of ``operands``."""
    return any(fused_pays(operand, *operands) for operand in operands)


def mapped_reference(function: Elementwise, *operands: Tensor, width: int) -> Tensor:
    """``function`` of the variables that ``operands`` hold: each one, or several side by side along dimension -1.

    ``width`` is the extent of a variable there; an operand of another extent below it is broadcast.
    """
    return function.value(*variables(operands, width))


def variables(operands: Sequence[Tensor], width: int) -> list[Tensor]:
    """The variables that ``operands`` hold, as views."""
    return [part for operand in operands for part in _cut(operand, width)]


def _cut(operand: Tensor, width: int) -> Sequence[Tensor]:
    packed = operand.dim() and operand.shape[-1] > width
    return torch.split(operand, width, dim=-1) if packed else (operand,)


# --- the operators -------------------------------------------------------------------------

_MAPPED_SCHEMA = "mapped(Tensor[] operands, int width, str function) -> Tensor"
_MAPPED_GRADIENTS_SCHEMA = "mapped_gradients(Tensor grad, Tensor[] operands, int width, str function) -> Tensor[] grads"
_MAPPED_BACKWARD_SCHEMA = (
    "mapped_backward(Tensor(a!) value, Tensor[] operands, int width, str function) -> Tensor[] grads"
)
"""``mapped_gradients`` from what ``value`` holds without gaps, which then becomes the function's value."""


def _mapped_on_cpu(operands: list[Tensor], width: int, function: str) -> Tensor:
    kernels = native_kernels("elementwise")
    made = None if kernels is None else kernels.forward(operands, width, Elementwise.known[function].text)
    return _mapped_by_torch(operands, width, function) if made is None else made


def _mapped_by_torch(operands: list[Tensor], width: int, function: str) -> Tensor:
    known, found = Elementwise.known[function], variables(operands, width)
    if len(found) == 1:
        return known.value(found[0]).contiguous()
    value = like_result(operands, width)
    rows, inputs = as_rows(value, value.shape), [as_rows(each, value.shape) for each in found]
    for part in _row_parts(rows):
        rows[part] = known.value(*(each[part] for each in inputs))
    return value


def _mapped_gradients_on_cpu(grad: Tensor, operands: list[Tensor], width: int, function: str) -> list[Tensor]:
    return _gradients_on_cpu(None, grad, operands, width, function)


def _mapped_backward_on_cpu(value: Tensor, operands: list[Tensor], width: int, function: str) -> list[Tensor]:
    return _gradients_on_cpu(value, value, operands, width, function)


def _gradients_on_cpu(
    value: Tensor | None, grad: Tensor, operands: list[Tensor], width: int, function: str
) -> list[Tensor]:
    kernels = native_kernels("elementwise")
    made = None if kernels is None else kernels.backward(value, grad, operands, width, Elementwise.known[function].text)
    return _gradients_by_torch(value, grad, operands, width, function) if made is None else made


def _gradients_by_torch(
    value: Tensor | None, grad: Tensor, operands: list[Tensor], width: int, function: str
) -> list[Tensor]:
    known, found = Elementwise.known[function], variables(operands, width)
    if len(found) == 1:
        again, made = known.gradients(grad, found[0])
        by_variable = made.to(found[0].dtype).contiguous()
        if value is not None:
            by_variable = by_variable.clone() if by_variable.data_ptr() == value.data_ptr() else by_variable
            value.copy_(again)
        return [by_variable]
    wholes, places = gradient_places(operands, width, grad.shape)
    rows, slope = None if value is None else as_rows(value, grad.shape), as_rows(grad, grad.shape)
    inputs, slots = ([as_rows(each, grad.shape) for each in many] for many in (found, places))
    for part in _row_parts(slope):
        again, *gradients = known.gradients(slope[part], *(each[part] for each in inputs))
        for slot, each in zip(slots, gradients, strict=True):
            slot[part] = each
        if rows is not None:  # last, since it may lie where the gradient does
            rows[part] = again
    return summed_gradients(operands, wholes)


def as_rows(x: Tensor, shape: torch.Size) -> Tensor:
    """``x`` broadcast to ``shape``, as rows whose columns are 0 or 1 apart: a view where its strides allow that."""
    rows = x.expand(shape).reshape(math.prod(shape[:-1]), shape[-1]) if shape else x.view(1, 1)
    return rows if rows.stride(1) in (0, 1) or rows.shape[1] == 1 else rows.contiguous()


def _row_parts(rows: Tensor) -> Iterator[slice]:
    """Some rows after the other, so that steps between find what they read in the cache."""
    step = max(1, _MAP_PART * torch.get_num_threads() // max(1, rows.shape[1]))
    return (slice(start, start + step) for start in range(0, len(rows), step))


def gradient_places(operands: Sequence[Tensor], width: int, shape: torch.Size) -> tuple[list[Tensor], list[Tensor]]:
    """Memory for the gradient of each operand before the sums over what was broadcast, and of each variable in it."""
    wholes: list[Tensor] = []
    places: list[Tensor] = []
    for operand in operands:
        parts = _cut(operand, width)
        wide = (*shape[:-1], shape[-1] * len(parts)) if shape else shape
        same = all(part.shape == shape for part in parts)
        dtype = operand.dtype if same else torch.promote_types(operand.dtype, torch.float32)
        wholes.append(operand.new_empty(wide, dtype=dtype))
        places += _cut(wholes[-1], width)
    return wholes, places


def summed_gradients(operands: Sequence[Tensor], wholes: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of operands, summed over what was broadcast."""
    pairs = zip(wholes, operands, strict=True)
    return [whole.sum_to_size(operand.shape).to(operand.dtype) for whole, operand in pairs]


def _mapped_on_gpu(operands: list[Tensor], width: int, function: str) -> Tensor:
    text = Elementwise.known[function].text
    kernels = _map_kernels(text, operands[0].device.type)
    return _mapped_by_torch(operands, width, function) if kernels is None else kernels.forward(operands, width, text)


def _mapped_gradients_on_gpu(grad: Tensor, operands: list[Tensor], width: int, function: str) -> list[Tensor]:
    return _gradients_on_gpu(None, grad, operands, width, function)


def _mapped_backward_on_gpu(value: Tensor, operands: list[Tensor], width: int, function: str) -> list[Tensor]:
    return _gradients_on_gpu(value, value, operands, width, function)


def _gradients_on_gpu(
    value: Tensor | None, grad: Tensor, operands: list[Tensor], width: int, function: str
) -> list[Tensor]:
    text = Elementwise.known[function].text
    kernels = _map_kernels(text, operands[0].device.type)
    if kernels is None:
        return _gradients_by_torch(value, grad, operands, width, function)
    return kernels.backward(value, grad, operands, width, text)  # type: ignore[no-any-return]


def _map_kernels(text: str, device: str) -> Any:
    return triton_kernels("elementwise", text, device, f"the function {text!r}")


def _mapped_fake(operands: list[Tensor], width: int, function: str) -> Tensor:
    return like_result(operands, width)


def _mapped_gradients_fake(value: Tensor, operands: list[Tensor], width: int, function: str) -> list[Tensor]:
    return [operand.new_empty(operand.shape) for operand in operands]


def like_result(operands: Sequence[Tensor], width: int) -> Tensor:
    """Memory for the value of a function of the variables that ``operands`` hold."""
    found = variables(operands, width)
    dtype = found[0].dtype
    for variable in found[1:]:
        dtype = torch.result_type(torch.empty(1, dtype=dtype, device="meta"), variable)
    shape = torch.broadcast_shapes(*(variable.shape for variable in found))  # type: ignore[no-untyped-call]
    return operands[0].new_empty(shape, dtype=dtype)


def _keep_operands(ctx: Any, inputs: tuple[list[Tensor], int, str], output: Tensor) -> None:
    operands, ctx.width, ctx.function = inputs
    ctx.save_for_backward(*operands)


@once_differentiable
def _mapped_gradients(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """One for each input of the operator."""
    return MAPPED_GRADIENTS(grad, list(ctx.saved_tensors), ctx.width, ctx.function), None, None


def _registered_map(name: str, schema: str, on_cpu: Any, on_gpu: Any, fake: Any) -> Any:
    _ELEMENTWISE_LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    _ELEMENTWISE_LIBRARY.impl(name, on_cpu, "CPU")  # type: ignore[no-untyped-call]
    _ELEMENTWISE_LIBRARY.impl(name, on_gpu, "CUDA")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{operator_namespace(__name__)}::{name}", fake, lib=_ELEMENTWISE_LIBRARY)
    return getattr(getattr(torch.ops, operator_namespace(__name__)), name).default


def _registered_function() -> Any:
    """The operator with its gradient."""
    operator = _registered_map("mapped", _MAPPED_SCHEMA, _mapped_on_cpu, _mapped_on_gpu, _mapped_fake)
    name = f"{operator_namespace(__name__)}::mapped"
    torch.library.register_autograd(name, _mapped_gradients, setup_context=_keep_operands, lib=_ELEMENTWISE_LIBRARY)
    return operator


_ELEMENTWISE_LIBRARY = torch.library.Library(operator_namespace(__name__), "FRAGMENT")  # type: ignore[no-untyped-call]
MAPPED_GRADIENTS = _registered_map(
    "mapped_gradients",
    _MAPPED_GRADIENTS_SCHEMA,
    _mapped_gradients_on_cpu,
    _mapped_gradients_on_gpu,
    _mapped_gradients_fake,
)
MAPPED_BACKWARD = _registered_map(
    "mapped_backward",
    _MAPPED_BACKWARD_SCHEMA,
    _mapped_backward_on_cpu,
    _mapped_backward_on_gpu,
    _mapped_gradients_fake,
)
MAPPED = _registered_function()
