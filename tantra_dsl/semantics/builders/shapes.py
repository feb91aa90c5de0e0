"""Primitives that cut, join and move tensors."""

from __future__ import annotations

import tantra_dsl.semantics.evaluate as evaluate
from tantra_dsl.diagnostics.semantics import MissingKey
from tantra_dsl.semantics.primitives import (
    Application,
    axis_of,
    width_of,
)
from tantra_dsl.semantics.values import POISON, Tensor, Value


def split(a: Application) -> Value:
    """``split(x, a, b, ...)``: parts of the last dimension."""
    sizes = []
    for thunk in a.thunks.values():
        value = evaluate.force(thunk, a.frame)
        for item in value if isinstance(value, tuple) else (value,):
            if not isinstance(item, int) or isinstance(item, bool):
                a.wrong("sizes*", "whole numbers", item)
                return POISON
            sizes.append(item)
    return a.add("split", a.tensors, sizes=tuple(sizes))


def concat(a: Application) -> Value:
    """``concat(a, b; axis)``; along the last dimension, what has no heads is repeated over them."""
    axis = axis_of(a, "last")
    if axis == "last":
        heads = max((t.type.dims[2].size.known or 0 for t in a.tensors if t.type.axis("heads") == 2), default=0)
        spread = [_spread(a, tensor, heads) if heads and tensor.type.rank == 3 else tensor for tensor in a.tensors]
        a.tensors = [tensor for tensor in spread if isinstance(tensor, Tensor)]
    return a.add("concat", a.tensors, axis=axis)


def _spread(a: Application, tensor: Tensor, heads: int) -> Value:
    """[batch, time, d] for every head: [batch, time, heads, d]."""
    alone = a.add("split_heads", [tensor], heads=1)
    return alone if alone is POISON or heads == 1 else a.add("repeat_heads", [alone], times=heads)


def select(a: Application) -> Value:
    """``select(x, index, axis)``."""
    index = a.value("index")
    if not isinstance(index, int) or isinstance(index, bool):
        a.wrong("index", "a whole number", index)
        return POISON
    return a.add("select", a.tensors, axis=axis_of(a, "time"), index=index)


def slice(a: Application) -> Value:
    """``slice(x, start, stop, axis)``."""
    ends = {}
    for name in ("start", "stop"):
        value = a.value(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            a.wrong(name, "a whole number", value)
            return POISON
        ends[name] = value
    return a.add("slice", a.tensors, axis=axis_of(a, "time"), start=ends["start"] or 0, stop=ends["stop"])


def heads(a: Application) -> Value:
    """Heads where none are written: as many as ``head_dim`` of the module around fits, or else its ``heads``."""
    for name in ("head_dim", "heads"):
        thunk = a.frame.scope.find(name)
        value = evaluate.force(thunk, a.frame) if thunk is not None else None
        if isinstance(value, int) and value > 0:
            return value if name == "heads" else max(1, width_of(a) // value)
    return POISON if a.poisoned else _missing_heads(a)


def _missing_heads(a: Application) -> Value:
    a.poisoned = True
    return a.frame.session.report(MissingKey(span=a.frame.user_span(a.span), owner="split_heads", missing=("heads",)))


def shift(a: Application) -> Value:
    """``shift(x, by)`` along time."""
    by = a.value("by")
    if not isinstance(by, int) or isinstance(by, bool):
        a.wrong("by", "a whole number", by)
        return POISON
    integer = a.tensors[0].type.dtype != "float"
    return a.add("shift", a.tensors, by=by, fill=-100 if integer else 0)


def pool(a: Application) -> Value:
    """``pool(x, kind, axis, weights)``."""
    kind = a.word("kind", ("mean", "sum", "max"))
    weights = a.tensor("weights")
    operands = [a.tensors[0]] if weights is None else [a.tensors[0], weights]
    return a.add("pool", operands, axis=axis_of(a, "time"), kind=kind, has=() if weights is None else ("weights",))
