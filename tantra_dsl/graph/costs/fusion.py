"""Ops that the compiler makes one, so that less is kept between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tantra_dsl.graph.activations import activations
from tantra_dsl.graph.layers import layers_of_one_input
from tantra_dsl.graph.model import Body, Node, Ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import fold

_AFFINE: Final = frozenset({"add", "mul"})


def weighted_norms(body: Body) -> dict[str, str]:
    """Norms with a weight and the maps that are their weight and bias, by id, with the kind: computed as one op."""
    nodes = {node.id: node for node in body.nodes}
    readers = Counter(ref for node in body.nodes for ref in node.inputs)
    readers.update(ref for _, ref in (*body.outputs, *body.taps))
    found: dict[str, str] = {}
    for node in body.nodes:
        if node.op == "map" and _is_affine(node.attr("program")):
            normal = [ref for ref in node.inputs if _kind(nodes[ref.node], found) and readers[ref] == 1]
            if len(normal) == 1 and _others_are_vectors(nodes, node, normal[0]):
                kind = _kind(nodes[normal[0].node], found)
                if kind == "layernorm" or _scales(node.attr("program"), node.inputs.index(normal[0])):
                    found[node.id] = found[normal[0].node] = kind
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


def _scales(program: Program, slot: int) -> bool:
    """Whether it is n * w or n * (1 + w), n being its variable number ``slot``."""
    body, normal = program.body, Var(program.variables[slot])
    if not (isinstance(body, Op) and body.op == "mul" and normal in body.args and len(program.variables) == 2):
        return False
    weight, factor = Var(program.variables[1 - slot]), body.args[1 - body.args.index(normal)]
    one_plus = isinstance(factor, Op) and factor.op == "add" and set(factor.args) == {Const(1), weight}
    return factor == weight or one_plus


def _others_are_vectors(nodes: dict[str, Node], node: Node, normal: Ref) -> bool:
    types: list[TensorType] = [nodes[ref.node].types[ref.out] for ref in node.inputs if ref != normal]
    return all(t.rank == 1 for t in types)


@dataclass(frozen=True, slots=True)
class Remade:
    """Functions whose value is computed again in the backward pass, and linear layers of one product.

    ``maps`` are such a function's maps, each with the one that gives its value; ``linears`` the linear layers that read
    such a value, with that one too. ``packed`` are linear layers of one product, with the first of them. ``turned`` are
    rotations of heads that are cut from a product.
    """

    maps: Mapping[str, str]
    linears: Mapping[str, str]
    packed: Mapping[str, str]
    turned: frozenset[str]

    @staticmethod
    def of(body: Body) -> Remade:
        """What the compiler makes of ``body``."""
        made = [each for each in activations(body) if each.obstacle() is None]
        maps = {node.id: each.root.id for each in made for node in (each.root, *each.inner)}
        linears = {each.reader.id: each.root.id for each in made if each.reader is not None and each.takes_linear()}
        packed = {node.id: group[0].id for group in layers_of_one_input(body) for node in group}
        return Remade(maps, linears, packed, _turned(body))


def _turned(body: Body) -> frozenset[str]:
    """Rotations of heads of a linear layer, directly or behind one module or norm."""
    found: set[str] = set()
    for node in body.nodes:
        if node.op == "rope":
            source = body.node(node.inputs[0].node)
            between = source.op in ("call", "normalize", "map")
            source = body.node(source.inputs[0].node) if between else source
            if source.op == "split_heads" and body.node(source.inputs[0].node).op == "linear":
                found.add(node.id)
    return frozenset(found)
