"""The one spelling of a tree."""

from __future__ import annotations

import pytest

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.resources import specs_path
from tantra_dsl.syntax.format import format_expression, format_text, format_yaml
from tantra_dsl.syntax.literals import canonical_number, quote
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.read import read_source
from tantra_dsl.syntax.source import Source
from tantra_dsl.syntax.text import parse_expression

SHIPPED = sorted(specs_path().rglob("*.tantra"))


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("0", "0"), ("12", "12"), ("1024", "1024"), ("50257", "50_257"), ("1_0", "10"), ("262_208", "262_208"),
        ("0.50", "0.5"), ("1.0", "1.0"), ("1e06", "1e6"), ("1E+6", "1e6"), ("1e-06", "1e-6"), ("50M", "50M"),
        ("1.50B", "1.5B"), ("124439808", "124_439_808"), ("12345.60", "12_345.6"),
    ],
)  # fmt: skip
def test_numbers(written, canonical):
    assert canonical_number(written) == canonical
    assert canonical_number(canonical) == canonical


def test_strings_hold_only_what_can_be_printed():
    assert quote('a"\\\n\t\r\x1b\u202e\U0001f600é') == '"a\\"\\\\\\n\\t\\r\\u001b\\u202e😀é"'


@pytest.mark.parametrize(
    "text",
    [
        "a + b * c", "(a + b) * c", "a - (b - c)", "-a ** b", "(-a) ** b", "a ** (-b)", "not a == b", "a == (not b)",
        "(not a) == b", "(a == b) == c", "a + (if b then c else d)", "if a then b else if c then d else e",
        "if (a then b) then c else d", "(if a then b else c) + d", "(a |> b)(c)", "f(a)(b)[c].d", "(3).a", "([a])[0]",
        "(a + b) |> c", "a |> b |> c", "a then b then c", "share (a + b)", "share a * 2", "0..i - 1", "f {}",
        "f { a: 1, b }", "f(a; b: c)", "f(; b)", "12 of block {}", "(fn(x) = x) + 1", "(a,)", "(block)(x)", "block.a",
    ],
)  # fmt: skip
def test_no_more_parentheses_than_needed(text):
    sink = Sink()
    expr = parse_expression(Source("s", text), sink)
    assert not sink.items
    again = parse_expression(Source("s", format_expression(expr)), sink)
    assert again == expr
    assert format_expression(expr) == text


def canonical(text):
    sink = Sink()
    source = Source("s", text)
    file = parse_source(source, sink)
    assert not sink.items, [d.title for d in sink]
    return format_text(file, source)


def test_long_lines_break_at_their_outermost_joint():
    text = "x: f(" + ", ".join(f"an_argument_{n}" for n in range(9)) + ")\n"
    first = ", ".join(f"an_argument_{n}" for n in range(7))
    assert canonical(text) == f"x: f(\n  {first},\n  an_argument_7, an_argument_8\n)\n"
    terms = [f"a_rather_long_term_{n}" for n in range(6)]
    assert canonical("x = " + " + ".join(terms) + "\n") == "x =\n  " + "\n    + ".join(terms) + "\n"
    condition = " and ".join(f"a_rather_long_name{n} < b" for n in range(4))
    assert canonical(f"mask m = {condition}\n") == f"mask m =\n  {condition}\n"


def test_short_calls_stay_on_their_line():
    assert canonical("f {\n  a: 1\n  b: 2\n}\n") == "f { a: 1, b: 2 }\n"
    assert canonical("block b { f { a: 1 } }\n") == "block b {\n  f { a: 1 }\n}\n"


def test_definitions_are_set_apart_where_there_is_no_source():
    file = parse_source(Source("s", "block a { x: 1 }\nfn f(x) = x\nfn g(x) = x\nblock b { y: 1 }"), Sink())
    assert format_text(file) == "block a {\n  x: 1\n}\n\nfn f(x) = x\nfn g(x) = x\n\nblock b {\n  y: 1\n}\n"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_survive_formatting_and_conversion(path):
    sink = Sink()
    source = read_source(path, sink)
    file = parse_source(source, sink)
    assert not sink.items
    text = format_text(file, source)
    text_source = Source("text", text)
    again = parse_source(text_source, sink)
    assert again == file
    assert format_text(again, text_source) == text
    yaml_source = Source("yaml", format_yaml(file, source), "yaml")
    other = parse_source(yaml_source, sink)
    assert not sink.items
    assert other == file
    assert format_text(other, yaml_source) == text
