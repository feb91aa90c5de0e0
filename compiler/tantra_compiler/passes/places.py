"""Where a model uses its bodies."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tantra_dsl.graph.model import Graph, Node
from tantra_dsl.graph.paths import used_bodies
from tantra_dsl.graph.stacks import Layers


def places(graph: Graph) -> dict[str, list[str]]:
    """For each body, the paths at which the model uses it; "" is the model.

    In a path, ``*`` stands for every layer of a stack whose layers are all alike; where they are not, the first layer
    that has the body stands for all that have it.
    """
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
                part = f"{node.attr('name')}.{_layer(node, used)}" if node.op == "stack" else node.attr("name")
                place = (used, f"{path}.{part}".strip("."))
                if place not in seen:
                    seen.add(place)
                    pending.append(place)


def _layer(stack: Node, body: str) -> str:
    return "*" if len(set(used_bodies(stack))) == 1 else str(Layers(stack).first(body))


def with_first_layers(graph: Graph, path: str) -> str:
    """``path`` with the number of a layer replaced by what ``places`` has for its body."""
    stacks = {node.attr("name"): node for body in graph.bodies.values() for node in body.nodes if node.op == "stack"}
    parts = path.split(".")
    for number, (name, layer) in enumerate(pairwise(parts), start=1):
        stack = stacks.get(name)
        if stack is not None and layer.isdigit() and int(layer) < stack.attr("count"):
            parts[number] = _layer(stack, Layers(stack).at(int(layer)))
    return ".".join(parts)
