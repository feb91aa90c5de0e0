"""Comments and empty lines survive formatting and both directions of conversion."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.format import format_text, format_yaml
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.source import Source
from tests.syntax.samples import ALL, GPT2_YAML


def read(text, language="text"):
    sink = Sink()
    source = Source("spec", text, language)
    file = parse_source(source, sink)
    assert file is not None, text + "\n" + str([(d.title, d.span.location) for d in sink])
    assert not sink.items
    return file, source


def comments(text):
    return Counter(match.rstrip() for match in re.findall(r"# [^\n]*", text))


@st.composite
def commented(draw):
    """A sample with comments and empty lines at places where one may stand."""
    lines = draw(st.sampled_from(sorted(ALL.values()))).split("\n")
    for number in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(lines) - 1))
        if draw(st.booleans()) or "#" in lines[at]:
            lines.insert(at, draw(st.sampled_from(["", "  ", "    "])) + f"# note {number}: a = b, {{x}}")
        else:
            lines[at] += f"  # remark {number} 'quoted' \"text\""
        if draw(st.booleans()):
            lines.insert(draw(st.integers(0, len(lines) - 1)), "")
    return "\n".join(lines)


@settings(max_examples=150, deadline=None)
@given(commented())
def test_comments_survive_every_way_round(text):
    file, source = read(text)
    formatted = format_text(file, source)
    assert comments(formatted) == comments(text), formatted
    again, again_source = read(formatted)
    assert again == file
    assert format_text(again, again_source) == formatted
    yaml = format_yaml(file, source)
    assert comments(yaml) == comments(text), yaml
    other, yaml_source = read(yaml, "yaml")
    assert other == file
    assert format_yaml(other, yaml_source) == yaml
    back = format_text(other, yaml_source)
    assert comments(back) == comments(text), back


def test_empty_lines_stay_single():
    file, source = read("a: 1\n\n\n\nb: 2\nc: 3\n\n\n# about d\n\nd: 4\n")
    assert format_text(file, source) == "a: 1\n\nb: 2\nc: 3\n\n# about d\n\nd: 4\n"
    assert format_yaml(file, source).count("\n\n") == 3


def test_a_comment_after_a_brace_stays_there():
    text = "model a {  # first\n  dim: 3  # second\n  # third\n}  # fourth\n# fifth\n"
    file, source = read(text)
    assert format_text(file, source) == text
    yaml = format_yaml(file, source)
    assert yaml == "model: a  # first\ndim: 3  # second\n# third\n# fourth\n# fifth\n"


def test_a_comment_inside_an_expression_moves_before_it():
    file, source = read("x: f(\n  a,  # why a\n  b\n)\n")
    assert format_text(file, source) == "# why a\nx: f(a, b)\n"


def test_comments_of_yaml():
    text = (
        "# top\nmodel: a  # the model\n\ndim: 3 # wide\nattention: # inside\n  heads: 4\n  # last\n"
        "ffn: {hidden: 3} # end\n"
    )
    file, source = read(text, "yaml")
    assert comments(format_yaml(file, source)) == comments(text)
    assert format_text(file, source) == (
        "# top\nmodel a {  # the model\n  dim: 3  # wide\n  attention {  # inside\n    heads: 4\n    # last\n  }\n"
        "  ffn { hidden: 3 }  # end\n}\n"
    )


def test_a_hash_in_a_string_is_no_comment():
    text = 'x: "a # b"  # c\n'
    file, source = read(text)
    assert format_text(file, source) == text
    yaml = format_yaml(file, source)
    assert yaml == "- x: '\"a # b\"'  # c\n"
    assert format_text(*read(yaml, "yaml")) == text


@pytest.mark.parametrize("name", ALL)
def test_yaml_keeps_the_comments_of_a_sample(name):
    file, source = read(ALL[name])
    yaml = format_yaml(file, source)
    assert format_text(*read(yaml, "yaml")) == format_text(file, source)


def test_yaml_example_is_canonical():
    file, source = read(GPT2_YAML, "yaml")
    assert format_yaml(file, source) == GPT2_YAML.replace("50257", "50_257")
