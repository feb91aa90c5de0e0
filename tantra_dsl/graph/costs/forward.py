"""Forward costs of each distinct body: FLOPs, and what decoding keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tantra_dsl.graph.costs.flops import Flops, Lengths, primitive_flops
from tantra_dsl.graph.costs.states import Kept, primitive_state
from tantra_dsl.graph.lengths import bind, bound_lengths
from tantra_dsl.graph.model import Body, Graph, Node, layer_counts
from tantra_dsl.graph.ops import STRUCTURE
from tantra_dsl.graph.types import TensorType

Types = Mapping[str, tuple[TensorType, ...]]


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
    """Forward costs by body and by node; every distinct body is looked at once for each set of its lengths."""

    def __init__(self, graph: Graph, lengths: Lengths) -> None:
        self._graph = graph
        self._lengths = lengths
        self._known: dict[tuple[str, tuple[tuple[str, int], ...]], Forward] = {}

    def body(self, key: str, lengths: Lengths | None = None) -> Forward:
        """What one application of body ``key`` costs; at the model's own lengths where none are given."""
        at = lengths or self._lengths
        known = key, tuple(sorted(at.items()))
        if known not in self._known:
            self._known[known] = sum(self.nodes(key, at).values(), Forward())
        return self._known[known]

    def nodes(self, key: str, lengths: Lengths | None = None) -> dict[str, Forward]:
        """What each node of body ``key`` costs, by id."""
        types = {node.id: node.types for node in self._graph.bodies[key].nodes}
        return {node.id: self._node(node, types, lengths or self._lengths) for node in self._graph.bodies[key].nodes}

    def _node(self, node: Node, types: Types, lengths: Lengths) -> Forward:
        if node.op == "call":
            called = self._graph.body_of(node)
            return self.body(called.key, called_lengths(called, node, types, lengths))
        if node.op == "stack":
            counts = layer_counts(node).items()
            return sum((self.body(key, lengths).scaled(count) for key, count in counts), Forward())
        if node.op in STRUCTURE:
            return Forward()
        inputs = [types[ref.node][ref.out] for ref in node.inputs]
        return Forward(primitive_flops(node, inputs, lengths), primitive_state(node, inputs))


def called_lengths(called: Body, call: Node, types: Types, lengths: Lengths) -> Lengths:
    """Values of the lengths of body ``called``, from those of the body whose node ``call`` calls it."""
    refs = call.inputs[1:] if call.attr("instance") == "given" else call.inputs
    pairs = ((own.types, types[ref.node]) for own, ref in zip(called.inputs, refs, strict=True))
    given = ((own[0], given[ref.out]) for (own, given), ref in zip(pairs, refs, strict=True) if own and given)
    return bound_lengths(lengths, bind(given))
