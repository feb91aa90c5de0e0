"""One alternative of a mask as one interval of positions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from tantra_dsl.masks.atoms import Atom, Bounded, SameRun, condition
from tantra_dsl.masks.intervals import Interval
from tantra_dsl.masks.solve import Bound, reach, solve
from tantra_dsl.masks.terms import FALSE, ONE, ZERO, at_most, choose, every, least, minus, most, plus, split_offset
from tantra_dsl.scalars.ir import Gather, Op, Scalar, Var
from tantra_dsl.scalars.walk import fold, substitute, variables_of

if TYPE_CHECKING:
    from tantra_dsl.masks.plan import Aux

SideOf = Literal["k", "q"]
FIRST: Final = Var("first")
LAST: Final = Var("last")
KEYS: Final = Var("keys")
QUERIES: Final = Var("queries")
_B: Final = Var("b")


@dataclass
class _Found:
    """What the conditions of one alternative say, so far."""

    visit_lows: list[Scalar]
    visit_highs: list[Scalar]
    full_lows: list[Scalar]
    full_highs: list[Scalar]
    first: Scalar = FIRST
    last: Scalar = LAST
    may: list[Scalar] = field(default_factory=list)
    must: list[Scalar] = field(default_factory=list)
    left: list[Atom] = field(default_factory=list)


class Side:
    """Derives intervals of one side, ``k`` or ``q``, for blocks ``first``..``last`` of the other.

    ``aux`` collects the arrays that the expressions read, numbered after the mask's own captures.
    """

    def __init__(self, name: SideOf, aux: list[Aux], captures: int) -> None:
        self.name = name
        self.other: SideOf = "q" if name == "k" else "k"
        self.aux = aux
        self.captures = captures
        self.start: Scalar = ZERO if name == "k" else minus(KEYS, QUERIES)

    def everything(self) -> Interval:
        """All positions, none of them known to be allowed."""
        return Interval(self.start, KEYS, ZERO, ZERO)

    def interval(self, case: tuple[Atom, ...]) -> tuple[Interval, list[Atom]]:
        """The interval of one alternative, and its conditions that do not bound what is visited."""
        found = _Found([self.start], [KEYS], [self.start], [KEYS])
        fields: dict[str, list[Atom]] = {}
        mixed: list[Atom] = []
        for atom in case:
            sides = atom.variables() & {"q", "k"}
            if not sides:
                found.may.append(condition(atom, generous=True))
                found.must.append(condition(atom, generous=False))
            elif len(sides) == 1 and _reads_field(atom):
                fields.setdefault(next(iter(sides)), []).append(atom)
            elif sides == {self.other}:
                self._narrow(atom, found)
            else:
                mixed.append(atom)
        for name, atoms in fields.items():
            self._hull(name, atoms, found)
        for atom in mixed:
            self._limit(atom, found)
        return self._closed(found), found.left

    def _closed(self, found: _Found) -> Interval:
        block = [] if (found.first, found.last) == (FIRST, LAST) else [at_most(found.first, found.last)]
        high = choose(every([*found.may, *block]), _least(found.visit_highs), self.start)
        if found.left:
            return Interval(most(found.visit_lows), high, ZERO, ZERO)
        full_low, full_high = most(found.full_lows), _least(found.full_highs)
        must = every(found.must)
        if must == FALSE:
            return Interval(most(found.visit_lows), high, ZERO, ZERO)
        return Interval(most(found.visit_lows), high, full_low, choose(must, full_high, full_low))

    # --- conditions on the block --------------------------------------------------------------

    def _narrow(self, atom: Atom, found: _Found) -> None:
        """A condition on the other side alone: fewer positions of the block can see anything."""
        generous, strict = (_solved(atom, self.other, slack) for slack in (True, False))
        if generous is None or strict is None:
            found.left.append(atom)
            return
        if generous.side == "upper":
            found.last = least((found.last, generous.value))
            found.must.append(at_most(LAST, strict.value))
        else:
            found.first = most((found.first, generous.value))
            found.must.append(at_most(strict.value, FIRST))

    def _hull(self, name: str, atoms: list[Atom], found: _Found) -> None:
        """Conditions on one side that read fields of the batch: where they hold is looked up."""
        predicate = substitute(every(condition(atom, generous=True) for atom in atoms), {name: Var("p")})
        if any(isinstance(atom, Bounded) and atom.slack for atom in atoms):
            found.must.append(FALSE)
        if "h" in variables_of(predicate):  # the arrays have no heads
            found.left += atoms
            return
        low, high, solid = (self._read(kind, (_B,), None, predicate) for kind in ("low", "high", "solid"))
        if name == self.name:
            found.visit_lows.append(low)
            found.visit_highs.append(high)
            found.full_lows.append(low)
            found.full_highs.append(high)
            found.must.append(Op("eq", (solid, ONE)))
        else:
            found.first, found.last = most((found.first, low)), least((found.last, minus(high, 1)))
            found.must += [Op("eq", (solid, ONE)), at_most(low, FIRST), at_most(plus(LAST, 1), high)]

    def _read(self, kind: str, index: tuple[Scalar, ...], of: int | None, predicate: Scalar | None = None) -> Gather:
        from tantra_dsl.masks.plan import Aux

        wanted = Aux(kind, of, predicate)  # type: ignore[arg-type]
        if wanted not in self.aux:
            self.aux.append(wanted)
        return Gather(self.captures + self.aux.index(wanted), index)

    # --- conditions on the side itself ----------------------------------------------------------

    def _limit(self, atom: Atom, found: _Found) -> None:
        if isinstance(atom, SameRun):
            self._same_run(atom, found)
            return
        generous, strict = (_solved(atom, self.name, slack) for slack in (True, False))
        near = reach(generous.value, {self.other: (found.first, found.last)}) if generous else None
        far = reach(strict.value, {self.other: (FIRST, LAST)}) if strict else None
        if generous is None or near is None or far is None:
            found.left.append(atom)
        elif generous.side == "upper":
            found.visit_highs.append(plus(near[1], 1))
            found.full_highs.append(plus(far[0], 1))
        else:
            found.visit_lows.append(near[0])
            found.full_lows.append(far[1])

    def _same_run(self, atom: SameRun, found: _Found) -> None:
        """``field[q] == field[k]``: from where the first of the block has its equals to where the last has them."""
        found.visit_lows.append(self._read("same_start", (_B, FIRST), atom.capture))
        found.visit_highs.append(self._read("same_stop", (_B, LAST), atom.capture))
        found.full_lows.append(self._read("run_start", (_B, LAST), atom.capture))
        found.full_highs.append(self._read("run_stop", (_B, FIRST), atom.capture))


def _solved(atom: Atom, variable: str, generous: bool) -> Bound | None:
    if not isinstance(atom, Bounded):
        return None
    return solve(atom.form.shifted(-atom.slack if generous else atom.slack), variable)


def _reads_field(atom: Atom) -> bool:
    """Whether the condition reads something at a position, which only the batch can tell."""

    def visit(node: Scalar, parts: list[bool]) -> bool:
        if isinstance(node, Gather):
            return any("q" in names or "k" in names for names in _index_variables(node))
        return any(parts)

    return fold(atom.source, visit)


def _index_variables(node: Gather) -> list[frozenset[str]]:
    return [variables_of(part) for part in node.index]


def _least(parts: list[Scalar]) -> Scalar:
    """The smallest; `keys` is left out beside what cannot exceed it."""
    below = any(base in (FIRST, LAST) and offset <= 1 for base, offset in map(split_offset, parts))
    return least(part for part in parts if not (below and part == KEYS))
