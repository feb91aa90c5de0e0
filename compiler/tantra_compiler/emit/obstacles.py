"""What keeps an op from running position by position."""

from __future__ import annotations

from tantra_dsl.graph.model import Body, Node
from tantra_dsl.graph.types import Size, TensorType
from tantra_dsl.scalars.facts import lookahead
from tantra_dsl.scalars.walk import variables_of

Growing = frozenset[str]
"""Names of the run-time lengths that grow while decoding."""

ATTENTION = frozenset({"attend", "additive_attend"})
_ALONG = frozenset({"concat", "select", "slice", "pool", "softmax"})
_WHOLE = frozenset({"gather_time", "argmax_time"})


def grows(size: Size, growing: Growing) -> bool:
    """Whether an extent depends on a length that grows."""
    return any(name in growing for name, _ in size.terms)


def growing_axis(type: TensorType, growing: Growing) -> int | None:
    """Position of the dimension that grows."""
    return next((position for position, dim in enumerate(type.dims) if grows(dim.size, growing)), None)


def obstacle(body: Body, node: Node, growing: Growing) -> str | None:
    """Why ``node`` cannot run on what is new alone, where the lengths ``growing`` grow; None where it can."""
    for type in node.types:
        grown = [dim.size for dim in type.dims if grows(dim.size, growing)]
        if len(grown) > 1:
            return f"{node.op} pairs every position with every other"
        if grown and grown[0] not in map(Size.symbol, growing):
            return f"{node.op} changes the number of positions"
    operands = [body.type_of(ref) for ref in node.inputs if body.node(ref.node).types]
    if not any(growing_axis(type, growing) is not None for type in operands):
        return None
    return _obstacle_of(node, operands, growing)


def _obstacle_of(node: Node, operands: list[TensorType], growing: Growing) -> str | None:
    if node.op in ATTENTION:
        return _attention_obstacle(node, operands, growing)
    if node.op == "conv1d" and (not node.attr("causal") or node.attr("stride", 1) != 1):
        return "a convolution that is not causal reads later positions"
    if node.op == "shift" and node.attr("by") < 0:
        return "a shift reads later positions"
    if node.op in _WHOLE or (node.op in _ALONG and _works_along(node, operands, growing)):
        return f"{node.op} works along all positions"
    return None


def _works_along(node: Node, operands: list[TensorType], growing: Growing) -> bool:
    widest = max(operands, key=lambda type: type.rank)
    name = node.attr("axis")
    axis = widest.rank - 1 if name == "last" else widest.axis(name)
    return axis is not None and axis == growing_axis(widest, growing)


def _attention_obstacle(node: Node, operands: list[TensorType], growing: Growing) -> str | None:
    queries, keys = (growing_axis(type, growing) is not None for type in operands[:2])
    mask, score = node.attr("mask"), node.attr("score")
    used = frozenset[str]().union(*(variables_of(p.body) for p in (mask, score) if p is not None))
    if used & {"queries", "keys"}:
        return "its mask or score depends on the length"
    if not keys:
        return "its mask or score compares positions of two sequences" if "q" in used else None
    if not queries:
        return "attention reads a sequence that is still growing"
    if lookahead(mask) > 0:
        return "attention sees later positions"
    return None
