"""Primitives that hold weights."""

from __future__ import annotations

from tantra_dsl.diagnostics.semantics import BadArithmetic, MissingKey
from tantra_dsl.graph.model import Init
from tantra_dsl.semantics.primitives import (
    MAX_EXTENT,
    Application,
    named_dim,
    width_of,
)
from tantra_dsl.semantics.values import POISON, Value


def linear(a: Application) -> Value:
    """``linear(x, out, bias)``, or by a weight that is given."""
    if "weight" in a.thunks and a.value("weight") is not None:
        given = a.tensor("weight")
        return POISON if given is None else a.add("linear", [a.tensors[0], given], has=())
    if "out" not in a.thunks:
        return a.frame.session.report(MissingKey(span=a.frame.user_span(a.span), owner="linear", missing=("out",)))
    out, width = a.whole("out"), width_of(a)
    if a.poisoned:
        return POISON
    a.claim()
    operands = [a.tensors[0], a.weight("weight", (named_dim("dim", out), named_dim("in", width)), a.init("init"))]
    if a.flag("bias"):
        operands.append(a.weight("bias", (named_dim("dim", out),), a.init("bias_init"), decay=False))
    return a.add("linear", operands, has=("bias",) if len(operands) == 3 else ())


def embedding(a: Application) -> Value:
    """``embedding(ids, count, width)``: rows of a table of its own."""
    count, width = a.whole("count"), a.whole("width")
    if a.poisoned:
        return POISON
    a.claim()
    table = a.weight("weight", (named_dim("count", count), named_dim("dim", width)), a.init("init"))
    return a.add("embedding", [a.tensors[0], table])


def lookup(a: Application) -> Value:
    """``lookup(ids, table)``: rows of a table that is given."""
    return a.add("embedding", a.tensors)


def param(a: Application) -> Value:
    """``param(shape)``: a weight as it is."""
    shape = a.value("shape")
    shape = shape if isinstance(shape, tuple) else (shape,)
    if any(n is POISON for n in shape):
        return POISON
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n <= MAX_EXTENT for n in shape):
        a.wrong("shape", "positive whole numbers, as in param([heads, head_dim])", a.value("shape"))
        return POISON
    a.claim()
    dims = tuple(named_dim("dim", n) for n in shape)
    decay = a.value("decay")
    return a.weight("", dims, a.init("init"), len(shape) > 1 if decay is None else bool(decay), a.flag("trained"))


def conv1d(a: Application) -> Value:
    """``conv1d(x; width, ...)`` along time."""
    channels, groups, width = width_of(a), a.whole("groups"), a.whole("width")
    out = a.optional_whole("out") or channels
    if a.poisoned:
        return POISON
    if channels % groups or out % groups:
        reason = f"{groups} groups do not divide {channels} channels into {out}"
        return a.frame.session.report(BadArithmetic(span=a.frame.user_span(a.span), reason=reason))
    a.claim()
    dims = (named_dim("dim", out), named_dim("in", channels // groups), named_dim("width", width))
    operands = [a.tensors[0], a.weight("weight", dims, a.init("init"))]
    if a.flag("bias"):
        operands.append(a.weight("bias", (named_dim("dim", out),), Init("constant", (0.0,)), decay=False))
    return a.add(
        "conv1d", operands, causal=a.flag("causal"), groups=groups, stride=a.whole("stride"),
        dilation=a.whole("dilation"),
        has=("bias",) if len(operands) == 3 else (),
    )  # fmt: skip


def expert_linear(a: Application) -> Value:
    """``expert_linear(x, experts; count, out)``: each slot through its expert."""
    count, out, width = a.whole("count"), a.whole("out"), width_of(a)
    if a.poisoned:
        return POISON
    a.claim()
    operands = [
        *a.tensors,
        a.weight(
            "weight", (named_dim("experts", count), named_dim("dim", out), named_dim("in", width)), a.init("init")
        ),
    ]
    if a.flag("bias"):
        operands.append(
            a.weight(
                "bias", (named_dim("experts", count), named_dim("dim", out)), Init("constant", (0.0,)), decay=False
            )
        )
    return a.add("expert_linear", operands, has=("bias",) if len(operands) == 4 else ())
