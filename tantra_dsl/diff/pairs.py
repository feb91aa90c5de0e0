"""Pairing of two ordered lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Item = TypeVar("Item")


def paired(
    old: list[Item], new: list[Item], likeness: Callable[[Item, Item], float]
) -> list[tuple[Item | None, Item | None]]:
    """Each item with its counterpart, the likest pairs first; None beside what has no counterpart.

    In the order of ``new``, with what is only in ``old`` where it stood. Likeness 0 never pairs.
    """
    scored = [
        (likeness(a, b), -abs(i - j), i, j) for i, a in enumerate(old) for j, b in enumerate(new) if likeness(a, b) > 0
    ]
    mate: dict[int, int] = {}
    for _, _, i, j in sorted(scored, reverse=True):
        if i not in mate and j not in mate.values():
            mate[i] = j
    return _listed(old, new, mate)


def _listed(old: list[Item], new: list[Item], mate: dict[int, int]) -> list[tuple[Item | None, Item | None]]:
    found: list[tuple[Item | None, Item | None]] = []
    waiting = list(range(len(old)))
    back = {j: i for i, j in mate.items()}
    for j, b in enumerate(new):
        i = back.get(j)
        while i is not None and waiting and waiting[0] < i:
            lone = waiting.pop(0)
            if lone not in mate:
                found.append((old[lone], None))
        if i in waiting:
            waiting.remove(i)
        found.append((None if i is None else old[i], b))
    return [*found, *((old[i], None) for i in waiting if i not in mate)]
