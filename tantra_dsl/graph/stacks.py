"""Questions about the layers of a stack, answered from its pattern and not layer by layer."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby

from tantra_dsl.graph.model import Body, BodyRef, Node, Ref


class Layers:
    """The layers of one stack: which body each has, and which body follows which."""

    def __init__(self, stack: Node) -> None:
        runs: tuple[tuple[BodyRef, int], ...] = stack.attr("runs")
        self.count: int = stack.attr("count")
        self._keys = [ref.key for ref, _ in runs]
        self._ends = list(accumulate(count for _, count in runs))
        self._first: dict[str, int] = {}
        for key, start in zip(self._keys, [0, *self._ends], strict=False):
            if start < self.count:
                self._first.setdefault(key, start)

    @property
    def period(self) -> int:
        """Layers in one turn of the pattern."""
        return self._ends[-1]

    def at(self, index: int) -> str:
        """Body key of layer ``index``."""
        return self._keys[bisect_right(self._ends, index % self.period)]

    def first(self, key: str) -> int:
        """Index of the first layer with body ``key``; the layer count where no layer has it."""
        return self._first.get(key, self.count)

    def runs(self) -> list[tuple[str, int]]:
        """Equal neighbours of one turn of the pattern, cut to the layer count: the stack as a person would say it."""
        merged: list[tuple[str, int]] = []
        start = 0
        for key, end in zip(self._keys, self._ends, strict=True):
            length = min(end, self.count) - start
            if length > 0 and merged and merged[-1][0] == key:
                merged[-1] = (key, merged[-1][1] + length)
            elif length > 0:
                merged.append((key, length))
            start = end
        return merged

    def shortest(self, same: Mapping[str, object]) -> list[tuple[str, int]]:
        """The shortest pattern that makes these layers, as runs; bodies with equal values in ``same`` count as one."""
        runs = self.runs()
        first = {id: key for key, id in reversed([(key, same[key]) for key in self._keys])}
        if len({same[key] for key, _ in runs}) == 1:
            return [(first[same[runs[0][0]]], 1)]
        length = self.period if self.count >= 2 * self.period else self.count
        layers = [first[same[key]] for key in (self.at(index) for index in range(length))]
        return [(key, len(list(group))) for key, group in groupby(layers[: self._turn(layers)])]

    def _turn(self, layers: list[str]) -> int:
        """Length of the shortest turn: of the pattern where it is gone through twice or more, else of the layers."""
        turn = shortest_period(layers)
        if self.count >= 2 * self.period:
            return turn if self.period % turn == 0 else self.period
        return turn if 2 * turn <= self.count else self.count

    def neighbours(self) -> dict[tuple[str, str], int]:
        """How often a layer with the one body is followed by a layer with the other."""
        whole, rest = divmod(self.count, self.period)
        pairs: dict[tuple[str, str], int] = {}
        self._add_pairs(pairs, self.period, whole)
        if whole > 1:
            _add(pairs, (self._keys[-1], self._keys[0]), whole - 1)
        if whole and rest:
            _add(pairs, (self._keys[-1], self._keys[0]), 1)
        self._add_pairs(pairs, rest, 1)
        return pairs

    def _add_pairs(self, pairs: dict[tuple[str, str], int], length: int, times: int) -> None:
        """Add the pairs inside the first ``length`` layers of the pattern, ``times`` over."""
        start, before = 0, None
        for key, end in zip(self._keys, self._ends, strict=True):
            taken = min(end, length) - start
            if taken <= 0 or not times:
                break
            if before is not None:
                _add(pairs, (before, key), times)
            _add(pairs, (key, key), (taken - 1) * times)
            start, before = end, key


def _add(pairs: dict[tuple[str, str], int], pair: tuple[str, str], times: int) -> None:
    if times:
        pairs[pair] = pairs.get(pair, 0) + times


def shortest_period(items: Sequence[str]) -> int:
    """Smallest ``p > 0`` with ``items[i] == items[i - p]`` wherever both are (Knuth, Morris and Pratt 1977)."""
    borders = [0] * len(items)
    length = 0
    for index in range(1, len(items)):
        while length and items[index] != items[length]:
            length = borders[length - 1]
        length += items[index] == items[length]
        borders[index] = length
    return len(items) - borders[-1]


def tap_ref(layer: Body, path: str) -> Ref | None:
    """What later layers read of ``layer`` under ``path``: one of its taps, or its output; None where it has neither."""
    return dict(layer.taps).get(path) or dict(layer.outputs).get(path)
