"""The Triton functions of an attention, as a file that the hand-written kernels are given functions from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from tantra_compiler.kernels.attention.programs import MAX_NUMBERS
from tantra_compiler.kernels.formula import TritonFormula
from tantra_dsl.masks import Interval, Spans
from tantra_dsl.masks.attention import AttentionMeaning, LearnedElement
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import children, fold, variables_of, with_children

_PAIR: Final = "b, h, q, k, queries, keys, captures, strides, numbers"
_BLOCK: Final = "first, last, b, h, queries, keys, captures, strides, numbers"
_TILE: Final = "first_q, last_q, first_k, last_k, b, h, queries, keys, captures, strides, numbers"
_HEAD: Final = '''"""{title}"""

import triton
import triton.language as tl

from tantra_compiler.kernels.arithmetic import floor_div, floor_mod, power, sigmoid, softplus, tanh
'''
_HOLDS_THRESHOLDS: Final = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "add", "sub", "min", "max"})
_MADE_RANKS: Final = {"lengths": 1, "fields": 3, "places": 2}


@dataclass(frozen=True)
class ProgramSource:
    """Triton functions of one program; programs that differ only in their thresholds share ``text``.

    ``numbers`` are the thresholds of this one, given at run time. ``sites`` are the learned elements of the score.
    """

    text: str
    numbers: tuple[int, ...]
    meaning: AttentionMeaning

    @property
    def sites(self) -> tuple[LearnedElement, ...]:
        """The learned elements that the score reads."""
        return self.meaning.learned

    @property
    def reads_query(self) -> bool:
        """Whether mask or score read a field at the query."""
        bodies = [self.meaning.plan.body, self.meaning.score_body or Const(0)]
        return any("q" in variables_of(gather) for body in bodies for gather in _gathers(body))

    @property
    def reads_batch(self) -> bool:
        """Whether the mask depends on the sequence or the head, or reads anything."""
        body = self.meaning.plan.body
        return bool(_gathers(body) or variables_of(body) & {"b", "h"})


def meaning_of(text: str) -> AttentionMeaning:
    """The attention that an emitted module describes by ``text``: ``mask [captures] ... | score [captures] ...``."""
    programs = {program.kind: program for program in map(_program, text.split(" | ")) if program is not None}
    return AttentionMeaning(programs.get("mask"), programs.get("score"))


def _program(text: str) -> Program | None:
    found = re.fullmatch(r"(mask|score) \[(.*?)\] (.*)", text)
    if found is None:
        return None
    described = [each.rpartition(":") for each in found[2].split()]
    captures = tuple(Capture(name, held == "learned", held == "whole") for name, _, held in described)
    kind: Literal["mask", "score"] = "mask" if found[1] == "mask" else "score"
    return Program(kind, (), parse_scalar(found[3], captures), captures)


def generate(text: str) -> ProgramSource:
    """The source of the functions for the attention described by ``text``."""
    meaning = meaning_of(text)
    if meaning.mask is None:
        return ProgramSource(_Printer(meaning).module(), (), meaning)
    body, numbers = without_thresholds(meaning.mask.body)
    mask = Program("mask", (), body, meaning.mask.captures)
    hoisted = AttentionMeaning(mask, meaning.score)
    return ProgramSource(_Printer(hoisted).module(), numbers, hoisted)


def without_thresholds(body: Scalar) -> tuple[Scalar, tuple[int, ...]]:
    """``body`` with the whole numbers that it compares with or adds as variables ``n_0``, ``n_1`` ..., and those."""
    numbers: list[int] = []

    def hoisted(node: Scalar, parent: Scalar | None) -> Scalar:
        held = isinstance(parent, Op) and parent.op in _HOLDS_THRESHOLDS
        if isinstance(node, Const) and held and type(node.value) is int and abs(node.value) > 1:
            if len(numbers) < MAX_NUMBERS:
                numbers.append(node.value)
                return Var(f"n_{len(numbers) - 1}")
            return node
        return with_children(node, [hoisted(part, node) for part in children(node)])

    return hoisted(body, None), tuple(numbers)


def _gathers(expr: Scalar) -> list[Gather]:
    found: list[Gather] = []
    fold(expr, lambda node, _: found.append(node) if isinstance(node, Gather) else None)
    return found


class _Printer:
    def __init__(self, meaning: AttentionMeaning) -> None:
        self.meaning = meaning
        self.plan = meaning.plan

    @cached_property
    def formula(self) -> TritonFormula:
        """How expressions are printed."""
        names = {f"n_{number}": f"numbers[{number}]" for number in range(MAX_NUMBERS)}
        made = [Capture(name, integer=True) for name in self.meaning.made]
        ranks = [self._rank(number) for number in range(len(self.meaning.captures))]
        ranks += [_MADE_RANKS[name] for name in self.meaning.made]
        return TritonFormula(names, [*self.meaning.captures, *made], ranks)

    def _rank(self, capture: int) -> int:
        bodies = [self.plan.body, self.meaning.score_body or Const(0)]
        ranks = {len(each.index) for body in bodies for each in _gathers(body) if each.capture == capture}
        return ranks.pop() if ranks else 1

    def module(self) -> str:
        """The whole file."""
        plan, functions = self.plan, []
        if plan.kind != "all":
            body = "(k < k) | (q < q)" if plan.kind == "none" else self.formula.text(plan.body)
            functions.append(_function("mask", _PAIR, body))
            functions.append(_function("key_spans", _BLOCK, self._spans(plan.keys)))
            functions.append(_function("query_spans", _BLOCK, self._spans(plan.queries)))
        if plan.test is not None:
            may, must = (self.formula.text(self.meaning.placed(part)) for part in plan.test)
            functions.append(_function("tile_test", _TILE, f"tl.where({may}, tl.where({must}, 2, 1), 0)"))
        functions += self._score()
        title = "Mask and score of an attention, generated from its program."
        return "\n\n".join([_HEAD.format(title=title), *functions])

    def _spans(self, spans: Spans) -> str:
        return ", ".join(map(self._interval, spans.intervals)) or "0, 0, 0, 0"

    def _interval(self, interval: Interval) -> str:
        return ", ".join(self.formula.text(self.meaning.placed(end)) for end in interval)

    def _score(self) -> list[str]:
        body = self.meaning.score_body
        if body is None:
            return []
        functions = [_function("score", f"s, {_PAIR}", self._on_scores(body))]
        if self.meaning.slope != Const(1):
            functions.append(_function("slope", f"s, {_PAIR}", self._on_scores(self.meaning.slope)))
        for number, element in enumerate(self.meaning.learned):
            start = self.formula.starts[element.capture]
            places = [
                f"{self.formula.position(part)} * strides[{start + axis}]" for axis, part in enumerate(element.index)
            ]
            functions.append(_function(f"place_{number}", _PAIR, f"({' + '.join(places)}).to(tl.int32)"))
            functions.append(_function(f"place_slope_{number}", f"s, {_PAIR}", self._on_scores(element.slope)))
        return functions

    def _on_scores(self, body: Scalar) -> str:
        """A block of real numbers of the shape of s, whatever ``body`` depends on."""
        return self.formula.text(body) if "s" in variables_of(body) else f"tl.zeros_like(s) + {self.formula.text(body)}"


def _function(name: str, parameters: str, result: str) -> str:
    return f"@triton.jit\ndef {name}({parameters}):\n    return {result}\n"
