"""Every mistake is told once, where it is, and reading goes on."""

from __future__ import annotations

import pytest

SLIPS = [
    ("dim 768", [("1:5", "S0112", "768")]),
    ("heads 12 dim: 3", [("1:7", "S0112", "12")]),
    ("layers: 12 block { f {} }", [("1:12", "S0112", "block { f {} }")]),
    ("layers: 24 same { a: 1 }", [("1:12", "S0112", "same { a: 1 }")]),
    ("cross attention { }", [("1:7", "S0112", "attention { }")]),
    ("f(heads = 12)", [("1:9", "S0110", "=")]),
    ("x: a && b", [("1:6", "S0103", "&&")]),
    ("x: a || !b", [("1:6", "S0103", "||"), ("1:9", "S0103", "!")]),
    ("x: a | b", [("1:6", "S0103", "|")]),
    ("x: True\ny: None", [("1:4", "S0103", "True"), ("2:4", "S0103", "None")]),
    ("x: “a”", [("1:4", "S0103", "“a”")]),
    ("x: 'a'", [("1:4", "S0103", "'a'")]),
    ("mask m = 0 <= q - k < w", [("1:21", "S0111", "<")]),
    ("x: a == not b", [("1:9", "S0117", "not")]),
    ('x: "abc\ny: 1', [("1:4", "S0104", '"abc')]),
    ('x: f("abc)\ny: 1', [("1:6", "S0104", '"abc)')]),
    ('x: "a\\qb"', [("1:6", "S0105", "\\q")]),
    ('x: "\\ud800"', [("1:5", "S0105", "\\ud800")]),
    ("x: 007", [("1:4", "S0106", "007")]),
    ("x: 0x10", [("1:4", "S0106", "0x10")]),
    ("x: 1__0", [("1:4", "S0106", "1__0")]),
    ("x: 12abc", [("1:4", "S0106", "12abc")]),
    ("x: 5.", [("1:5", "S0101", ".")]),
    ("x: .5", [("1:4", "S0101", ".")]),
    ("x: " + "1" * 41, [("1:4", "S0107", "1" * 41)]),
    ("x: 1e309", [("1:4", "S0107", "1e309")]),
    ("x: 1e-309", [("1:4", "S0107", "1e-309")]),
    ("x: $", [("1:4", "S0102", "$")]),
    ("x:\ny: 1", [("1:2", "S0113", ":")]),
    ("x =\ny = 1", [("1:3", "S0113", "=")]),
    ("x: a +\nlet b: c", [("1:6", "S0113", "+")]),
    ("x: f(a,\n  b: )", [("2:4", "S0113", ":")]),
    ("a: { b: 1 }", [("1:4", "S0101", "{")]),
    ("x: (a, b\ny: 1\nmodel b { }", [("1:4", "S0108", "(")]),
    ("x: a)", [("1:5", "S0109", ")")]),
    ("x: f(a]", [("1:7", "S0109", "]")]),
    ("f(x): 1", [("1:1", "S0115", "f(x)")]),
    ("a { b = 1 }", [("1:5", "S0116", "b = 1")]),
    ("a { return b }", [("1:5", "S0116", "return b")]),
    ("x: 12 of block local { }", [("1:10", "S0101", "block")]),
    ("x: 1 + if a then b else c", [("1:8", "S0101", "if")]),
    ("x: if a then b", [("1:14", "S0101", "b")]),
    ('"heads": 12', [("1:8", "S0101", ":")]),
    ("of: 3", [("1:1", "S0101", "of")]),
    ("use gpt2", [("1:5", "S0101", "gpt2")]),
    ("let x 3", [("1:7", "S0101", "3")]),
    ("model m [x] { a: = 1 }", [("1:9", "S0101", "["), ("1:18", "S0101", "=")]),
    ("a ]\nb: = 1", [("1:3", "S0109", "]"), ("2:4", "S0101", "=")]),
]


@pytest.mark.parametrize(("text", "expected"), SLIPS, ids=[text[:24].split("\n")[0] for text, _ in SLIPS])
def test_slip(text, expected, told):
    assert told(text) == expected


def test_several_mistakes_in_one_file(told):
    text = """\
model a {
  dim:
  heads: 12
  attention(heads = 12)
  mask: 0 <= q - k < w
  layers: 12 block { ffn {} }
  y = f(a, b
  n: 007
  attention {
    bias: = true
    dropout: 0.1
    dropout: 0.2
  }
  heads: 13
  return x, y
}
"""
    assert told(text) == [
        ("2:6", "S0113", ":"),
        ("4:19", "S0110", "="),
        ("5:20", "S0111", "<"),
        ("6:14", "S0112", "block { ffn {} }"),
        ("7:8", "S0108", "("),
        ("8:6", "S0106", "007"),
    ]


def test_duplicates_point_at_both_places(mistakes):
    for text in ["a: 1\nb: 2\na: 3", "f { a: 1\na: 3 }", "f(a: 1,\na: 3)", "f(a: 1;\na: 3)"]:
        (found,) = mistakes(text)
        places = found.span.source.text[found.span.start :], found.notes[0].span.location
        assert found.code == "S0201"
        assert places[0].startswith("a: 3"), text
        assert places[1].startswith("spec:1:"), text


@pytest.mark.parametrize(
    "text",
    [
        "block a { }\nblock a { }", "block a { }\nmodule a { }", "let a: 1\nlet a: 2", "input a: b\ninput a: b",
        "share a: b\nlet a: b", "module m(a, a) { }", "module m(a; a) { }", "x: fn(a, a) = a",
    ],
)  # fmt: skip
def test_names_defined_twice(text, mistakes):
    (found,) = mistakes(text)
    assert (found.code, found.notes[0].span is not None) == ("S0202", True)


def test_equal_names_at_different_levels_are_fine(read):
    read("a { b: 1 }\na { b: 1 }\nblock x { b: 1 }\nblock y { b: 1 }\nx = 1\nx = 2\nf(b: g(b: 1))")


def test_an_unclosed_brace_is_blamed_by_indentation(mistakes):
    (found,) = mistakes("model a {\n  attention {\n    heads: 12\n  ffn { hidden: 3 }\n}\nmodel b {\n}\n")
    assert (found.code, found.span.location) == ("S0108", "spec:2:13")
    (found,) = mistakes("model a {\n  ffn { hidden: 3 }\n")
    assert (found.code, found.span.location) == ("S0108", "spec:1:9")


def test_an_unclosed_parenthesis_does_not_swallow_the_next_definition(told):
    text = "wiring pre(f, x = f(x)\nblock b { x: = 1 }\nmask m = k <="
    assert told(text) == [("1:11", "S0108", "("), ("2:14", "S0101", "="), ("3:12", "S0113", "<=")]


def test_what_was_expected_is_said_in_the_authors_terms(mistakes):
    def label(text):
        return mistakes(text)[0].label

    assert label("let x 3") == "expected `:` or `=`"
    assert label("f(a b)") == "expected an operator, `,` or `)`"
    assert label("[a b]") == "expected `,` or `]`"
    assert label("x: * 3") == "expected a value"
    assert label("use gpt2") == "expected a string"
    assert label("x: a.") == "expected a name"
    assert label("block b extends { }") == "expected a name"
    assert label("if a b") == "expected an operator or `then`"


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("[", "]"), ("f { ", " }"), ("f(", ")"), ("-", "")])
def test_depth(opening, closing, told):
    assert told("x: " + opening * 50 + "a" + closing * 50) == []
    assert [code for _, code, _ in told("x: " + opening * 250 + "a" + closing * 250)] == ["S0114"]
