"""How a value of the new model holds a value of the old one."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isclose
from typing import Literal

from tantra_dsl.graph.model import Body, Node
from tantra_dsl.migrate.axes import Axis

New = Literal["zero", "mean"] | None


@dataclass(frozen=True)
class Likeness:
    """Along each axis where the old places are, None where nothing changes; what is in new places is not known.

    But in those of the last axis it may be: ``new`` says that it is zero, or the mean of the old ones. The old places
    hold the old value times ``scale``. Of a weight, ``zeros`` are the axes whose new places are zero, ``means`` those
    where they are the mean, ``shares`` those whose repeated places share a number, and ``shift`` is what was added to
    it. ``modules`` are the prefixes of two instances.
    """

    axes: tuple[Axis | None, ...]
    modules: tuple[str, str] | None = None
    zeros: frozenset[int] = frozenset()
    means: frozenset[int] = frozenset()
    shares: frozenset[int] = frozenset()
    shift: float = 0.0
    scale: float = 1.0
    new: New = None

    @property
    def is_same(self) -> bool:
        """Whether both values are equal."""
        return not self.shift and self.is_unscaled and all(axis is None for axis in self.axes)

    def along(self, axis: int) -> New:
        """What a weight's new places along an axis are."""
        return "zero" if axis in self.zeros else "mean" if axis in self.means else None

    @property
    def is_unscaled(self) -> bool:
        """Whether the old places hold the old value itself."""
        return isclose(self.scale, 1, rel_tol=1e-12)


Known = Likeness | None
"""None: how two values are related is not known, and the reason has been told."""


@dataclass
class Step:
    """A primitive of the old model, the one in its place, and how their operands are related.

    ``zero_bias``: a bias that only one of them has is zero. ``rounding`` collects what changes the rounding alone,
    ``reasons`` what changes the function a little, and no likeness after it.
    """

    old: Node
    new: Node
    old_body: Body
    new_body: Body
    operands: list[Likeness]
    zero_bias: bool
    rounding: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def size(self, operand: int, axis: int) -> int | None:
        """Places of an operand's axis in the new model."""
        return self.new_body.type_of(self.new.inputs[operand]).dims[axis].size.known


class Differs(str):
    """A reason that lies in what the two models are, whatever their weights."""


_NAMES = {
    "map": "a function of each element", "normalize": "a normalisation", "linear": "a linear layer",
    "attend": "attention", "rope": "rotary positions", "param": "a weight", "stack": "a stack of layers",
    "call": "a part", "weight": "a shared weight", "input": "an input", "split_heads": "heads",
    "embedding": "an embedding",
}  # fmt: skip


def unlike(old: Node, new: Node) -> Differs:
    """The reason where two operations are of different kinds."""
    if old.op == new.op:
        return Differs("another result is read")
    return Differs(f"{_NAMES.get(new.op, new.op)} in the place of {_NAMES.get(old.op, old.op)}")


__all__ = ["Differs", "Known", "Likeness", "Step", "unlike"]
