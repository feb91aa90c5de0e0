"""Which items of a diagram an operation is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from tantra_dsl.diff.operations import Operation
from tantra_dsl.draw.picture import Box, Frame, Picture, walk
from tantra_dsl.draw.svg import Mark
from tantra_dsl.semantics.model import FACTS

Side = Literal["before", "after"]

WHOLE: Final = ""
"""Address of the model itself."""
_KINDS: Final = {("add", "after"): "added", ("remove", "before"): "removed"}
_PATH: Final = re.compile(r"([^\[\]]*)\[([^\]]*)\](.*)")


def marks(picture: Picture, numbered: Sequence[tuple[int, Operation]], side: Side) -> dict[str, Mark]:
    """Marks by address for one side's picture; an operation that no item shows marks the model as a whole.

    Recipes are not drawn, so nothing is marked for what only the recipe says.
    """
    items = dict(walk(picture.flow))
    renames = [(op.path, _renamed(op)) for _, op in numbered if op.kind == "rename"]
    found: dict[str, Mark] = {}
    for number, op in numbered:
        if op.concern == "recipe" or _is_elsewhere(op, items, side):
            continue
        stem = _stem_on(side, op, renames)
        for address, kind in list(_items(items, op, stem, side)) or [(WHOLE, "changed")]:
            before = found.get(address, Mark(kind))
            found[address] = Mark(kind if kind == before.kind else "changed", (*before.numbers, number))
    return found


def _is_elsewhere(op: Operation, items: dict[str, Box | Frame], side: Side) -> bool:
    """Whether what is added or removed is an item of the other side, and not a setting of one that both have."""
    if op.kind != ("add" if side == "before" else "remove") or op.path in FACTS:
        return False
    parent = _stem(op.path).rpartition(".")[0]
    return not parent or any(isinstance(item, Frame) and item.path == parent for item in items.values())


def _stem(path: str) -> str:
    match = _PATH.fullmatch(path)
    return f"{match[1]}{match[3]}" if match else path


def _renamed(op: Operation) -> str:
    parent = _stem(op.path).rpartition(".")[0]
    return f"{parent}.{op.new}" if parent else str(op.new)


def _stem_on(side: Side, op: Operation, renames: list[tuple[str, str]]) -> str:
    """The path of an operation, its layers left out, as this side calls it; paths are those of the new model."""
    stem = _stem(op.path)
    if op.kind == "rename":
        return _renamed(op) if side == "after" else stem
    for old, new in renames if side == "before" else ():
        if _holds(new, stem):
            return old + stem.removeprefix(new)
    return stem


def _items(items: dict[str, Box | Frame], op: Operation, stem: str, side: Side) -> Iterator[tuple[str, str]]:
    """Addresses with what is said of each: added, removed or changed."""
    name = stem.partition(".")[0]
    if op.absolute:
        yield from ((address, "changed") for address, item in items.items() if item.definition == name)
        return
    if not any(_holds(item.path, stem) for item in items.values()):
        yield from ((address, "changed") for address in (_heads(items) if name == "head" else ()))
        return
    chosen = _chosen(items, op.path, stem)
    if stem.split(".")[1:2] == ["wiring"]:
        yield from _wired(items, name, chosen)
        return
    best = max(len(item.path) for item in items.values() if _holds(item.path, stem))
    exact = any(item.path == stem for item in items.values())
    kind = _KINDS.get((op.kind, side), "changed") if exact else "changed"
    for address, item in items.items():
        held = len(item.path) == best and _holds(item.path, stem) and _meets(items, address, chosen)
        if held and (isinstance(item, Box) or _is_meant(items, address, bool(chosen) or not exact)):
            yield address, kind


def _holds(path: str, stem: str) -> bool:
    return bool(path) and (stem == path or stem.startswith(f"{path}."))


def _heads(items: dict[str, Box | Frame]) -> list[str]:
    """The last item that goes to a vocabulary: what the short form `head` makes."""
    tables = [address for address, item in items.items() if isinstance(item, Box) and item.kind == "table"]
    return tables[-1:]


def _wired(items: dict[str, Box | Frame], stack: str, chosen: frozenset[int] | None) -> Iterator[tuple[str, str]]:
    """What a wiring puts around sublayers: the norms of the layers, or the layers where there is none."""
    inside = [a for a in items if items[a].path.startswith(f"{stack}.") and _meets(items, a, chosen)]
    norms = [a for a in inside if _kind(items[a]) == "norm"]
    frames = [a for a, item in items.items() if isinstance(item, Frame) and item.path == stack and item.layers]
    yield from ((address, "changed") for address in norms or frames)


def _kind(item: Box | Frame) -> str:
    return item.kind if isinstance(item, Box) else ""


def _is_meant(items: dict[str, Box | Frame], address: str, inner: bool) -> bool:
    """Of a stack and its kinds of layers, which have one path: the kinds where only some are meant, else the stack."""
    item = items[address]
    kinds = [a for a in items if a.startswith(f"{address}/") and a.count("/") == address.count("/") + 1]
    is_outer = any(isinstance(items[a], Frame) and items[a].path == item.path for a in kinds)
    is_inner = any(
        isinstance(o, Frame) and o.path == item.path and address.startswith(f"{a}/") for a, o in items.items()
    )
    return not is_outer if inner else not is_inner


# --- layers ------------------------------------------------------------------------------


def _chosen(items: dict[str, Box | Frame], path: str, stem: str) -> frozenset[int] | None:
    """The layers that a path picks; None where it picks none."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    stack = stem.removesuffix(match[3])
    numbers = [i for item in items.values() if isinstance(item, Frame) and item.path == stack for i in item.layers]
    return selected(match[2], max(numbers, default=-1) + 1)


def _meets(items: dict[str, Box | Frame], address: str, chosen: frozenset[int] | None) -> bool:
    """Whether an item is in layers that are picked, or is one of their kinds itself."""
    if chosen is None:
        return True
    around = [
        item for a, item in items.items() if isinstance(item, Frame) and (address == a or address.startswith(f"{a}/"))
    ]
    return all(not frame.layers or not chosen.isdisjoint(frame.layers) for frame in around)


def selected(words: str, count: int) -> frozenset[int]:
    """The layers of ``count`` that the words of ``which`` mean: ``every 6th``, ``all but last``, ``2..5, 9``."""
    everything = frozenset(range(count))
    if words.startswith("all but "):
        return everything - selected(words.removeprefix("all but "), count)
    numbers = [int(found) for found in re.findall(r"\d+", words)]
    if words.startswith("first"):
        return frozenset(range(*numbers[:1] or [1])) & everything
    if words.startswith("last"):
        return frozenset(range(count - (numbers[0] if numbers else 1), count)) & everything
    if words.startswith("every"):
        step = numbers[0]
        return frozenset(range(numbers[1] if len(numbers) > 1 else step - 1, count, step))
    runs = [part.split("..") for part in words.split(", ")]
    return frozenset(i for run in runs for i in range(int(run[0]), int(run[-1]) + 1)) & everything
