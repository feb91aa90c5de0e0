"""Diagnostics as the user sees them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from tantra_dsl.diagnostics.core import Diagnostic, Note
from tantra_dsl.diagnostics.render import render_json, render_terminal
from tantra_dsl.syntax.source import Source, Span


@dataclass(frozen=True, kw_only=True)
class Wrong(Diagnostic):
    code: ClassVar[str] = "S0999"
    said: str = "this is wrong"
    why: tuple[Note, ...] = ()
    below: str = ""

    @property
    def title(self) -> str:
        return self.said

    @property
    def label(self) -> str:
        return self.below

    @property
    def notes(self) -> tuple[Note, ...]:
        return self.why

    @property
    def help(self) -> str:
        return "do it right" if self.why else ""


def at(text, marked, **fields):
    start = text.index(marked)
    return Wrong(span=Span(Source("a.tantra", text), start, start + len(marked)), **fields)


def test_whole_block():
    text = "model a {\n  dim: 3\n  dim: 4\n}\n"
    first = Span(Source("b.tantra", text), text.index("dim: 3"), text.index("dim: 3") + 3)
    found = at(text, "dim: 4", below="again", why=(Note("first", first), Note("a fact")))
    assert render_terminal([found], color=False) == (
        "a.tantra:3:3: error[S0999]: this is wrong\n"
        "  |\n"
        "3 |   dim: 4\n"
        "  |   ^^^^^^ again\n"
        "  = note: first (b.tantra:2:3)\n"
        "  |\n"
        "2 |   dim: 3\n"
        "  |   ^^^\n"
        "  = note: a fact\n"
        "  = help: do it right\n"
    )


def snippet(found):
    lines = render_terminal([found], color=False).split("\n")
    return lines[2], lines[3]


def marked_in(found):
    """The text that stands above the carets, counting columns as the terminal does."""
    line, below = snippet(found)
    start, end = below.index("^"), below.rindex("^") + 1
    return line[start:end]


def test_tabs_are_four_columns():
    assert snippet(at("\tx:\tabc\n", "abc")) == ("1 |     x:    abc", "  |           ^^^")


def test_wide_and_combining_characters():
    line, below = snippet(at('"界é" abc', "abc"))
    assert line == '1 | "界é" abc'
    assert below == "  |" + " " * 7 + "^^^"


@pytest.mark.parametrize("place", [0, 5_000, 9_990])
def test_long_lines_are_cut_around_the_caret(place):
    text = "x" * place + " abc " + "y" * (10_000 - place)
    found = at(text, "abc")
    assert marked_in(found) == "abc"
    assert len(snippet(found)[0]) < 120


def test_a_long_span_is_cut():
    found = at("x" * 5_000, "x" * 5_000)
    assert all(len(line) < 120 for line in snippet(found))


def test_a_span_over_several_lines_marks_the_first():
    assert snippet(at("a (b,\n c)\n", "(b,\n c)")) == ("1 | a (b,", "  |   ^^^")


def test_the_end_of_the_text_can_be_marked():
    text = "a: \n"
    found = Wrong(span=Span(Source("s", text), len(text), len(text)))
    assert snippet(found) == ("2 |", "  | ^")


def test_a_source_without_text_has_no_snippet():
    found = Wrong(span=Span(Source("gone.tantra", ""), 0, 0))
    assert render_terminal([found], color=False) == "gone.tantra:1:1: error[S0999]: this is wrong\n"


def test_nothing_that_a_terminal_obeys_is_printed():
    text = "a\x1b[31m\u202eb\x07\r"
    found = at(text, "b", said="bad \x1b[0m name\n")
    rendered = render_terminal([found], color=False)
    assert all(line.isprintable() for line in rendered.split("\n"))
    assert "\\x1b[31m\\u202eb" in rendered


def test_color_adds_only_color():
    import re

    found = at("a: b", "b", below="here", why=(Note("note"),))
    colored = render_terminal([found], color=True)
    assert "\x1b[1;31m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render_terminal([found], color=False)


def test_several_are_parted_by_an_empty_line():
    found = at("a: b", "b")
    one = render_terminal([found], color=False)
    assert render_terminal([found, found], color=False) == one + "\n" + one
    assert render_terminal([], color=False) == ""


def test_json():
    text = "a: b\nc: d\n"
    note = Note("why", Span(Source("o.tantra", text), 5, 6))
    found = at(text, "b\nc", below="here", why=(note, Note("fact")))
    assert json.loads(render_json([found])) == [
        {
            "code": "S0999",
            "severity": "error",
            "file": "a.tantra",
            "line": 1,
            "column": 4,
            "end_line": 2,
            "end_column": 2,
            "title": "this is wrong",
            "label": "here",
            "notes": [
                {"text": "why", "file": "o.tantra", "line": 2, "column": 1, "end_line": 2, "end_column": 2},
                {"text": "fact"},
            ],
            "help": "do it right",
        }
    ]
    assert json.loads(render_json([])) == []
