"""Sets of layers in words that a spec author would use: ``every 6th``, ``first 3``, ``all but every 6th``."""

from __future__ import annotations

from collections.abc import Collection


def which(chosen: Collection[int], count: int) -> str:
    """The layers ``chosen`` of ``count``; empty where that is all of them.

    ``every 6th`` are layers 5, 11, 17 ...: the last of each turn of six. A plain list has at most four numbers.
    """
    layers = sorted(chosen)
    if len(layers) == count:
        return ""
    told = _told(layers, count)
    if told is not None:
        return told
    others = sorted(set(range(count)) - set(layers))
    told = _told(others, count)
    if told is not None:
        return f"all but {told}"
    return ", ".join(_runs(layers))


def _told(layers: list[int], count: int) -> str | None:
    """One phrase for the layers, where there is one."""
    if len(layers) == 1:
        return {0: "first", count - 1: "last"}.get(layers[0], str(layers[0]))
    if layers == list(range(len(layers))):
        return f"first {len(layers)}"
    if layers == list(range(count - len(layers), count)):
        return f"last {len(layers)}"
    return _periodic(layers, count)


def _periodic(layers: list[int], count: int) -> str | None:
    step = layers[1] - layers[0] if len(layers) > 1 else 0
    if step < 2 or layers != list(range(layers[0], count, step)):
        return None
    if layers[0] == step - 1:
        return f"every {ordinal(step)}"
    return f"every {ordinal(step)} from {layers[0]}"


def ordinal(number: int) -> str:
    """``2nd``, ``6th``."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _runs(layers: list[int]) -> list[str]:
    """Neighbours as ``3..7``."""
    found: list[list[int]] = []
    for layer in layers:
        if found and found[-1][1] == layer - 1:
            found[-1][1] = layer
        else:
            found.append([layer, layer])
    return [str(first) if first == last else f"{first}..{last}" for first, last in found]
