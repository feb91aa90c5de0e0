"""Text to tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.automaton import Automaton
from tantra_dsl.syntax.build import Builder
from tantra_dsl.syntax.depth import check_depth
from tantra_dsl.syntax.lexer import Lexer, Token
from tantra_dsl.syntax.limits import CappedSink, TooManyMistakes
from tantra_dsl.syntax.source import Source
from tantra_dsl.syntax.tables import load_table
from tantra_dsl.syntax.tree import Expr, File, Item


def parse_text(source: Source, sink: Sink) -> File | None:
    """The tree of a ``.tantra`` text; None where part of it could not be read.

    Every mistake goes to ``sink``, up to a hundred. Those that leave a whole tree (a key set twice) return it.
    """
    try:
        return _read(source, CappedSink(sink), members=True)
    except TooManyMistakes:
        return None


def parse_expression(source: Source, sink: Sink) -> Expr | None:
    """The tree of a source that holds one expression, such as the right side of ``--set``."""
    try:
        file = _read(source, CappedSink(sink), members=False)
    except TooManyMistakes:
        return None
    if file is None:
        return None
    (member,) = file.members
    assert isinstance(member, Item)
    return member.value


def _read(source: Source, sink: Sink, *, members: bool) -> File | None:
    lexer = Lexer(source.text, Builder(source, sink).spot, sink, members=members)
    tokens = lexer.run()
    if tokens is None:
        return None
    if not members:
        end = len(source.text)
        tokens = [("VALUE_OPEN", "", 0, 0, True), *tokens, ("VALUE_CLOSE", "", end, end, False)]
    file = parse_tokens(tokens, source, sink)
    return None if lexer.damaged else file


def parse_tokens(tokens: list[Token], source: Source, sink: Sink) -> File | None:
    """The tree of tokens whose offsets point into ``source``; raises what ``sink`` raises."""
    table, builder = load_table(), Builder(source, sink)
    actions: list[Callable[[list[Any]], Any] | None] = [
        builder.action(name) if name else None for _, _, name in table.rules
    ]
    automaton = Automaton(table, actions, builder.spot, sink.add)
    file = automaton.run(tokens, len(source.text))
    if automaton.failed or not check_depth(file, sink):
        return None
    assert isinstance(file, File)
    return file


__all__ = ["parse_expression", "parse_text", "parse_tokens"]
