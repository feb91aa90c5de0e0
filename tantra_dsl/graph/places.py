"""Finding the author's own words for something that the standard library spells out."""

from __future__ import annotations

import re

from tantra_dsl.syntax.source import NOWHERE, Span


def author_span(spans: list[Span], words: list[str]) -> Span:
    """The innermost of ``spans`` that lies in the author's own text, narrowed to a word where it is not the first."""
    own = next((span for span in spans if not _shipped(span)), spans[0])
    return own if own == spans[0] else narrowed(own, words)


def _shipped(span: Span) -> bool:
    """Whether a span lies in no text of the author's: in the standard library, or nowhere."""
    return span == NOWHERE or span.source.name.startswith("std/")


def narrowed(span: Span, words: list[str]) -> Span:
    """The only place within ``span`` where the first of ``words`` stands that stands there just once; or ``span``."""
    text = span.source.text[span.start : span.end]
    for word in words:
        found = [match.start() for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text)]
        if len(found) == 1:
            return Span(span.source, span.start + found[0], span.start + found[0] + len(word))
    return span
