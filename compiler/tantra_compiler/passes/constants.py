"""What is known before the model runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tantra_compiler.passes.base import each_body
from tantra_compiler.passes.recipe import with_attr, with_nodes, without_nodes
from tantra_dsl.graph.model import Body, Graph, Node
from tantra_dsl.scalars.facts import always
from tantra_dsl.scalars.ir import Program, Var
from tantra_dsl.scalars.simplify import simplify


@dataclass(frozen=True)
class FoldConstants:
    """Folds the constants of every program.

    Maps that give back what they read go away, and so do masks that hold everywhere and scores that change nothing.
    """

    name: ClassVar[str] = "fold_constants"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph without them."""
        return each_body(graph, _folded)


def _folded(body: Body) -> Body:
    folded = with_nodes(body, [_without_idle_programs(_with_folded_programs(node)) for node in body.nodes])
    return without_nodes(folded, lambda node: _gives_back(folded, node))


def _with_folded_programs(node: Node) -> Node:
    for name, value in node.attrs:
        if isinstance(value, Program) and (simple := simplify(value.body)) != value.body:
            node = with_attr(node, name, replace(value, body=simple))
    return node


def _without_idle_programs(node: Node) -> Node:
    """An ``attend`` without a mask that holds everywhere, and without a score that is s."""
    mask, score = (node.attr(name) if node.op == "attend" else None for name in ("mask", "score"))
    if mask is not None and not mask.captures and always(mask.body):
        node = with_attr(node, "mask", None)
    if score is not None and not score.captures and score.body == Var("s"):
        node = with_attr(node, "score", None)
    return node


def _gives_back(body: Body, node: Node) -> bool:
    """Whether a map gives its first operand, unchanged in type."""
    if node.op != "map" or not node.inputs:
        return False
    program: Program = node.attr("program")
    return program.body == Var(program.variables[0]) and body.type_of(node.inputs[0]) == node.type
