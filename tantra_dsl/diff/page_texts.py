"""The texts of one side of a diff, with the lines that operations are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tantra_dsl.diff.operations import Operation, place
from tantra_dsl.draw.sheet import listing, text
from tantra_dsl.syntax.source import NOWHERE, Source, Span

if TYPE_CHECKING:
    from tantra_dsl.api import Spec

_AROUND: Final = 3
"""Lines that are shown before and after one of another file."""
_MOST: Final = 12
"""Lines of one place that are marked; of longer ones, the first is."""


class Texts:
    """The spec's own text as a whole, and of other files what is around the places of operations.

    ``placed`` are the operations with their numbers and their places on this side; ``prefix`` tells the side's lines
    from those of the other.
    """

    def __init__(self, prefix: str, spec: Spec, placed: Sequence[tuple[int, Operation, Span]]) -> None:
        self.prefix, self.main = prefix, spec.unit.source
        self.places = [(number, op, span) for number, op, span in placed if span != NOWHERE and span.source.text]
        sources = {id(self.main): self.main} | {id(span.source): span.source for _, _, span in self.places}
        self.sources = list(sources.values())

    def link(self, span: Span) -> str:
        """``file:line`` as a link to the line; empty for what is written nowhere."""
        told = place(span)
        if told is None:
            return ""
        return f'<a href="#{self._prefix(span.source)}{_lines(span)[0]}">{text(told)}</a>'

    def html(self) -> str:
        """All texts, the spec's own first."""
        return "".join(self._text(source) for source in self.sources)

    def _prefix(self, source: Source) -> str:
        number = next((n for n, other in enumerate(self.sources) if other is source), 0)
        return f"{self.prefix}{number}-"

    def _text(self, source: Source) -> str:
        marked: dict[int, str] = {}
        numbers: dict[int, list[int]] = {}
        for number, op, span in self.places:
            if span.source is source:
                lines = _lines(span) if op.kind in ("add", "remove") else _lines(span)[:1]
                numbers.setdefault(lines[0], []).append(number)
                marked |= dict.fromkeys(lines, {"add": "added", "remove": "removed"}.get(op.kind, "changed"))
        shown = None
        if source is not self.main:
            shown = sorted({line + step for line in marked for step in range(-_AROUND, _AROUND + 1)})
        said = listing(source.text, self._prefix(source), marked, shown)
        return f"<h3>{text(source.name)}</h3>{_with_numbers(said, self._prefix(source), numbers)}"


def _lines(span: Span) -> list[int]:
    first = span.source.line_column(span.start)[0]
    last = span.source.line_column(max(span.start, span.end - 1))[0]
    return list(range(first, last + 1)) if last - first < _MOST else [first]


def _with_numbers(said: str, prefix: str, numbers: dict[int, list[int]]) -> str:
    """A listing with links to the operations at the ends of their lines."""
    for line, found in numbers.items():
        start = said.find(f'id="{prefix}{line}"')
        end = said.find("</span>", start)
        links = "".join(f'<a class="back" href="#op-{number}">{number}</a>' for number in dict.fromkeys(found))
        said = said[:end] + links + said[end:] if start >= 0 else said
    return said
