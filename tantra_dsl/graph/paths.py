"""Weights of a graph by path, and how many numbers they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tantra_dsl.graph.model import Body, BodyRef, Graph, Init, Node, layer_bodies, layer_counts
from tantra_dsl.graph.types import TensorType


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that the model keeps: its ``state_dict`` key, shape, start, and whether weight decay applies to it.

    One that is not ``trained`` is a buffer: it is no parameter.
    """

    path: str
    shape: tuple[int, ...]
    init: Init
    decay: bool
    trained: bool = True

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def weights(graph: Graph) -> Iterator[Weight]:
    """Every weight of the model once, in the order of the equations; layers are expanded as they are asked for."""
    return body_weights(graph, graph.main)


def body_weights(graph: Graph, body: Body, prefix: str = "") -> Iterator[Weight]:
    """Every weight that an instance of ``body`` owns, with ``prefix`` before its path."""
    for node in body.nodes:
        if node.op == "param":
            yield _weight(node, prefix)
        elif node.op == "stack":
            yield from _stack_weights(graph, node, f"{prefix}{node.attr('name')}.")
        elif owns_body(node):
            yield from body_weights(graph, graph.body_of(node), f"{prefix}{node.attr('name')}.")


def _weight(node: Node, prefix: str) -> Weight:
    trained = bool(node.attr("trained", True))
    return Weight(prefix + node.attr("name"), weight_shape(node), node.attr("init"), node.attr("decay"), trained)


def type_of_weight(graph: Graph, body: Body, path: str) -> TensorType | None:
    """Type of the weight at ``path`` below an instance of ``body``, or None; stacks are not looked into."""
    for node in body.nodes:
        name = node.attr("name")
        if node.op == "param" and name == path:
            return node.type
        if owns_body(node) and path.startswith(f"{name}."):
            found = type_of_weight(graph, graph.body_of(node), path[len(name) + 1 :])
            if found is not None:
                return found
    return None


def parameter_count(graph: Graph) -> int:
    """How many learned numbers the model has; costs what its distinct bodies cost."""
    return body_parameter_counts(graph)[graph.root]


def body_parameter_counts(graph: Graph) -> dict[str, int]:
    """For each body, how many learned numbers one instance of it owns; what is shared counts once."""
    counts: dict[str, int] = {}
    for key in bottom_up(graph):
        counts[key] = sum(owned_count(node, counts) for node in graph.bodies[key].nodes)
    return counts


def owned_count(node: Node, counts: dict[str, int]) -> int:
    """How many learned numbers ``node`` owns, given the ``counts`` of the bodies that it uses."""
    if node.op == "param":
        return math.prod(weight_shape(node)) if node.attr("trained", True) else 0
    if node.op == "stack":
        return sum(counts[key] * times for key, times in instance_counts(node).items())
    return counts[node.attr("body").key] if owns_body(node) else 0


def instance_counts(stack: Node) -> dict[str, int]:
    """How many sets of weights the stack holds for each of its bodies: one each where it is shared."""
    counts = layer_counts(stack)
    return dict.fromkeys(counts, 1) if stack.attr("shared") else counts


def owns_body(node: Node) -> bool:
    """Whether ``node`` holds the weights of the body that it uses (a stack is not such a node: it holds many)."""
    return node.op == "instance" or (node.op == "call" and node.attr("instance") == "own")


def weighted_bodies(graph: Graph) -> frozenset[str]:
    """Keys of the bodies that own a weight, themselves or through a body that they use."""
    found: set[str] = set()
    for key in bottom_up(graph):
        nodes = graph.bodies[key].nodes
        if any(node.op == "param" or found.intersection(_owned_bodies(node)) for node in nodes):
            found.add(key)
    return frozenset(found)


def _owned_bodies(node: Node) -> tuple[str, ...]:
    return used_bodies(node) if node.op == "stack" or owns_body(node) else ()


def weight_shape(node: Node) -> tuple[int, ...]:
    """Shape of the weight that a ``param`` node makes."""
    sizes = tuple(dim.size.known for dim in node.type.dims)
    assert None not in sizes, f"weight {node.attr('name')} has a size that is not known: {node.type}"
    return tuple(size for size in sizes if size is not None)


def used_bodies(node: Node) -> tuple[str, ...]:
    """Keys of the bodies that ``node`` names, each once."""
    if node.op == "stack":
        runs: tuple[tuple[BodyRef, int], ...] = node.attr("runs")
        return tuple(dict.fromkeys(ref.key for ref, _ in runs))
    return (node.attr("body").key,) if node.op in ("call", "instance") else ()


def bottom_up(graph: Graph) -> list[str]:
    """Keys of the bodies that the root reaches, each after those that it uses. Raises ValueError on a cycle."""
    order: list[str] = []
    state: dict[str, bool] = {}
    stack = [(graph.root, iter(_children(graph, graph.root)))]
    state[graph.root] = False
    while stack:
        key, rest = stack[-1]
        child = next(rest, None)
        if child is None:
            stack.pop()
            state[key] = True
            order.append(key)
        elif child not in state:
            state[child] = False
            stack.append((child, iter(_children(graph, child))))
        elif not state[child]:
            raise ValueError(f"body {child} uses itself")
    return order


def _children(graph: Graph, key: str) -> list[str]:
    return list(dict.fromkeys(used for node in graph.bodies[key].nodes for used in used_bodies(node)))


def _stack_weights(graph: Graph, stack: Node, prefix: str) -> Iterator[Weight]:
    seen: set[str] = set()
    for index, key in enumerate(layer_bodies(stack)):
        if key not in seen or not stack.attr("shared"):
            yield from body_weights(graph, graph.bodies[key], f"{prefix}{index}.")
        seen.add(key)
        if stack.attr("shared") and seen.issuperset(used_bodies(stack)):
            return
