"""From a mask to the keys that a block of queries visits."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from tantra_dsl.masks.atoms import Alternatives, Opaque, TooManyCases, alternatives
from tantra_dsl.masks.intervals import Interval, merged
from tantra_dsl.masks.sides import Side, SideOf
from tantra_dsl.masks.terms import TRUE
from tantra_dsl.masks.tiles import TileTest, tile_test
from tantra_dsl.scalars.ir import Capture, Program, Scalar
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.walk import ScalarError, variables_of

Kind = Literal["all", "none", "interval", "intervals", "tested", "dense"]


@dataclass(frozen=True, slots=True)
class Aux:
    """A whole-number array made from the batch in time linear in its length, read like a capture.

    For a per-token field, [batch, keys]: ``run_start`` and ``run_stop`` bound the run of equal values around a
    position; ``same_start`` and ``same_stop`` bound all places that may hold the same value: those of the run where the
    field never goes down (or never up), else 0 and the length. For a predicate over the positions of one sequence,
    [batch]: ``low`` and ``high`` bound the places where it holds, ``solid`` is 1 where it holds at all between.
    """

    kind: Literal["run_start", "run_stop", "same_start", "same_stop", "low", "high", "solid"]
    field: int | None = None
    predicate: Scalar | None = None


@dataclass(frozen=True, slots=True)
class Spans:
    """The intervals to visit for a block of positions ``first``..``last`` of the other side, as expressions.

    Variables: ``first`` and ``last`` (inclusive, clipped to positions that there are), ``b``, ``h``, ``queries``,
    ``keys``.
    """

    intervals: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a mask is run through: ``keys`` for blocks of queries, ``queries`` for blocks of keys, and a test of tiles.

    ``body`` reads ``captures``; the expressions of the plan read ``(*captures, *aux)``. ``kind``: ``all`` and ``none``
    need no mask; ``interval`` and ``intervals`` are bounded by 1 and by 2 or 3 intervals; ``tested`` asks
    ``test`` for every tile besides; ``dense`` visits everything. ``reasons`` say what could not be bounded.
    """

    body: Scalar
    captures: tuple[Capture, ...]
    aux: tuple[Aux, ...]
    keys: Spans
    queries: Spans
    test: TileTest | None
    kind: Kind
    reasons: tuple[str, ...] = field(default=())

    @property
    def by_sequence(self) -> bool:
        """Whether what is visited depends on the sequence in the batch."""
        return "b" in self._variables()

    @property
    def by_head(self) -> bool:
        """Whether what is visited depends on the head."""
        return "h" in self._variables()

    def _variables(self) -> frozenset[str]:
        found = [variables_of(each) for spans in (self.keys, self.queries) for i in spans.intervals for each in i]
        tests = [variables_of(each) for each in ((self.test.may, self.test.must) if self.test else ())]
        return frozenset().union(*found, *tests)


def derive(mask: Program | None) -> Plan:
    """The plan of a mask; None allows everything. Cached: a plan is a function of what the mask means alone."""
    if mask is None:
        return _derive(TRUE, ())
    return _derive(mask.body, mask.captures)


@lru_cache(maxsize=1024)
def _derive(body: Scalar, captures: tuple[Capture, ...]) -> Plan:
    with suppress(ScalarError):
        body = simplify(body)
    try:
        cases = alternatives(body, captures)
    except TooManyCases:
        return _dense(body, captures)
    return _planned(body, captures, cases)


def _dense(body: Scalar, captures: tuple[Capture, ...]) -> Plan:
    aux: list[Aux] = []
    sides = [Spans((Side(name, aux, len(captures)).everything(),)) for name in ("k", "q")]
    test = tile_test(body, captures, aux)
    reason = "the mask has more cases than are told apart"
    return Plan(body, captures, tuple(aux), sides[0], sides[1], test, "tested" if test else "dense", (reason,))


def _planned(body: Scalar, captures: tuple[Capture, ...], cases: Alternatives) -> Plan:
    aux: list[Aux] = []
    reasons: list[str] = []
    spans = [_spans(name, cases, captures, aux, reasons) for name in SIDES]
    lost = any(loose for _, loose in spans)
    test = tile_test(body, captures, aux) if lost else None
    kind = _kind(cases, len(spans[0][0].intervals), lost, test)
    return Plan(body, captures, tuple(aux), spans[0][0], spans[1][0], test, kind, tuple(dict.fromkeys(reasons)))


SIDES: tuple[SideOf, ...] = ("k", "q")


def _spans(
    name: SideOf, cases: Alternatives, captures: tuple[Capture, ...], aux: list[Aux], reasons: list[str]
) -> tuple[Spans, bool]:
    side = Side(name, aux, len(captures))
    found = [side.interval(case) for case in cases]
    reasons += [f"{atom.reason}" if isinstance(atom, Opaque) else f"`{_text(atom.source, captures)}` has no bound"
                for _, left in found for atom in left]  # fmt: skip
    intervals, hull = merged([interval for interval, _ in found])
    return Spans(tuple(intervals)), hull or any(left for _, left in found)


def _text(expr: Scalar, captures: tuple[Capture, ...]) -> str:
    from tantra_dsl.scalars.format import format_scalar

    return format_scalar(expr, captures)


def _kind(cases: Alternatives, intervals: int, lost: bool, test: TileTest | None) -> Kind:
    if not cases:
        return "none"
    if cases == [()]:
        return "all"
    if test is not None:
        return "tested"
    everything = lost and intervals == 1
    return "dense" if everything else "interval" if intervals == 1 else "intervals"
