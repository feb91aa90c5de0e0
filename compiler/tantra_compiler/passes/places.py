"""Where a model uses its bodies."""

from __future__ import annotations

from collections.abc import Iterator

from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.paths import used_bodies


def places(graph: Graph) -> dict[str, list[str]]:
    """For each body, the paths at which the model uses it; ``*`` stands for every layer of a stack, "" is the model."""
    found: dict[str, list[str]] = {}
    for key, path in _places(graph):
        found.setdefault(key, []).append(path)
    return found


def _places(graph: Graph) -> Iterator[tuple[str, str]]:
    """Every body with every path that leads to it, each once."""
    pending, seen = [(graph.root, "")], {(graph.root, "")}
    while pending:
        key, path = pending.pop()
        yield key, path
        for node in graph.bodies[key].nodes:
            for used in used_bodies(node):
                part = f"{node.attr('name')}.*" if node.op == "stack" else node.attr("name")
                place = (used, f"{path}.{part}".strip("."))
                if place not in seen:
                    seen.add(place)
                    pending.append(place)
