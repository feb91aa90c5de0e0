"""A flow as a person would draw it: sums of sums as one, what only scales a side way as a label on it."""

from __future__ import annotations

from dataclasses import replace

from tantra_dsl.draw.picture import Box, Edge, Flow, Frame


def tidied(flow: Flow) -> Flow:
    """``flow`` with sums merged, side scalings as labels, every edge once, and no input that nothing reads."""
    flow = replace(flow, edges=tuple(dict.fromkeys(flow.edges)))
    return _labelled(_merged(flow))


def _merged(flow: Flow) -> Flow:
    """A sum that only another sum reads is part of that one."""
    sums = {item.id for item in flow.items if isinstance(item, Box) and item.kind == "join" and item.title == "+"}
    readers: dict[str, list[str]] = {}
    for edge in flow.edges:
        readers.setdefault(edge.source, []).append(edge.target)
    into = {id: readers[id][0] for id in sums if len(readers.get(id, ())) == 1 and readers[id][0] in sums}
    if not into:
        return flow
    ends = {id: _end(id, into) for id in into}
    kept = [replace(e, target=ends.get(e.target, e.target)) for e in flow.edges if e.source not in into]
    items = tuple(item for item in flow.items if item.id not in into)
    return Flow(items, tuple(dict.fromkeys(kept)), flow.inputs)


def _end(id: str, into: dict[str, str]) -> str:
    while id in into:
        id = into[id]
    return id


def _labelled(flow: Flow) -> Flow:
    """A product with a number between two items that are joined by another way, too, is a label on an edge."""
    for item in flow.items:
        if isinstance(item, Box) and item.kind == "scale":
            flow = _without(flow, item)
    return flow


def _without(flow: Flow, box: Box) -> Flow:
    before = [edge for edge in flow.edges if edge.target == box.id]
    after = [edge for edge in flow.edges if edge.source == box.id]
    if len(before) != 1 or len(after) != 1:
        return flow
    others = tuple(edge for edge in flow.edges if edge not in (before[0], after[0]))
    if after[0].port or not _far(others, before[0].source, after[0].target):
        return flow
    label = ", ".join(part for part in (before[0].label, box.title) if part)
    around = Edge(before[0].source, after[0].target, "", label)
    items: tuple[Box | Frame, ...] = tuple(item for item in flow.items if item.id != box.id)
    return Flow(items, (*others, around), flow.inputs)


def _far(edges: tuple[Edge, ...], source: str, target: str) -> bool:
    """Whether ``target`` is reached from ``source`` by way of something else."""
    ahead: dict[str, list[str]] = {}
    for edge in edges:
        if (edge.source, edge.target) != (source, target):
            ahead.setdefault(edge.source, []).append(edge.target)
    seen, left = {source}, [source]
    while left:
        for reached in ahead.get(left.pop(), ()):
            if reached == target:
                return True
            if reached not in seen:
                seen.add(reached)
                left.append(reached)
    return False
