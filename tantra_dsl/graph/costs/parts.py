"""The parts of a model and what each costs: a tree that follows the calls, two levels below a stack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tantra_dsl.graph.costs.figures import Amount, Figure
from tantra_dsl.graph.costs.forward import Forward, ForwardCosts
from tantra_dsl.graph.costs.parameters import Parameters
from tantra_dsl.graph.model import Graph, Node, layer_counts
from tantra_dsl.graph.stacks import Layers
from tantra_dsl.graph.types import Dim

_FLOPS: Final = "products + attention + scans, of all occurrences"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the model: what the root calls, a kind of layer, or something inside one.

    ``kind`` is ``stack``, ``layer``, the name of a definition, or an op. ``count`` is how often it occurs; every
    figure is for all occurrences together. ``output`` is the result's shape. ``pattern`` is a stack's turn of layers.
    """

    name: str
    kind: str
    count: int
    output: str
    params: int
    active_params: int
    flops: Figure
    kv_bytes_per_token: int
    pattern: tuple[tuple[str, int], ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class _Times:
    """How often a body is used, and how many sets of its weights there are."""

    uses: int = 1
    copies: int = 1


class PartTable:
    """Makes the parts from the costs of distinct bodies."""

    def __init__(self, graph: Graph, parameters: Parameters, forward: ForwardCosts, cache_bytes: int) -> None:
        self._graph = graph
        self._parameters = parameters
        self._forward = forward
        self._cache_bytes = cache_bytes

    def parts(self) -> tuple[Part, ...]:
        """The parts of the root."""
        return tuple(self._inside(self._graph.root, _Times(), depth=1))

    def _inside(self, key: str, times: _Times, depth: int) -> Iterator[Part]:
        """Parts of body ``key``; ``depth`` tells how many levels below them are listed as well."""
        costs, own = self._forward.nodes(key), self._weights_by_reader(key)
        for node in self._graph.bodies[key].nodes:
            if node.op == "stack":
                yield self._stack(node, times, depth)
            elif node.op == "call" or (node.op == "instance" and own.get(node.id)):
                yield self._call(key, node, own.get(node.id, []), costs[node.id], times, depth)
            elif own.get(node.id) or costs[node.id].flops.total != Amount():
                yield self._primitive(key, node, own.get(node.id, []), costs[node.id], times)

    def _weights_by_reader(self, key: str) -> dict[str, list[Node]]:
        """What holds weights in a body, by the first node that reads it: there its weights are shown."""
        nodes = self._graph.bodies[key].nodes
        holders = {node.id: node for node in nodes if node.op in ("param", "instance")}
        readers: dict[str, list[Node]] = {}
        for node in nodes:
            for ref in node.inputs:
                holder = holders.pop(ref.node, None) if node.op != "weight" else None
                if holder is not None:
                    readers.setdefault(node.id, []).append(holder)
        return readers | {id: [holder] for id, holder in holders.items()}

    def _stack(self, node: Node, times: _Times, depth: int) -> Part:
        counts = layer_counts(node)
        names = self._layer_names(counts)
        layers = tuple(self._layer(node, key, names[key], count, times, depth) for key, count in counts.items())
        forward = sum((self._forward.body(key).scaled(count) for key, count in counts.items()), Forward())
        pattern = tuple((names[key], count) for key, count in Layers(node).runs())
        params = sum(layer.params for layer in layers), sum(layer.active_params for layer in layers)
        return self._part(node.attr("name"), "stack", node, forward, params, times, pattern, layers)

    def _layer_names(self, keys: Iterable[str]) -> dict[str, str]:
        """Names of definitions, or of bodies where two layers come from one definition."""
        definitions = {key: self._graph.bodies[key].definition for key in keys}
        listed = list(definitions.values())
        return {key: name if listed.count(name) == 1 else key for key, name in definitions.items()}

    def _layer(self, node: Node, key: str, name: str, count: int, times: _Times, depth: int) -> Part:
        copies = times.copies * (1 if node.attr("shared") else count)
        inner = _Times(times.uses * count, copies)
        params = self._parameters.total[key] * copies, self._parameters.active[key] * copies
        parts = tuple(self._inside(key, inner, depth - 1)) if depth else ()
        return self._part(name, "layer", node, self._forward.body(key), params, inner, (), parts)

    def _call(self, key: str, node: Node, held: list[Node], forward: Forward, times: _Times, depth: int) -> Part:
        """A call with the weights that it owns, or is the first to read."""
        params = self._owned(key, [node, *held], times)
        used = self._graph.body_of(node)
        owns = any(self._parameters.node_total(owner) for owner in (node, *held) if owner.op != "param")
        inner = _Times(times.uses, times.copies if owns else 0)
        parts = tuple(self._inside(used.key, inner, depth - 1)) if depth and key == self._graph.root else ()
        telling = parts if len(parts) > 1 and any(part.kind != "map" for part in parts) else ()
        name = str(held[0].attr("name") if held else node.attr("name") or node.id)
        return self._part(name, used.definition, node, forward, params, times, (), telling)

    def _primitive(self, key: str, node: Node, weights: list[Node], forward: Forward, times: _Times) -> Part:
        name = str(weights[0].attr("name")).removesuffix(".weight") if weights else node.id
        return self._part(name, node.op, node, forward, self._owned(key, weights, times), times)

    def _owned(self, key: str, nodes: list[Node], times: _Times) -> tuple[int, int]:
        """Weights that the nodes own, and those of them that a token uses."""
        total = sum(self._parameters.node_total(node) for node in nodes)
        active = sum(self._parameters.node_active(key, node) for node in nodes)
        return total * times.copies, active * times.copies

    def _part(
        self,
        name: str,
        kind: str,
        node: Node,
        forward: Forward,
        params: tuple[int, int],
        times: _Times,
        pattern: tuple[tuple[str, int], ...] = (),
        parts: tuple[Part, ...] = (),
    ) -> Part:
        output = ", ".join(map(_extent, node.types[0].dims)) if node.types else ""
        flops = Figure.of(forward.flops.total.scaled(times.uses), _FLOPS)
        kv_bytes = forward.kept.per_token * times.uses * self._cache_bytes
        return Part(name, kind, times.uses, output, *params, flops, kv_bytes, pattern, parts)


def _extent(dim: Dim) -> str:
    return str(dim.size)
