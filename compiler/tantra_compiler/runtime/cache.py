"""State of decoding: what each place of a model keeps of the positions that it has seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Kept = TypeVar("Kept")


class Cache:
    """Memory of one batch of sequences that are decoded together.

    ``length`` counts the positions seen. Places are told apart by the order in which a model visits them, so one set of
    weights that serves several layers keeps a state for each. No gradient flows into a cache.
    """

    def __init__(self, batch: int, max_length: int) -> None:
        self.batch = batch
        self.max_length = max_length
        self.length = 0
        self.start = 0
        self._states: list[Any] = []
        self._place = 0

    def begin(self, new: int) -> None:
        """Open a call on ``new`` further positions. Raises ValueError where they do not fit."""
        if self.length + new > self.max_length:
            raise ValueError(f"the cache holds {self.max_length} positions: {self.length} are taken, {new} do not fit")
        self.start = self.length
        self.length += new
        self._place = 0

    def state(self, first: Callable[[], Any]) -> Any:
        """State of the next place; ``first`` makes it when the place is new."""
        place = self._place
        self._place += 1
        if place == len(self._states):
            self._states.append(first())
        return self._states[place]

    def append(self, x: Tensor) -> Tensor:
        """All that the next place has seen along time, ``x`` [batch, time, ...] put last."""
        kept: Tensor = self.state(lambda: _room_for(x, self.max_length))
        new = x.shape[1]
        kept.narrow(2, self.start, new).copy_(_time_inside(x.detach() if x.requires_grad else x))
        return _time_outside(kept.narrow(2, 0, self.start + new))


def _time_inside(x: Tensor) -> Tensor:
    """[batch, time, heads, d] with time third, so that a head's rows are neighbours; fields get a heads axis of 1."""
    return x.transpose(1, 2) if x.dim() == 4 else x.unsqueeze(1)


def _time_outside(x: Tensor) -> Tensor:
    return x.transpose(1, 2) if x.dim() == 4 else x.squeeze(1)


def _room_for(x: Tensor, length: int) -> Tensor:
    like = _time_inside(x)
    return torch.zeros((*like.shape[:2], length, *like.shape[3:]), dtype=x.dtype, device=x.device)


def once(cache: Cache | None, compute: Callable[[], Kept]) -> Kept:
    """``compute()``, or what it gave in the first call on ``cache``: for what does not change while decoding."""
    return compute() if cache is None else cache.state(compute)


def append(x: Tensor, cache: Cache | None) -> Tensor:
    """``x`` [batch, time, ...] behind all that came before it; ``x`` itself without a cache."""
    return x if cache is None else cache.append(x)


def held_state(cache: Cache | None) -> list[Tensor | None]:
    """The one-element list in which the next place keeps its state; None in it at first, and always without a cache."""
    return [None] if cache is None else cache.state(lambda: [None])
