"""Where a loss stopped being a number: the first module and operation whose result is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


def tensors_in(value: object) -> Iterator[Tensor]:
    """The floating-point tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))


def is_finite(value: object) -> bool:
    """Whether every number in ``value`` is finite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors_in(value))


class _FirstFault(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the first operation that makes NaN without being given one, or infinity out of finite numbers.

    Filling a mask with -inf is no fault.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path: list[str] = []
        self.found: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = [*tensors_in(args), *tensors_in(kwargs or {})] if self.found is None else []
        before = _worst(inputs)
        result = func(*args, **(kwargs or {}))
        if inputs and _worst(list(tensors_in(result))) > before and not _makes_masks(str(func)):
            where = self.path[-1] if self.path and self.path[-1] else "the model itself"
            self.found = f"{where} (operation {str(func).removeprefix('aten.').partition('.')[0]})"
        return result


def _worst(tensors: list[Tensor]) -> int:
    """0: all finite; 1: some infinite; 2: some NaN."""
    if any(bool(torch.isnan(tensor).any()) for tensor in tensors):
        return 2
    return 0 if all(map(is_finite, tensors)) else 1


def _makes_masks(operation: str) -> bool:
    return any(name in operation for name in ("masked_fill", "full", "fill_", "where", "empty", "new_"))


@contextmanager
def _watched(module: nn.Module, fault: _FirstFault) -> Iterator[None]:
    """Keeps ``fault.path`` at the module that runs."""
    handles = []
    for name, part in module.named_modules():
        handles.append(part.register_forward_pre_hook(_entering(fault, name)))
        handles.append(part.register_forward_hook(_leaving(fault), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entering(fault: _FirstFault, name: str) -> Callable[[nn.Module, Any], None]:
    def enter(module: nn.Module, inputs: Any) -> None:
        fault.path.append(name)

    return enter


def _leaving(fault: _FirstFault) -> Callable[[nn.Module, Any, Any], None]:
    def leave(module: nn.Module, inputs: Any, outputs: Any) -> None:
        fault.path.pop()

    return leave


def first_fault(module: nn.Module, forward: Callable[[], Tensor]) -> str:
    """Names the weight, or the module and operation, where ``forward`` first is not finite; then the gradients."""
    weights = [name for name, weight in module.named_parameters() if not is_finite(weight)]
    if weights:
        return f"weight {weights[0]}, before the step"
    fault = _FirstFault()
    with _watched(module, fault), fault:
        loss = forward()
    if fault.found is not None:
        return fault.found
    return _first_gradient(module, loss)


def _first_gradient(module: nn.Module, loss: Tensor) -> str:
    """The backward pass visits weights last to first, so the last bad one in order is where it began."""
    module.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    named = module.named_parameters()
    bad = [name for name, weight in named if weight.grad is not None and not is_finite(weight.grad)]
    return f"the gradient of {bad[-1]}" if bad else "nowhere when the batch ran once more"
