"""The three-valued test of a tile: may it hold an allowed pair, must all its pairs be allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tantra_dsl.masks.atoms import Bounded, Opaque, SameRun, TooManyCases, comparison, same_run
from tantra_dsl.masks.solve import reach_of_form
from tantra_dsl.masks.terms import TRUE, at_most, every, plus, some
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Scalar, Var

if TYPE_CHECKING:
    from tantra_dsl.masks.plan import Aux

TILE: Final = {"q": (Var("first_q"), Var("last_q")), "k": (Var("first_k"), Var("last_k"))}
_OPPOSITE: Final = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}


class TileTest(NamedTuple):
    """``may``: false only where the tile holds no allowed pair. ``must``: true only where all its pairs are allowed.

    Variables: ``first_q``, ``last_q``, ``first_k``, ``last_k`` (inclusive), ``b``, ``h``, ``queries``, ``keys``.
    """

    may: Scalar
    must: Scalar


def tile_test(body: Scalar, captures: tuple[Capture, ...], aux: list[Aux]) -> TileTest | None:
    """The test of a mask, or None where it could never tell anything."""
    tests = _Tests(captures, aux)
    result = TileTest(tests.may(body, True), tests.must(body))
    return None if result.may == TRUE else result


class _Tests:
    def __init__(self, captures: tuple[Capture, ...], aux: list[Aux]) -> None:
        self.captures = captures
        self.aux = aux

    def must(self, expr: Scalar) -> Scalar:
        """Whether ``expr`` holds in all of the tile: whether its opposite cannot hold anywhere."""
        return _denied(self.may(expr, False))

    def may(self, expr: Scalar, wanted: bool) -> Scalar:
        """Whether ``expr`` may be ``wanted`` somewhere in the tile."""
        if isinstance(expr, Const):
            return Const(expr.value is wanted)
        if not isinstance(expr, Op):
            return TRUE
        if expr.op == "not":
            return self.may(expr.args[0], not wanted)
        if expr.op in ("and", "or"):
            join = every if (expr.op == "and") == wanted else some
            return join(self.may(part, wanted) for part in expr.args)
        if expr.op == "where":
            condition, then, otherwise = expr.args
            taken = every((self.may(condition, True), self.may(then, wanted)))
            return some((taken, every((self.may(condition, False), self.may(otherwise, wanted)))))
        return self._comparison(Op(expr.op if wanted else _OPPOSITE[expr.op], expr.args))  # type: ignore[arg-type]

    def _comparison(self, expr: Op) -> Scalar:
        if expr.op == "ne" and isinstance(run := same_run(Op("eq", expr.args)), SameRun):
            return _denied(self._inside_run(run))
        try:
            cases = comparison(expr, self.captures)
        except TooManyCases:
            return TRUE
        return some(every(self._atom(atom) for atom in case) for case in cases)

    def _atom(self, atom: Bounded | SameRun | Opaque) -> Scalar:
        if isinstance(atom, SameRun):
            return self._same_run(atom)
        if not atom.variables() & {"q", "k"}:
            return atom.source if isinstance(atom, Opaque) else at_most(atom.form.expr(), Const(atom.slack))
        if isinstance(atom, Opaque):
            return TRUE
        ends = reach_of_form(atom.form, TILE)
        return TRUE if ends is None else at_most(ends[0], Const(atom.slack))

    def _same_run(self, atom: SameRun) -> Scalar:
        """Whether the keys may reach into the places that hold the values of the queries."""
        low, high = (self._read(kind, end, atom.capture) for kind, end in _RUN)
        return every((at_most(low, TILE["k"][1]), at_most(plus(TILE["k"][0], 1), high)))

    def _inside_run(self, atom: SameRun) -> Scalar:
        """Whether all queries and keys lie in one run of equal values."""
        low, high = (self._read(kind, end, atom.capture) for kind, end in _ONE_RUN)
        return every((at_most(low, TILE["k"][0]), at_most(plus(TILE["k"][1], 1), high)))

    def _read(self, kind: str, position: Scalar, of: int) -> Scalar:
        from tantra_dsl.masks.plan import Aux

        wanted = Aux(kind, of)  # type: ignore[arg-type]
        if wanted not in self.aux:
            self.aux.append(wanted)
        return Gather(len(self.captures) + self.aux.index(wanted), (Var("b"), position))


_RUN: Final = (("same_start", TILE["q"][0]), ("same_stop", TILE["q"][1]))
_ONE_RUN: Final = (("run_start", TILE["q"][1]), ("run_stop", TILE["q"][0]))


def _denied(expr: Scalar) -> Scalar:
    """The opposite of a test, with `not` moved inwards."""
    if isinstance(expr, Const):
        return Const(not expr.value)
    assert isinstance(expr, Op)
    if expr.op in ("and", "or"):
        return (some if expr.op == "and" else every)(_denied(part) for part in expr.args)
    if expr.op == "not":
        return expr.args[0]
    return Op(_OPPOSITE[expr.op], expr.args) if expr.op in _OPPOSITE else Op("not", (expr,))  # type: ignore[arg-type]


__all__ = ["TileTest", "tile_test"]
