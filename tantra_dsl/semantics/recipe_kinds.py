"""Kinds of recipe values: what each accepts, and how it reads an evaluated value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from tantra_dsl.semantics.recipe import Value, Word


class WrongKind(Exception):
    """The value is of another type."""


class OutsideRange(Exception):
    """The value is a number that the key does not allow."""


class Kind(Protocol):
    """A type of value."""

    @property
    def text(self) -> str:
        """The type in words."""

    def read(self, value: Value) -> object:
        """The value as the recipe holds it. Raises WrongKind or OutsideRange."""


@dataclass(frozen=True)
class Number:
    """A number from ``low`` to ``high``; ``open_low`` and ``open_high`` leave the bound itself out."""

    low: float
    high: float = math.inf
    whole: bool = False
    open_low: bool = False
    open_high: bool = False

    @property
    def text(self) -> str:
        """The type in words."""
        name = "a whole number" if self.whole else "a number"
        low = f"{'above' if self.open_low else 'from'} {_plain(self.low)}"
        high = f" {'and below' if self.open_high else 'to'} {_plain(self.high)}"
        return f"{name} {low}{high if math.isfinite(self.high) else ''}"

    def read(self, value: Value) -> int | float:
        """The value, if it is of this type and in range."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (self.whole and isinstance(value, float)):
            raise WrongKind
        if not self._holds(value):
            raise OutsideRange
        return value if self.whole else float(value)

    def _holds(self, value: int | float) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= min(self.high, 1e300)
        return above and below


@dataclass(frozen=True)
class Amount:
    """Steps (a whole number) or a share of all steps (a fraction below one)."""

    text: str = "a number of steps, or a share of all steps from 0 to below 1"

    def read(self, value: Value) -> int | float:
        """The value, if it is of this type and in range."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise WrongKind
        most = 1.0 if isinstance(value, float) else MANY
        if not 0 <= value < most:
            raise OutsideRange
        return value


@dataclass(frozen=True)
class Flag:
    """true or false."""

    text: str = "true or false"

    def read(self, value: Value) -> bool:
        """The value, if it is of this type and in range."""
        if not isinstance(value, bool):
            raise WrongKind
        return value


@dataclass(frozen=True)
class Text:
    """Text in quotes."""

    text: str = "text in quotes"

    def read(self, value: Value) -> str:
        """The value, if it is of this type and in range."""
        if not isinstance(value, str):
            raise WrongKind
        return value


@dataclass(frozen=True)
class OrNone:
    """Another kind, or ``none``."""

    kind: Kind

    @property
    def text(self) -> str:
        """The type in words."""
        return f"{self.kind.text}, or none"

    def read(self, value: Value) -> object:
        """The value, if it is of this type and in range."""
        return None if is_none(value) else self.kind.read(value)


@dataclass(frozen=True)
class Two:
    """A list of two numbers."""

    kind: Number

    @property
    def text(self) -> str:
        """The type in words."""
        return f"a list of two numbers, each {self.kind.text}"

    def read(self, value: Value) -> tuple[float, float]:
        """The value, if it is of this type and in range."""
        if not isinstance(value, tuple) or len(value) != 2:
            raise WrongKind
        first, second = (self.kind.read(item) for item in value)
        return float(first), float(second)


MANY = 10**12


def _plain(bound: float) -> str:
    return f"{bound:_}" if isinstance(bound, int) else f"{bound:g}"


def is_none(value: Value) -> bool:
    """Whether ``value`` is the language's ``none``."""
    return value is None or value == Word("none")


def describe(value: Value) -> str:
    """``value`` as a message names it, short whatever it holds."""
    if is_none(value):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{value[:40]}'"
    if isinstance(value, Word):
        return f"the name '{value.name}'"
    return f"the number {shorten(value)}" if isinstance(value, (int, float)) else "a list"


def shorten(value: int | float) -> str:
    """A number in few digits, however large."""
    if isinstance(value, int) and abs(value) > MANY * MANY:
        return "more than 10 ** 24" if value > 0 else "less than -10 ** 24"
    return str(value) if isinstance(value, int) else f"{value:g}"
