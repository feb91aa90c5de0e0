"""Carrying a plan out on tensors: the one module here that needs the tensor library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from tantra_dsl.migrate.alignment import Place
from tantra_dsl.migrate.axes import Axis, Block
from tantra_dsl.migrate.planning import Entry, Plan
from tantra_dsl.migrate.rules import Carried, Fill, Started, Zeros
from tantra_dsl.train.files import Described

Weights = Mapping[str, Tensor]
Start = Callable[[Place], Tensor]
"""Gives a weight of the new model as its spec starts it."""


class Carrying(Described):
    """The new model's weights, each made when it is asked for, from the old ones that ``old`` gives.

    ``kinds`` are the types of the old weights. New ones have the types of those that they come from; the others that of
    most old ones. What is only copied shares its numbers with the old tensor.
    """

    def __init__(self, plan: Plan, old: Weights, kinds: Mapping[str, torch.dtype], start: Start) -> None:
        self._entries = {entry.new.path: entry for entry in plan.entries}
        self._old, self._kinds, self._start = old, kinds, start
        self._usual = Counter(kinds.values()).most_common(1)[0][0] if kinds else torch.float32

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __getitem__(self, path: str) -> Tensor:
        entry = self._entries[path]
        if isinstance(entry.rule, Zeros):
            return torch.zeros(entry.new.shape, dtype=self._usual)
        if isinstance(entry.rule, Started):
            return self._start(entry.new).to(self._usual)
        return placed(entry.rule, self._old[entry.rule.source], self._start(entry.new) if _starts(entry.rule) else None)

    def described(self, path: str) -> Tensor:
        """A tensor of the same shape and type that takes no memory."""
        entry = self._entries[path]
        return torch.empty(entry.new.shape, dtype=self._kind(entry), device="meta")

    def _kind(self, entry: Entry) -> torch.dtype:
        return self._kinds[entry.rule.source] if isinstance(entry.rule, Carried) else self._usual


def carried(plan: Plan, old: Weights, start: Start) -> Carrying:
    """The new model's weights from old ones that are in memory."""
    return Carrying(plan, old, {path: tensor.dtype for path, tensor in old.items()}, start)


def _starts(rule: Carried) -> bool:
    pairs = zip(rule.axes, rule.fills, strict=True)
    return any((axis.has_new and fill == "start") or (fill == "share" and axis.times > 1) for axis, fill in pairs)


def _only_moves(rule: Carried) -> bool:
    """Whether numbers go elsewhere and none is computed."""
    computed = (axis.averages or (fill == "mean" and not axis.is_same) for axis, fill in
                zip(rule.axes, rule.fills, strict=True))  # fmt: skip
    return not rule.shift and rule.scale == 1 and not any(computed)


def placed(rule: Carried, old: Tensor, fresh: Tensor | None) -> Tensor:
    """``old`` along the rule's axes; ``fresh`` has the new shape and stands where new places are to be started."""
    if rule.is_copy:
        return old
    made = old if _only_moves(rule) else old.double() * rule.scale + rule.shift
    for number, (axis, fill) in enumerate(zip(rule.axes, rule.fills, strict=True)):
        if not axis.is_same:
            made = _along(made, number, axis, fill)
    for number, (axis, fill) in enumerate(zip(rule.axes, rule.fills, strict=True)):
        if fill == "share" and axis.times > 1 and fresh is not None:
            _share(made, fresh, number, axis.times)
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


def _share(made: Tensor, fresh: Tensor, number: int, times: int) -> None:
    """Makes the repeats along an axis share their numbers: equal parts plus what each is started with.

    So they learn apart. The last share is what the others leave, as they were rounded. Goes a few rows at a time.
    """
    along = 0 if number else 1
    for start in range(0, made.shape[along], _ROWS):
        length = min(_ROWS, made.shape[along] - start)
        shares, starts = (tensor.narrow(along, start, length).chunk(times, number) for tensor in (made, fresh))
        rest, last = shares[-1].double(), starts[-1].double()
        for share, begun in zip(shares[:-1], starts[:-1], strict=True):
            share.copy_(share.double() / times + begun.double() - last)
            rest -= share
        shares[-1].copy_(rest)


_ROWS = 256


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
