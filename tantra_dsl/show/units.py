"""Numbers as people say them."""

from __future__ import annotations

from typing import Final

from tantra_dsl.graph.costs.figures import Figure

_PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def scaled(value: int) -> tuple[str, str]:
    """Digits and the prefix of a power of 1000: ``("124.4", "M")``; one digit behind the point from 1000 on."""
    size, number = 0, float(value)
    while abs(number) >= 999.95 and size + 1 < len(_PREFIXES):
        size, number = size + 1, number / 1000
    return (f"{number:.1f}" if size else str(value)), _PREFIXES[size]


def count_text(value: int) -> str:
    """``124.4M``; thousands are ``K`` and billions ``B``, as is usual for weights."""
    digits, prefix = scaled(value)
    return digits + {"k": "K", "G": "B"}.get(prefix, prefix)


def flop_text(value: int) -> str:
    """``1.2 GFLOP``."""
    digits, prefix = scaled(value)
    return f"{digits} {prefix}FLOP"


def byte_text(value: int) -> str:
    """``36.9 kB``, in powers of 1000."""
    digits, prefix = scaled(value)
    return f"{digits} {prefix}B"


def figure_text(name: str, figure: Figure) -> str:
    """A figure in the unit that its name says; ``unknown`` where it is not known, ``<=`` before an upper bound."""
    if figure.value is None:
        return "unknown"
    unit = flop_text if name.startswith("flops") else byte_text if "bytes" in name else count_text
    return f"{'<= ' if figure.bound == 'upper' else ''}{unit(figure.value)}"
