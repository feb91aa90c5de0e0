"""A predicate as alternatives, each a list of conditions that must all hold: its disjunctive normal form."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Final, NamedTuple

from tantra_dsl.masks.linear import Linear, is_whole_term, linear
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Scalar, Var
from tantra_dsl.scalars.walk import fold, variables_of, with_children

MOST_ALTERNATIVES: Final = 32
_MOST_STEPS: Final = 2_000
_OPPOSITE: Final = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}


@dataclass(frozen=True, slots=True)
class Bounded:
    """``form <= 0`` over whole numbers. ``slack`` is 1 where the predicate itself rounds, so that it may be 1 off."""

    form: Linear
    slack: int
    source: Scalar

    def variables(self) -> frozenset[str]:
        """Variables that the condition depends on."""
        return self.form.variables()

    def __hash__(self) -> int:
        return hash((frozenset(self.form.terms.items()), self.form.constant))


@dataclass(frozen=True, slots=True)
class SameRun:
    """``field[q] == field[k]`` of a per-token field."""

    capture: int
    source: Scalar

    def variables(self) -> frozenset[str]:
        """Variables that the condition depends on."""
        return frozenset({"b", "q", "k"})


@dataclass(frozen=True, slots=True)
class Opaque:
    """A condition that no whole-number bound says; ``reason`` tells why, for people."""

    source: Scalar
    reason: str

    def variables(self) -> frozenset[str]:
        """Variables that the condition depends on."""
        return variables_of(self.source)


Atom = Bounded | SameRun | Opaque
Alternatives = list[tuple[Atom, ...]]


class _Hole(NamedTuple):
    """A form in which the place of one term is open."""

    rest: Linear
    factor: Fraction


class TooManyCases(Exception):
    """The predicate has more alternatives than are worth telling apart."""


def alternatives(body: Scalar, captures: tuple[Capture, ...]) -> Alternatives:
    """The predicate as an ``or`` of ``and``s; raises TooManyCases."""
    return _Normal(captures).split(with_whole_quotients(body, captures), True)


def with_whole_quotients(body: Scalar, captures: tuple[Capture, ...]) -> Scalar:
    """``body`` with ``floor(a / n)`` as ``a // n`` where a and n are whole numbers."""

    def visit(node: Scalar, parts: list[Scalar]) -> Scalar:
        inner = parts[0] if isinstance(node, Op) and node.op == "floor" else None
        by_whole = isinstance(inner, Op) and inner.op == "div" and _positive(inner.args[1]) is not None
        if isinstance(inner, Op) and by_whole and is_whole_term(inner.args[0], captures):
            return Op("floordiv", inner.args)
        return with_children(node, parts)

    return fold(body, visit)


def comparison(expr: Op, captures: tuple[Capture, ...]) -> Alternatives:
    """A comparison as alternatives; raises TooManyCases."""
    return _Normal(captures).comparison(expr)


class _Normal:
    def __init__(self, captures: tuple[Capture, ...]) -> None:
        self.captures = captures
        self.steps = 0

    def split(self, expr: Scalar, wanted: bool) -> Alternatives:
        """Alternatives under which ``expr`` is ``wanted``."""
        self._step()
        if isinstance(expr, Const):
            return [()] if expr.value is wanted else []
        if not isinstance(expr, Op):
            return [(Opaque(expr, "it is a truth value of the batch"),)]
        if expr.op == "not":
            return self.split(expr.args[0], not wanted)
        if expr.op in ("and", "or"):
            parts = [self.split(part, wanted) for part in expr.args]
            return self._all(parts) if (expr.op == "and") == wanted else self._any(parts)
        if expr.op == "where":
            condition, then, otherwise = expr.args
            taken = self._all([self.split(condition, True), self.split(then, wanted)])
            return self._any([taken, self._all([self.split(condition, False), self.split(otherwise, wanted)])])
        op = expr.op if wanted else _OPPOSITE[expr.op]
        return self.comparison(Op(op, expr.args))  # type: ignore[arg-type]

    def _step(self) -> None:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise TooManyCases

    def _all(self, parts: list[Alternatives]) -> Alternatives:
        result: Alternatives = [()]
        for part in sorted(parts, key=len):
            if len(result) * len(part) > MOST_ALTERNATIVES:
                raise TooManyCases
            result = [tuple(dict.fromkeys((*left, *right))) for left, right in product(result, part)]
        return result

    def _any(self, parts: list[Alternatives]) -> Alternatives:
        result = list(dict.fromkeys(each for part in parts for each in part))
        if len(result) > MOST_ALTERNATIVES:
            raise TooManyCases
        return result

    def comparison(self, expr: Op) -> Alternatives:
        """Alternatives under which the comparison holds."""
        run = same_run(expr)
        if run is not None:
            return [(run,)]
        left, right = (linear(part) for part in expr.args)
        if left is None or right is None:
            return [(Opaque(expr, f"`{format_scalar(expr)}` multiplies by a number that is not exact"),)]
        form, op = left - right, expr.op
        if op in ("gt", "ge"):
            form, op = form.scaled(-1), "lt" if op == "gt" else "le"
        if op == "eq":
            return self._all([self._bounded(form, expr), self._bounded(form.scaled(-1), expr)])
        if op == "ne":
            return self._any([self._below(form, expr), self._below(form.scaled(-1), expr)])
        return self._below(form, expr) if op == "lt" else self._bounded(form, expr)

    def _below(self, form: Linear, source: Scalar) -> Alternatives:
        """``form < 0``."""
        exact = form.over_integers()
        whole = all(is_whole_term(term, self.captures) for term in exact.terms)
        return self._bounded(exact.shifted(1) if whole else form, source, strict=not whole)

    def _bounded(self, form: Linear, source: Scalar, strict: bool = False) -> Alternatives:
        """``form <= 0``, or ``< 0``, with case distinctions resolved."""
        self._step()
        for term, factor in form.terms.items():
            if isinstance(term, Op) and (cases := self._cases(term, factor > 0)) is not None:
                return self._resolved(cases, _Hole(form.without(term), factor), source, strict)
        inner = self._opened(form)
        if inner is not None:
            return self._bounded(inner, source, strict)
        return [(self._atom(form, source),)]

    def _resolved(self, cases: Scalar, hole: _Hole, source: Scalar, strict: bool) -> Alternatives:
        """``cases`` is a tree of ``and``, ``or``, conditions, and values in the place of a term."""
        if isinstance(cases, Op) and cases.op in ("and", "or"):
            parts = [self._resolved(part, hole, source, strict) for part in cases.args]
            return self._all(parts) if cases.op == "and" else self._any(parts)
        if isinstance(cases, Op) and cases.op == "where":
            condition, then, otherwise = cases.args
            taken = self._all([self.split(condition, True), self._resolved(then, hole, source, strict)])
            skipped = self._all([self.split(condition, False), self._resolved(otherwise, hole, source, strict)])
            return self._any([taken, skipped])
        value = linear(cases)
        if value is None:
            return [(Opaque(source, f"`{format_scalar(source)}` multiplies by a number that is not exact"),)]
        form = hole.rest + value.scaled(hole.factor)
        return self._below(form, source) if strict else self._bounded(form, source)

    def _cases(self, term: Op, positive: bool) -> Scalar | None:
        """What must be small in place of ``term``: all of several values (and), or one of them (or)."""
        if term.op == "where":
            return term
        if term.op == "abs":
            parts: tuple[Scalar, ...] = (term.args[0], Op("neg", term.args))
            return Op("and" if positive else "or", parts)
        if term.op in ("min", "max"):
            return Op("and" if (term.op == "max") == positive else "or", term.args)
        return None

    def _opened(self, form: Linear) -> Linear | None:
        """``form`` without a quotient around a case distinction: ``|a| // c <= t`` is ``|a| <= c * t + c - 1``."""
        for term, factor in form.terms.items():
            if not (isinstance(term, Op) and term.op == "floordiv" and abs(factor) == 1 and form.is_whole):
                continue
            inner, divisor = linear(term.args[0]), _positive(term.args[1])
            rest = form.without(term)
            whole = all(is_whole_term(each, self.captures) for each in (*rest.terms, term.args[0]))
            if inner is None or divisor is None or not whole or not _has_cases(inner):
                continue
            if factor > 0:
                return inner + rest.scaled(divisor).shifted(1 - divisor)
            return rest.scaled(divisor) - inner
        return None

    def _atom(self, form: Linear, source: Scalar) -> Atom:
        broken = [term for term in form.terms if not is_whole_term(term, self.captures)]
        if any(variables_of(term) & {"q", "k"} for term in broken):
            return Opaque(source, f"`{format_scalar(source)}` compares numbers that are not whole")
        if broken:
            return self._beside_a_real(form, broken, source)
        denominators = [f.denominator for f in (*form.terms.values(), form.constant)]
        rounds = any(denominator & (denominator - 1) for denominator in denominators)
        return Bounded(form.over_integers(), int(rounds), source)

    def _beside_a_real(self, form: Linear, broken: list[Scalar], source: Scalar) -> Atom:
        """``whole + real <= 0`` where the real part is the same for all pairs of a tile: ``whole <= floor(-real)``."""
        real = Linear({term: form.terms[term] for term in broken}, Fraction(0))
        rest = form - real
        known = all(fold(term, _always_a_number) for term in broken)
        if not (known and rest.is_whole and rest.terms and real.is_whole):
            return Opaque(source, f"`{format_scalar(source)}` compares numbers that are not whole")
        return Bounded(rest - Linear({Op("floor", (real.scaled(-1).expr(),)): Fraction(1)}, Fraction(0)), 1, source)


def _always_a_number(node: Scalar, parts: list[bool]) -> bool:
    """Whether an expression has a value, which may be infinite, whatever its variables are."""
    if not isinstance(node, Op):
        return True
    if node.op == "div":
        return all(parts) and isinstance(node.args[1], Const) and node.args[1].value != 0
    if node.op == "pow":
        return all(parts) and isinstance(node.args[0], Const) and node.args[0].value > 0
    return all(parts) and node.op in _TOTAL


_TOTAL: Final = frozenset({"add", "sub", "mul", "neg", "abs", "min", "max", "exp", "tanh", "floor"})


def _has_cases(form: Linear) -> bool:
    return any(isinstance(term, Op) and term.op in ("where", "abs", "min", "max", "floordiv") for term in form.terms)


def _positive(expr: Scalar) -> int | None:
    if isinstance(expr, Const) and isinstance(expr.value, int) and expr.value > 0:
        return expr.value
    return None


def same_run(expr: Op) -> SameRun | None:
    """The comparison as ``field[q] == field[k]``, or None where it is something else."""
    left, right = expr.args
    if expr.op != "eq" or not isinstance(left, Gather) or not isinstance(right, Gather):
        return None
    places = {left.index, right.index}
    if left.capture != right.capture or places != {(Var("b"), Var("q")), (Var("b"), Var("k"))}:
        return None
    return SameRun(left.capture, expr)


def condition(atom: Atom, *, generous: bool) -> Scalar:
    """The atom as an expression; where it rounds, one that is true (or, not generous, false) in doubt."""
    if not isinstance(atom, Bounded) or not atom.slack:
        return atom.source if not isinstance(atom, Bounded) else Op("le", (atom.form.expr(), Const(0)))
    return Op("le", (atom.form.expr(), Const(atom.slack if generous else -atom.slack)))
