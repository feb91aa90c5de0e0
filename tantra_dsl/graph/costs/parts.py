"""The parts of a model and what each costs: a tree that follows the calls, two levels below a stack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tantra_dsl.graph.costs.activations import NOTHING, Held
from tantra_dsl.graph.costs.figures import Amount, Figure
from tantra_dsl.graph.costs.forward import Forward, ForwardCosts
from tantra_dsl.graph.costs.optimizers import Optimizer, layer_prefix
from tantra_dsl.graph.costs.parameters import Parameters
from tantra_dsl.graph.costs.steps import Step
from tantra_dsl.graph.model import Graph, Node, layer_counts
from tantra_dsl.graph.stacks import Layers
from tantra_dsl.graph.types import Dim

_ELEMENTWISE: Final = ("map", "normalize")
_FLOPS: Final = "products + attention + scans, of all occurrences"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the model: what the root calls, a kind of layer, or something inside one.

    ``kind`` is ``stack``, ``layer``, the name of a definition, or an op. ``count`` is how often it occurs; every
    figure is for all occurrences together. ``output`` is the result's shape. ``pattern`` is a stack's turn of layers.
    ``activation_bytes`` is what the backward pass keeps, a tensor counting where it is kept first; ``optimizer_bytes``
    the optimizer's states of the weights. Both add up, as the weights do: of the root's parts to the model's, of the
    parts below to their parent's.
    """

    name: str
    kind: str
    count: int
    output: str
    params: int
    active_params: int
    flops: Figure
    kv_bytes_per_token: int
    activation_bytes: int
    optimizer_bytes: int
    pattern: tuple[tuple[str, int], ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a body is used: how often, how many sets of its weights there are, their prefix, and what is kept there."""

    held: Held
    uses: int = 1
    copies: int = 1
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights of a part: all, those that a token uses, and the bytes that the optimizer keeps for them."""

    total: int = 0
    active: int = 0
    states: int = 0

    def __add__(self, other: _Weights) -> _Weights:
        return _Weights(self.total + other.total, self.active + other.active, self.states + other.states)


class PartTable:
    """Makes the parts from the costs of distinct bodies."""

    def __init__(
        self,
        graph: Graph,
        parameters: Parameters,
        optimizer: Optimizer,
        forward: ForwardCosts,
        step: Step,
        cache_bytes: int,
    ) -> None:
        self._graph = graph
        self._parameters = parameters
        self._optimizer = optimizer
        self._forward = forward
        self._step = step
        self._cache_bytes = cache_bytes

    def parts(self) -> tuple[Part, ...]:
        """The parts of the root."""
        return tuple(self._inside(self._graph.root, _Place(Held.by(self._step)), depth=1))

    def _inside(self, key: str, place: _Place, depth: int) -> Iterator[Part]:
        """Parts of body ``key``; ``depth`` tells how many levels below them are listed as well."""
        nodes = self._graph.bodies[key].nodes
        costs, own = self._forward.nodes(key), self._weights_by_reader(key)
        kept = place.held.by_node([node.id for node in nodes])
        for node in nodes:
            of, held, bytes = costs[node.id], own.get(node.id, []), kept.get(node.id, 0)
            if node.op == "stack":
                yield self._stack(node, place, bytes, depth)
            elif node.op == "call" or (node.op == "instance" and held):
                yield self._call(key, node, held, of, place, bytes, depth)
            elif held or bytes or of.flops.total != Amount():
                yield self._primitive(key, node, held, of, place, bytes)

    def _weights_by_reader(self, key: str) -> dict[str, list[Node]]:
        """What holds weights in a body, by the first node that reads it: there its weights are shown.

        What a stack reads first is shown by itself, as a stack's parts are its layers.
        """
        nodes = self._graph.bodies[key].nodes
        holders = {node.id: node for node in nodes if node.op in ("param", "instance")}
        readers: dict[str, list[Node]] = {}
        for node in nodes:
            for ref in node.inputs:
                holder = holders.pop(ref.node, None) if node.op != "weight" else None
                if holder is not None:
                    readers.setdefault(ref.node if node.op == "stack" else node.id, []).append(holder)
        return readers | {id: [holder] for id, holder in holders.items()}

    def _stack(self, node: Node, place: _Place, kept: int, depth: int) -> Part:
        counts, held = layer_counts(node), place.held.layers(node.id)
        names = self._layer_names(counts)
        below = {
            key: self._layer_place(node, key, count, place, held.get(key, NOTHING)) for key, count in counts.items()
        }
        weights = {key: self._layer_weights(node, key, place, below[key].copies) for key in counts}
        layers = tuple(self._layer(node, key, names[key], below[key], weights[key], depth) for key in counts)
        forward = sum((self._forward.body(key).scaled(count) for key, count in counts.items()), Forward())
        pattern = tuple((names[key], count) for key, count in Layers(node).runs())
        whole = sum(weights.values(), _Weights())
        return self._part(node.attr("name"), "stack", node, forward, whole, place.uses, kept, pattern, layers)

    def _layer_names(self, keys: Iterable[str]) -> dict[str, str]:
        """Names of definitions, or of bodies where two layers come from one definition."""
        definitions = {key: self._graph.bodies[key].definition for key in keys}
        listed = list(definitions.values())
        return {key: name if listed.count(name) == 1 else key for key, name in definitions.items()}

    def _layer_place(self, node: Node, key: str, count: int, place: _Place, held: Held) -> _Place:
        copies = place.copies * (1 if node.attr("shared") else count)
        return _Place(held, place.uses * count, copies, layer_prefix(node, place.prefix, key))

    def _layer_weights(self, node: Node, key: str, place: _Place, copies: int) -> _Weights:
        total, active = self._parameters.total[key], self._parameters.active[key]
        states = self._optimizer.layer(node, place.prefix, key, total) if copies else 0
        return _Weights(total * copies, active * copies, states * copies)

    def _layer(self, node: Node, key: str, name: str, place: _Place, weights: _Weights, depth: int) -> Part:
        parts = tuple(self._inside(key, place, depth - 1)) if depth else ()
        forward, kept = self._forward.body(key), place.held.total
        return self._part(name, "layer", node, forward, weights, place.uses, kept, (), parts)

    def _call(
        self, key: str, node: Node, held: list[Node], forward: Forward, place: _Place, kept: int, depth: int
    ) -> Part:
        """A call with the weights that it owns, or is the first to read."""
        weights = self._owned(key, held if node in held else [node, *held], place)
        used = self._graph.body_of(node)
        name = str(held[0].attr("name") if held else node.attr("name") or node.id)
        inner = self._place_inside(node, held, place)
        parts = tuple(self._inside(used.key, inner, depth - 1)) if depth and key == self._graph.root else ()
        telling = parts if len(parts) > 1 and any(part.kind not in _ELEMENTWISE for part in parts) else ()
        return self._part(name, used.definition, node, forward, weights, place.uses, kept, (), telling)

    def _place_inside(self, node: Node, held: list[Node], place: _Place) -> _Place:
        """Where the body of a call is used; its weights count where they are read first."""
        given = node.inputs[0].node if node.attr("instance") == "given" else node.id
        owner = next((owner for owner in (node, *held) if owner.id == given), None)
        prefix = "" if owner is None else f"{place.prefix}{owner.attr('name')}."
        return _Place(place.held.inside(node.id), place.uses, 0 if owner is None else place.copies, prefix)

    def _primitive(self, key: str, node: Node, held: list[Node], forward: Forward, place: _Place, kept: int) -> Part:
        name = str(held[0].attr("name")).removesuffix(".weight") if held else node.id
        return self._part(name, node.op, node, forward, self._owned(key, held, place), place.uses, kept)

    def _owned(self, key: str, nodes: list[Node], place: _Place) -> _Weights:
        """Weights that the nodes own."""
        if not place.copies:
            return _Weights()
        total = sum(self._parameters.node_total(node) for node in nodes)
        active = sum(self._parameters.node_active(key, node) for node in nodes)
        states = sum(self._optimizer.node(node, place.prefix, self._parameters.node_total(node)) for node in nodes)
        return _Weights(total * place.copies, active * place.copies, states * place.copies)

    def _part(
        self,
        name: str,
        kind: str,
        node: Node,
        forward: Forward,
        weights: _Weights,
        uses: int,
        kept: int,
        pattern: tuple[tuple[str, int], ...] = (),
        parts: tuple[Part, ...] = (),
    ) -> Part:
        output = ", ".join(map(_extent, node.types[0].dims)) if node.types else ""
        flops = Figure.of(forward.flops.total.scaled(uses), _FLOPS)
        kv_bytes = forward.kept.per_token * uses * self._cache_bytes
        counted = weights.total, weights.active, flops, kv_bytes, kept, weights.states
        return Part(name, kind, uses, output, *counted, pattern, parts)


def _extent(dim: Dim) -> str:
    return str(dim.size)
