"""What each weight is for, read off the graph: which optimizer and whether decay apply follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tantra_dsl.graph.model import Body, Graph, Node, Ref, layer_bodies


@dataclass(frozen=True)
class WeightRole:
    """How a weight is used: the ops that read it, and whether its module asks for weight decay."""

    decay: bool
    readers: frozenset[str]

    @property
    def is_projection(self) -> bool:
        """Whether the weight only multiplies activations, as hidden matrices do."""
        return bool(self.readers) and self.readers <= {"linear", "expert_linear"}

    def is_hidden_matrix(self, shape: Sequence[int], vocab: int | None) -> bool:
        """Whether a weight of this role is a matrix between hidden layers: not an embedding, and not the head."""
        return len(shape) == 2 and vocab not in shape and self.is_projection


@dataclass
class _Walk:
    graph: Graph
    decay: dict[str, bool] = field(default_factory=dict)
    readers: dict[str, set[str]] = field(default_factory=dict)

    def body(self, body: Body, prefix: str, given: dict[str, str]) -> None:
        """Visits ``body`` placed at ``prefix``; ``given`` maps its inputs to weight or module paths further out."""
        places: dict[str, str] = {}
        for node in body.nodes:
            self.node(node, prefix, places, given)

    def node(self, node: Node, prefix: str, places: dict[str, str], given: dict[str, str]) -> None:
        if node.op == "input":
            places.update({node.id: given[node.id]} if node.id in given else {})
        elif node.op == "param":
            places[node.id] = path = _join(prefix, node.attr("name"))
            self.decay[path] = bool(node.attr("decay", True))
        elif node.op == "instance":
            places[node.id] = _join(prefix, node.attr("name"))
        elif node.op == "call":
            self.call(node, prefix, places)
        elif node.op == "stack":
            self.stack(node, prefix, places)
        else:
            self.read(node, places)

    def read(self, node: Node, places: dict[str, str]) -> None:
        for ref in node.inputs:
            if ref.node in places:
                self.readers.setdefault(places[ref.node], set()).add(node.op)

    def call(self, node: Node, prefix: str, places: dict[str, str]) -> None:
        inner = self.graph.body_of(node)
        is_given = node.attr("instance") == "given"
        at = places[node.inputs[0].node] if is_given else _join(prefix, node.attr("name"))
        self.body(inner, at, _passed(inner.inputs, node.inputs[1:] if is_given else node.inputs, places))

    def stack(self, node: Node, prefix: str, places: dict[str, str]) -> None:
        extras = dict(zip(node.attr("extras") or (), node.inputs[1:], strict=True))
        first_use: dict[str, int] = {}
        for index, key in enumerate(layer_bodies(node)):
            body = self.graph.bodies[key]
            used = first_use.setdefault(key, index) if node.attr("shared") else index
            named = [(item, extras[item.attr("name")]) for item in body.inputs if item.attr("name") in extras]
            passed = {item.id: places[ref.node] for item, ref in named if ref.node in places}
            self.body(body, _join(prefix, node.attr("name"), str(used)), passed)


def _passed(inputs: tuple[Node, ...], refs: tuple[Ref, ...], places: dict[str, str]) -> dict[str, str]:
    return {item.id: places[ref.node] for item, ref in zip(inputs, refs, strict=True) if ref.node in places}


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def weight_roles(graph: Graph) -> dict[str, WeightRole]:
    """The role of every weight by its path, which is its key in the module's ``state_dict``."""
    walk = _Walk(graph)
    walk.body(graph.main, "", {})
    return {path: WeightRole(decay, frozenset(walk.readers.get(path, ()))) for path, decay in walk.decay.items()}
