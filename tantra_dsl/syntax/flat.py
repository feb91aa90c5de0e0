"""Expressions and heads on one line, with no more parentheses than the tree needs."""

from __future__ import annotations

from collections.abc import Sequence

from tantra_dsl.syntax.literals import quote
from tantra_dsl.syntax.operators import COMPARISON, PRECEDENCE, prefix_precedence
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
    Expr,
    If,
    Index,
    Input,
    Item,
    Let,
    ListExpr,
    Member,
    Name,
    Number,
    Parameter,
    Remove,
    Return,
    Share,
    String,
    Tuple,
    Unary,
    Use,
)

LOOSEST = -1
CONDITION = PRECEDENCE["or"]  # an `if` keeps `then` for itself
# Before a bracket these words would open something else.
_OPENING_WORDS = frozenset({"block", "module", "fn", "share"})


def flat(expr: Expr, level: int = LOOSEST) -> str:
    """One line of text for ``expr``, in parentheses where it binds looser than ``level``."""
    if isinstance(expr, Name):
        return expr.id
    if isinstance(expr, Number):
        return expr.text
    if isinstance(expr, Binary):
        own = PRECEDENCE[expr.op]
        left, right = operand_levels(expr)
        op = ".." if expr.op == ".." else f" {expr.op} "
        text = flat(expr.left, left) + op + flat(expr.right, right)
        return f"({text})" if own < level else text
    return _flat_other(expr, level)


def operand_levels(expr: Binary) -> tuple[int, int]:
    """How tightly the left and right operand must bind to stand without parentheses."""
    own = PRECEDENCE[expr.op]
    if expr.op == "**":
        return own + 1, own
    if expr.op == "|>" and isinstance(expr.left, Binary) and expr.left.op != "|>":
        return len(PRECEDENCE), own + 1  # `(a + b) |> f`: for the reader's sake
    return (own + 1 if own == COMPARISON else own), own + 1


def _flat_other(expr: Expr, level: int) -> str:
    if isinstance(expr, Call):
        return _call(expr)
    if isinstance(expr, Unary):
        text = unary_prefix(expr) + flat_operand(expr)
        return f"({text})" if prefix_precedence(expr.op) < level else text
    if isinstance(expr, If | Definition):
        text = _if(expr) if isinstance(expr, If) else flat_definition(expr)
        loose = isinstance(expr, If) or not isinstance(expr.body, Body)
        return f"({text})" if loose and level > LOOSEST else text
    if isinstance(expr, Index):
        return f"{flat_base(expr.base)}[{_comma(expr.items)}]"
    if isinstance(expr, Attribute):
        return f"{flat_base(expr.base, before_dot=True)}.{expr.name}"
    if isinstance(expr, ListExpr):
        return f"[{_comma(expr.items)}]"
    if isinstance(expr, Tuple):
        return f"({_comma(expr.items)}{',' if len(expr.items) == 1 else ''})"
    assert isinstance(expr, String)
    return quote(expr.value)


def _comma(items: Sequence[Expr]) -> str:
    return ", ".join([flat(item) for item in items])


def _if(expr: If) -> str:
    then = flat(expr.then, 0) if isinstance(expr.then, If | Definition) else flat(expr.then)
    return f"if {flat(expr.condition, CONDITION)} then {then} else {flat(expr.otherwise)}"


def unary_prefix(expr: Unary) -> str:
    """``-``, ``not`` or ``share`` with its space."""
    return expr.op if expr.op == "-" else expr.op + " "


def flat_operand(expr: Unary) -> str:
    """The operand of a prefix operator; ``share`` is one only before a name or a parenthesis."""
    if expr.op == "share" and not _opens_with_name_or_round(expr.operand):
        return f"({flat(expr.operand)})"
    return flat(expr.operand, prefix_precedence(expr.op))


def _opens_with_name_or_round(expr: Expr) -> bool:
    if isinstance(expr, Definition):
        return isinstance(expr.body, Body)
    return isinstance(expr, Name | Attribute | Index | Call | Tuple) or (isinstance(expr, Unary) and expr.op == "share")


def flat_base(expr: Expr, *, before_dot: bool = False) -> str:
    """What an index, an argument list or an attribute follows."""
    text = flat(expr)
    if isinstance(expr, Name):
        return f"({text})" if text in _OPENING_WORDS and not before_dot else text
    applied = isinstance(expr, Attribute | Index | Tuple) or (isinstance(expr, Call) and not expr.braces)
    return text if applied else f"({text})"


def _call(expr: Call) -> str:
    if expr.braces:
        inside = ", ".join([flat_argument(argument) for argument in expr.arguments])
        return f"{flat(expr.callee)} {{ {inside} }}" if inside else f"{flat(expr.callee)} {{}}"
    return f"{flat_base(expr.callee)}({', '.join(_argument_texts(expr))})"


def _argument_texts(expr: Call) -> list[str]:
    """The arguments; the first after the semicolon carries it."""
    before = [flat_argument(a) for a in expr.arguments if not a.hyper]
    after = [flat_argument(a) for a in expr.arguments if a.hyper]
    if after:
        after[0] = f"{before.pop() if before else ''}; {after[0]}"
    return before + after


def flat_argument(argument: Argument) -> str:
    """``name: value`` or ``value``."""
    return flat(argument.value) if argument.name is None else f"{argument.name}: {flat(argument.value)}"


# --- definitions and members -----------------------------------------------------------------


def flat_parameter(parameter: Parameter) -> str:
    """``name: type = default``, without what is not there."""
    choices = f": {' | '.join(parameter.choices)}" if parameter.choices else ""
    default = f" = {flat(parameter.default)}" if parameter.default else ""
    return parameter.name + choices + default


def flat_head(node: Definition) -> str:
    """A definition up to its ``=`` or brace."""
    name = f" {node.name}" if node.name else ""
    base = f" extends {flat(node.extends)}" if node.extends else ""
    return node.kind + name + _signature(node) + base


def _signature(node: Definition) -> str:
    if node.inputs is None:
        return ""
    inputs = ", ".join(map(flat_parameter, node.inputs))
    params = ", ".join(map(flat_parameter, node.params))
    return f"({inputs}; {params})" if params else f"({inputs})"


def flat_definition(node: Definition) -> str:
    """A definition on one line; members are parted by semicolons."""
    if not isinstance(node.body, Body):
        return f"{flat_head(node)} = {flat(node.body)}"
    inside = "; ".join([flat_member(member) for member in node.body.members])
    return f"{flat_head(node)} {{ {inside} }}" if inside else f"{flat_head(node)} {{}}"


def member_head(member: Member) -> str:
    """What stands before a member's value: ``dim: ``, ``let x: ``, ``a, b = ``."""
    if isinstance(member, Entry):
        return f"{member.path}: "
    if isinstance(member, Let | Share | Input):
        return f"{type(member).__name__.lower()} {member.name}: "
    if isinstance(member, Assign):
        return f"{', '.join(member.targets)} = "
    return {Return: "return ", Expect: "expect "}.get(type(member), "")


def member_value(member: Member) -> Expr | None:
    """The one expression of a member, where it has one."""
    if isinstance(member, Entry | Item | Let | Share | Assign):
        return member.value
    if isinstance(member, Input):
        return member.type
    if isinstance(member, Expect):
        return member.condition
    return None


def flat_member(member: Member) -> str:
    """A member on one line."""
    if isinstance(member, Definition):
        return flat_definition(member)
    if isinstance(member, Remove):
        return f"remove {member.path}"
    if isinstance(member, Use):
        return f"use {quote(member.path)}"
    if isinstance(member, Return):
        return f"return {_comma(member.values)}"
    value = member_value(member)
    assert value is not None
    return member_head(member) + (flat_start(value) if isinstance(member, Item | Expect) else flat(value))


def flat_start(expr: Expr) -> str:
    """An expression that a leading `-` would join to what stands before it."""
    text = flat(expr)
    return f"({text})" if text.startswith("-") else text


__all__ = [
    "LOOSEST",
    "CONDITION",
    "flat",
    "flat_argument",
    "flat_base",
    "flat_definition",
    "flat_head",
    "flat_member",
    "flat_operand",
    "flat_parameter",
    "flat_start",
    "member_head",
    "member_value",
    "operand_levels",
    "unary_prefix",
]
