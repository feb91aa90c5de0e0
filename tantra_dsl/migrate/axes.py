"""Where each place of a new axis comes from: the rows, columns or heads of a tensor that is carried over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache


@dataclass(frozen=True, slots=True)
class Block:
    """``length`` neighbouring places of a new axis: the mean of the old ones from each of ``starts`` on.

    Without ``starts`` they are new: no old place goes there.
    """

    starts: tuple[int, ...]
    length: int

    def continues(self, before: Block) -> bool:
        """Whether this block goes on where ``before`` ended, in the old axis as in the new one."""
        if len(self.starts) != len(before.starts) or len(self.starts) > 1:
            return False
        return all(a == b + before.length for a, b in zip(self.starts, before.starts, strict=True))


@dataclass(frozen=True)
class Axis:
    """An axis of ``old`` places that becomes one of ``size`` places, block by block."""

    old: int
    blocks: tuple[Block, ...]

    @staticmethod
    def same(size: int) -> Axis:
        """An axis that stays as it is."""
        return Axis(size, (Block((0,), size),))

    @staticmethod
    def resized(old: int, new: int) -> Axis:
        """The old places first, then new ones; or the first of the old ones alone."""
        if new <= old:
            return Axis(old, (Block((0,), new),))
        return Axis(old, (Block((0,), old), Block((), new - old)))

    @staticmethod
    def repeated(old: int, times: int) -> Axis:
        """The old places, so many times over."""
        return Axis(old, (Block((0,), old),) * times)

    @staticmethod
    def of(old: int, sources: Iterable[Sequence[int]]) -> Axis:
        """Each new place as the mean of the old ones that are listed for it; new where none is."""
        return Axis(old, _merged(Block(tuple(places), 1) for places in sources))

    @property
    def size(self) -> int:
        """Places of the new axis."""
        return sum(block.length for block in self.blocks)

    @cached_property
    def is_same(self) -> bool:
        """Whether nothing changes."""
        return self.blocks == (Block((0,), self.old),)

    @property
    def has_new(self) -> bool:
        """Whether some places are new."""
        return any(not block.starts for block in self.blocks)

    @property
    def only_grows(self) -> bool:
        """Whether the old places come first, in their order, and new ones after them."""
        return self.has_new and self.begins_as_before and self.keeps_each_once

    @property
    def averages(self) -> bool:
        """Whether some places are means of several."""
        return any(len(block.starts) > 1 for block in self.blocks)

    @cached_property
    def left_out(self) -> int:
        """How many old places go nowhere."""
        reached, end = 0, 0
        for start, stop in self._taken:
            reached += max(0, stop - max(start, end))
            end = max(end, stop)
        return self.old - reached

    @cached_property
    def keeps_each_once(self) -> bool:
        """Whether every old place is in the new axis exactly once, and by itself: a sum over it stays what it is."""
        return not self.averages and not self.left_out and sum(b - a for a, b in self._taken) == self.old

    @cached_property
    def _taken(self) -> list[tuple[int, int]]:
        """Stretches of the old axis that go somewhere, in order; they may overlap."""
        return sorted((start, start + block.length) for block in self.blocks for start in block.starts)

    @property
    def times(self) -> int:
        """How often the axis has every old place and nothing else; 0 where it is no such axis."""
        return len(self.blocks) if set(self.blocks) == {Block((0,), self.old)} else 0

    @property
    def begins_as_before(self) -> bool:
        """Whether the old places have the numbers that they had."""
        return bool(self.blocks) and self.blocks[0].starts == (0,) and self.blocks[0].length == self.old

    def of_heads(self, width: int) -> Axis:
        """The axis of channels of these heads, each ``width`` wide."""
        blocks = (Block(tuple(start * width for start in b.starts), b.length * width) for b in self.blocks)
        return Axis(self.old * width, _merged(blocks))

    def over(self, width: int) -> Axis | None:
        """The axis of heads of these channels; None where a head would be cut apart."""
        numbers = [n for block in self.blocks for n in (*block.starts, block.length)]
        if any(number % width for number in numbers):
            return None
        blocks = (Block(tuple(start // width for start in b.starts), b.length // width) for b in self.blocks)
        return Axis(self.old // width, tuple(blocks))

    def sources(self) -> list[tuple[int, ...]]:
        """For each new place the old ones that it is the mean of: meant for heads, which are few."""
        return [tuple(s + place for s in block.starts) for block in self.blocks for place in range(block.length)]


def _merged(blocks: Iterable[Block]) -> tuple[Block, ...]:
    merged: list[Block] = []
    for block in blocks:
        if merged and block.continues(merged[-1]):
            merged[-1] = Block(merged[-1].starts, merged[-1].length + block.length)
        else:
            merged.append(block)
    return tuple(merged)


# --- heads -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heads:
    """Numbers of heads: of queries, and of keys and values."""

    queries: int
    keys: int

    @property
    def group(self) -> int:
        """Query heads that read one key head."""
        return self.queries // self.keys


@lru_cache(maxsize=256)
def head_axes(old: Heads, new: Heads) -> tuple[Axis, Axis] | None:
    """Where the heads of queries, and those of keys and values, go; None where no way is known.

    Each old query head gets a place among those that read its keys. Fewer key heads are the means of groups of old ones
    (Ainslie et al. 2023), more are copies where that serves the query heads that there are.
    """
    for keys in _key_axes(old, new):
        queries = _placed(old, new, keys)
        if queries is not None:
            return queries, keys
    return None


def _key_axes(old: Heads, new: Heads) -> list[Axis]:
    if new.keys == old.keys:
        return [Axis.same(old.keys)]
    if new.keys < old.keys:
        size, rest = divmod(old.keys, new.keys)
        return [] if rest else [Axis.of(old.keys, (range(k * size, (k + 1) * size) for k in range(new.keys)))]
    times, rest = divmod(new.keys, old.keys)
    repeated = [] if rest else [Axis.of(old.keys, ((key // times,) for key in range(new.keys)))]
    grown = [Axis.resized(old.keys, new.keys)]
    return repeated + grown if new.queries == old.queries else grown + repeated


def _placed(old: Heads, new: Heads, keys: Axis) -> Axis | None:
    """A place for each query head, the first free one that reads its key head; the first heads only where too few."""
    held = keys.sources()
    places: dict[int, int] = {}
    for head in range(min(old.queries, new.queries)):
        fitting = (p for p in range(new.queries) if p not in places and head // old.group in held[p // new.group])
        place = next(fitting, None)
        if place is None:
            return None
        places[place] = head
    return Axis.of(old.queries, (((places[p],) if p in places else ()) for p in range(new.queries)))
