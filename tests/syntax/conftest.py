"""Reading a text in a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tantra_dsl.diagnostics.core import Diagnostic, Sink
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.source import Source
from tantra_dsl.syntax.tree import File

Told = list[tuple[str, str, str]]


@pytest.fixture
def read() -> Callable[..., File]:
    """The tree of a text that has no mistakes."""

    def reader(text: str, language: str = "text") -> File:
        sink = Sink()
        file = parse_source(Source("spec", text, language), sink)
        assert not sink.items, [f"{item.span.location} {item.title}" for item in sink]
        assert file is not None
        return file

    return reader


@pytest.fixture
def mistakes() -> Callable[..., list[Diagnostic]]:
    """The diagnostics of a text, in order."""

    def reader(text: str, language: str = "text") -> list[Diagnostic]:
        sink = Sink()
        parse_source(Source("spec", text, language), sink)
        return sink.sorted()

    return reader


@pytest.fixture
def told(mistakes: Callable[..., list[Diagnostic]]) -> Callable[..., Told]:
    """What is told of a text: place, code and the marked characters."""

    def reader(text: str, language: str = "text") -> Told:
        found = []
        for item in mistakes(text, language):
            line, column = item.span.source.line_column(item.span.start)
            found.append((f"{line}:{column}", item.code, text[item.span.start : item.span.end]))
        return found

    return reader
