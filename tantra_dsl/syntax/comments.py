"""Comments and blank lines of a source, so that printing a tree can keep them."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

from tantra_dsl.syntax.source import Source, Span
from tantra_dsl.syntax.yaml_scalars import UNPRINTABLE

_TEXT_COMMENT = re.compile(r'"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"|(#[^\n]*)')
# An empty line, then what YAML may write before a member: dashes, a quote, the sign of a block of text, `x as`.
_BLANK = {
    "text": re.compile(r"\n[ \t\r]*\n[ \t\r]*\Z"),
    "yaml": re.compile(r"\n[ \t\r]*\n[ \t\r]*(?:-[ ]+)*(?:\|-?\n[ \t]*|['\"])?(?:[^\n]* as )?\Z"),
}
_NOT_IN_COMMENTS = re.compile(f"{UNPRINTABLE.pattern}|[\r\x85\u2028\u2029]")  # YAML breaks lines at some
_NEAR = 300


@dataclass(frozen=True)
class Comment:
    """``# ...`` at ``start``; ``alone`` where nothing stands before it on its line."""

    start: int
    text: str
    alone: bool


class Comments:
    """The comments of one source; each is given out once."""

    def __init__(self, source: Source | None) -> None:
        self.source = source
        self.items = _find(source) if source else []
        self.starts = [comment.start for comment in self.items]
        self.used: set[int] = set()

    def knows(self, span: Span) -> bool:
        """Whether a span lies in the source whose comments these are."""
        return span.source is self.source

    def any_within(self, start: int, end: int) -> bool:
        """Whether a comment stands in ``[start, end)``."""
        index = bisect_left(self.starts, start)
        return index < len(self.starts) and self.starts[index] < end

    def take(self, start: int, end: int) -> list[Comment]:
        """The comments in ``[start, end)`` that nobody has taken yet."""
        found = []
        for index in range(bisect_left(self.starts, start), bisect_left(self.starts, end)):
            if index not in self.used:
                self.used.add(index)
                found.append(self.items[index])
        return found

    def take_on_line(self, start: int, end: int) -> str:
        """The comment that follows ``start`` on its line, before ``end``, as text with two spaces before it."""
        assert self.source is not None
        index = bisect_left(self.starts, start)
        if index == len(self.starts) or self.starts[index] >= end or index in self.used:
            return ""
        if "\n" in self.source.text[start : self.starts[index]]:
            return ""
        self.used.add(index)
        return "  " + self.items[index].text

    def blank_before(self, offset: int) -> bool:
        """Whether an empty line stands before what starts at ``offset``."""
        assert self.source is not None
        before = self.source.text[max(0, offset - _NEAR) : offset]
        return _BLANK[self.source.language].search(before) is not None


def _find(source: Source) -> list[Comment]:
    if source.language == "yaml":
        from tantra_dsl.syntax.yaml_nodes import comment_starts

        starts = comment_starts(source)
    else:
        starts = [match.start(1) for match in _TEXT_COMMENT.finditer(source.text) if match.group(1)]
    return [_comment(source.text, start) for start in starts]


def _comment(text: str, start: int) -> Comment:
    end = text.find("\n", start)
    line = text.rfind("\n", 0, start) + 1
    shown = text[start : end if end >= 0 else None].rstrip()
    shown = _NOT_IN_COMMENTS.sub(lambda match: f"\\x{ord(match.group()):02x}", shown)
    return Comment(start, shown, not text[line:start].strip())


__all__ = ["Comment", "Comments"]
