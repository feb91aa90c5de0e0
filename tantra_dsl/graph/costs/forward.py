"""Forward costs of each distinct body: FLOPs, and what decoding keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tantra_dsl.graph.costs.flops import Flops, Lengths, primitive_flops
from tantra_dsl.graph.costs.states import Kept, primitive_state
from tantra_dsl.graph.model import Graph, Node, layer_counts
from tantra_dsl.graph.paths import bottom_up
from tantra_dsl.graph.types import TensorType


@dataclass(frozen=True, slots=True)
class Forward:
    """What one application costs: FLOPs, and what decoding keeps of it for one sequence."""

    flops: Flops = field(default_factory=Flops)
    kept: Kept = field(default_factory=Kept)

    def __add__(self, other: Forward) -> Forward:
        return Forward(self.flops + other.flops, self.kept + other.kept)

    def scaled(self, factor: int) -> Forward:
        """This, ``factor`` times."""
        return Forward(self.flops.scaled(factor), self.kept.scaled(factor))


class ForwardCosts:
    """Forward costs by body and by node; every distinct body is looked at once."""

    def __init__(self, graph: Graph, lengths: Lengths) -> None:
        self._graph = graph
        self._lengths = lengths
        self.bodies: dict[str, Forward] = {}
        for key in bottom_up(graph):
            self.bodies[key] = sum(self.nodes(key).values(), Forward())

    def nodes(self, key: str) -> dict[str, Forward]:
        """What each node of body ``key`` costs, by id; its bodies must have been looked at."""
        types = {node.id: node.types for node in self._graph.bodies[key].nodes}
        return {node.id: self._node(node, types) for node in self._graph.bodies[key].nodes}

    def _node(self, node: Node, types: Mapping[str, tuple[TensorType, ...]]) -> Forward:
        if node.op == "call":
            return self.bodies[node.attr("body").key]
        if node.op == "stack":
            counts = layer_counts(node).items()
            return sum((self.bodies[key].scaled(count) for key, count in counts), Forward())
        if node.op in ("input", "param", "instance"):
            return Forward()
        inputs = [types[ref.node][ref.out] for ref in node.inputs]
        return Forward(primitive_flops(node, inputs, self._lengths), primitive_state(node, inputs))
