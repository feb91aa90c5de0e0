"""Dropout that keeps a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tantra_compiler.passes.base import Decision, each_body
from tantra_compiler.passes.ops import SEEDED
from tantra_compiler.passes.places import places
from tantra_compiler.passes.recipe import with_nodes
from tantra_dsl.graph.model import Body, Graph, Node


@dataclass(frozen=True)
class SeedDropout:
    """Lets dropout keep a seed and draw again in the backward pass, instead of keeping what it drew."""

    name: ClassVar[str] = "seed_dropout"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with seeded dropout."""
        return each_body(graph, _seeded)

    def decisions(self, graph: Graph) -> tuple[Decision, ...]:
        """One for each dropout: all are seeded."""
        paths, reason = places(graph), "the backward pass draws again from the seed, which alone is kept"
        return tuple(
            Decision(f"{path}.{node.id}".strip("."), "dropout", SEEDED, reason)
            for key, body in graph.bodies.items()
            for node in body.nodes
            if node.op == "dropout"
            for path in paths[key]
        )


def _seeded(body: Body) -> Body:
    return with_nodes(body, [_node(node) for node in body.nodes])


def _node(node: Node) -> Node:
    return replace(node, op=SEEDED) if node.op == "dropout" else node
