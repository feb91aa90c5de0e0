"""Norms, positions, attention, scans, experts and losses."""

from __future__ import annotations

import math
from collections.abc import Callable

from tantra_dsl.diagnostics.semantics import BadArithmetic
from tantra_dsl.scalars.evaluate import evaluate
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.semantics.primitives import (
    Application,
    axis_of,
    width_of,
)
from tantra_dsl.semantics.values import POISON, Value, is_number


def normalize(kind: str) -> Callable[[Application], Value]:
    """A builder of the norms of one kind; they hold no weights."""

    def build(a: Application) -> Value:
        eps = a.number("eps")
        if eps < 0:
            a.wrong("eps", "a number from 0", a.value("eps"))
        return a.add("normalize", a.tensors, kind=kind, eps=eps, groups=a.whole("groups"))

    return build


def dropout(a: Application) -> Value:
    """``dropout(x, rate)``; without a rate the recipe says it."""
    rate = a.value("rate")
    if rate is not None and not (is_number(rate) and 0 <= rate < 1):
        a.wrong("rate", "a number from 0 up to 1", rate)
        return POISON
    return a.add("dropout", a.tensors, rate=None if rate is None else float(rate))


def tabulate(a: Application) -> Value:
    """``tabulate(x; table, width)``: an expression in p and c as a table over positions."""
    program, captures = a.program("table", "table")
    if program is None or captures:
        a.poisoned = True
        return POISON
    return a.add("tabulate", a.tensors, program=program, width=a.whole("width"))


_PAIRS = 4096
"""So many of rope's angles are looked at."""


def rotate(a: Application) -> Value:
    """``rotate(x; frequency, width, ...)``: rotary embedding; without heads, x is taken for one."""
    program, _ = a.program("frequency", "frequency")
    width = a.whole("width")
    if program is None:
        a.poisoned = True
        return POISON
    if not all(math.isfinite(evaluate(program.body, {"j": j})) for j in range(min(width // 2, _PAIRS))):
        reason = f"the angles of rope are no numbers: {format_scalar(program.body)} for pairs j{a.frame.where()}"
        return a.frame.session.report(BadArithmetic(span=a.frame.user_span(a.span), reason=reason))
    operand = a.tensors[0]
    flat = operand.type.rank == 3
    if flat:
        operand = a.add("split_heads", [operand], heads=1)
        if operand is POISON:
            return POISON
    turned = a.add(
        "rope", [operand], frequency=program, width=width, interleaved=a.flag("interleaved"), factor=a.number("factor")
    )
    return a.add("merge_heads", [turned]) if flat and turned is not POISON else turned


def attend(a: Application) -> Value:
    """``attend(q, k, v; mask, score, scale, sink, dropout)``."""
    from tantra_dsl.scalars.facts import is_exactly_causal

    heads = a.tensors[0].type.dims[2].size.known if a.tensors[0].type.rank == 4 else None
    mask, mask_reads = a.program("mask", "mask", heads)
    score, score_reads = a.program("score", "score", heads)
    sink, dropout = a.tensor("sink"), a.value("dropout")
    causal = mask is not None and is_exactly_causal(mask)
    operands = [*a.tensors, *([] if sink is None else [sink]), *mask_reads, *score_reads]
    if dropout is not None and not (is_number(dropout) and 0 <= dropout < 1):
        a.wrong("dropout", "a number from 0 up to 1", dropout)
    return a.add(
        "attend", operands, mask=mask, score=score, scale=_scale(a, "scale"), causal=causal,
        has=() if sink is None else ("sink",),
        dropout=None if not dropout else float(dropout),
    )  # fmt: skip


def _scale(a: Application, name: str) -> float:
    value = a.value(name)
    if value is None and a.tensors[0].type.rank == 4:
        width = a.tensors[0].type.dims[3].size.known
        return float((width or 1) ** -0.5)
    return a.number(name)


def additive_attend(a: Application) -> Value:
    """``additive_attend(q, k, v; weight, mask)``."""
    mask, reads = a.program("mask", "mask")
    weight = a.tensor("weight")
    if weight is None:
        a.poisoned = True
        return POISON
    return a.add("additive_attend", [*a.tensors, weight, *reads], mask=mask, has=())


def with_optional(op: str, name: str, required: int) -> Callable[[Application], Value]:
    """A builder of an op whose last tensor, called ``name``, may be left out."""

    def build(a: Application) -> Value:
        extra = a.tensor(name) if len(a.tensors) == required else a.tensors.pop()
        operands = a.tensors if extra is None else [*a.tensors, extra]
        return a.add(op, operands, has=() if extra is None else (name,))

    return build


def route(a: Application) -> Value:
    """``route(scores; top_k, ...)``: the chosen experts and their weights."""
    bias, after = a.tensor("bias"), a.value("after")
    groups = a.whole("groups")
    kept = a.optional_whole("kept_groups") or groups
    return a.add(
        "route", [a.tensors[0], *([] if bias is None else [bias])], top_k=a.whole("top_k"), groups=groups,
        kept_groups=kept, normalize=a.flag("normalize"), scale=a.number("scale"),
        after=None if after is None else a.word("after", ("softmax",)),
        has=() if bias is None else ("bias",),
    )  # fmt: skip


def cross_entropy(a: Application) -> Value:
    """``cross_entropy(logits, target; label_smoothing, z_loss)``."""
    smoothing = a.value("label_smoothing")
    if smoothing is not None and not (is_number(smoothing) and 0 <= smoothing < 1):
        a.wrong("label_smoothing", "a number from 0 up to 1", smoothing)
    return a.add(
        "cross_entropy",
        a.tensors,
        label_smoothing=None if smoothing is None else float(smoothing),
        ignore=-100,
        z_loss=a.number("z_loss"),
    )


def softmax(a: Application) -> Value:
    """``softmax(x, axis)``."""
    return a.add("softmax", a.tensors, axis=axis_of(a, "last"))


def positions(a: Application) -> Value:
    """``positions(x, offset)``."""
    return a.add("positions", a.tensors, offset=a.whole("offset", 0))


def extent(a: Application) -> Value:
    """``width(x)``: the known width of a tensor, as a number."""
    return width_of(a)
