"""The plan: a rule for every tensor of the new model, and what of the old one would be lost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tantra_dsl.graph.model import Graph, Init
from tantra_dsl.migrate.alignment import Alignment, Growth, Pair, Place
from tantra_dsl.migrate.axes import Axis, Heads, head_axes
from tantra_dsl.migrate.rules import Carried, Fill, Rule, Started, Zeros, in_units
from tantra_dsl.migrate.spaces import CENTRED, IDS, NORMALISED, POSITIONS, SCORES, Space, Spaces
from tantra_dsl.migrate.vanish import zeros_for_identity

NewRows = Literal["mean", "init"]
_GROWS = frozenset({IDS, POSITIONS, SCORES})
_ONE, _ZERO = Init("constant", (1.0,)), Init("constant", (0.0,))


@dataclass(frozen=True)
class Options:
    """How to migrate.

    ``layers``: further layers pass the stream on, or are copies of others; ``new_rows`` of a vocabulary: the mean of
    the old ones, or started; ``start_missing``: what has no rule is started as the spec says; ``drop``: what has no
    place in the new model may be lost.
    """

    layers: Growth = "identity"
    new_rows: NewRows = "mean"
    start_missing: bool = False
    drop: bool = False


@dataclass(frozen=True)
class Entry:
    """One tensor of the new model, with its rule and the tensor of the old model that it comes from, if any."""

    new: Place
    rule: Rule
    old: Place | None


@dataclass(frozen=True)
class Lack:
    """A tensor of the new model without a rule, and why there is none."""

    new: Place
    old: Place | None
    why: str


@dataclass(frozen=True)
class Loss:
    """What of a tensor of the old model has no place in the new one; ``unless_zero``: it is nothing if it is zero."""

    old: Place
    what: str
    unless_zero: bool = False


@dataclass
class Plan:
    """Rules for all tensors of the new model, in its order. It can be carried out where nothing lacks or is lost.

    ``no_identity`` are the prefixes of further layers that no weights make pass on what they are given.
    """

    items: list[Entry | Lack] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    no_identity: list[str] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        """The tensors that have a rule."""
        return [item for item in self.items if isinstance(item, Entry)]

    @property
    def lacks(self) -> list[Lack]:
        """The tensors that have none."""
        return [item for item in self.items if isinstance(item, Lack)]

    @property
    def rules(self) -> dict[str, Rule]:
        """The rule of each tensor by its path."""
        return {entry.new.path: entry.rule for entry in self.entries}


def make_plan(before: Graph, after: Graph, renames: Mapping[str, str], options: Options) -> Plan:
    """Rules that carry the weights of ``before`` over to ``after``; ``renames`` are labels that changed their name."""
    return _Planner(Alignment(before, after, renames), options).plan()


class _Planner:
    def __init__(self, sides: Alignment, options: Options) -> None:
        self.sides, self.options = sides, options
        self.old, self.new = Spaces(sides.before), Spaces(sides.after)
        self.made = Plan()
        self.zeros: set[str] = set()
        self.kept = {pair.new.path for pair in sides.pairs if pair.old is not None}

    def plan(self) -> Plan:
        self._pair_by_use()
        if self.options.layers == "identity":
            self._add_identities()
        for pair in self.sides.pairs:
            self._one(pair)
        taken = {item.old.path for item in self.made.items if item.old is not None}
        self.made.losses += [self._left(place) for place in self.sides.left if place.path not in taken]
        return self.made

    def _pair_by_use(self) -> None:
        """Finds counterparts, under whatever names, of tables of tokens and positions and of a head of its own."""
        for number, pair in enumerate(self.sides.pairs):
            use = self.new.use(pair.new.twin)
            if pair.old is None and use:
                alike = [place for place in self.sides.left if self.old.use(place.twin) == use]
                # A head that was the table of tokens becomes a tensor of its own.
                tied = [p.old for p in self.sides.pairs if p.old is not None and SCORES in self.old.use(p.old.twin)]
                found = alike or (tied if use == {SCORES} else [])
                if len(found) == 1 and len(found[0].shape) == len(pair.new.shape):
                    self.sides.pairs[number] = Pair(pair.new, found[0])

    def _add_identities(self) -> None:
        for layer in self.sides.added:
            zeros = zeros_for_identity(self.sides.after, layer.body, layer.prefix)
            if zeros is None:
                self.made.no_identity.append(layer.prefix)
            else:
                self.zeros |= zeros

    def _one(self, pair: Pair) -> None:
        rule = self._rule(pair)
        if isinstance(rule, str) and self.options.start_missing:
            rule = Started(rule)
        if isinstance(rule, str):
            self.made.items.append(Lack(pair.new, pair.old, rule))
            return
        source = pair.old if isinstance(rule, Carried) else None
        self.made.items.append(Entry(pair.new, rule, source))
        if isinstance(rule, Carried) and pair.old is not None and not pair.added:
            self.made.losses += _cut(pair.old, rule)
        elif pair.old is not None and isinstance(rule, Started):
            self.made.losses.append(Loss(pair.old, "it has no place in the new model"))

    def _rule(self, pair: Pair) -> Rule | str:
        """The rule of a tensor, or why there is none."""
        if pair.new.path in self.zeros:
            return Zeros("the layer passes on what it is given")
        if pair.old is None:
            return self._alone(pair)
        axes = self._axes(pair.old, pair.new)
        if isinstance(axes, str):
            return axes
        fills = tuple(self._fill(pair.new, number, axis) for number, axis in enumerate(axes))
        units = tuple(self._unit(pair.new, number) for number in range(len(axes)))
        scale = self._scale(pair.new, axes)
        return Carried(pair.old.path, axes, fills, units, _shift(pair.old, pair.new, scale), scale)

    def _alone(self, pair: Pair) -> Rule | str:
        """A tensor that the old model does not have."""
        if pair.new.path.endswith(".bias") and pair.new.node.attr("init") == _ZERO and self._is_bias(pair.new):
            return Zeros("a bias that adds nothing yet")
        return "the old model has nothing in its place"

    def _is_bias(self, place: Place) -> bool:
        """Whether it is the bias of a weight that the old model has, too."""
        return len(place.shape) == 1 and f"{place.path.removesuffix('bias')}weight" in self.kept

    # --- axes ----------------------------------------------------------------------------

    def _axes(self, old: Place, new: Place) -> tuple[Axis, ...] | str:
        spaces = zip(self.old.axes.get(old.twin, ()), self.new.axes.get(new.twin, ()), strict=True)
        found: list[Axis] = []
        for a, b in spaces:
            axis = self._axis(a, b)
            if isinstance(axis, str):
                return axis
            found.append(axis)
        if len(found) < len(new.shape):
            return "nothing reads it" if old.shape != new.shape else tuple(map(Axis.same, new.shape))
        return tuple(found)

    def _axis(self, old: Space, new: Space) -> Axis | str:
        """Where the places of an axis go, or why that is not known."""
        assert old.size is not None and new.size is not None
        if old.keys or old.queries:
            return self._head_axis(old, new) or _no_way(old, new, "heads that do not divide each other")
        a, b = old.heads, new.heads
        if a is not None and b is not None and (a[0].keys or a[0].queries):
            return self._channel_axis(old, new, a, b)
        if old.size == new.size:
            return Axis.same(old.size)
        marks = old.root.marks | new.root.marks
        blocked = sorted(marks - _GROWS - {NORMALISED, CENTRED})
        if blocked:
            return _no_way(old, new, f"a width that is {blocked[0]}")
        if NORMALISED in marks and new.size % old.size == 0:
            return Axis.repeated(old.size, new.size // old.size)
        return Axis.resized(old.size, new.size)

    def _channel_axis(self, old: Space, new: Space, a: tuple[Space, Space], b: tuple[Space, Space]) -> Axis | str:
        """Channels that are heads: they go where their heads go."""
        assert old.size is not None and new.size is not None
        widths = a[1].size, b[1].size
        if widths[0] != widths[1] or widths[0] is None:
            if old.size == new.size:
                return Axis.same(old.size)
            return _no_way(old, new, f"heads of {widths[0]} that become {widths[1]} wide{_more_heads(new, widths[0])}")
        heads = self._head_axis(a[0], b[0])
        return _no_way(old, new, "heads that do not divide each other") if heads is None else heads.of_heads(widths[0])

    def _head_axis(self, old: Space, new: Space) -> Axis | None:
        is_keys = old.queries is not None
        sides = [_numbers(side) for side in (old, new)]
        if sides[0] is None or sides[1] is None:
            return None
        found = head_axes(sides[0], sides[1])
        return None if found is None else found[1 if is_keys else 0]

    def _fill(self, place: Place, number: int, axis: Axis) -> Fill:
        axes = self.new.axes.get(place.twin, ())
        marks = axes[number].root.marks if axes else set()
        if NORMALISED in marks and not axis.is_same:
            return self._fill_normalised(place, number, axis, CENTRED in marks)
        if self.new.is_summed(place.twin, number):
            return "zero"
        return "mean" if marks & {IDS, SCORES} and self.options.new_rows == "mean" else "start"

    def _fill_normalised(self, place: Place, number: int, axis: Axis, centred: bool) -> Fill:
        """New channels of a stream that norms read are zero, or its mean, so that norms give the old ones but for eps.

        Then they may be read by weights that are started, which they learn by. The weights of norms start as they do,
        and their biases are zero.
        """
        is_read = self.new.is_summed(place.twin, number) and place.twin not in self.new.tables
        if axis.times:
            return "share" if is_read else "start"
        if is_read or self.new.gains.get(place.twin):
            return "start"
        return "mean" if centred and place.twin not in self.new.gains else "zero"

    def _scale(self, place: Place, axes: tuple[Axis, ...]) -> float:
        """What a norm's weight is multiplied by where the width changes that it normalises over."""
        if place.twin not in self.new.gains or len(axes) != 1 or axes[0].is_same:
            return 1.0
        if not axes[0].times:
            grows = axes[0].has_new and self.new.gains[place.twin]
            return math.sqrt(axes[0].old / axes[0].size) if grows else 1.0
        # A table that is looked up is repeated whole: what else it multiplies has to be less.
        readers = self.new.fed.get(place.twin, set())
        return 1 / axes[0].times if readers and readers <= self.new.tables else 1.0

    def _unit(self, place: Place, number: int) -> tuple[str, int]:
        """What the places of an axis are to a reader, and how many make one."""
        axes = self.new.axes.get(place.twin, ())
        heads = axes[number].heads if axes else None
        if heads is not None and heads[1].size is not None:
            return f"heads of {heads[1].size}", heads[1].size
        name = place.node.type.dims[number].name
        rank = len(place.shape)
        plain = {1: ("entries",), 2: ("rows", "columns"), 3: ("experts", "rows", "columns")}.get(rank, ())
        return plain[number] if plain else name, 1

    # --- losses --------------------------------------------------------------------------

    def _left(self, place: Place) -> Loss:
        return Loss(place, "the new model has no such tensor", place.path.endswith(".bias"))


def _numbers(side: Space) -> Heads | None:
    """Numbers of query and key heads, from either."""
    queries, keys = (side, side.keys) if side.keys is not None else (side.queries, side)
    if queries is None or keys is None or queries.size is None or keys.size is None or queries.size % keys.size:
        return None
    return Heads(queries.size, keys.size)


def _more_heads(new: Space, width: int | None) -> str:
    """What would have a rule where heads change their width, which scores and positions depend on."""
    return f" ({new.size // width} heads of {width} have a rule)" if width and new.size and not new.size % width else ""


def _no_way(old: Space, new: Space, what: str) -> str:
    return f"{what}, {old.size:,} -> {new.size:,}"


def _shift(old: Place, new: Place, scale: float) -> float:
    """What to add to a norm's weight, which is multiplied by ``scale``, where one model or both store it minus one."""
    if not old.path.endswith("weight"):
        return 0.0
    kinds = {_ONE: 0.0, _ZERO: 1.0}
    starts = [kinds.get(place.node.attr("init")) for place in (old, new)]
    return 0.0 if starts[0] is None or starts[1] is None else scale * starts[0] - starts[1]


def _cut(old: Place, rule: Carried) -> Iterator[Loss]:
    """What an axis that becomes shorter leaves out."""
    for unit, whole in zip(rule.units, rule.axes, strict=True):
        name, axis = unit[0], in_units(whole, unit)
        if axis.left_out:
            yield Loss(old, f"{axis.left_out:,} of its {axis.old:,} {name}")


__all__ = ["Entry", "Lack", "Loss", "Options", "Plan", "make_plan"]
