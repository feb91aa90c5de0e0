"""The primitives, two by two: what the new one's result holds of the old one's, or why that cannot be said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import isclose, prod, sqrt
from typing import Any

from tantra_dsl.graph.hash import program_digest
from tantra_dsl.graph.model import Node
from tantra_dsl.migrate.axes import Axis
from tantra_dsl.migrate.likeness import Differs, Likeness, New, Step
from tantra_dsl.migrate.tables import first_capture, head_columns, reads_head_elsewhere
from tantra_dsl.migrate.vanish import one_more, vanishes
from tantra_dsl.scalars.ir import Const, Op, Program, Var

Result = Likeness | str

_DROPPED = frozenset({"name", "path", "causal", "arity", "heads"})
"""Attributes that follow from others, or that tell nothing about the function."""
_SCALING = frozenset({"linear", "expert_linear", "map", "dropout", "stop_gradient"})
"""Operations that are known to make of a scaled operand a scaled result, or to say that they do not."""
_BIASED = frozenset({"linear", "expert_linear"})
_WHY = {
    "mask": "queries see other keys",
    "score": "scores change before the softmax",
    "frequency": "positions turn at other rates",
    "eps": "another constant under the root",
    "kind": "another normalisation",
    "program": "another function of each element",
    "label_smoothing": "another loss",
    "z_loss": "another loss",
    "has": "an operand comes or goes",
    "top_k": "a token goes to another number of experts",
}


def compared(step: Step) -> Result:
    """What the new one of two primitives of one kind holds, their attributes aside."""
    if any(operand.shares - _summed(step, number) for number, operand in enumerate(step.operands)):
        return "channels that are repeated share a number"
    if any(operand.shift for operand in step.operands):
        return _stored_scaled(step) or "a weight is stored otherwise"
    if step.new.op not in _SCALING and not all(operand.is_unscaled for operand in step.operands):
        return "channels are scaled"
    return _RULES.get(step.new.op, _plain)(step)


def _summed(step: Step, operand: int) -> frozenset[int]:
    """The axis of an operand that a product sums over, where the operand is its weight."""
    axis = {("linear", 1): 1, ("expert_linear", 2): 2}.get((step.new.op, operand))
    return frozenset() if axis is None else frozenset({axis})


def _stored_scaled(step: Step) -> Likeness | None:
    """A weight that is stored minus one and was scaled as a whole: one plus it is scaled."""
    if step.new.op != "map" or not one_more(step.new.attr("program")):
        return None
    weight = step.operands[0]
    return Likeness(weight.axes, scale=weight.scale) if isclose(weight.shift, weight.scale - 1) else None


def changed(step: Step) -> str:
    """The reason where the attributes of two primitives of one kind differ; empty where they do not."""
    ignored = _DROPPED | ({"rate"} if step.new.op == "dropout" else {"dropout"})
    ignored |= {"has"} if step.new.op in _BIASED else set()
    ignored |= {"eps"} if step.new.op == "normalize" and _grows(step) else set()
    for name in dict.fromkeys(name for node in (step.old, step.new) for name, _ in node.attrs):
        if name not in ignored and not _equal(step, step.old.attr(name), step.new.attr(name)):
            return _WHY.get(name, f"another {name} of {step.new.op}")
    return ""


def _grows(step: Step) -> bool:
    """Whether the last axis of the first operand has its old places first, and then new ones."""
    axis = step.operands[0].axes[-1] if step.operands and step.operands[0].axes else None
    return axis is not None and axis.only_grows


def _equal(step: Step, a: Any, b: Any) -> bool:
    if isinstance(a, Program) and isinstance(b, Program):
        if _digest(a, True) == _digest(b, True) and _digest(a, False) != _digest(b, False):
            step.rounding.append("sums and products are taken in another order")
        return _digest(a, True) == _digest(b, True)
    return bool(a == b)


@lru_cache(maxsize=1024)
def exchangeable(program: Program) -> bool:
    """Whether a function of two operands is the same with these exchanged."""
    if len(program.variables) != 2 or program.captures:
        return False
    return _digest(program, True) == _digest(replace(program, variables=program.variables[::-1]), True)


@lru_cache(maxsize=4096)
def _digest(program: Program, loose: bool) -> str:
    return program_digest(program, loose=loose)


# --- projections -------------------------------------------------------------------------


def _linear(step: Step) -> Result:
    x, weight = step.operands[:2]
    return _product(step, x, weight, 0, (*x.axes[:-1], weight.axes[0]))


def _expert_linear(step: Step) -> Result:
    x, chosen, weight = step.operands[:3]
    if weight.axes[0] is not None or not chosen.is_same:
        return "other experts"
    return _product(step, x, weight, 1, (*chosen.axes, weight.axes[1]))


def _product(step: Step, x: Likeness, weight: Likeness, rows: int, made: tuple[Axis | None, ...]) -> Result:
    """A sum over the last axis: every old place once, and zeros against what is new."""
    columns = weight.axes[rows + 1]
    if x.axes[-1] != columns:
        return "channels meet other columns of a weight"
    scale = x.scale * weight.scale
    if columns is not None and columns.times > 1:
        step.rounding.append(_REPEATED)
        scale *= 1 if rows + 1 in weight.shares else columns.times
    elif columns is not None and not columns.keeps_each_once:
        return "channels are averaged" if columns.averages else f"{columns.left_out:,} channels are left out"
    if columns is not None and columns.has_new and rows + 1 not in weight.zeros and x.new != "zero":
        return "new channels are read"
    new = weight.along(rows)
    for bias in step.operands[rows + 2 :]:
        if bias.axes[-1] != weight.axes[rows]:
            return "a bias is carried over otherwise than its weight"
        if not isclose(bias.scale, scale):
            return "channels are scaled, and a bias is not"
        new = new if bias.new == new else None
    return Likeness(made, scale=scale, new=new) if step.zero_bias else "a bias comes or goes"


_REPEATED = "channels are repeated, and summed over in another order"


def _embedding(step: Step) -> Result:
    ids, weight = step.operands
    rows = weight.axes[0]
    if not ids.is_same or (rows is not None and not rows.begins_as_before):
        return "rows of a table are left out"
    return Likeness((*ids.axes, weight.axes[1]), new=weight.new)


# --- shapes ------------------------------------------------------------------------------


def _plain(step: Step) -> Result:
    """An operation that is only known to do the same with the same."""
    if not all(operand.is_same for operand in step.operands) or len(step.old.inputs) != len(step.new.inputs):
        return f"{step.new.op} reads channels that changed"
    return Likeness((None,) * step.new.type.rank)


def _passed(step: Step) -> Result:
    return Likeness(step.operands[0].axes, scale=step.operands[0].scale, new=step.operands[0].new)


def _split_heads(step: Step) -> Result:
    channels, leading = step.operands[0].axes[-1], step.operands[0].axes[:-1]
    widths = [node.type.dims[-1].size.known for node in (step.old, step.new)]
    if widths[0] != widths[1] or widths[0] is None:
        return f"channels are cut into heads of {widths[1]}, and were into heads of {widths[0]}"
    if channels is None:
        return Likeness((*leading, None, None))
    heads = channels.over(widths[0])
    return "heads are cut apart" if heads is None else Likeness((*leading, heads, None))


def _merge_heads(step: Step) -> Result:
    *leading, heads, width = step.operands[0].axes
    channels = step.size(0, -1)
    if width is not None or channels is None:
        return "heads have another width"
    return Likeness((*leading, None if heads is None else heads.of_heads(channels)))


def _map(step: Step) -> Result:
    """Elementwise: operands that are not broadcast along an axis agree on it."""
    if len(step.old.inputs) != len(step.new.inputs):
        return Differs("another function of each element")
    axes: list[Axis | None] = []
    for place in range(1, step.new.type.rank + 1):
        found = {o.axes[-place] for n, o in enumerate(step.operands) if _spans(step, n, place)}
        if len(found) > 1:
            return "channels that are elsewhere meet"
        axes.append(found.pop() if found else None)
    if any(axis is not None and axis.averages for axis in axes):
        return "means of groups go through a function of each element"
    scale = _scaled(step)
    if scale is None:
        return "channels are scaled before a function of each element"
    return Likeness(tuple(axes[::-1]), scale=scale, new=_new_elements(step))


def _new_elements(step: Step) -> New:
    """What a function of each element makes of new places: zero of zeros, and of means what is linear in them."""
    program: Program = step.new.attr("program")
    wide = [number for number in range(len(step.operands)) if _spans(step, number, 1)]
    if vanishes(program, frozenset(number for number in wide if step.operands[number].new == "zero")):
        return "zero"
    body, are_means = program.body, all(step.operands[number].new == "mean" for number in wide)
    if not are_means or not isinstance(body, Op) or not all(isinstance(part, Var | Const) for part in body.args):
        return None
    if body.op == "mul":
        return "mean" if len(wide) == 1 else None
    return "mean" if body.op in ("add", "sub") and len(wide) == len(body.args) else None


def _scaled(step: Step) -> float | None:
    """What a product or a sum of scaled operands is scaled by; None where that cannot be said."""
    scales = [operand.scale for operand in step.operands]
    if all(operand.is_unscaled for operand in step.operands):
        return 1.0
    body = step.new.attr("program").body
    if not isinstance(body, Op) or not all(isinstance(part, Var) for part in body.args):
        return None
    if body.op == "mul" and len(body.args) == len(scales):
        return prod(scales)
    return scales[0] if body.op in ("add", "sub") and all(isclose(scale, scales[0]) for scale in scales) else None


def _spans(step: Step, operand: int, place: int) -> bool:
    return place <= len(step.operands[operand].axes) and step.size(operand, -place) != 1


def _combine_experts(step: Step) -> Result:
    y, weights = step.operands
    return Likeness((*y.axes[:2], y.axes[-1]), new=y.new) if weights.is_same else "other experts"


# --- attention ---------------------------------------------------------------------------


def _within_heads(step: Step) -> Result:
    """What works inside each head or row, the last axis."""
    axes = step.operands[0].axes
    if step.new.op == "normalize" and axes[-1] is not None and axes[-1].times and _by_mean(step.new):
        step.rounding.append(_REPEATED)
        return Likeness(axes)
    if step.new.op == "normalize" and axes[-1] is not None and axes[-1].only_grows and _by_mean(step.new):
        return _grown_norm(step, axes[-1])
    if axes[-1] is not None:
        return "a normalisation over more channels" if step.new.op == "normalize" else "heads have another width"
    if step.new.op == "normalize" and any(axis is not None and axis.averages for axis in axes):
        return "means of groups are normalised"
    return Likeness(axes)


def _grown_norm(step: Step, axis: Axis) -> Result:
    """New channels that are zero, or the mean that layer norms subtract: the others are divided by less, as is eps."""
    if step.operands[0].new != {"rms": "zero", "layernorm": "mean"}[step.new.attr("kind")]:
        return "a normalisation over more channels"
    old, new = step.old.attr("eps"), step.new.attr("eps")
    if isclose(new, old * axis.old / axis.size, rel_tol=1e-6):
        step.rounding.append("norms run over more channels, and their weights make up for it")
    else:
        step.reasons.append(
            f"a normalisation over more channels, and eps is {new:.6g}, where "
            f"{old * axis.old / axis.size:.6g} would do what {old:.6g} did"
        )
    return Likeness(step.operands[0].axes, scale=sqrt(axis.size / axis.old), new="zero")


def _by_mean(node: Node) -> bool:
    """Whether a normalisation divides by a mean, which channels that are repeated leave as it is."""
    return node.attr("kind") in ("rms", "layernorm") and node.attr("groups", 1) == 1


def _attend(step: Step) -> Result:
    q, k, v = step.operands[:3]
    if len(step.old.inputs) != len(step.new.inputs):
        return Differs(_WHY["has"])
    if q.axes[3] is not None or k.axes[3] is not None or k.axes[2] != v.axes[2]:
        return "heads have another width"
    if not _groups_kept(step, q.axes[2], k.axes[2]):
        averages = k.axes[2] is not None and k.axes[2].averages
        return "keys and values are means of groups of heads" if averages else "queries read other heads of keys"
    if not _tables_kept(step, q.axes[2]):
        return "a table of scores is carried over otherwise than the heads"
    if q.axes[2] is not None and reads_head_elsewhere(step.new):
        return "scores depend on the number of the head, and there are other heads"
    return Likeness((*q.axes[:3], v.axes[3]))


def _groups_kept(step: Step, queries: Axis | None, keys: Axis | None) -> bool:
    """Whether every old query head reads the keys that it read."""
    old, new = (_heads(node, body) for node, body in ((step.old, step.old_body), (step.new, step.new_body)))
    held = (keys or Axis.same(old[1])).sources()
    places = (queries or Axis.same(old[0])).sources()
    return all(
        held[place // (new[0] // new[1])] == (head // (old[0] // old[1]),)
        for place, heads in enumerate(places)
        for head in heads
    )


def _heads(node: Node, body: Any) -> tuple[int, int]:
    sizes = [body.type_of(ref).dims[2].size.known for ref in node.inputs[:2]]
    return sizes[0], sizes[1]


def _tables_kept(step: Step, queries: Axis | None) -> bool:
    """Whether what attention looks up is where its heads are: sinks, and tables with a column for each head."""
    sinks = [0] * (first_capture(step.new) - 3)
    return all(
        all(axis == (queries if number == by_head else None) for number, axis in enumerate(operand.axes))
        for operand, by_head in zip(step.operands[3:], [*sinks, *head_columns(step.new)], strict=True)
    )


def _cross_entropy(step: Step) -> Result:
    scores = step.operands[0].axes[-1]
    if scores is not None:
        return f"the softmax of the loss runs over {scores.size:,} entries, and ran over {scores.old:,}"
    return _plain(step)


_RULES: dict[str, Callable[[Step], Result]] = {
    "linear": _linear, "expert_linear": _expert_linear, "embedding": _embedding, "split_heads": _split_heads,
    "merge_heads": _merge_heads, "map": _map, "combine_experts": _combine_experts, "rope": _within_heads,
    "normalize": _within_heads, "attend": _attend, "cross_entropy": _cross_entropy, "dropout": _passed,
    "stop_gradient": _passed, "shift": _passed,
}  # fmt: skip
