"""What an attention computes and visits, as the functions of an emitted module and the object that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from tantra_compiler.emit.expr import Expr, call, header, listing, quoted, sequence, statement
from tantra_compiler.emit.formulas import Formula
from tantra_compiler.emit.named_parts import named_parts
from tantra_compiler.emit.programs import capture_names, tensor_function
from tantra_compiler.emit.whole import whole
from tantra_dsl.masks import Aux, Interval, Spans
from tantra_dsl.masks.attention import AttentionMeaning
from tantra_dsl.masks.tiles import TileTest
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Const, Program, Scalar

_PIECE: Final = 96
_COORDINATES: Final = ("b", "h", "q", "k")
_TAKEN: Final = ("s", *_COORDINATES, "queries", "keys", "first", "last", "lengths", "fields", "places", "p",
                 "first_q", "last_q", "first_k", "last_k")  # fmt: skip
_LENGTHS: Final = {"queries": Expr("lengths[0]"), "keys": Expr("lengths[1]")}
_READ: Final = {
    "run_start": "run_starts", "run_stop": "run_stops", "same_start": "same_starts", "same_stop": "same_stops",
    "low": "first_place", "high": "end_of_places", "solid": "without_gap",
}  # fmt: skip


@dataclass
class AttentionPrograms:
    """The attentions that a module needs so far; equal ones share their functions."""

    claim: Callable[[str], str]
    _names: dict[AttentionMeaning, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    def program(self, meaning: AttentionMeaning) -> str:
        """Name of the object that holds ``meaning``."""
        if meaning not in self._names:
            written = _Written(meaning, self.claim)
            self._names[meaning] = written.name
            self.sources += written.sources()
        return self._names[meaning]


@dataclass
class _Written:
    """One attention being written: its functions so far, and what its object is made with."""

    meaning: AttentionMeaning
    claim: Callable[[str], str]
    functions: list[str] = field(default_factory=list)
    keywords: dict[str, Expr | str] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """The name of the object."""
        return self.claim(self.meaning.name.upper())

    @cached_property
    def captures(self) -> list[str]:
        """What functions call the captured tensors, those made of the batch last."""
        return [*capture_names(self.meaning.captures, _TAKEN), *self.meaning.made]

    def sources(self) -> list[str]:
        """The functions, and the object last."""
        self._mask()
        self._score()
        body = "\n\n\n".join(self.functions)
        self.keywords["text"] = _literal(self._text())
        digest = hashlib.blake2b(f"{body} {self.keywords['text']}".encode(), digest_size=6).hexdigest()
        made = call("AttentionProgram", quoted(f"{self.meaning.name}_{digest}"), **self.keywords)
        return [*self.functions, "\n".join(statement(f"{self.name} = ", made, 0))]

    def _text(self) -> str:
        """The programs in the language itself: what kernels are made from."""
        programs = (("mask", self.meaning.mask), ("score", self.meaning.score))
        return " | ".join(_described(kind, program) for kind, program in programs if program is not None)

    def _function(self, end: str, write: Callable[[str], str]) -> str:
        name = self.claim(f"{self.meaning.name}_{end}")
        self.functions.append(write(name))
        return name

    def _tensors(self, kind: str, body: Scalar) -> Callable[[str], str]:
        variables = _COORDINATES if kind == "mask" else ("s", *_COORDINATES)
        program = Program(kind, variables, body, self.meaning.captures)  # type: ignore[arg-type]
        return lambda name: tensor_function(name, program, body, self.captures, _LENGTHS)

    # --- the mask --------------------------------------------------------------------------

    def _mask(self) -> None:
        plan, add = self.meaning.plan, self.keywords.__setitem__
        if self.meaning.made:
            add("derived", self._function("derived", self._derived))
        if plan.kind != "all":
            add("mask", self._function("mask", self._tensors("mask", plan.body)))
        if plan.kind not in ("all", "dense"):
            add("key_spans", self._function("keys", self._spans(plan.keys, "keys", "queries")))
            add("query_spans", self._function("queries", self._spans(plan.queries, "queries", "keys")))
        if plan.test is not None:
            add("tile_test", self._function("tile", self._tile(plan.test)))
        for flag, holds in (("by_b", plan.by_sequence), ("by_h", plan.by_head)):
            if holds:
                add(flag, "True")

    def _derived(self, name: str) -> str:
        own = self.captures[: len(self.meaning.captures)]
        parameters = ("queries: int", "keys: int", *(f"{each}: Tensor" for each in own))
        lines = header(name, parameters, "tuple[Tensor, ...]")
        first = f"{own[0]}" if own else ""
        made: list[Expr] = []
        if "lengths" in self.meaning.made:
            device = f", device={first}.device" if own else ""
            made.append(Expr(f"torch.tensor([queries, keys]{device})"))
        if "fields" in self.meaning.made:
            arrays = [call(_READ[aux.kind], own[aux.field or 0]) for aux in self.meaning.field_aux]
            made.append(call("torch.stack", listing(*arrays)))
        if "places" in self.meaning.made:
            lines += self._predicates(own)
            arrays = [call(_READ[aux.kind], self._holds(aux)) for aux in self.meaning.place_aux]
            made.append(call("torch.stack", listing(*arrays)))
        return "\n".join([*lines, *statement("return ", sequence(*made), 4)])

    def _predicates(self, own: list[str]) -> list[str]:
        """Lines that name what the places are places of."""
        lines = [f"    b = torch.arange({own[0]}.shape[0], device={own[0]}.device).unsqueeze(1)",
                 f"    p = torch.arange(keys, device={own[0]}.device)"]  # fmt: skip
        variables = {"b": Expr("b"), "p": Expr("p"), "queries": Expr("queries"), "keys": Expr("keys")}
        formula = Formula(variables, [Expr(each) for each in own], frozenset({"b", "p"}))
        for aux in self.meaning.place_aux:
            if aux.predicate is not None and (line := self._holding_line(aux, formula)) not in lines:
                lines.append(line)
        return lines

    def _holding_line(self, aux: Aux, formula: Formula) -> str:
        assert aux.predicate is not None
        return "\n".join(statement(f"{self._holds(aux)} = ", formula.expr(aux.predicate), 4))

    def _holds(self, aux: Aux) -> str:
        predicates = list(dict.fromkeys(each.predicate for each in self.meaning.place_aux))
        return f"holds_{predicates.index(aux.predicate) + 1}"

    def _spans(self, spans: Spans, visited: str, block: str) -> Callable[[str], str]:
        """A function from positions of ``block`` to intervals of ``visited``."""
        parameters = ("first: int", "last: int", "b: int", "h: int", "queries: int", "keys: int",
                      *(f"{each}: Tensor" for each in self.captures))  # fmt: skip
        title = f'    """The {visited} that {block} first..last meet, and those that all of them do."""'
        result = statement("return ", listing(*map(self._interval, spans.intervals)), 4)
        return lambda name: "\n".join([*header(name, parameters, "list[Span]"), title, *result])

    def _interval(self, interval: Interval) -> Expr:
        return sequence(*(self._whole(end) for end in interval))

    def _whole(self, expr: Scalar) -> Expr:
        real = (name for name, each in zip(self.captures, self.meaning.captures, strict=False) if not each.integer)
        return whole(self.meaning.placed(expr), self.captures, frozenset(real))

    def _tile(self, test: TileTest) -> Callable[[str], str]:
        positions = ("first_q", "last_q", "first_k", "last_k", "b", "h", "queries", "keys")
        parameters = (*(f"{each}: int" for each in positions), *(f"{each}: Tensor" for each in self.captures))
        lines = [
            '    """0 where a tile holds no allowed pair, 2 where all its pairs are allowed, else 1."""',
            f"    if not ({self._whole(test.may)}):",
            "        return 0",
            f"    return 2 if {self._whole(test.must)} else 1",
        ]
        return lambda name: "\n".join([*header(name, parameters, "int"), *lines])

    # --- the score -------------------------------------------------------------------------

    def _score(self) -> None:
        body = self.meaning.score_body
        if body is None:
            return
        self.keywords["score"] = self._function("score", self._tensors("score", body))
        if self.meaning.slope != Const(1):
            self.keywords["slope"] = self._function("slope", self._tensors("score", self.meaning.slope))
        sites = []
        for element in self.meaning.learned:
            index = self._function("place", self._index(element.index))
            slope = self._function("place_slope", self._tensors("score", element.slope))
            sites.append(call("Site", str(element.capture), index, slope))
        if sites:
            self.keywords["sites"] = sequence(*sites)

    def _index(self, index: tuple[Scalar, ...]) -> Callable[[str], str]:
        variables = {each: Expr(each) for each in _COORDINATES} | _LENGTHS
        formula = Formula(variables, [Expr(each) for each in self.captures], frozenset(_COORDINATES))
        parameters = tuple(f"{each}: Tensor" for each in (*_COORDINATES, *self.captures))
        taken, lines = {*_COORDINATES, *self.captures}, list[str]()
        for part in index:
            lines += named_parts(formula, part, taken)
        places = sequence(*(formula.index_of(part) for part in index))
        result = statement("return ", places, 4)
        return lambda name: "\n".join([*header(name, parameters, "tuple[Tensor, ...]"), *lines, *result])


def _described(kind: str, program: Program) -> str:
    """``mask [doc:whole] doc[b, q] == doc[b, k]``: the captures with what they hold, and the expression."""
    kinds = ["learned" if each.learned else "whole" if each.integer else "real" for each in program.captures]
    captures = " ".join(f"{each.name}:{held}" for each, held in zip(program.captures, kinds, strict=True))
    return f"{kind} [{captures}] {format_scalar(program.body, program.captures)}"


def _literal(text: str) -> Expr:
    """A string literal, or pieces of it that fit a line, joined."""
    if len(text) <= _PIECE:
        return Expr(quoted(text))
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    return call('"".join', listing(*map(quoted, pieces)))
