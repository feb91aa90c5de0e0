"""The values of a ``train`` section, handed on to the recipe."""

from __future__ import annotations

from fractions import Fraction

import tantra_dsl.semantics.evaluate as evaluate
from tantra_dsl.diagnostics.semantics import WrongType
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.recipe import Setting, Value, Word
from tantra_dsl.semantics.scope import Scope
from tantra_dsl.semantics.values import POISON, describe, is_number
from tantra_dsl.syntax import tree


def settings_of(section: tree.Call, scope: Scope, frame: Frame) -> list[Setting]:
    """The settings of ``train { ... }`` in order; words stay words, arithmetic is done."""
    settings = []
    for argument in section.arguments:
        if argument.name is None:
            frame.session.report(
                WrongType(span=argument.span, wanted="`key: value`", got="a value without a key", where="`train`")
            )
            continue
        settings.append(Setting(argument.name, _value(argument.value, scope, frame), argument.span))
    return settings


def _value(expr: tree.Expr, scope: Scope, frame: Frame) -> Value:
    if isinstance(expr, tree.Name):
        return _name(expr, scope, frame)
    if isinstance(expr, tree.Call) and isinstance(expr.callee, tree.Name):
        positional = tuple(_value(a.value, scope, frame) for a in expr.arguments if a.name is None)
        named = tuple((a.name, _value(a.value, scope, frame)) for a in expr.arguments if a.name is not None)
        return Word(expr.callee.id, positional, named, expr.span)
    if isinstance(expr, tree.ListExpr):
        return tuple(_value(item, scope, frame) for item in expr.items)
    if isinstance(expr, tree.String):
        return expr.value
    return _plain(expr, scope, frame)


def _name(expr: tree.Name, scope: Scope, frame: Frame) -> Value:
    """A ``let`` or fact of the author's means its value; any other word is the recipe's."""
    constants = {"true": True, "false": False, "none": None}
    if expr.id in constants:
        return constants[expr.id]
    own = next((s.names[expr.id] for s in scope.chain() if s.owner != "prelude" and expr.id in s.names), None)
    if own is not None:
        value = evaluate.force(own, frame)
        if is_number(value) or isinstance(value, str | bool):
            return float(value) if isinstance(value, Fraction) else value
    return Word(expr.id, span=expr.span)


def _plain(expr: tree.Expr, scope: Scope, frame: Frame) -> Value:
    value = evaluate.evaluate(expr, scope, frame)
    if value is POISON:
        return None
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, Fraction):
        return float(value)
    frame.session.report(
        WrongType(span=expr.span, wanted="a number, a text or a word", got=describe(value), where="`train`")
    )
    return None
