"""Calling things: modules, blocks, functions, primitives, shared instances, sums."""

from __future__ import annotations

from dataclasses import replace

import tantra_dsl.semantics.bodies as bodies
import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.primitives as primitives
import tantra_dsl.semantics.programs as programs
import tantra_dsl.semantics.references as references
import tantra_dsl.semantics.shared as shared
import tantra_dsl.semantics.stacks as stacks
from tantra_dsl.diagnostics.semantics import NoEffect, WrongType
from tantra_dsl.graph.types import TensorType
from tantra_dsl.semantics.binding import input_names
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import (
    POISON,
    Bound,
    Function,
    Instance,
    Stack,
    Sum,
    Tensor,
    Value,
    describe,
)  # fmt: skip
from tantra_dsl.syntax import tree


def bound(expr: tree.Call, scope: Scope, frame: Frame) -> tuple[Bound, ...]:
    """The arguments of a call, to be evaluated when they are needed."""
    result = []
    for argument in expr.arguments:
        thunk = Thunk(argument.value, scope, frame)
        if argument.name is not None or argument.hyper:
            name = argument.name or "this value"
            frame.session.explicit.append((thunk, f"`{name}`", _callee_text(expr.callee), argument.span))
        result.append(Bound(thunk, argument.name, argument.hyper, argument.span))
    return tuple(result)


def _callee_text(callee: tree.Expr) -> str:
    return callee.id if isinstance(callee, tree.Name) else "this"


def call_with(callee: Value, tensors: list[Value], site: tree.Expr, frame: Frame, label: str | None = None) -> Value:
    """Apply ``callee`` to tensors that are there already."""
    if any(tensor is POISON for tensor in tensors):
        return POISON
    arguments = tuple(Bound(Thunk.of(tensor, site.span), None, False, site.span) for tensor in tensors)
    return call(callee, arguments, site, frame, label, stream=True)


def call(
    callee: Value,
    arguments: tuple[Bound, ...],
    expr: tree.Expr,
    frame: Frame,
    label: str | None = None,
    stream: bool = False,
) -> Value:
    """Call ``callee``. Without its tensor inputs the result is the callee with more of its arguments given.

    ``label`` overrides the name of the weights; ``stream`` means that the first argument is what flows through, so
    that it fills the unwritten ``x`` of a block.
    """
    if callee is None:
        return _identity(arguments, frame)
    if isinstance(callee, bodies.Sublayer):
        return call(callee.callee, arguments, callee.expr, frame, callee.label, stream=True)
    if isinstance(callee, bodies.Together):
        return _together(callee, arguments, expr, frame)
    if isinstance(callee, Instance):
        return shared.call(callee, arguments, expr, frame)
    if isinstance(callee, Sum):
        return _sum(callee, arguments, expr, frame, label)
    if isinstance(callee, Stack):
        return _stack(callee, arguments, expr, frame, label)
    if not isinstance(callee, Function):
        advice = "only modules, functions, masks and scores take arguments"
        return frame.session.report(
            WrongType(span=expr.span, wanted="something to call", got=describe(callee), advice=advice)
        )
    return _function(callee, arguments, expr, frame, label, stream)


def _function(
    callee: Function, arguments: tuple[Bound, ...], expr: tree.Expr, frame: Frame, label: str | None, stream: bool
) -> Value:
    if stream and callee.definition is not None and callee.kind in ("module", "block"):
        names = input_names(callee.definition)
        if names:
            arguments = (replace(arguments[0], name=names[0]), *arguments[1:])
    elif callee.definition is not None and callee.kind == "block":
        arguments = _name_extras(callee, arguments, frame)
    if stream:
        together = replace(callee, arguments=(*arguments, *callee.arguments), span=callee.span)
    else:
        together = replace(callee, arguments=(*callee.arguments, *arguments), span=expr.span)
    if callee.primitive is not None:
        return primitives.apply(together, expr, frame, label)
    if callee.kind in ("mask", "score"):
        return together
    if callee.kind == "fn":
        return programs.call_fn(together, expr, frame)
    return bodies.apply(together, expr, frame, label)


def _name_extras(callee: Function, arguments: tuple[Bound, ...], frame: Frame) -> tuple[Bound, ...]:
    """Positional tensors given to a block without a written ``x`` fill its inputs: ``decoder_layer(encoded)``."""
    assert callee.definition is not None
    written = [parameter.name for parameter in callee.definition.inputs or ()]
    if "x" in written or input_names(callee.definition)[:1] != ["x"]:
        return arguments
    result = []
    for argument in arguments:
        is_open = argument.name is None and not argument.hyper and bool(written)
        if is_open and references.is_tensor(evaluate.force(argument.thunk, frame)):
            argument = replace(argument, name=written.pop(0))
        result.append(argument)
    return tuple(result)


def _identity(arguments: tuple[Bound, ...], frame: Frame) -> Value:
    """``none`` called gives back what it is given."""
    values = []
    for argument in arguments:
        if argument.name is not None or argument.hyper:
            argument.thunk.read = True
            reason = "`none` takes no settings"
            frame.session.report(NoEffect(span=argument.span, what=f"`{argument.name or 'this value'}`", reason=reason))
            continue
        values.append(evaluate.force(argument.thunk, frame))
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def _tensor_arguments(arguments: tuple[Bound, ...], expr: tree.Expr, frame: Frame) -> list[Value]:
    values = []
    for argument in arguments:
        value = evaluate.force(argument.thunk, frame)
        values.append(references.tensor(value, frame, argument.span))
    return values


def _sum(callee: Sum, arguments: tuple[Bound, ...], expr: tree.Expr, frame: Frame, label: str | None) -> Value:
    tensors = _tensor_arguments(arguments, expr, frame)
    total: Value = None
    for part in callee.parts:
        name = part.name if isinstance(part, Function | Instance) else None
        value = call_with(part, tensors, expr, frame, f"{label}_{name}" if label and name else name)
        if value is POISON:
            return POISON
        total = value if total is None else _add(total, value, expr, frame)
        if total is POISON:
            return POISON
    return total


def _together(callee: bodies.Together, arguments: tuple[Bound, ...], expr: tree.Expr, frame: Frame) -> Value:
    """The sum of a block's sublayers on one input (PaLM, GPT-J)."""
    total: Value = None
    for part in callee.parts:
        value = call(part.callee, arguments, part.expr, frame, part.label, stream=True)
        if value is POISON:
            return POISON
        total = value if total is None else _add(total, value, part.expr, frame)
    return total


def _add(left: Value, right: Value, expr: tree.Expr, frame: Frame) -> Value:
    sum_expr = tree.Binary("+", expr, expr, span=expr.span)
    return evaluate.tensor_arithmetic("add", left, right, sum_expr, frame)


def _stack(callee: Stack, arguments: tuple[Bound, ...], expr: tree.Expr, frame: Frame, label: str | None) -> Value:
    tensors = _tensor_arguments(arguments, expr, frame)
    if len(tensors) != 1 or tensors[0] is POISON:
        return POISON
    return stacks.apply(tensors[0], callee, label or frame.site(expr, "layers"), expr, frame)


def results(value: Value) -> tuple[Value, ...]:
    """One value or several, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def types_of(tensors: tuple[Tensor, ...]) -> tuple[TensorType, ...]:
    """Types of several tensors."""
    return tuple(tensor.type for tensor in tensors)
