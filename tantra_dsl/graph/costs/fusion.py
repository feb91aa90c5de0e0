"""Maps that the compiler puts into the op before them, so that nothing is kept in between."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tantra_dsl.graph.model import Body, Node, Ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import fold

_AFFINE: Final = frozenset({"add", "mul"})


def weighted_norms(body: Body) -> dict[str, str]:
    """Maps that are the weight and bias of a norm, by id, with the kind of the norm: torch computes them with it."""
    nodes = {node.id: node for node in body.nodes}
    readers = Counter(ref for node in body.nodes for ref in node.inputs)
    readers.update(ref for _, ref in (*body.outputs, *body.taps))
    found: dict[str, str] = {}
    for node in body.nodes:
        if node.op == "map" and _is_affine(node.attr("program")):
            normal = [ref for ref in node.inputs if _kind(nodes[ref.node], found) and readers[ref] == 1]
            if len(normal) == 1 and _others_are_vectors(nodes, node, normal[0]):
                found[node.id] = _kind(nodes[normal[0].node], found)
    return found


def _kind(node: Node, found: dict[str, str]) -> str:
    """Kind of the norm that ``node`` is, or is a part of; empty where it is neither. An rms norm has no bias."""
    if node.op == "normalize" and node.attr("kind") in ("layernorm", "rms") and node.attr("groups", 1) == 1:
        return str(node.attr("kind"))
    return "layernorm" if found.get(node.id) == "layernorm" else ""


def _is_affine(program: Program) -> bool:
    def visit(scalar: Scalar, parts: list[bool]) -> bool:
        return isinstance(scalar, (Const, Var)) or (isinstance(scalar, Op) and scalar.op in _AFFINE and all(parts))

    return fold(program.body, visit)


def _others_are_vectors(nodes: dict[str, Node], node: Node, normal: Ref) -> bool:
    types: list[TensorType] = [nodes[ref.node].types[ref.out] for ref in node.inputs if ref != normal]
    return all(t.rank == 1 for t in types)
