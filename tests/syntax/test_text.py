"""Text to tree."""

from __future__ import annotations

import pytest

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.format import format_expression
from tantra_dsl.syntax.source import Source
from tantra_dsl.syntax.text import parse_expression, parse_text
from tantra_dsl.syntax.tree import (
    Argument,
    Assign,
    Attribute,
    Binary,
    Body,
    Call,
    Definition,
    Entry,
    Expect,
    If,
    Index,
    Input,
    Item,
    Let,
    ListExpr,
    Name,
    Number,
    Parameter,
    Remove,
    Return,
    Share,
    String,
    Tuple,
    Unary,
    Use,
)
from tests.syntax.samples import ALL


def expression(text):
    sink = Sink()
    expr = parse_expression(Source("<--set>", text), sink)
    assert not sink.items, [item.title for item in sink]
    return expr


def names(text):
    return tuple(map(Name, text.split()))


@pytest.mark.parametrize("name", ALL)
def test_samples_read(name, read):
    assert read(ALL[name]).members


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a ** b ** c", "a ** (b ** c)"),
        ("-a ** b", "-(a ** b)"),
        ("2 ** -b * c", "(2 ** (-b)) * c"),
        ("-a * b", "(-a) * b"),
        ("not a == b and c", "(not (a == b)) and c"),
        ("a or b and c", "a or (b and c)"),
        ("a < b and c >= d", "(a < b) and (c >= d)"),
        ("alibi then softcap(30) |> f", "(alibi then (softcap(30))) |> f"),
        ("12 of a then b", "12 of (a then b)"),
        ("a |> b |> c * 6", "(a |> b) |> (c * 6)"),
        ("0..i - 1", "0..(i - 1)"),
        ("a == 0..i", "a == (0..i)"),
        ("a @ b // c % d", "((a @ b) // c) % d"),
        ("share a * 6", "(share a) * 6"),
        ("share a.b(c)[d]", "share (a.b(c)[d])"),
        ("if a then b else if c then d else e + f", "if a then b else (if c then d else (e + f))"),
        ("if a or b then c then d else e", "if (a or b) then (c then d) else e"),
        ("fn(x) = x + 1", "fn(x) = (x + 1)"),
    ],
)
def test_precedence(text, meaning):
    assert expression(text) == expression(meaning)
    assert format_expression(expression(meaning)) == text or expression(format_expression(expression(meaning)))


def test_precedence_is_not_what_parentheses_change():
    assert expression("(a + b) * c") != expression("a + b * c")
    assert expression("(a |> b) of c") != expression("a |> b of c")


def test_nodes():
    assert expression("50257") == Number("50_257")
    assert expression("1E+06") == Number("1e6")
    assert expression("1_5.50") == Number("15.5")
    assert expression('"a\\n\\"\\u00e9\\\\"') == String('a\n"é\\')
    assert expression("[a, b,]") == ListExpr(names("a b"))
    assert expression("(a, b)") == Tuple(names("a b"))
    assert expression("(a,)") == Tuple(names("a"))
    assert expression("(a)") == Name("a")
    assert expression("pixels[3, 224]") == Index(Name("pixels"), (Number("3"), Number("224")))
    assert expression("layers[i - 1].k") == Attribute(
        Index(Name("layers"), (Binary("-", Name("i"), Number("1")),)), "k"
    )
    assert expression("if a then b else c") == If(*names("a b c"))
    assert expression("-(not a)") == Unary("-", Unary("not", Name("a")))


def test_arguments():
    assert expression("f(a, n: b; c, d.e: f)") == Call(
        Name("f"),
        (
            Argument(None, Name("a")),
            Argument("n", Name("b")),
            Argument(None, Name("c"), True),
            Argument("d.e", Name("f"), True),
        ),
    )
    assert expression("f(; a)") == Call(Name("f"), (Argument(None, Name("a"), True),))
    assert expression("f {a: 1, g { }  \n b}") == Call(
        Name("f"),
        (Argument("a", Number("1")), Argument(None, Call(Name("g"), (), True)), Argument(None, Name("b"))),
        True,
    )


def test_members(read):
    file = read(
        'use "x"\nlet a: b\nlet c = d\nshare e: f\ninput g: tokens\nh, i = j\nreturn k, l\nexpect m\n'
        "remove n.o\np.q[3].r: s\nshare t\nu {}\nv\n"
    )
    assert file.members == (
        Use("x"),
        Let("a", Name("b")),
        Let("c", Name("d")),
        Share("e", Name("f")),
        Input("g", Name("tokens")),
        Assign(("h", "i"), Name("j")),
        Return(names("k l")),
        Expect(Name("m")),
        Remove("n.o"),
        Entry("p.q[3].r", Name("s")),
        Item(Unary("share", Name("t"))),
        Item(Call(Name("u"), (), True)),
        Item(Name("v")),
    )


def test_definitions(read):
    file = read("module m(x, y = z; a, b: int, c: p | q = p) extends n(d) { }\nmask causal = k <= q\nblock b { }\n")
    inputs = (Parameter("x"), Parameter("y", (), Name("z")))
    params = (Parameter("a"), Parameter("b", ("int",)), Parameter("c", ("p", "q"), Name("p")))
    base = Call(Name("n"), (Argument(None, Name("d")),))
    assert file.members == (
        Definition("module", "m", inputs, params, base, Body(())),
        Definition("mask", "causal", None, (), None, Binary("<=", Name("k"), Name("q"))),
        Definition("block", "b", None, (), None, Body(())),
    )


def test_definitions_in_place():
    block = Definition("block", None, None, (), None, Body((Item(Name("a")),)))
    assert expression("12 of block { a }") == Binary("of", Number("12"), block)
    taking = Definition("block", None, (Parameter("x"),), (), None, Body((Return((Name("x"),)),)))
    assert expression("f(block(x) { return x })") == Call(Name("f"), (Argument(None, taking),))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a: 1 b: 2", "a: 1\nb: 2"),
        ("a: 1, b: 2;", "a: 1\nb: 2"),
        ("f { a: b c: d }", "f {\n  a: b\n  c: d\n}"),
        ("x: a\n  + b\n  - c\n  * d\n  |> e", "x: a + b - c * d |> e"),
        ("x: f(\n a,\n b\n)", "x: f(a, b)"),
        ("x: if a\n  then b\n  else c", "x: if a then b else c"),
        ("x:\n  1", "x: 1"),
        ("model a\n{\n}", "model a { }"),
        ("a {}  b {}", "a {}\nb {}"),
        ("f { a, b }", "f { a\nb }"),
        ("x: 1 # y: 2\n# z\n", "x: 1"),
        ("x: 1\r\ny: 2\r\n", "x: 1\ny: 2"),
        ("\tx:\t1", "x: 1"),
        ("let a: b let c: d", "let a: b\nlet c: d"),
    ],
)
def test_layout_means_nothing(one, other, read):
    assert read(one) == read(other)


def test_a_bracket_at_the_start_of_a_line_begins_a_member(read):
    assert read("a\n(b, c)\n[d]").members == (
        Item(Name("a")),
        Item(Tuple(names("b c"))),
        Item(ListExpr(names("d"))),
    )
    assert read("x: f(a\n(b))").members == (
        Entry("x", Call(Name("f"), (Argument(None, Call(Name("a"), (Argument(None, Name("b")),))),))),
    )


@pytest.mark.parametrize("word", ["input", "share", "model", "block", "mask", "score", "use", "let", "fn", "expect"])
def test_soft_words_are_names_where_nothing_else_is_meant(word, read):
    assert read(f"{word}: 1").members == (Entry(word, Number("1")),)
    assert read(f"a.{word}.b: 1").members == (Entry(f"a.{word}.b", Number("1")),)
    assert read(f"f({word}: {word})").members == (Item(Call(Name("f"), (Argument(word, Name(word)),))),)
    assert read(f"attend(q; {word}, k)").members[0].value.arguments[1] == Argument(None, Name(word), True)
    assert read(f"{word} = a\nb = {word}\nc = 1").members == (
        Assign((word,), Name("a")),
        Assign(("b",), Name(word)),
        Assign(("c",), Number("1")),
    )
    assert read(f"let {word}: 1").members == (Let(word, Number("1")),)
    assert read(f"module m({word} = none) {{ }}").members[0].inputs == (Parameter(word, (), Name("none")),)


@pytest.mark.parametrize("word", ["input", "mask", "score", "wiring", "use", "let", "expect"])
def test_soft_words_may_stand_before_a_member_of_the_same_line(word, read):
    assert read(f"x: {word} y: 1").members == (Entry("x", Name(word)), Entry("y", Number("1")))


def test_spans_cover_what_was_written():
    text = "x: (a + b) * f(c; d: 2)\nmodel m(p = 1) { }\n"
    file = parse_text(Source("s", text), Sink())
    entry, model = file.members
    shown = [text[n.span.start : n.span.end] for n in (entry, entry.value, entry.value.left, entry.value.right)]
    assert shown == ["x: (a + b) * f(c; d: 2)", "(a + b) * f(c; d: 2)", "(a + b)", "f(c; d: 2)"]
    argument = entry.value.right.arguments[1]
    assert text[argument.span.start : argument.span.end] == "d: 2"
    assert text[model.span.start : model.span.end] == "model m(p = 1) { }"
    assert text[model.name_span.start : model.name_span.end] == "m"
    assert text[model.body.span.start : model.body.span.end] == "{ }"


def test_expression_stands_alone():
    for text in ["", "a b", "a: b", "a, b", "return x", "let a: 1", "a }", "{"]:
        sink = Sink()
        assert parse_expression(Source("<--set>", text), sink) is None or sink.errors, text
        assert sink.errors, text
