"""What decoding keeps between tokens: keys and values of attention, states of scans, tails of convolutions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Final

from tantra_dsl.graph.costs.masks import is_causal, window
from tantra_dsl.graph.model import Node
from tantra_dsl.graph.types import Dim, TensorType


@dataclass(frozen=True, slots=True)
class Kept:
    """What decoding keeps for one sequence, in numbers (not bytes).

    ``grows``: by (numbers per token, window or None), how many attentions keep so much. ``memory``: by (numbers per
    token, extent of the memory as text), attentions over something that does not grow. ``state``: fixed numbers.
    """

    grows: Counter[tuple[int, int | None]] = field(default_factory=Counter)
    memory: Counter[tuple[int, str]] = field(default_factory=Counter)
    state: int = 0

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.grows + other.grows, self.memory + other.memory, self.state + other.state)

    def scaled(self, factor: int) -> Kept:
        """This, ``factor`` times."""
        grows = Counter({site: count * factor for site, count in self.grows.items()})
        memory = Counter({site: count * factor for site, count in self.memory.items()})
        return Kept(grows, memory, self.state * factor)

    @property
    def per_token(self) -> int:
        """Numbers that each new token adds, before any window is full."""
        return sum(width * count for (width, _), count in self.grows.items())

    def at(self, length: int) -> int:
        """Numbers kept of keys and values after ``length`` tokens: a window keeps no more than itself."""
        return sum(width * count * min(length, limit or length) for (width, limit), count in self.grows.items())


def primitive_state(node: Node, inputs: list[TensorType]) -> Kept:
    """What decoding keeps for one application of a primitive."""
    rule = _RULES.get(node.op)
    return rule(node, inputs) if rule else Kept()


def _attend(node: Node, inputs: list[TensorType]) -> Kept:
    """Keys and values, each [kv_heads, width] per token; nothing where later keys are read, as in an encoder."""
    q, k, v = inputs[:3]
    width = sum(_known(t.dims[2:]) for t in (k, v))
    if q.dims[1].size != k.dims[1].size:
        return Kept(memory=Counter({(width, str(k.dims[1].size)): 1}))
    if k.dims[1].size.known is not None or not is_causal(node.attr("mask")):
        return Kept()
    return Kept(grows=Counter({(width, window(node.attr("mask"))): 1}))


def _linear_scan(node: Node, inputs: list[TensorType]) -> Kept:
    """A matrix [n, p] per head."""
    return Kept(state=_known(inputs[2].dims[2:]) * _known(inputs[1].dims[3:]))


def _selective_scan(node: Node, inputs: list[TensorType]) -> Kept:
    """[dim, n]."""
    return Kept(state=_known(inputs[2].dims))


def _conv1d(node: Node, inputs: list[TensorType]) -> Kept:
    """The last (width - 1) * dilation inputs."""
    if not node.attr("causal"):
        return Kept()
    reach = (_known(inputs[1].dims[2:]) - 1) * node.attr("dilation", 1)
    return Kept(state=reach * _known(inputs[0].dims[-1:]))


def _known(dims: tuple[Dim, ...]) -> int:
    return prod(dim.size.value({}) for dim in dims)


_RULES: Final[dict[str, Callable[[Node, list[TensorType]], Kept]]] = {
    "attend": _attend,
    "additive_attend": _attend,
    "linear_scan": _linear_scan,
    "delta_scan": _linear_scan,
    "selective_scan": _selective_scan,
    "conv1d": _conv1d,
}
