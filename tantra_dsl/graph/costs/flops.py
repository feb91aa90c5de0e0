"""Floating-point operations of the primitives: what their products cost, a multiplication and an addition being two.

Elementwise work (norms, activations, softmax) is left out, as is usual: it is bound by memory, not by arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Final

from tantra_dsl.graph.costs.figures import Amount
from tantra_dsl.graph.costs.masks import pairs
from tantra_dsl.graph.linear_loss import LINEAR_LOSS
from tantra_dsl.graph.model import Node
from tantra_dsl.graph.types import TensorType

Lengths = Mapping[str, int]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Flops:
    """Forward FLOPs by kind. ``attention`` counts the pairs that masks allow, ``dense`` all pairs."""

    products: Amount = field(default_factory=Amount)
    attention: Amount = field(default_factory=Amount)
    dense: Amount = field(default_factory=Amount)
    scans: Amount = field(default_factory=Amount)

    def __add__(self, other: Flops) -> Flops:
        return Flops(
            self.products + other.products,
            self.attention + other.attention,
            self.dense + other.dense,
            self.scans + other.scans,
        )

    def scaled(self, factor: int) -> Flops:
        """These, ``factor`` times."""
        return Flops(*(part.scaled(factor) for part in (self.products, self.attention, self.dense, self.scans)))

    @property
    def total(self) -> Amount:
        """All kinds together, with the pairs that masks allow."""
        return self.products + self.attention + self.scans


def shape(type: TensorType, lengths: Lengths) -> Shape:
    """The extents of a tensor for the given run-time lengths."""
    return tuple(dim.size.value(lengths) for dim in type.dims)


def primitive_flops(node: Node, inputs: Sequence[TensorType], lengths: Lengths) -> Flops:
    """Forward FLOPs of one application of a primitive."""
    rule = _RULES.get(node.op)
    if rule is None:
        return Flops()
    return rule(node, [shape(t, lengths) for t in inputs], shape(node.types[0], lengths))


def _products(count: int) -> Flops:
    return Flops(products=Amount(count))


def _linear(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    return _products(2 * prod(out) * inputs[0][-1])


def _conv1d(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    return _products(2 * prod(out) * prod(inputs[1][1:]))


def _matmul(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    return _products(2 * prod(out) * inputs[0][-1])


def _combine(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    return _products(2 * prod(inputs[0]))


def _pool(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    return _products(2 * prod(inputs[0]) if len(inputs) > 1 else 0)


def _attend(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    """Per pair and head: 2 d for q.k and 2 dv for the weighted values."""
    (batch, queries, heads, width), (_, keys, _, _), (_, _, _, value_width) = inputs[:3]
    per_pair = 2 * batch * (width + value_width)
    read = pairs(node.attr("mask"), queries, keys, heads)
    return Flops(attention=read.scaled(per_pair), dense=Amount(heads * queries * keys * per_pair))


def _linear_scan(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    """Per token and head: the state's update k v^T, its decay, and the read q S, each over n p numbers."""
    per_number = 4 + (len(inputs) > 3)
    return Flops(scans=Amount(per_number * prod(out) * inputs[1][-1]))


def _selective_scan(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    """Nine per token, channel and state: two for exp(delta a), five for the update, two for the read."""
    return Flops(scans=Amount(9 * prod(out) * inputs[2][-1]))


def _delta_scan(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    """Per token and head, over d dv numbers: read by k, erase, write, read by q; and the decay."""
    per_number = 8 + (len(inputs) > 4)
    return Flops(scans=Amount(per_number * prod(out) * inputs[1][-1]))


def _linear_loss(node: Node, inputs: list[Shape], out: Shape) -> Flops:
    return _products(2 * prod(inputs[0]) * inputs[1][0])


_RULES: Final[dict[str, Callable[[Node, list[Shape], Shape], Flops]]] = {
    "linear": _linear,
    LINEAR_LOSS: _linear_loss,
    "expert_linear": _linear,
    "conv1d": _conv1d,
    "matmul": _matmul,
    "similarity": _matmul,
    "combine_experts": _combine,
    "pool": _pool,
    "attend": _attend,
    "additive_attend": _attend,
    "linear_scan": _linear_scan,
    "selective_scan": _selective_scan,
    "delta_scan": _delta_scan,
}

FORMULAS: Final[dict[str, str]] = {
    "products": "2 * outputs * inputs per output, over all products with weights and between tensors",
    "attention": "2 * (query/key width + value width) * heads * pairs of query and key that the mask allows",
    "dense": "2 * (query/key width + value width) * heads * queries * keys",
    "scans": "per token, operations on each number of the recurrent state",
}
