"""What is computed once and kept while decoding: all that depends on inputs, yet not on what grows."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tantra_dsl.graph.model import Body, Node
from tantra_dsl.graph.types import TensorType

ATOMS = frozenset({"input", "param", "instance", "weight"})
"""Ops that are named where they are read and take no work."""

Groups = dict[str, frozenset[str]]
"""Nodes whose values are kept, each with the nodes that serve it alone."""


def kept_groups(body: Body, running: Collection[str], grows: Callable[[TensorType], bool]) -> Groups:
    """The values of ``body`` to keep, among the nodes that are ``running``; ``grows`` tells what decoding extends."""
    readers: dict[str, list[Node]] = {}
    for node in body.nodes:
        for ref in node.inputs if node.id in running else ():
            readers.setdefault(ref.node, []).append(node)
    ends = {ref.node for _, ref in (*body.outputs, *body.taps)}
    owner: dict[str, str] = {}
    for node in reversed(body.nodes):
        if node.id in running and _is_still(body, node, grows):
            owners = {owner.get(reader.id) for reader in readers.get(node.id, ())}
            alone = len(owners) == 1 and None not in owners and node.id not in ends
            owner[node.id] = next(iter(owners)) or node.id if alone else node.id
    return {
        own: frozenset(id for id, by in owner.items() if by == own) - {own} for own in dict.fromkeys(owner.values())
    }


def _is_still(body: Body, node: Node, grows: Callable[[TensorType], bool]) -> bool:
    """Whether ``node`` works on tensors that depend on an input and do not grow."""
    if node.op in ATOMS or not node.types:
        return False
    read = [body.type_of(ref) for ref in node.inputs if body.node(ref.node).types]
    depends = all(any(dim.size.terms for dim in type.dims) for type in node.types)
    return depends and not any(map(grows, (*read, *node.types)))
