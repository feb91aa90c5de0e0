"""Walking scalar expressions without recursion, and the bounds that keep every walk cheap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from tantra_dsl.scalars.ir import Const, Gather, Op, Scalar, Var

MAX_DEPTH = 120
MAX_SIZE = 4_000

T = TypeVar("T")


class ScalarError(ValueError):
    """A scalar expression that has no meaning.

    ``reason`` says why in the author's terms, ``expr`` is the offending part, and ``path`` the argument
    numbers that lead to it from the expression that was handed in.
    """

    def __init__(self, reason: str, expr: Scalar, path: tuple[int, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expr = expr
        self.path = path


def children(expr: Scalar) -> tuple[Scalar, ...]:
    """Direct parts of ``expr``, in order."""
    if isinstance(expr, Op):
        return expr.args
    return expr.index if isinstance(expr, Gather) else ()


def fold(root: Scalar, visit: Callable[[Scalar, list[T]], T]) -> T:
    """Value of ``root`` from the values of its parts; a part that occurs twice as one object is visited once."""
    done: dict[int, T] = {}
    stack = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        parts = children(node)
        if ready or not parts:
            done[id(node)] = visit(node, [done[id(part)] for part in parts])
        else:
            stack.append((node, True))
            stack.extend((part, False) for part in reversed(parts))
    return done[id(root)]


def with_children(expr: Scalar, parts: list[Scalar]) -> Scalar:
    """``expr`` with other parts; ``expr`` itself where they are the same objects."""
    if all(new is old for new, old in zip(parts, children(expr), strict=True)):
        return expr
    if isinstance(expr, Op):
        return Op(expr.op, tuple(parts))
    return Gather(expr.capture, tuple(parts)) if isinstance(expr, Gather) else expr


def depth_and_size(root: Scalar) -> tuple[int, int]:
    """Nesting depth and number of nodes, counted as a tree (a shared part counts where it occurs)."""

    def visit(_: Scalar, parts: list[tuple[int, int]]) -> tuple[int, int]:
        return 1 + max((d for d, _ in parts), default=0), 1 + sum(s for _, s in parts)

    return fold(root, visit)


def check_bounds(root: Scalar) -> None:
    """Raise ScalarError when ``root`` is nested deeper or is larger than any sensible program."""
    depth, size = depth_and_size(root)
    if depth > MAX_DEPTH:
        raise ScalarError(f"the expression is nested {depth} deep; at most {MAX_DEPTH} levels are allowed", root)
    if size > MAX_SIZE:
        raise ScalarError(f"the expression grows beyond {MAX_SIZE} terms once its definitions are put in", root)


def path_to(root: Scalar, part: Scalar) -> tuple[int, ...]:
    """Argument numbers from ``root`` to the object ``part``; empty where it does not occur."""
    stack: list[tuple[Scalar, tuple[int, ...]]] = [(root, ())]
    seen: set[int] = set()
    while stack:
        node, path = stack.pop()
        if node is part:
            return path
        if id(node) not in seen:
            seen.add(id(node))
            stack.extend((child, (*path, i)) for i, child in reversed(list(enumerate(children(node)))))
    return ()


def substitute(root: Scalar, values: Mapping[str, Scalar]) -> Scalar:
    """``root`` with variables replaced by expressions."""

    def visit(node: Scalar, parts: list[Scalar]) -> Scalar:
        if isinstance(node, Var):
            return values.get(node.name, node)
        return with_children(node, parts)

    return fold(root, visit)


def variables_of(root: Scalar) -> frozenset[str]:
    """Names of the variables that occur in ``root``."""
    found: set[str] = set()
    fold(root, lambda node, _: found.add(node.name) if isinstance(node, Var) else None)
    return frozenset(found)


def captures_of(root: Scalar) -> frozenset[int]:
    """Numbers of the captures that ``root`` reads."""
    found: set[int] = set()
    fold(root, lambda node, _: found.add(node.capture) if isinstance(node, Gather) else None)
    return frozenset(found)


def integral(root: Scalar) -> bool:
    """Whether ``root`` can only be a whole number: made of positions and ints by operations that keep ints."""
    return fold(root, _integral)


_POSITIONS = frozenset({"q", "k", "queries", "keys"})
_KEEPS_INTS = frozenset({"add", "sub", "mul", "neg", "abs", "min", "max", "floordiv", "mod"})


def _integral(node: Scalar, parts: list[bool]) -> bool:
    if isinstance(node, Const):
        return isinstance(node.value, int) and not isinstance(node.value, bool)
    if isinstance(node, Var):
        return node.name in _POSITIONS
    if isinstance(node, Gather):
        return False
    if node.op == "where":
        return parts[1] and parts[2]
    return node.op == "floor" or (node.op in _KEEPS_INTS and all(parts))
