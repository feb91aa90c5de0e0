"""Axes: chains that stay straight, and places for them where sideways steps are short and nothing overlaps.

Items that follow each other form a chain, which has one axis. Axes minimise the squares of the steps between chains,
under the distances that neighbours in a row must keep; the dual is climbed one constraint at a time (Hildreth 1957).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_ANCHOR: Final = 1e-4
"""How much an axis is drawn to where it began: what decides where nothing else does."""
_STREAM: Final = 8.0
_SWEEPS: Final = 400
_NEAR: Final = 0.01
_LARGE: Final = 80
_LONGER: Final = 2
"""So many items more make a way the main one where ways part or meet."""


@dataclass(frozen=True, slots=True)
class Link:
    """Two ids in neighbouring rows, joined by a line. ``aside``: the upper one only feeds into a stream."""

    upper: str
    lower: str
    aside: bool = False


Between = Callable[[str, str], float]


def axes(
    rows: Sequence[Sequence[str]],
    links: Sequence[Link],
    start: Mapping[str, float],
    between: Between,
    ends: tuple[str, str] | None = None,
    streams: Sequence[tuple[str, str]] = (),
) -> dict[str, float]:
    """An axis for every id of ``rows``, near ``start``; ``between`` tells how far apart two neighbours must be.

    ``ends`` are the first and the last id of a stream, alone in their rows: it leaves where it came in. ``streams`` are
    pairs that a line around others joins, and that should have one axis where that is to be had.
    """
    for chain in (_chains(rows, links), {id: id for row in rows for id in row}):
        if ends is not None:
            chain[ends[1]] = chain[ends[0]]
        gaps = _gaps(rows, chain, between)
        order = _in_order(list(dict.fromkeys(chain.values())), gaps)
        if order is not None:
            break
    assert order is not None
    begin = {unit: _mean([start[id] for id, of in chain.items() if of == unit]) for unit in order}
    pulls = [(chain[k.upper], chain[k.lower], 0.02 if k.aside else 1.0) for k in links]
    pulls += [(chain[a], chain[b], _STREAM) for a, b in streams]
    pulls = [pull for pull in pulls if pull[0] != pull[1]]
    found = _solved(order, pulls, gaps, begin) if len(order) <= _LARGE else begin
    for unit in order:
        least = [found[left] + gap for (left, right), gap in gaps.items() if right == unit]
        found[unit] = max([found[unit], *least])
    return {id: found[unit] for id, unit in chain.items()}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


# --- chains ------------------------------------------------------------------------------


def _chains(rows: Sequence[Sequence[str]], links: Sequence[Link]) -> dict[str, str]:
    """For each id the first id of its chain."""
    chain = {id: id for row in rows for id in row}
    for _ in range(2):  # first where there is no choice, then along the longest
        lengths: dict[str, int] = {}
        for id, first in chain.items():
            lengths[first] = lengths.get(first, 0) + (not id.startswith("~"))
        size = {id: lengths[first] for id, first in chain.items()}
        down = _chosen([(k.upper, k.lower) for k in links if not k.aside], size)
        up = _chosen([(k.lower, k.upper) for k in links if not k.aside], size)
        chain = {id: id for id in chain}
        for row in rows:
            for id in row:
                next = down.get(id)
                if next is not None and up.get(next) == id:
                    chain[next] = chain[id]
    return chain


def _chosen(pairs: list[tuple[str, str]], size: Mapping[str, int]) -> dict[str, str]:
    """For each id the one that its chain goes on to: the only one, or the one whose own chain is clearly longest."""
    found: dict[str, list[str]] = {}
    for id, other in pairs:
        found.setdefault(id, []).append(other)
    chosen = {}
    for id, others in found.items():
        ordered = sorted(dict.fromkeys(others), key=lambda other: -size[other])
        if len(ordered) == 1 or size[ordered[0]] >= size[ordered[1]] + _LONGER:
            chosen[id] = ordered[0]
    return chosen


Gaps = dict[tuple[str, str], float]


def _gaps(rows: Sequence[Sequence[str]], chain: Mapping[str, str], between: Between) -> Gaps:
    """For each two chains that are neighbours somewhere, how far apart they must be."""
    found: Gaps = {}
    for row in rows:
        for left, right in pairwise(row):
            pair = chain[left], chain[right]
            found[pair] = max(found.get(pair, 0.0), between(left, right))
    return found


def _in_order(units: list[str], gaps: Gaps) -> list[str] | None:
    """Chains from left to right; None where there is no such order."""
    waiting = dict.fromkeys(units, 0)
    for _, right in gaps:
        waiting[right] += 1
    ready = [unit for unit in units if not waiting[unit]]
    found: list[str] = []
    while ready:
        unit = ready.pop(0)
        found.append(unit)
        for left, right in gaps:
            if left == unit:
                waiting[right] -= 1
                if not waiting[right]:
                    ready.append(right)
    return found if len(found) == len(units) else None


# --- places ------------------------------------------------------------------------------


def _solved(
    units: list[str], pulls: list[tuple[str, str, float]], gaps: Gaps, begin: Mapping[str, float]
) -> dict[str, float]:
    """Places that minimise the pulls under the gaps."""
    index = {unit: place for place, unit in enumerate(units)}
    size = len(units)
    matrix = [[0.0] * size for _ in range(size)]
    for a, b, weight in pulls:
        i, j = index[a], index[b]
        matrix[i][i] += weight
        matrix[j][j] += weight
        matrix[i][j] -= weight
        matrix[j][i] -= weight
    for i in range(size):
        matrix[i][i] += _ANCHOR
    inverse = _inverse(matrix)
    goal = [_ANCHOR * begin[unit] for unit in units]
    places = [sum(a * b for a, b in zip(row, goal, strict=True)) for row in inverse]
    wanted = [(index[left], index[right], gap) for (left, right), gap in gaps.items()]
    _climb(places, inverse, wanted)
    return dict(zip(units, places, strict=True))


def _climb(places: list[float], inverse: list[list[float]], wanted: list[tuple[int, int, float]]) -> None:
    """Moves ``places`` until each gap is kept, with as little cost as that takes."""
    forces = [0.0] * len(wanted)
    for _ in range(_SWEEPS):
        worst = 0.0
        for number, (left, right, gap) in enumerate(wanted):
            lacking = gap - (places[right] - places[left])
            stiffness = inverse[left][left] + inverse[right][right] - 2 * inverse[left][right]
            step = max(lacking / stiffness, -forces[number])
            forces[number] += step
            worst = max(worst, abs(step) * stiffness)
            if step:
                for place in range(len(places)):
                    places[place] += step * (inverse[place][right] - inverse[place][left])
        if worst < _NEAR:
            return


def _inverse(matrix: list[list[float]]) -> list[list[float]]:
    """The inverse of a symmetric matrix without a zero eigenvalue, by Gauss and Jordan."""
    size = len(matrix)
    rows = [[*row, *(float(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for pivot in range(size):
        scale = rows[pivot][pivot]
        rows[pivot] = [value / scale for value in rows[pivot]]
        for other in range(size):
            factor = rows[other][pivot]
            if other != pivot and factor:
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[pivot], strict=True)]
    return [row[size:] for row in rows]
