"""Expressions closed over their scopes: what an author wrote, free of ``let`` names, and comparable between models.

A closed expression mentions definitions, facts of the model (``dim``, ``context`` ...) and, in the default of a
parameter, its siblings; a ``World`` says what facts and siblings mean. So ``4 * dim`` stays what it is when ``dim``
changes, and is seen to be another value when it is compared with a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from tantra_dsl.scalars.ir import Program
from tantra_dsl.semantics.numbers import FUNCTIONS, ArithmeticMistake, arithmetic, function, parse_number
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import Function, Number
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.depth import children
from tantra_dsl.syntax.flat import flat
from tantra_dsl.syntax.literals import canonical_number
from tantra_dsl.syntax.source import NOWHERE, Span

SIBLING = "$"
"""Stands before the name of a parameter that another one's default mentions."""
NONE = tree.Name("none")
_DEPTH = 64


@dataclass(frozen=True, eq=False)
class World:
    """What the facts and siblings that a closed expression mentions mean, each as a closed expression."""

    names: Mapping[str, tree.Expr] = field(default_factory=dict)
    parent: World | None = None
    outward: frozenset[str] = frozenset()
    """Names whose meaning is to be read in the world around."""

    def find(self, name: str) -> tuple[tree.Expr, World] | None:
        """The meaning of ``name`` and the world to read it in."""
        if name in self.names:
            return self.names[name], self.parent if name in self.outward and self.parent else self
        return self.parent.find(name) if self.parent is not None else None


@dataclass(frozen=True, eq=False)
class Closed:
    """A setting of a model: its closed expression, where it was written, and whether the author gave it.

    ``programs`` holds the scalar program that it was resolved to, where it was.
    """

    expr: tree.Expr
    world: World
    span: Span = NOWHERE
    given: bool = True
    programs: tuple[Program | None, ...] = ()
    source: tuple[tree.Expr, Scope] | None = None
    """The expression as it was written, and where its names are looked up."""

    @property
    def text(self) -> str:
        """As an author would write it."""
        return written(self.expr, self.world)


@dataclass(frozen=True, eq=False)
class Closer:
    """Closes the expressions of one elaborated model."""

    facts: Mapping[int, str]
    """Names of the model's facts by ``id`` of their thunks."""
    hidden: Mapping[int, Thunk] = field(default_factory=dict)
    """Lets whose names the model came to use for tensors, by ``id`` of what hides them."""

    def close(self, expr: tree.Expr, scope: Scope, keep: frozenset[str] = frozenset(), depth: int = 0) -> tree.Expr:
        """``expr`` without names of lets and passed-on parameters; the names in ``keep`` stay."""
        if isinstance(expr, tree.Name):
            return expr if expr.id in keep or depth > _DEPTH else self._name(expr, scope, depth)
        if isinstance(expr, tree.Call):
            return self._call(expr, scope, keep, depth)
        parts = {slot: getattr(expr, slot) for slot in _PARTS.get(type(expr), ())}
        closed = {slot: self._each(part, scope, keep, depth) for slot, part in parts.items()}
        return replace(expr, **closed) if closed else expr

    def _each(self, part: Any, scope: Scope, keep: frozenset[str], depth: int) -> Any:
        if isinstance(part, tuple):
            return tuple(self.close(item, scope, keep, depth) for item in part)
        return self.close(part, scope, keep, depth)

    def _name(self, expr: tree.Name, scope: Scope, depth: int) -> tree.Expr:
        thunk = scope.find(expr.id)
        if thunk is None or thunk.whole:
            return expr
        thunk = self.hidden.get(id(thunk), thunk)
        if id(thunk) in self.facts:
            return replace(expr, id=self.facts[id(thunk)])
        if thunk.expr is None or thunk.scope is None:
            return self._known(expr, thunk)
        if isinstance(thunk.expr, tree.Name) and thunk.scope.find(thunk.expr.id) is thunk:
            return expr
        return self.close(thunk.expr, thunk.scope, depth=depth + 1)

    def _known(self, expr: tree.Name, thunk: Thunk) -> tree.Expr:
        value = thunk.peek() if thunk.known else None
        if isinstance(value, int | Fraction | float) and not isinstance(value, bool) and expr.id != "dim":
            return number(value)
        return expr

    def _call(self, expr: tree.Call, scope: Scope, keep: frozenset[str], depth: int) -> tree.Expr:
        choices = choices_of(callee_function(expr, scope))
        arguments = tuple(
            replace(a, value=self.close(a.value, scope, keep | choices.get(a.name or "", frozenset()), depth))
            for a in expr.arguments
        )
        callee = self.close(expr.callee, scope, keep, depth)
        if isinstance(callee, tree.Call):
            return tree.Call(callee.callee, (*callee.arguments, *arguments), callee.braces, span=expr.span)
        return replace(expr, callee=callee, arguments=arguments)


_PARTS: dict[type, tuple[str, ...]] = {
    tree.Binary: ("left", "right"), tree.Unary: ("operand",), tree.Tuple: ("items",), tree.ListExpr: ("items",),
    tree.If: ("condition", "then", "otherwise"), tree.Index: ("base", "items"), tree.Attribute: ("base",),
}  # fmt: skip


def renamed(expr: tree.Expr, names: Mapping[str, str]) -> tree.Expr:
    """``expr`` with each name replaced that ``names`` lists."""
    if isinstance(expr, tree.Name):
        return replace(expr, id=names.get(expr.id, expr.id))
    if isinstance(expr, tree.Call):
        arguments = tuple(replace(a, value=renamed(a.value, names)) for a in expr.arguments)
        return replace(expr, callee=renamed(expr.callee, names), arguments=arguments)
    parts = {slot: getattr(expr, slot) for slot in _PARTS.get(type(expr), ())}
    changed: dict[str, Any] = {
        slot: tuple(renamed(item, names) for item in part) if isinstance(part, tuple) else renamed(part, names)
        for slot, part in parts.items()
    }
    return replace(expr, **changed) if changed else expr


def mentioned(node: tree.Node) -> set[str]:
    """Every name that a node mentions."""
    found: set[str] = set()
    pending: list[tree.Node] = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, tree.Name):
            found.add(current.id)
        pending += [child for child in children(current) if isinstance(child, tree.Node)]
    return found


def callee_function(expr: tree.Call, scope: Scope) -> Function | None:
    """The definition or primitive that a call names, where it can be told."""
    if not isinstance(expr.callee, tree.Name):
        return None
    thunk = scope.find(expr.callee.id)
    value = thunk.peek() if thunk is not None and thunk.known else None
    return value if isinstance(value, Function) else None


def choices_of(callee: Function | None) -> dict[str, frozenset[str]]:
    """For each parameter of ``callee`` that offers words, these words: in its arguments they mean themselves."""
    if callee is None or callee.definition is None:
        return {}
    listed = (*(callee.definition.inputs or ()), *callee.definition.params)
    return {p.name: frozenset(p.choices) for p in listed if len(p.choices) > 1}


# --- values ----------------------------------------------------------------------------


def number(value: Number) -> tree.Expr:
    """A number as its literal."""
    if isinstance(value, Fraction) and value.denominator != 1:
        return tree.Binary("/", number(value.numerator), number(value.denominator))
    if value < 0:
        return tree.Unary("-", number(-value))
    return tree.Number(canonical_number(str(int(value)) if not isinstance(value, float) else _float(value)))


def _float(value: float) -> str:
    mantissa, e, exponent = repr(value).partition("e")
    return mantissa.removesuffix(".0") + f"e{int(exponent)}" if e else mantissa


def evaluate(expr: tree.Expr, world: World, depth: int = 0) -> Number | bool | None:
    """The number or truth value that ``expr`` has in ``world``; None where it has none that can be told."""
    if depth > _DEPTH:
        return None
    try:
        return _evaluate(expr, world, depth + 1)
    except (ArithmeticMistake, KeyError, TypeError):
        return None


def _evaluate(expr: tree.Expr, world: World, depth: int) -> Number | bool | None:
    if isinstance(expr, tree.Number):
        return parse_number(expr.text)
    if isinstance(expr, tree.Name):
        if expr.id in ("true", "false"):
            return expr.id == "true"
        found = world.find(expr.id)
        return None if found is None else evaluate(found[0], found[1], depth)
    if isinstance(expr, tree.If):
        condition = evaluate(expr.condition, world, depth)
        chosen = expr.then if condition is True else expr.otherwise
        return evaluate(chosen, world, depth) if isinstance(condition, bool) else None
    return _operation(expr, world, depth)


def _operation(expr: tree.Expr, world: World, depth: int) -> Number | bool | None:
    if isinstance(expr, tree.Binary):
        sides = [evaluate(side, world, depth) for side in (expr.left, expr.right)]
        return None if None in sides else _binary(expr.op, sides[0], sides[1])
    if isinstance(expr, tree.Unary):
        value = evaluate(expr.operand, world, depth)
        if expr.op == "not":
            return not value if isinstance(value, bool) else None
        return -value if expr.op == "-" and value is not None else None
    if isinstance(expr, tree.Call) and isinstance(expr.callee, tree.Name) and expr.callee.id in FUNCTIONS:
        values = [evaluate(argument.value, world, depth) for argument in expr.arguments]
        return None if None in values or not values else function(expr.callee.id, values)  # type: ignore[arg-type]
    return None


def _binary(op: str, left: Any, right: Any) -> Number | bool:
    if op in ("==", "!="):
        return bool((left == right) is (op == "=="))
    if op in ("and", "or"):
        return bool(left and right) if op == "and" else bool(left or right)
    result: Number | bool = arithmetic(op, left, right)
    return result


def settled(expr: tree.Expr, world: World) -> tree.Expr:
    """``expr`` with every ``if`` whose condition is known replaced by what it chooses."""
    if isinstance(expr, tree.If):
        condition = evaluate(expr.condition, world)
        if isinstance(condition, bool):
            return settled(expr.then if condition else expr.otherwise, world)
    if isinstance(expr, tree.Call):
        arguments = tuple(replace(a, value=settled(a.value, world)) for a in expr.arguments)
        return replace(expr, arguments=arguments)
    parts = {slot: getattr(expr, slot) for slot in _PARTS.get(type(expr), ())}
    changed: dict[str, Any] = {
        slot: tuple(settled(item, world) for item in part) if isinstance(part, tuple) else settled(part, world)
        for slot, part in parts.items()
    }
    return replace(expr, **changed) if changed else expr


def written(expr: tree.Expr, world: World) -> str:
    """``expr`` as an author would write it, with the value behind it where it is arithmetic: ``4 * dim (3072)``."""
    shown = settled(expr, world)
    text = flat(shown).replace(SIBLING, "")
    literal = isinstance(shown, tree.Name) and not shown.id.startswith(SIBLING)
    if literal or isinstance(shown, tree.Number | tree.String):
        return text
    value = evaluate(shown, world)
    if value is None or isinstance(value, bool) or isinstance(shown, tree.Unary):
        return text
    return f"{text} ({_rounded(value)})"


def _rounded(value: Number) -> str:
    return f"{value:.4g}" if isinstance(value, float) else flat(number(value))
