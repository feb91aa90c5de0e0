"""Kinds of scalar expressions: a truth value or a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tantra_dsl.scalars.format import SYMBOLS, format_scalar
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Scalar
from tantra_dsl.scalars.walk import ScalarError, check_bounds, fold, path_to

Kind = Literal["bool", "number"]

LOGIC = frozenset({"and", "or", "not"})
COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
MANY = frozenset({"add", "mul", "and", "or", "min", "max"})
_ARITY = {"where": 3, "sub": 2, "div": 2, "floordiv": 2, "mod": 2, "pow": 2} | dict.fromkeys(COMPARISONS, 2)


def kind_of(expr: Scalar, captures: Sequence[Capture] = ()) -> Kind:
    """Whether ``expr`` is a truth value or a number.

    Raises ScalarError, with the path of the offending part, where an operation gets operands of the wrong kind or
    number.
    """
    check_bounds(expr)
    try:
        return fold(expr, lambda node, kinds: _kind(node, kinds, captures))
    except ScalarError as error:
        raise ScalarError(error.reason, error.expr, path_to(expr, error.expr)) from None


def spelling(op: str) -> str:
    """How people write the operation ``op``."""
    return SYMBOLS.get(op, {"neg": "-", "where": "if"}.get(op, op))  # type: ignore[call-overload,no-any-return]


def brief(expr: Scalar, captures: Sequence[Capture] = ()) -> str:
    """``expr`` in backquotes, cut to fit a message."""
    text = format_scalar(expr, captures)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}...`"


def _kind(node: Scalar, kinds: list[Kind], captures: Sequence[Capture]) -> Kind:
    if isinstance(node, Const):
        return "bool" if isinstance(node.value, bool) else "number"
    if isinstance(node, Gather):
        _require(node, node.index, kinds, "number", "an index", captures)
        return "number"
    if not isinstance(node, Op):
        return "number"
    _check_arity(node)
    if node.op == "where":
        return _kind_of_where(node, kinds, captures)
    wanted: Kind = "bool" if node.op in LOGIC else "number"
    _require(node, node.args, kinds, wanted, f"`{spelling(node.op)}`", captures)
    return "bool" if node.op in LOGIC | COMPARISONS else "number"


def _check_arity(node: Op) -> None:
    count = len(node.args)
    if node.op in MANY:
        least = 1 if node.op in ("min", "max") else 2
        if count < least:
            raise ScalarError(f"`{spelling(node.op)}` needs at least {least} operands, but got {count}", node)
    elif count != _ARITY.get(node.op, 1):
        raise ScalarError(f"`{spelling(node.op)}` takes {_ARITY.get(node.op, 1)} operands, but got {count}", node)


def _require(
    node: Scalar, parts: tuple[Scalar, ...], kinds: list[Kind], wanted: Kind, user: str, captures: Sequence[Capture]
) -> None:
    for part, kind in zip(parts, kinds, strict=True):
        if kind != wanted:
            needs, got = ("truth values", "a number") if wanted == "bool" else ("numbers", "a truth value")
            needs = "a number" if user == "an index" else needs
            raise ScalarError(f"{user} needs {needs}, but {brief(part, captures)} is {got}", part)


def _kind_of_where(node: Op, kinds: list[Kind], captures: Sequence[Capture]) -> Kind:
    condition, then, otherwise = kinds
    if condition != "bool":
        raise ScalarError(f"`if` needs a truth value, but {brief(node.args[0], captures)} is a number", node.args[0])
    if then != otherwise:
        number, truth = (node.args[1], node.args[2]) if then == "number" else (node.args[2], node.args[1])
        reason = f"{brief(number, captures)} is a number, but {brief(truth, captures)} is a truth value"
        raise ScalarError(f"both branches of `if` need one kind: {reason}", node)
    return then
