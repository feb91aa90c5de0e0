from __future__ import annotations

from hypothesis import given, settings

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.diagnostics.render import render_terminal
from tantra_dsl.syntax.format import format_expression, format_text, format_yaml
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.source import Source
from tantra_dsl.syntax.text import parse_expression
from tests.syntax.trees import expressions, files


def read(text, language="text"):
    sink = Sink()
    source = Source("spec", text, language)
    file = parse_source(source, sink)
    assert not sink.items, text + "\n" + render_terminal(sink, color=False)
    return file, source


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_expression_reads_back(expr):
    text = format_expression(expr)
    sink = Sink()
    again = parse_expression(Source("<expression>", text), sink)
    assert not sink.items, text + "\n" + render_terminal(sink, color=False)
    assert again == expr, text
    assert format_expression(again) == text


@settings(max_examples=100, deadline=None)
@given(files)
def test_text_reads_back(file):
    text = format_text(file)
    again, _ = read(text)
    assert again == file, text
    assert format_text(again) == text


@settings(max_examples=100, deadline=None)
@given(files)
def test_yaml_reads_back(file):
    text = format_yaml(file)
    again, _ = read(text, "yaml")
    assert again == file, text
    assert format_yaml(again) == text
