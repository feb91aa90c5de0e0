"""Run-time lengths across calls: a body is typed in the lengths of its first call, and may be called with others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tantra_dsl.graph.types import Dim, Size, TensorType

Binding = Mapping[str, Size]
"""What each run-time length of a body is, in the lengths of the body that calls it."""


def bind(pairs: Iterable[tuple[TensorType, TensorType]]) -> dict[str, Size]:
    """Lengths of a body from the types of its parameters and arguments: the first dimension that is a length tells."""
    binding: dict[str, Size] = {}
    for parameter, argument in pairs:
        for own, given in zip(parameter.dims, argument.dims, strict=False):
            symbol = own.size.terms[0][0] if own.size.terms else ""
            if own.size == Size.symbol(symbol):
                binding.setdefault(symbol, given.size)
    return binding


def bound_size(size: Size, binding: Binding) -> Size:
    """``size`` in the caller's lengths."""
    total = Size(size.constant)
    for symbol, factor in size.terms:
        total = total + binding.get(symbol, Size.symbol(symbol)).scaled(factor)
    return total


def bound_type(type: TensorType, binding: Binding) -> TensorType:
    """``type`` in the caller's lengths."""
    return TensorType(tuple(Dim(dim.name, bound_size(dim.size, binding)) for dim in type.dims), type.dtype)


def bound_lengths(lengths: Mapping[str, int], binding: Binding) -> dict[str, int]:
    """Values of a body's lengths, from the values of its caller's."""
    return {**lengths, **{symbol: size.value(lengths) for symbol, size in binding.items()}}
