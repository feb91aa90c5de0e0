"""Carrying a plan out on tensors: the one module here that needs the tensor library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tantra_dsl.migrate.axes import Axis, Block
from tantra_dsl.migrate.planning import Plan
from tantra_dsl.migrate.rules import Carried, Fill, Started, Zeros

Weights = Mapping[str, Tensor]


def carried(plan: Plan, old: Weights, started: Callable[[], Weights]) -> dict[str, Tensor]:
    """The new model's weights. ``started`` gives weights started as the new spec says, where a rule asks for them.

    They have the types of the tensors that they come from; the others that of most old ones. What is only copied shares
    its numbers with the old tensor.
    """
    usual = Counter(tensor.dtype for tensor in old.values()).most_common(1)[0][0] if old else torch.float32
    fresh = started() if _needs_starts(plan) else {}
    made: dict[str, Tensor] = {}
    for entry in plan.entries:
        path, rule = entry.new.path, entry.rule
        if isinstance(rule, Zeros):
            made[path] = torch.zeros(entry.new.shape, dtype=usual)
        elif isinstance(rule, Started):
            made[path] = fresh[path].to(usual)
        else:
            made[path] = placed(rule, old[rule.source], fresh.get(path))
    return made


def _needs_starts(plan: Plan) -> bool:
    return any(isinstance(entry.rule, Started) or _starts(entry.rule) for entry in plan.entries)


def _starts(rule: object) -> bool:
    return isinstance(rule, Carried) and any(
        (axis.has_new and fill == "start") or (fill == "share" and axis.times > 1)
        for axis, fill in zip(rule.axes, rule.fills, strict=True)
    )


def placed(rule: Carried, old: Tensor, fresh: Tensor | None) -> Tensor:
    """``old`` along the rule's axes; ``fresh`` has the new shape and stands where new places are to be started."""
    if rule.is_copy:
        return old
    made = old.double() * rule.scale + rule.shift
    for number, (axis, fill) in enumerate(zip(rule.axes, rule.fills, strict=True)):
        if not axis.is_same:
            made = _along(made, number, axis, fill)
    if fresh is not None:
        made = _shared(rule, made, fresh, old.dtype)
    is_new = _started(rule, made.ndim)
    if fresh is not None and bool(is_new.any()):
        made = torch.where(is_new, fresh.to(made.dtype), made)
    return made.to(old.dtype)


def _started(rule: Carried, rank: int) -> Tensor:
    """Where the new tensor is started: in new places of an axis that says so, and of none that says zero."""
    marks = dict.fromkeys(("start", "zero", "mean", "share"), torch.tensor(False))
    for number, (axis, fill) in enumerate(zip(rule.axes, rule.fills, strict=True)):
        marks[fill] = marks[fill] | _new(axis, number, rank)
    return marks["start"] & ~marks["zero"]


def _shared(rule: Carried, made: Tensor, fresh: Tensor, dtype: torch.dtype) -> Tensor:
    """Repeated places that share a number: equal shares plus what they are started with, so that they learn apart.

    The last share is what the rounded others leave: the sum is that of the old model.
    """
    for number, (axis, fill) in enumerate(zip(rule.axes, rule.fills, strict=True)):
        if fill == "share" and axis.times > 1:
            wholes, starts = (tensor.chunk(axis.times, number) for tensor in (made, fresh.to(made.dtype)))
            others = [
                (w / axis.times + s - starts[-1]).to(dtype).double() for w, s in zip(wholes, starts[:-1], strict=False)
            ]
            made = torch.cat([*others, wholes[-1] - sum(others)], number)
    return made


def _along(tensor: Tensor, number: int, axis: Axis, fill: Fill) -> Tensor:
    """``tensor`` with one axis resized: blocks of old places or their means, zeros or the mean where new."""
    return torch.cat([_block(tensor, number, block, fill) for block in axis.blocks], dim=number)


def _block(tensor: Tensor, number: int, block: Block, fill: Fill) -> Tensor:
    if block.starts:
        parts = [tensor.narrow(number, start, block.length) for start in block.starts]
        return parts[0] if len(parts) == 1 else torch.stack(parts).mean(0)
    mean = tensor.mean(number, keepdim=True) if fill == "mean" else tensor.narrow(number, 0, 1) * 0
    return mean.expand(*(block.length if place == number else size for place, size in enumerate(tensor.shape)))


def _new(axis: Axis, number: int, rank: int) -> Tensor:
    """Which places of an axis are new, shaped to be broadcast."""
    marks = torch.cat([torch.full((block.length,), not block.starts) for block in axis.blocks])
    return marks.view(*(-1 if place == number else 1 for place in range(rank)))
