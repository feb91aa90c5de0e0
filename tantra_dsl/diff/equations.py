"""Differences between the equations of two definitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tantra_dsl.diff.account import Account, Part
from tantra_dsl.diff.closed import renamed
from tantra_dsl.diff.operations import Operation, kind_of, operation
from tantra_dsl.diff.settings import LAYER
from tantra_dsl.semantics.scope import Scope
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.flat import flat
from tantra_dsl.syntax.source import NOWHERE, Span


@dataclass(frozen=True)
class Equation:
    """One equation: what it assigns (``return`` for the result), its right side, and where it stands."""

    name: str
    value: tree.Expr
    span: Span


Equations = dict[str, Equation]


def of_part(part: Part) -> Equations:
    """The equations of a part by what they assign, free of the lets around."""
    return equations(part.definition, part.account, part.frame.scope)


def equations(definition: tree.Definition, account: Account, scope: Scope) -> Equations:
    """The equations of a definition, read in ``scope``; the result of a one-line definition is ``return``."""
    body = definition.body
    members = body.members if isinstance(body, tree.Body) else ()
    kept = {p.name for p in (*(definition.inputs or ()), *definition.params)}
    kept |= {target for m in members if isinstance(m, tree.Assign) for target in m.targets} | LAYER

    def closed(expr: tree.Expr) -> tree.Expr:
        return account.closer.close(expr, scope, keep=frozenset(kept))

    found: Equations = {}
    for name, value, span in _statements(definition):
        unique = name if name not in found else f"{name}'"
        found[unique] = Equation(unique, closed(value), span)
    return found


def _statements(definition: tree.Definition) -> Iterator[tuple[str, tree.Expr, Span]]:
    """What each equation assigns, its right side and its place."""
    if not isinstance(definition.body, tree.Body):
        yield "return", definition.body, definition.body.span
        return
    for member in definition.body.members:
        if isinstance(member, tree.Assign):
            yield ", ".join(member.targets), member.value, member.span
        elif isinstance(member, tree.Return):
            one = len(member.values) == 1
            yield "return", member.values[0] if one else tree.ListExpr(member.values), member.span


def operations(
    before: Equations,
    after: Equations,
    prefix: str,
    told: Sequence[Operation] = (),
    names: dict[str, str] | None = None,
) -> list[Operation]:
    """What turns some equations into others; ``names`` are the old ones' parameters by the new ones'.

    Settings of calls and numbers of layers that were ``told`` already are not told again.
    """
    known = frozenset(op.path.split(".")[-1] for op in told)
    repeated = any(op.kind == "repeat" for op in told)
    found: list[Operation] = []
    for name in dict.fromkeys((*before, *after)):
        a, b = before.get(name), after.get(name)
        if a is not None and b is not None:
            values = a.value, renamed(b.value, names or {})
            if _bare(values[0], known, repeated) == _bare(values[1], known, repeated):
                continue
        found.append(_operation(f"{prefix}.{name}" if prefix else name, a, b, bool(prefix)))
    return found


def _operation(path: str, old: Equation | None, new: Equation | None, absolute: bool) -> Operation:
    texts = None if old is None else flat(old.value), None if new is None else flat(new.value)
    spans = NOWHERE if old is None else old.span, NOWHERE if new is None else new.span
    return replace(operation(kind_of(old, new), path, texts, "another equation", spans), absolute=absolute)


def _bare(expr: tree.Expr, told: frozenset[str], repeated: bool) -> object:
    """An expression without what is told elsewhere."""

    def bare(part: tree.Expr) -> object:
        return _bare(part, told, repeated)

    if isinstance(expr, tree.Call):
        return "call", flat(expr.callee), [(a.name, bare(a.value)) for a in expr.arguments if a.name not in told]
    if isinstance(expr, tree.Binary):
        times = repeated and expr.op == "*" and isinstance(expr.right, tree.Number)
        return bare(expr.left) if times else (expr.op, bare(expr.left), bare(expr.right))
    if isinstance(expr, tree.Unary):
        return expr.op, bare(expr.operand)
    if isinstance(expr, tree.If):
        return "if", bare(expr.condition), bare(expr.then), bare(expr.otherwise)
    if isinstance(expr, tree.ListExpr | tree.Tuple):
        return [bare(item) for item in expr.items]
    return expr
