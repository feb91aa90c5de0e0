"""What optimizers keep for each weight."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Final

from tantra_dsl.graph.model import BodyRef, Graph, Node
from tantra_dsl.graph.paths import instance_counts, owns_body, used_bodies, weight_shape
from tantra_dsl.graph.roles import WeightRole, weight_roles

OPTIMIZER_STATES: Final = {"adamw": 2, "adam": 2, "muon": 1, "sgd": 0, "sgd_momentum": 1}
"""Numbers that an optimizer keeps for each weight; muon for hidden matrices, and what adamw does for the others."""
_OTHERS: Final = OPTIMIZER_STATES["adamw"]
_STATE_BYTES: Final = 4


class Optimizer:
    """What the optimizer called ``name`` keeps for the weights of a graph, in bytes of float32 states."""

    def __init__(self, graph: Graph, name: str) -> None:
        self._graph = graph
        self._name = name

    @property
    def formula(self) -> str:
        """How the bytes come about."""
        states = OPTIMIZER_STATES[self._name]
        if self._name == "muon":
            return f"4 bytes * {states} for hidden matrices, 4 bytes * {_OTHERS} for what adamw trains"
        return f"params * 4 bytes * {states} for {self._name}"

    def model(self, params: int) -> int:
        """Bytes for the whole model, which has ``params`` weights."""
        return self._bytes(params, self._hidden_in(self._graph.root, "") if self._name == "muon" else 0)

    def node(self, node: Node, prefix: str, params: int) -> int:
        """Bytes for the ``params`` weights that ``node`` owns; ``prefix`` is before the paths of its body's weights."""
        return self._bytes(params, self._hidden_of(node, prefix) if self._name == "muon" else 0)

    def layer(self, stack: Node, prefix: str, key: str, params: int) -> int:
        """Bytes for the ``params`` weights of one layer with body ``key``."""
        hidden = self._hidden_in(key, layer_prefix(stack, prefix, key)) if self._name == "muon" else 0
        return self._bytes(params, hidden)

    def _bytes(self, params: int, hidden: int) -> int:
        states, others = OPTIMIZER_STATES[self._name], _OTHERS if self._name == "muon" else OPTIMIZER_STATES[self._name]
        return _STATE_BYTES * (states * hidden + others * (params - hidden))

    def _hidden_of(self, node: Node, prefix: str) -> int:
        """How many numbers of matrices between hidden layers ``node`` owns."""
        if node.op == "param":
            shape, role = weight_shape(node), self._roles[f"{prefix}{node.attr('name')}"]
            is_hidden = role.is_hidden_matrix(shape, self._graph.fact("vocab")) and node.attr("trained", True)
            return shape[0] * shape[1] if is_hidden else 0
        if node.op == "stack":
            counts = instance_counts(node).items()
            return sum(self._hidden_in(key, layer_prefix(node, prefix, key)) * count for key, count in counts)
        if owns_body(node):
            return self._hidden_in(node.attr("body").key, f"{prefix}{node.attr('name')}.")
        return 0

    def _hidden_in(self, key: str, prefix: str) -> int:
        return sum(self._hidden_of(node, prefix) for node in self._graph.bodies[key].nodes)

    @cached_property
    def _roles(self) -> dict[str, WeightRole]:
        return weight_roles(_one_layer_each(self._graph))


def layer_prefix(stack: Node, prefix: str, key: str) -> str:
    """What is before the paths of a layer with body ``key`` where the stack has one layer for each of its bodies."""
    return f"{prefix}{stack.attr('name')}.{used_bodies(stack).index(key)}."


def _one_layer_each(graph: Graph) -> Graph:
    """``graph`` with one layer of each body in every stack."""
    bodies = {
        key: replace(body, nodes=tuple(_short(node) if node.op == "stack" else node for node in body.nodes))
        for key, body in graph.bodies.items()
    }
    return replace(graph, bodies=bodies)


def _short(stack: Node) -> Node:
    keys = used_bodies(stack)
    changed = {**dict(stack.attrs), "runs": tuple((BodyRef(key), 1) for key in keys), "count": len(keys)}
    return replace(stack, attrs=tuple(sorted(changed.items())))
