"""Source texts and the spans that point into them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Source:
    """One text that was read: a file, a ``--set`` argument, a string.

    ``name`` is what diagnostics print (a path as the user wrote it, or ``<--set>``);
    ``language`` is ``"text"`` or ``"yaml"``. Offsets are in characters of ``text``.
    """

    name: str
    text: str
    language: str = "text"

    @cached_property
    def line_starts(self) -> list[int]:
        """Character offset at which each line starts."""
        starts = [0]
        position = self.text.find("\n")
        while position >= 0:
            starts.append(position + 1)
            position = self.text.find("\n", position + 1)
        return starts

    def line_column(self, offset: int) -> tuple[int, int]:
        """One-based line and column of a character offset."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Text of the one-based line ``number``, without its newline."""
        start = self.line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start:] if end < 0 else self.text[start:end]


BUILTIN = Source("<builtin>", "")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range ``[start, end)`` of characters in a source."""

    source: Source
    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of ``other``."""
        return Span(self.source, self.start, other.end)

    @property
    def location(self) -> str:
        """``file:line:col`` of the start."""
        line, column = self.source.line_column(self.start)
        return f"{self.source.name}:{line}:{column}"


NOWHERE = Span(BUILTIN, 0, 0)

__all__ = ["BUILTIN", "NOWHERE", "Source", "Span"]
