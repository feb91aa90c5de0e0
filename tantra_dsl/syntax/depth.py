"""The limit on nesting, so that whoever walks a tree may recurse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.limits import MAX_TREE_DEPTH
from tantra_dsl.syntax.tree import (
    Argument,
    Assign,
    Attribute,
    Binary,
    Body,
    Call,
    Definition,
    Entry,
    Expect,
    File,
    If,
    Index,
    Input,
    Item,
    Let,
    ListExpr,
    Node,
    Return,
    Share,
    Tuple,
    Unary,
)

Children = tuple[Any, ...]

_CHILDREN: dict[type, Callable[[Any], Children]] = {
    File: lambda node: node.members,
    Body: lambda node: node.members,
    Definition: lambda node: (
        node.extends, node.body, *(p.default for p in node.inputs or ()), *(p.default for p in node.params)
    ),
    Entry: lambda node: (node.value,),
    Item: lambda node: (node.value,),
    Let: lambda node: (node.value,),
    Share: lambda node: (node.value,),
    Input: lambda node: (node.type,),
    Assign: lambda node: (node.value,),
    Return: lambda node: node.values,
    Expect: lambda node: (node.condition,),
    ListExpr: lambda node: node.items,
    Tuple: lambda node: node.items,
    Unary: lambda node: (node.operand,),
    Binary: lambda node: (node.left, node.right),
    If: lambda node: (node.condition, node.then, node.otherwise),
    Index: lambda node: (node.base, *node.items),
    Attribute: lambda node: (node.base,),
    Argument: lambda node: (node.value,),
    Call: lambda node: (node.callee, *node.arguments),
}  # fmt: skip


def children(node: Node) -> Children:
    """The nodes directly below ``node`` (with None for what is left out)."""
    below = _CHILDREN.get(type(node))
    return below(node) if below else ()


def check_depth(file: File, sink: Sink) -> bool:
    """Whether the tree is at most ``MAX_TREE_DEPTH`` nodes deep; reports the first place beyond it."""
    level: list[Any] = [file]
    for _ in range(MAX_TREE_DEPTH):
        level = [child for node in level if type(node) in _CHILDREN for child in _CHILDREN[type(node)](node)]
        if not level:
            return True
    deepest = next((node for node in level if isinstance(node, Node)), None)
    if deepest is None:
        return True
    from tantra_dsl.diagnostics.syntax import TooDeep

    sink.add(TooDeep(span=deepest.span, limit=MAX_TREE_DEPTH))
    return False


__all__ = ["check_depth", "children"]
