"""How many weights there are, and how many of them one token uses."""

from __future__ import annotations

from fractions import Fraction

from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.paths import bottom_up, owned_count, used_bodies


class Parameters:
    """Weights of each distinct body: all of them, and those that one token passes through.

    Of the weights that ``expert_linear`` reads, a token uses as many experts as it has slots; of every other, all.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._shares: dict[tuple[str, str], Fraction] = {}
        self._readers: dict[str, dict[str, list[tuple[Node, int]]]] = {}
        self.total: dict[str, int] = {}
        self.active: dict[str, int] = {}
        for key in bottom_up(graph):
            nodes = graph.bodies[key].nodes
            self.total[key] = sum(self.node_total(node) for node in nodes)
            self.active[key] = sum(self.node_active(key, node) for node in nodes)

    def node_total(self, node: Node) -> int:
        """Weights that ``node`` owns."""
        return owned_count(node, self.total)

    def node_active(self, key: str, node: Node) -> int:
        """Of the weights that ``node`` of body ``key`` owns, those that one token uses."""
        if node.op == "param":
            return int(self.node_total(node) * self._share(key, node.id))
        return owned_count(node, self.active)

    def _share(self, key: str, id: str) -> Fraction:
        """The part of the tensor ``id`` of body ``key`` that one token uses."""
        if (key, id) not in self._shares:
            readers = self._readers_of(key).get(id, [])
            shares = [self._used(self._graph.bodies[key], node, slot) for node, slot in readers]
            self._shares[key, id] = max(shares, default=Fraction(1))
        return self._shares[key, id]

    def _readers_of(self, key: str) -> dict[str, list[tuple[Node, int]]]:
        if key not in self._readers:
            readers: dict[str, list[tuple[Node, int]]] = {}
            for node in self._graph.bodies[key].nodes:
                for slot, ref in enumerate(node.inputs):
                    readers.setdefault(ref.node, []).append((node, slot))
            self._readers[key] = readers
        return self._readers[key]

    def _used(self, body: Body, node: Node, slot: int) -> Fraction:
        if node.op == "expert_linear" and slot >= 2:
            return _chosen(body, node.inputs[1], node.inputs[slot])
        inner = [(key, name) for key in used_bodies(node) for name in self._passed(node, slot, key)]
        return max((self._share(key, name) for key, name in inner), default=Fraction(1))

    def _passed(self, node: Node, slot: int, key: str) -> list[str]:
        """Ids of the inputs of body ``key`` that input ``slot`` of ``node`` becomes."""
        inputs = self._graph.bodies[key].inputs
        if node.op == "stack":
            name = None if slot == 0 else node.attr("extras")[slot - 1]
            return [parameter.id for parameter in inputs[1:] if parameter.attr("name") == name] or (
                [] if slot else [inputs[0].id]
            )
        place = slot - (node.attr("instance") == "given")
        return [inputs[place].id] if place >= 0 else []


def _chosen(body: Body, experts: Ref, weight: Ref) -> Fraction:
    slots, count = body.type_of(experts).dims[-1].size.known, body.type_of(weight).dims[0].size.known
    assert slots is not None
    assert count is not None
    return min(Fraction(1), Fraction(slots, count))
