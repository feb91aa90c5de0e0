"""Whatever is written, reading it ends soon and says what is wrong; nothing else comes out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.diagnostics.render import render_json, render_terminal
from tantra_dsl.syntax.format import format_text, format_yaml
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.read import read_source
from tantra_dsl.syntax.source import Source
from tests.counted import counted_calls
from tests.syntax.samples import ALL, GPT2_YAML

PIECES = [
    "model", "block", "module", "wiring", "mask", "score", "fn", "let", "share", "input", "expect", "remove", "use",
    "return", "extends", "if", "then", "else", "and", "or", "not", "of", "x", "heads", "a.b", "12", "0.5", "1e-6",
    "50M", '"text"', "(", ")", "[", "]", "{", "}", ",", ";", ":", "=", "==", "<=", "<", "+", "-", "*", "**", "/", "|>",
    "..", "@", "|", ".", "# c", "&&", "é", "“", '"', "'", "007", "1e999", "\t", "\n", "\n\n", "\n  ", "\r\n", "\\", "$",
]  # fmt: skip
YAML_PIECES = [
    *PIECES, "- ", "  - ", ": ", "count: ", "model: ", "block: ", "{", "}", "|\n  ", ">-\n ", "'", "&a ", "*a",
    "!!int ",
        "---\n", "? ", "<<: ", "expect: ", " as ", "\n    ", "%YAML", "~", "null",
]  # fmt: skip


def soup(pieces):
    return st.lists(st.sampled_from(pieces), max_size=40).flatmap(
        lambda words: st.lists(st.sampled_from(["", " "]), min_size=len(words), max_size=len(words)).map(
            lambda gaps: "".join(word + gap for word, gap in zip(words, gaps, strict=True))
        )
    )


def read(text, language):
    """The tree of a text, checked to be either whole or explained."""
    sink = Sink()
    source = Source("spec", text, language)
    file = parse_source(source, sink)
    assert file is not None or sink.errors
    for diagnostic in sink:
        assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text) + 1
        assert diagnostic.title == diagnostic.title.strip()
    rendered = render_terminal(sink.sorted(), color=False)
    assert rendered.isprintable() or all(line.isprintable() for line in rendered.split("\n"))
    render_json(sink)
    return file if not sink.items else None, source


def check_round_trip(file, source):
    """A text that reads gives the same tree through both canonical forms, with and without its comments."""
    for comments in (source, None):
        text = format_text(file, comments)
        yaml = format_yaml(file, comments)
        again, text_source = read(text, "text")
        other, yaml_source = read(yaml, "yaml")
        assert again == file, text
        assert other == file, yaml
        assert format_text(again, text_source if comments else None) == text
        assert format_yaml(other, yaml_source if comments else None) == yaml


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), soup(PIECES)))
def test_any_text(text):
    file, source = read(text, "text")
    if file is not None:
        check_round_trip(file, source)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), soup(YAML_PIECES)))
def test_any_yaml(text):
    file, source = read(text, "yaml")
    if file is not None:
        check_round_trip(file, source)


@st.composite
def damaged(draw):
    language = draw(st.sampled_from(["text", "yaml"]))
    text = draw(st.sampled_from(sorted(ALL.values()))) if language == "text" else GPT2_YAML
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        gone = draw(st.integers(0, 6))
        text = text[:at] + draw(st.sampled_from(["", *PIECES])) + text[at + gone :]
    return text, language


@settings(max_examples=200, deadline=None)
@given(damaged())
def test_any_damage(case):
    file, source = read(*case)
    if file is not None:
        check_round_trip(file, source)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([".tantra", ".yaml"]))
def test_any_bytes(tmp_path_factory, data, suffix):
    path = tmp_path_factory.mktemp("any") / f"spec{suffix}"
    path.write_bytes(data)
    sink = Sink()
    source = read_source(path, sink)
    assert (source is None) == bool(sink.errors)
    if source is not None:
        parse_source(source, sink)


MANY = 100_000

CALLS_PER_CHARACTER = 10
"""Twice what the worst of these takes; what grows faster than the text takes thousands."""
LARGE = [
    "x: " + "(" * MANY,
    "x: " + "[" * MANY,
    "f {" * MANY,
    "x: " + "f(" * MANY + ")" * MANY,
    "x: " + "(" * 150 + "1" + ")" * 150,
    "x: " + "- " * MANY + "1",
    "x: " + "not " * MANY + "a",
    "x: " + "share " * MANY + "a",
    "x: 1" + " + 1" * MANY,
    "x: a" + ".a" * MANY,
    "x: f" + "()" * MANY,
    "x: " + "if a then b else " * MANY + "c",
    "x: " + "2 ** " * MANY + "2",
    "x: " + "fn(x) = " * MANY + "x",
    "x: " + "if " * MANY,
    "}" * MANY,
    ")" * MANY,
    "model m { " * MANY,
    '"' * MANY,
    "x = " * MANY,
    "@ " * MANY,
    "a b " * MANY,
    "# c\n" * MANY,
    "\n" * MANY,
    " " * MANY,
    "x: 1\n" * MANY,
    "$ " * MANY,
    "a," * MANY,
    "x: " + "9" * MANY,
    "x: 1e" + "9" * MANY,
    '"\\' * MANY,
    "&&" * MANY,
    "a" * MANY,
    "x: (" + "a, " * MANY,
]
LARGE_YAML = [
    "a: " + "[" * MANY,
    "a: " + "{a: " * MANY,
    "- " * MANY,
    "".join(" " * depth + "a:\n" for depth in range(1000)),
    "a: &a [1]\n" + "b: [*a, *a]\n" * MANY,
    "a: '" + "(" * MANY + "'",
    "a: 1\n" * MANY,
    "a" * MANY + ": 1",
    "? " * MANY,
    "!" * MANY,
    "a: |\n" + "  x +\n" * MANY + "  x",
    'a: "' + "\\n" * MANY + 'x"',
]


@pytest.mark.parametrize("text", LARGE_YAML, ids=lambda text: repr(text[:10])[1:-1].strip())
def test_large_and_deep_yaml_takes_work_in_proportion(text):
    assert counted_calls(lambda: read(text, "yaml")) < CALLS_PER_CHARACTER * len(text)


@pytest.mark.parametrize("text", LARGE, ids=lambda text: repr(text[:14])[1:-1].strip())
def test_large_and_deep_text_takes_work_in_proportion(text):
    assert counted_calls(lambda: read(text, "text")) < CALLS_PER_CHARACTER * len(text)
