"""The YAML form: the same tree, exact places, and nothing of YAML that specs do not use."""

from __future__ import annotations

import pytest

from tantra_dsl.syntax.format import format_text, format_yaml
from tantra_dsl.syntax.tree import Item, Name
from tests.syntax.samples import ALL, GPT2, GPT2_YAML


def test_the_example_is_the_same_model(read):
    assert read(GPT2_YAML, "yaml").members == read(GPT2).members[:1]


@pytest.mark.parametrize("name", ALL)
def test_samples_through_yaml(name, read):
    tree = read(ALL[name])
    assert read(format_yaml(tree), "yaml") == tree


@pytest.mark.parametrize(
    ("yaml", "text"),
    [
        ("model: a\nd: 1", "model a { d: 1 }"),
        ("model: a(x; b = 1) extends c", "model a(x; b = 1) extends c { }"),
        ("model: a\nextends: b\nd: 1", "model a extends b { d: 1 }"),
        ("- use: gpt2\n- model: a\n  d: 1\n- fn f(x): x", 'use "gpt2"\nmodel a { d: 1 }\nfn f(x) = x'),
        ("use: [a, b.tantra]", 'use "a"\nuse "b.tantra"'),
        ("remove: a.b\nexpect: [c == 1, d]", "remove a.b\nexpect c == 1\nexpect d"),
        ("let a: b\nshare c: d\ninput e: tokens", "let a: b\nshare c: d\ninput e: tokens"),
        ("share s: {block: {f: {}}}", "share s: block { f { } }"),
        ("let s: {count: 3, block: {f: {}}}", "let s: 3 of block { f { } }"),
        ("a: {b: 1}", "a { b: 1 }"),
        ("a: {}", "a { }"),
        ("a as b.c: {d: 1}", "b.c: a { d: 1 }"),
        ("block as b: {d: 1}", "b: block { d: 1 }"),
        ("l: {count: n + 1, block(x): [return x]}", "l: n + 1 of block(x) { return x }"),
        ("l: {count: 12, same: {a.b: 1}}", "l: 12 of same { a.b: 1 }"),
        ("block: {d: 1}", "block { d: 1 }"),
        ("block b(x; c = 1) extends e: {d: 1}", "block b(x; c = 1) extends e { d: 1 }"),
        (
            "block b(x):\n- h = f(x)\n- g: {c: 1}\n- d: 1\n  e: 2\n- return h",
            "block b(x) { h = f(x); g { c: 1 }; d: 1; e: 2; return h }",
        ),
        ("mask window(w): q - k < w", "mask window(w) = q - k < w"),
        ("a: [1, [b, c], {d: {e: 2}}]", "a: [1, [b, c], d { e: 2 }]"),
        ("a: [0.9, 1e-5, no]", "a: [0.9, 1e-5, no]"),
        ("a: |\n  b +\n  c", "a: b + c"),
        ("a: >-\n  b\n  + c", "a: b + c"),
        ("a: b\n  + c", "a: b + c"),
        ("a: 'f(b: \"it''s\")'", 'a: f(b: "it\'s")'),
        ('a: "f(\\"x\\", \\\n  b)"', 'a: f("x", b)'),
        ("mask: causal\nmodel b: {c: 1}", "mask: causal\nmodel b { c: 1 }"),
        ("'layers[3].heads': 4", "layers[3].heads: 4"),
        ("", ""),
        ("# only a comment", ""),
        ("---\na: 1\n...\n", "a: 1"),
        ("{a: 1, b: {c: d}}", "a: 1\nb { c: d }"),
        ("[a: 1, 'return b']", "a: 1\nreturn b"),
    ],
)  # fmt: skip
def test_spellings(yaml, text, read):
    assert read(yaml, "yaml") == read(text)


@pytest.mark.parametrize(
    ("text", "yaml"),
    [
        ("a: 1\na2", "- a: 1\n- a2\n"),
        ("f { g { }\n g { } }", "- f { g {}, g {} }\n"),
        ("f { count: 1, g { } }", "- 'f { count: 1, g {} }'\n"),
        ("expect a\nb: 1\nexpect c", "- expect: [a]\n- b: 1\n- expect: [c]\n"),
        ("model a { expect b\nc: 1\nexpect d }", "- model a:\n    - expect: [b]\n    - c: 1\n    - expect: [d]\n"),
        ("model a { a { }\na { } }", "- model a:\n    - a: {}\n    - a: {}\n"),
        ("use: 3", "- 'use: 3'\n"),
        ("model: 3", "- 'model: 3'\n"),
        ('x: "a"', "- x: '\"a\"'\n"),
        ('use "a b"\nuse "\\n"', "- use: [a b]\n- use: ['\"\\n\"']\n"),
        ("x: [a, b]\ny: []", "- x: [a, b]\n- y: '[]'\n"),
        ("x: -a", "- x: -a\n"),
    ],
)
def test_what_no_mapping_can_say_is_text(text, yaml, read):
    tree = read(text)
    assert format_yaml(tree) == yaml
    assert read(yaml, "yaml") == tree


MISTAKES = [
    ("a: 1\na: 2", [("2:1", "S0201", "a")]),
    ("f: {b: 1, b: 2}", [("1:11", "S0201", "b")]),
    ("a: &x 1\nb: *x", [("1:4", "S0302", "&x 1")]),
    ("b: *x", [("1:4", "S0302", "*x")]),
    ("a: !!python/name:os.system x", [("1:4", "S0302", "!!python/name:os.system x")]),
    ("<<: {a: 1}", [("1:1", "S0302", "<<")]),
    ("a: 1\n---\nb: 2", [("2:1", "S0302", "---")]),
    ("a: b: c", [("1:5", "S0301", ":")]),
    ("a: rope(theta: 1)", [("1:14", "S0301", ":")]),
    ("a:\n\t- 1", [("2:1", "S0301", "\t")]),
    ("a: \x07", [("1:4", "S0301", "\x07")]),
    ("a:", [("1:3", "S0303", "")]),
    ("a: {b: }", [("1:8", "S0303", "}")]),
    ("3", [("1:1", "S0303", "3")]),
    ("? [a]\n: 1", [("1:3", "S0303", "[a]")]),
    ("- - a", [("1:3", "S0303", "- a")]),
    ("let a: {b: 1, c: 2}", [("1:8", "S0303", "{b: 1, c: 2}")]),
    ("a: {m: window(1024, 3), b: 4}", [("1:8", "S0303", "window(1024")]),
    ("a: b +", [("1:6", "S0113", "+")]),
    ("a: b c", [("1:6", "S0101", "c")]),
    ("a: 'b  == == c'", [("1:11", "S0101", "==")]),
    ('a: "b\\x20 == == c"', [("1:14", "S0101", "==")]),
    ("a: 'b''c'", [("1:6", "S0104", "''c")]),
    ("a: |\n  b +\n\n    * c", [("4:5", "S0101", "*")]),
    ("a: b\n  and and c", [("2:7", "S0101", "and")]),
    ("- h = \n- return x", [("1:5", "S0113", "=")]),
    ("- return", [("1:3", "S0113", "return")]),
    ("block b x:\n- a", [("1:9", "S0101", "x")]),
    ("a: True", [("1:4", "S0103", "True")]),
    ("a: f(b = 1)", [("1:8", "S0110", "=")]),
    ("a: 0 < b < c", [("1:10", "S0111", "<")]),
    ("a: (b", [("1:4", "S0108", "(")]),
    ("a: b}", [("1:5", "S0109", "}")]),
    ("é: 1", [("1:1", "S0102", "é")]),
]


@pytest.mark.parametrize(("yaml", "expected"), MISTAKES, ids=[text.split("\n")[0] for text, _ in MISTAKES])
def test_mistake(yaml, expected, told):
    assert told(yaml, "yaml") == expected


def test_several_mistakes_at_once(told):
    yaml = "model: a\ndim: 3 4\nf: {b: 1 +}\nblock c:\n- x = * 2\n- y: 007\n"
    assert told(yaml, "yaml") == [
        ("2:8", "S0101", "4"),
        ("3:10", "S0113", "+"),
        ("5:7", "S0101", "*"),
        ("6:6", "S0106", "007"),
    ]


def test_long_text_is_a_block(read):
    tree = read("x: f(" + ", ".join(f"argument_{n}" for n in range(12)) + ")")
    yaml = format_yaml(tree)
    assert yaml.startswith("- x: |-\n")
    assert read(yaml, "yaml") == tree


def test_conversion_is_stable_in_both_directions(read):
    for text in ALL.values():
        yaml = format_yaml(read(text))
        again = format_text(read(yaml, "yaml"))
        assert again == format_text(read(text))
        assert format_yaml(read(again)) == yaml


def test_bare_names_in_lists(read):
    assert read("- a\n- 'b'", "yaml").members == (Item(Name("a")), Item(Name("b")))
