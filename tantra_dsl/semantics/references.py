"""References to what is elsewhere in the model: weights of shared modules, tensors of other layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import tantra_dsl.semantics.shared as shared
from tantra_dsl.diagnostics.semantics import BadArithmetic, UnknownPath, WrongType
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.scope import Scope
from tantra_dsl.semantics.values import (
    POISON,
    Instance,
    LayerPath,
    Range,
    StackName,
    Tensor,
    Value,
    describe,
    is_callable,
)
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Span


@dataclass(frozen=True, slots=True, eq=False)
class InstancePath:
    """``embed.tokens.weight``: a path into a shared module."""

    instance: Instance
    path: tuple[str, ...]


def is_tensor(value: Value) -> bool:
    """Whether a value is a tensor or a reference to one."""
    return isinstance(value, Tensor | InstancePath | LayerPath)


def attribute(base: Instance | InstancePath | LayerPath, name: str) -> Value:
    """One more step of a path."""
    if isinstance(base, LayerPath):
        return replace(base, path=(*base.path, name))
    if isinstance(base, InstancePath):
        return InstancePath(base.instance, (*base.path, name))
    return InstancePath(base, (name,))


def tensor(value: Value, frame: Frame, span: Span) -> Value:
    """The tensor that a value stands for; reports what stands for none."""
    if value is POISON or isinstance(value, Tensor):
        return value
    if isinstance(value, InstancePath):
        return _weight(value, frame, span)
    if isinstance(value, LayerPath):
        return value.stack.tap(value, frame, span)
    return frame.session.report(WrongType(span=frame.user_span(span), wanted="a tensor", got=describe(value)))


def _weight(value: InstancePath, frame: Frame, span: Span) -> Value:
    found = shared.weight(value.instance, value.path, frame, span)
    if found is not None:
        return found
    if value.instance.body is None and frame.session.sink.errors:
        return POISON
    path = ".".join((value.instance.name, *value.path))
    names = shared.weight_names(value.instance)
    return frame.session.report(
        UnknownPath(span=frame.user_span(span), path=path, missing=".".join(value.path), candidates=names)
    )


def beyond_tensors(name: str, scope: Scope, found: Tensor) -> Value:
    """What ``name`` means further out, where a tensor hides a module: the input `tokens` and the embedding `tokens`."""
    for level in scope.chain():
        thunk = level.names.get(name)
        if thunk is not None and thunk.known and is_callable(thunk.peek()):
            return thunk.peek()
    return found


def layer(base: StackName, items: list[Value], expr: tree.Index, frame: Frame) -> Value:
    """``layers[i - 1]``, ``outputs[0..i]``: which layers are meant."""
    if len(items) == 1 and isinstance(items[0], int) and not isinstance(items[0], bool):
        return LayerPath(base.stack, (items[0],), False, (), base.outputs)
    if len(items) == 1 and isinstance(items[0], Range):
        chosen = range(items[0].start, items[0].stop + 1)
        if chosen and len(chosen) <= 4096:
            return LayerPath(base.stack, tuple(chosen), True, (), base.outputs)
        return frame.session.report(
            BadArithmetic(span=expr.span, reason="this range of layers is empty or far too long")
        )
    got = ", ".join(describe(item) for item in items)
    return frame.session.report(
        WrongType(span=expr.span, wanted="one layer number or a range a..b", got=got, where="`[ ]`")
    )
