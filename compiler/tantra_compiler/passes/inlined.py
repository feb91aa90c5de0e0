"""Weights of a norm that is a module of its own, read where the norm becomes part of another op."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tantra_compiler.passes.add_norm import Norm, through
from tantra_dsl.graph.model import Body, Node, Ref

_OF_WEIGHTS: Final = frozenset({"param", "weight", "instance"})


def free_id(wanted: str, taken: set[str]) -> str:
    """``wanted``, or with a number behind it where that is taken; it is taken from then on."""
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name


def norm_weights(norm: Norm, taken: set[str]) -> tuple[list[Node], tuple[Ref, ...]]:
    """New nodes that give weight and bias of ``norm``, and what they give; the module that owns them stays.

    ``taken`` are the ids in use. A norm that is an op has its weights already, and a norm without weights needs none.
    """
    if norm.inner is None or not norm.operands:
        return [], norm.operands
    call, made, refs = norm.node, list[Node](), dict[Ref, Ref]()
    module = call.inputs[0]
    if call.attr("instance") == "own":
        attrs = tuple((name, value) for name, value in call.attrs if name in ("body", "name"))
        instance = Node(free_id(f"{call.id}_module", taken), "instance", (), attrs, (), origin=call.origin)
        made, module = [instance], Ref(instance.id)
    for node in norm.inner.nodes:
        if node.op not in ("param", "map"):
            continue
        name = node.attr("name") if node.op == "param" else "weight"
        moved = replace(node, id=free_id(f"{call.id}_{name}", taken), equation=None, target=None)
        if node.op == "param":
            moved = replace(moved, op="weight", inputs=(module,), attrs=(("path", node.attr("name")),))
        else:
            moved = replace(moved, inputs=through(node.inputs, refs))
        made.append(moved)
        refs[Ref(node.id)] = Ref(moved.id)
    return made, through(norm.operands, refs)


def makers(body: Body, refs: tuple[Ref, ...]) -> list[Node] | None:
    """The nodes that make ``refs`` from weights alone, in their order; None where something else takes part."""
    needed, found = {ref.node for ref in refs}, list[Node]()
    for node in reversed(body.nodes):
        if node.id in needed:
            given = node.op == "input" and node.attr("kind") in ("param", "module")
            if not (given or node.op in _OF_WEIGHTS or node.op == "map"):
                return None
            needed.update(ref.node for ref in node.inputs)
            found.insert(0, node)
    return found
