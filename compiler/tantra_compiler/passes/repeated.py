"""What is computed twice, and what nobody reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tantra_compiler.passes.base import each_body
from tantra_compiler.passes.recipe import with_nodes
from tantra_dsl.graph.linear_loss import needed_for
from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.ops import STRUCTURE


@dataclass(frozen=True)
class ShareRepeated:
    """Makes equal ops of equal operands one; what draws random numbers and what has weights of its own stays."""

    name: ClassVar[str] = "share_repeated"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph without repetitions."""
        return each_body(graph, _shared)


@dataclass(frozen=True)
class DropUnread:
    """Removes ops that no result is made from. Weights stay, so that checkpoints keep their names."""

    name: ClassVar[str] = "drop_unread"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph without idle ops."""
        return each_body(graph, _read)


def _shared(body: Body) -> Body:
    first: dict[object, str] = {}
    instead: dict[str, str] = {}
    nodes: list[Node] = []
    for node in body.nodes:
        inputs = tuple(_through(ref, instead) for ref in node.inputs)
        made = node if inputs == node.inputs else replace(node, inputs=inputs)
        what = (made.op, made.inputs, made.attrs, made.types)
        known = made.id if _is_unique(made) else first.setdefault(what, made.id)
        if known == made.id:
            nodes.append(made)
        else:
            instead[made.id] = known
    if not instead:
        return body
    outputs, taps = (tuple((name, _through(ref, instead)) for name, ref in refs) for refs in (body.outputs, body.taps))
    return replace(body, nodes=tuple(nodes), outputs=outputs, taps=taps)


def _through(ref: Ref, instead: dict[str, str]) -> Ref:
    return Ref(instead[ref.node], ref.out) if ref.node in instead else ref


def _is_unique(node: Node) -> bool:
    draws = node.op == "dropout" or (node.op == "attend" and bool(node.attr("dropout")))
    return draws or node.op in STRUCTURE


def _read(body: Body) -> Body:
    results = {ref.node for _, ref in (*body.outputs, *body.taps)}
    needed = needed_for(body, results | {node.id for node in body.nodes if node.op in STRUCTURE})
    return with_nodes(body, [node for node in body.nodes if node.id in needed])
