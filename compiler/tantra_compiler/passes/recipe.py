"""The recipe's figures, put where the architecture leaves them open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tantra_compiler.passes.base import each_body
from tantra_dsl.graph.linear_loss import LINEAR_LOSS
from tantra_dsl.graph.model import Attr, Body, Graph, Node, Ref


@dataclass(frozen=True)
class ApplyRecipe:
    """Sets open dropout rates and label smoothing; a dropout of rate 0 goes away."""

    name: ClassVar[str] = "apply_recipe"
    after: ClassVar[tuple[str, ...]] = ()
    dropout: float
    label_smoothing: float

    def __call__(self, graph: Graph) -> Graph:
        """The graph without open figures."""
        return each_body(graph, self._body)

    def _body(self, body: Body) -> Body:
        return without_nodes(with_nodes(body, [self._node(node) for node in body.nodes]), _is_idle)

    def _node(self, node: Node) -> Node:
        if node.op == "dropout" and node.attr("rate") is None:
            return with_attr(node, "rate", self.dropout)
        if node.op in ("cross_entropy", LINEAR_LOSS) and node.attr("label_smoothing") is None:
            return with_attr(node, "label_smoothing", self.label_smoothing)
        return node


def _is_idle(node: Node) -> bool:
    return node.op == "dropout" and not node.attr("rate")


def with_attr(node: Node, name: str, value: Attr) -> Node:
    """``node`` with attribute ``name`` set."""
    attrs = {**dict(node.attrs), name: value}
    return replace(node, attrs=tuple(sorted(attrs.items())))


def with_nodes(body: Body, nodes: list[Node]) -> Body:
    """``body`` with other nodes; itself where they are the same."""
    same = len(nodes) == len(body.nodes) and all(new is old for new, old in zip(nodes, body.nodes, strict=True))
    return body if same else replace(body, nodes=tuple(nodes))


def without_nodes(body: Body, drop: object) -> Body:
    """``body`` without the nodes for which ``drop`` holds; their readers read what they read."""
    assert callable(drop)
    instead = {Ref(node.id): node.inputs[0] for node in body.nodes if drop(node)}
    if not instead:
        return body

    def through(ref: Ref) -> Ref:
        while ref in instead:
            ref = instead[ref]
        return ref

    nodes = [replace(n, inputs=tuple(map(through, n.inputs))) for n in body.nodes if Ref(n.id) not in instead]
    outputs = tuple((name, through(ref)) for name, ref in body.outputs)
    return replace(body, nodes=tuple(nodes), outputs=outputs, taps=tuple((n, through(r)) for n, r in body.taps))
