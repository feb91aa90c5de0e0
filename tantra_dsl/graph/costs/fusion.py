"""Maps that the compiler puts into the op before them, so that nothing is kept in between."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tantra_dsl.graph.model import Body, Node, Ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import fold

_AFFINE: Final = frozenset({"add", "mul"})


def weighted_norms(body: Body) -> frozenset[str]:
    """Ids of the maps that are a layernorm's weight and bias: torch computes them with the norm.

    (torch's rms norm on a CPU keeps its normalised input all the same, so its weights are like any other product.)
    """
    nodes = {node.id: node for node in body.nodes}
    readers = Counter(ref for node in body.nodes for ref in node.inputs)
    readers.update(ref for _, ref in (*body.outputs, *body.taps))
    found: set[str] = set()
    for node in body.nodes:
        if node.op == "map" and _is_affine(node.attr("program")):
            normal = [ref for ref in node.inputs if _is_normal(nodes[ref.node], found) and readers[ref] == 1]
            if len(normal) == 1 and _others_are_vectors(nodes, node, normal[0]):
                found.add(node.id)
    return frozenset(found)


def _is_normal(node: Node, found: set[str]) -> bool:
    plain = node.op == "normalize" and node.attr("kind") == "layernorm" and node.attr("groups", 1) == 1
    return plain or node.id in found


def _is_affine(program: Program) -> bool:
    def visit(scalar: Scalar, parts: list[bool]) -> bool:
        return isinstance(scalar, (Const, Var)) or (isinstance(scalar, Op) and scalar.op in _AFFINE and all(parts))

    return fold(program.body, visit)


def _others_are_vectors(nodes: dict[str, Node], node: Node, normal: Ref) -> bool:
    types: list[TensorType] = [nodes[ref.node].types[ref.out] for ref in node.inputs if ref != normal]
    return all(t.rank == 1 for t in types)
