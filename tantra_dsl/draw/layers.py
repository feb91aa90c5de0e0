"""The kinds of layers of a stack: those that would be drawn the same are one kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

from tantra_dsl.draw.picture import Box, Flow, Frame
from tantra_dsl.graph.model import BodyRef, Node, layer_counts
from tantra_dsl.graph.stacks import Layers

_MOST_KINDS = 3
"""Kinds that are drawn one by one; of more, those that differ in numbers alone are drawn once, with ranges."""
_LISTED = 4_096
"""Layers of a stack that are numbered one by one."""
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Kind:
    """Layers that are drawn once: how many, their numbers (where these are not very many), and what they do."""

    flow: Flow
    count: int
    layers: tuple[int, ...]
    remark: str = ""


@dataclass(frozen=True)
class Kinds:
    """The kinds of a stack in the order of first use; ``turn`` is its pattern as (number of the kind, layers)."""

    found: tuple[Kind, ...]
    keys: tuple[str, ...]
    turn: tuple[tuple[int, int], ...]
    total: int


def layer_kinds(stack: Node, named: Callable[[str], str], drawn: Callable[[str, tuple[int, ...]], Flow]) -> Kinds:
    """The kinds of layers of ``stack``; ``drawn`` gives what is drawn of a body that is at some layers."""
    places = _places(stack)
    flows = {key: drawn(key, layers) for key, layers in places.items()}
    groups = _grouped({key: repr(flow) for key, flow in flows.items()})
    if len(groups) > _MOST_KINDS:
        groups = _grouped({key: _NUMBER.sub("#", repr(flow)) for key, flow in flows.items()})
    numbers = {key: index for index, keys in enumerate(groups) for key in keys}
    turn = Layers(stack).shortest(numbers)
    counts = layer_counts(stack)
    told = tuple((numbers[key], count) for key, count in turn)
    listed = not _is_short(told, tuple(named(keys[0]) for keys in groups))
    found = tuple(_kind(keys, flows, counts, places, listed) for keys in groups)
    return Kinds(found, tuple(keys[0] for keys in groups), told, stack.attr("count"))


def _places(stack: Node) -> dict[str, tuple[int, ...]]:
    """For each body its layers, in the order of first use; no numbers where there are very many."""
    runs: tuple[tuple[BodyRef, int], ...] = stack.attr("runs")
    layers = Layers(stack)
    keys = [key for key in dict.fromkeys(ref.key for ref, _ in runs) if layers.first(key) < layers.count]
    found: dict[str, list[int]] = {key: [] for key in keys}
    for index in range(layers.count if layers.count <= _LISTED else 0):
        found[layers.at(index)].append(index)
    return {key: tuple(numbers) for key, numbers in found.items()}


def _grouped(shown: dict[str, str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for key, what in shown.items():
        groups.setdefault(what, []).append(key)
    return list(groups.values())


def _kind(
    keys: list[str],
    flows: dict[str, Flow],
    counts: dict[str, int],
    places: dict[str, tuple[int, ...]],
    listed: bool,
) -> Kind:
    layers = tuple(sorted(index for key in keys for index in places[key]))
    flow = _ranged([flows[key] for key in keys])
    return Kind(flow, sum(counts[key] for key in keys), layers, _numbers(layers) if listed else "")


def _numbers(layers: tuple[int, ...]) -> str:
    """``layers 0–2, 7, 9 …``."""
    runs = [[index for _, index in run] for _, run in groupby(enumerate(layers), lambda pair: pair[1] - pair[0])]
    told = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs[:5]]
    if not told:
        return ""
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(told)}{' …' if len(runs) > 5 else ''}"


def stack_title(kinds: Kinds, names: list[str]) -> tuple[str, ...]:
    """How many layers there are and in which turn; lines that a stack's head shows."""
    length = sum(count for _, count in kinds.turn)
    if not _is_short(kinds.turn, tuple(names)):
        return (f"{kinds.total:,} layers of {len(names)} kinds",)
    pattern = ", ".join(f"{count:,} {names[kind]}" for kind, count in kinds.turn)
    return (
        f"{kinds.total:,} layers",
        f"in turn {pattern}" if length < kinds.total else pattern.replace(", ", ", then "),
    )


def _is_short(turn: tuple[tuple[int, int], ...], names: tuple[str, ...]) -> bool:
    """Whether a pattern is told by its names alone."""
    return len(turn) <= _MOST_KINDS + 1 and len(set(names)) == len(names)


# --- ranges ------------------------------------------------------------------------------


def _ranged(flows: list[Flow]) -> Flow:
    """Flows that differ in numbers alone as one, with the numbers that differ as ranges."""
    if len(flows) == 1:
        return flows[0]
    items = tuple(_ranged_item([flow.items[place] for flow in flows]) for place in range(len(flows[0].items)))
    edges = tuple(
        replace(edge, label=_ranged_text([flow.edges[place].label for flow in flows]))
        for place, edge in enumerate(flows[0].edges)
    )
    return replace(flows[0], items=items, edges=edges)


def _ranged_item(items: list[Box | Frame]) -> Box | Frame:
    title = _ranged_text([item.title for item in items])
    lines = tuple(map(_ranged_text, zip(*(item.lines for item in items), strict=True)))
    first = items[0]
    if isinstance(first, Box):
        return replace(first, title=title, lines=lines)
    flow = _ranged([item.flow for item in items if isinstance(item, Frame)])
    return replace(first, title=title, lines=lines, flow=flow)


def _ranged_text(texts: list[str] | tuple[str, ...]) -> str:
    numbers = [_NUMBER.findall(text) for text in texts]
    between = _NUMBER.split(texts[0])
    ranges = [_range(values) for values in zip(*numbers, strict=True)]
    return "".join(part for pair in zip(between, [*ranges, ""], strict=True) for part in pair)


def _range(values: tuple[str, ...]) -> str:
    if len(set(values)) == 1:
        return values[0]
    ordered = sorted(values, key=lambda value: float(value.replace(",", "")))
    return f"{ordered[0]} … {ordered[-1]}"
