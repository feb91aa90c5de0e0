"""``expect``: invariants of a model, and the proofs that every model gets."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.diagnostics.semantics import ExpectationFailed, ExpectationSetAside, UnknownExpectation, WrongType
from tantra_dsl.graph.costs import expectations as known_figures
from tantra_dsl.graph.leaks import diagnose, find_leaks
from tantra_dsl.graph.masks import mask_diagnostics
from tantra_dsl.semantics import evaluate
from tantra_dsl.semantics.frame import Abandoned
from tantra_dsl.semantics.model import Elaborated
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import POISON, describe, plain
from tantra_dsl.syntax import tree


def check(result: Elaborated, sink: Sink) -> None:
    """Verify what the model expects, that no position sees what it predicts, and that every query sees a key."""
    assert result.graph is not None
    for leak in find_leaks(result.graph):
        sink.add(diagnose(leak))
    for diagnostic in mask_diagnostics(result.graph):
        sink.add(diagnostic)
    if result.expects:
        figures = known_figures(result.graph)
        with contextlib.suppress(Abandoned):
            for member in result.expects:
                _check_one(member, result, figures, sink)


def _check_one(member: tree.Expect, result: Elaborated, figures: Mapping[str, int | None], sink: Sink) -> None:
    assert result.scope is not None and result.frame is not None
    scope = Scope(result.scope, "expect")
    scope.fallbacks.update({name: Thunk.of(None) for name in figures})
    used = _used(member.condition, figures)
    for name, value in used.items():
        if value is None:
            sink.add(UnknownExpectation(span=member.span, name=name))
            return
        scope.bind(name, Thunk.of(value))
    holds = evaluate.evaluate(member.condition, scope, result.frame)
    if holds is POISON or holds is True:
        return
    text = written(member.condition)
    if holds is not False:
        wanted = "a condition, such as params <= 50M"
        sink.add(WrongType(span=member.span, wanted=wanted, got=describe(holds), where="`expect`"))
        return
    actual = tuple((name, _shown(value)) for name, value in used.items())
    told = ExpectationSetAside if result.changed else ExpectationFailed
    sink.add(told(span=member.span, text=f"`{text}`", actual=actual))


def _used(expr: tree.Expr, figures: Mapping[str, int | None]) -> dict[str, object]:
    names: dict[str, object] = {}
    todo: list[tree.Expr] = [expr]
    while todo:
        current = todo.pop()
        if isinstance(current, tree.Name) and current.id in figures:
            value = figures[current.id]
            names[current.id] = bool(value) if current.id == "causal" and value is not None else value
        elif isinstance(current, tree.Binary):
            todo.extend((current.left, current.right))
        elif isinstance(current, tree.Unary):
            todo.append(current.operand)
    return names


def written(expr: tree.Expr) -> str:
    """An expression as it was written."""
    span = expr.span
    return " ".join(span.source.text[span.start : span.end].split())


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:_}" if isinstance(value, int) else plain(value)  # type: ignore[arg-type]
