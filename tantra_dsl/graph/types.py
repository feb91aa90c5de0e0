"""Tensor types with named, symbolic dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True, slots=True)
class Size:
    """An extent, affine in run-time lengths: ``constant + sum(factor * symbol)``.

    Symbols are ``batch`` and, for the time axis of input ``x``, ``x.time`` (``time`` for ``tokens``).
    """

    constant: Fraction = Fraction(0)
    terms: tuple[tuple[str, Fraction], ...] = ()

    @staticmethod
    def of(value: int) -> Size:
        """A known extent."""
        return Size(Fraction(value))

    @staticmethod
    def symbol(name: str) -> Size:
        """A run-time length."""
        return Size(Fraction(0), ((name, Fraction(1)),))

    @property
    def known(self) -> int | None:
        """The extent as an int, or None when it depends on a run-time length."""
        if self.terms or self.constant.denominator != 1:
            return None
        return int(self.constant)

    def __add__(self, other: Size) -> Size:
        factors = dict(self.terms)
        for symbol, factor in other.terms:
            factors[symbol] = factors.get(symbol, Fraction(0)) + factor
        kept = tuple(sorted((s, f) for s, f in factors.items() if f))
        return Size(self.constant + other.constant, kept)

    def scaled(self, factor: Fraction) -> Size:
        """This extent times ``factor``."""
        if not factor:
            return Size()
        return Size(self.constant * factor, tuple((s, f * factor) for s, f in self.terms))

    def __sub__(self, other: Size) -> Size:
        return self + other.scaled(Fraction(-1))

    def value(self, lengths: Mapping[str, int]) -> int:
        """The extent for the given run-time lengths. Raises KeyError for a missing symbol."""
        total = self.constant + sum(factor * lengths[symbol] for symbol, factor in self.terms)
        return int(total)

    def __str__(self) -> str:
        parts = [f"{symbol}" if factor == 1 else f"{factor} * {symbol}" for symbol, factor in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts)


@dataclass(frozen=True, slots=True)
class Dim:
    """A named dimension; the name says what it means (``batch``, ``time``, ``heads``, ``head_dim``, ``dim``)."""

    name: str
    size: Size

    def __str__(self) -> str:
        return self.name if str(self.size) == self.name else f"{self.name}={self.size}"


DType = Literal["float", "int", "bool"]


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a tensor before it exists. A scalar has no dimensions."""

    dims: tuple[Dim, ...]
    dtype: DType = "float"

    def axis(self, name: str) -> int | None:
        """Position of the dimension called ``name``, or None."""
        for position, dim in enumerate(self.dims):
            if dim.name == name:
                return position
        return None

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.dims)

    def with_last(self, dim: Dim) -> TensorType:
        """This type with its last dimension replaced."""
        return TensorType((*self.dims[:-1], dim), self.dtype)

    def __str__(self) -> str:
        inner = ", ".join(str(dim) for dim in self.dims)
        return f"[{inner}]" if self.dtype == "float" else f"{self.dtype}[{inner}]"
