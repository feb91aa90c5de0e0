"""An attention's mask and score together: what every execution of it is made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from tantra_dsl.masks.plan import Aux, Plan, derive
from tantra_dsl.scalars.derivative import derivative
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Capture, Const, Gather, Program, Scalar, Var
from tantra_dsl.scalars.walk import fold, substitute, variables_of, with_children

Made = Literal["lengths", "fields", "places"]


@dataclass(frozen=True)
class LearnedElement:
    """An element of a learned tensor that a score reads: which, and the derivative of the score by it."""

    capture: int
    index: tuple[Scalar, ...]
    slope: Scalar


@dataclass(frozen=True)
class AttentionMeaning:
    """The mask and the score of an attention over one list of captures: the mask's, then the score's.

    ``name`` is for people and takes no part in comparison. Programs and plan also read arrays that are made of the
    batch, numbered behind the captures, as ``made`` lists them: ``lengths`` [2] holds queries and keys, ``fields``
    [arrays, batch, keys] and ``places`` [numbers, batch] hold the plan's ``aux`` in order, those of fields in the
    first and those of predicates in the second.
    """

    mask: Program | None
    score: Program | None
    name: str = field(default="attention", compare=False)

    @cached_property
    def captures(self) -> tuple[Capture, ...]:
        """The captured tensors."""
        mask, score = (program.captures if program is not None else () for program in (self.mask, self.score))
        return mask + score

    @cached_property
    def plan(self) -> Plan:
        """How the mask is run through."""
        if self.mask is None:
            return derive(None)
        return derive(Program("mask", self.mask.variables, self.mask.body, self.captures))

    @cached_property
    def score_body(self) -> Scalar | None:
        """The score, its captures numbered among all."""
        if self.score is None:
            return None
        return shifted(self.score.body, len(self.captures) - len(self.score.captures))

    @cached_property
    def slope(self) -> Scalar:
        """The derivative of the score by s; 1 without a score."""
        return Const(1) if self.score_body is None else derivative(self.score_body, "s")

    @cached_property
    def learned(self) -> tuple[LearnedElement, ...]:
        """The learned elements that the score reads, each with its slope."""
        return () if self.score_body is None else tuple(_learned(self.score_body, self.captures))

    @cached_property
    def made(self) -> tuple[Made, ...]:
        """The arrays that are made of the batch."""
        bodies = [self.plan.body, *([self.score_body] if self.score_body is not None else [])]
        lengths = any(variables_of(body) & {"queries", "keys"} for body in bodies)
        wanted = (lengths, bool(self.field_aux), bool(self.place_aux))
        names: tuple[Made, ...] = ("lengths", "fields", "places")
        return tuple(name for name, needed in zip(names, wanted, strict=True) if needed)

    @property
    def field_aux(self) -> tuple[Aux, ...]:
        """The plan's arrays over positions."""
        return tuple(aux for aux in self.plan.aux if aux.field is not None)

    @property
    def place_aux(self) -> tuple[Aux, ...]:
        """The plan's numbers of sequences."""
        return tuple(aux for aux in self.plan.aux if aux.field is None)

    def placed(self, expr: Scalar) -> Scalar:
        """An expression of the plan that reads its aux from the arrays in which they are kept."""

        def visit(node: Scalar, parts: list[Scalar]) -> Scalar:
            if not isinstance(node, Gather) or node.capture < len(self.captures):
                return with_children(node, parts)
            aux = self.plan.aux[node.capture - len(self.captures)]
            kept = "fields" if aux.field is not None else "places"
            among = self.field_aux if aux.field is not None else self.place_aux
            return Gather(len(self.captures) + self.made.index(kept), (Const(among.index(aux)), *parts))

        return fold(expr, visit)

    def text(self) -> str:
        """The mask and the score as a person would write them."""
        mask = "" if self.mask is None else self.mask.name or format_scalar(self.mask.body, self.mask.captures)
        score = "" if self.score is None else self.score.name or format_scalar(self.score.body, self.score.captures)
        return ", ".join(filter(None, (mask and f"mask {mask}", score and f"score {score}"))) or "no mask"


def shifted(expr: Scalar, by: int) -> Scalar:
    """``expr`` with all its captures numbered ``by`` higher."""

    def visit(node: Scalar, parts: list[Scalar]) -> Scalar:
        return Gather(node.capture + by, tuple(parts)) if isinstance(node, Gather) else with_children(node, parts)

    return fold(expr, visit) if by else expr


def _learned(score: Scalar, captures: tuple[Capture, ...]) -> Iterator[LearnedElement]:
    element = Var("the element")
    for gather in dict.fromkeys(_gathers(score)):
        if not captures[gather.capture].learned:
            continue
        slope = derivative(_replaced(score, gather, element), element.name)
        yield LearnedElement(gather.capture, gather.index, substitute(slope, {element.name: gather}))


def _gathers(expr: Scalar) -> list[Gather]:
    found: list[Gather] = []
    fold(expr, lambda node, _: found.append(node) if isinstance(node, Gather) else None)
    return found


def _replaced(expr: Scalar, old: Scalar, new: Scalar) -> Scalar:
    def visit(node: Scalar, parts: list[Scalar]) -> Scalar:
        return new if node == old else with_children(node, parts)

    return fold(expr, visit)


__all__ = ["AttentionMeaning", "LearnedElement", "Made", "shifted"]
