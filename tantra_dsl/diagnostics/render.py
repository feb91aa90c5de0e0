"""Diagnostics as text for a terminal, and as JSON.

gpt2.tantra:4:7: error[S0112]: nothing stands between `dim` and `768`
  |
4 |   dim 768
  |       ^^^
  = help: to set a key, write `dim: 768`
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import Any

from tantra_dsl.diagnostics.core import Diagnostic, Note
from tantra_dsl.syntax.source import Span

_WIDTH = 100  # of the shown part of a source line
_TAB = "    "
_COLORS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "frame": "\x1b[1;34m", "bold": "\x1b[1m"}
_RESET = "\x1b[0m"


def render_terminal(diagnostics: Iterable[Diagnostic], color: bool) -> str:
    """All diagnostics with their source lines; ends in a newline unless there are none."""
    painter = _Painter(color)
    return "\n".join(_block(diagnostic, painter) for diagnostic in diagnostics)


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """A JSON list of objects; lines and columns count from one, the end is exclusive."""
    return json.dumps([_as_object(diagnostic) for diagnostic in diagnostics], indent=2)


class _Painter:
    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, style: str, text: str) -> str:
        return f"{_COLORS[style]}{text}{_RESET}" if self.color and text else text


def _block(diagnostic: Diagnostic, paint: _Painter) -> str:
    spans = [diagnostic.span, *(note.span for note in diagnostic.notes if note.span)]
    gutter = max(len(str(span.source.line_column(span.start)[0])) for span in spans)
    level = f"{diagnostic.severity}[{diagnostic.code}]"
    head = f"{paint('bold', printable(diagnostic.span.location))}: {paint(diagnostic.severity, level)}"
    lines = [f"{head}: {paint('bold', printable(diagnostic.title))}"]
    lines += _snippet(diagnostic.span, printable(diagnostic.label), diagnostic.severity, gutter, paint)
    for note in diagnostic.notes:
        lines += _note(note, gutter, paint)
    if diagnostic.help:
        lines.append(_remark("help", diagnostic.help, gutter, paint))
    return "\n".join(lines) + "\n"


def _remark(kind: str, text: str, gutter: int, paint: _Painter) -> str:
    return f"{' ' * gutter} {paint('frame', '=')} {paint('bold', kind + ':')} {printable(text)}"


def _note(note: Note, gutter: int, paint: _Painter) -> list[str]:
    if note.span is None:
        return [_remark("note", note.text, gutter, paint)]
    place = f"{note.text} ({note.span.location})"
    return [_remark("note", place, gutter, paint), *_snippet(note.span, "", "frame", gutter, paint)]


def _snippet(span: Span, label: str, style: str, gutter: int, paint: _Painter) -> list[str]:
    """The line of a span with carets below it; nothing for a source without text."""
    if not span.source.text:
        return []
    number, _ = span.source.line_column(span.start)
    before, marked, after = _clip(span)
    bar = paint("frame", "|")
    carets = "^" * max(1, _width(marked))
    line = f"{paint('frame', str(number).rjust(gutter))} {bar} {before}{marked}{after}".rstrip()
    below = f"{carets} {label}".rstrip()
    return [
        f"{' ' * gutter} {bar}",
        line,
        f"{' ' * gutter} {bar} {' ' * _width(before)}{paint(style, below)}",
    ]


def _clip(span: Span) -> tuple[str, str, str]:
    """The line before, inside and after the span, cut to what fits and made printable."""
    text = span.source.text
    start = min(span.start, len(text))
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    end = min(max(span.end, start), line_end)
    before = printable(text[max(line_start, start - _WIDTH) : start])
    marked = printable(text[start : min(end, start + _WIDTH)].rstrip("\r"))
    after = printable(text[end : min(line_end, end + _WIDTH)].rstrip("\r"))
    if len(marked) > _WIDTH - 20:
        marked, after = marked[: _WIDTH - 20] + "...", ""
    room = _WIDTH - len(marked)
    if len(before) + len(after) > room:
        keep = max(room // 2, room - len(after))
        if start - _WIDTH > line_start or len(before) > keep:
            before = "..." + before[-keep:] if keep else "..."
        after = after[: max(room - len(before), 0)]
    return before, marked, after


def _width(text: str) -> int:
    """Terminal columns."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def printable(text: str) -> str:
    """``text`` with tabs as four spaces and everything a terminal would obey or hide as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_printable(character) for character in text)


def _printable(character: str) -> str:
    if character == "\t":
        return _TAB
    if character.isprintable() and unicodedata.category(character) not in ("Cf", "Cs"):
        return character
    return f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"


def _as_object(diagnostic: Diagnostic) -> dict[str, Any]:
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        **_place(diagnostic.span),
        "title": diagnostic.title,
        "label": diagnostic.label,
        "notes": [{"text": note.text, **(_place(note.span) if note.span else {})} for note in diagnostic.notes],
        "help": diagnostic.help,
    }


def _place(span: Span) -> dict[str, Any]:
    line, column = span.source.line_column(span.start)
    end_line, end_column = span.source.line_column(max(span.start, span.end))
    return {
        "file": span.source.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column,
    }  # fmt: skip


__all__ = ["printable", "render_json", "render_terminal"]
