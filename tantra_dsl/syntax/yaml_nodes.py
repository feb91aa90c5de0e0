"""YAML to plain nodes with exact places; everything that specs do not use is refused here.

Events are read one by one, so neither aliases nor deep nesting can cost more than the text's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tantra_dsl.diagnostics.core import Diagnostic, Sink
from tantra_dsl.diagnostics.syntax import NotYaml, TooDeep, YamlFeature
from tantra_dsl.syntax.limits import MAX_TREE_DEPTH
from tantra_dsl.syntax.source import Source, Span
from tantra_dsl.syntax.yaml_scalars import UNPRINTABLE

_ESCAPED_SPACE = re.compile(r"\\(?:[ tnrvf\n\t_LPN]|x(?:20|0[9a-dA-D]|85|[aA]0)|u00(?:20|0[9a-dA-D]|85|[aA]0))")
_COMMENT_LINE = re.compile(r"[ \t\r\n]*\n([ ]*)#[^\n]*")
_COMMENT = re.compile(r'"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"|(?:(?<=\s)|^)(#[^\n]*)', re.MULTILINE)


@dataclass(slots=True)
class Scalar:
    """A scalar; ``style`` is empty for a plain one, else its quote or ``|`` or ``>``."""

    value: str
    style: str
    start: int
    end: int


@dataclass(slots=True)
class Mapping:
    """Pairs in their order; ``end`` is the end of the last line of a block, or past the ``}``."""

    flow: bool
    start: int
    end: int = 0
    pairs: list[tuple[YamlNode, YamlNode]] = field(default_factory=list)


@dataclass(slots=True)
class Sequence:
    """Items in their order; ends as a mapping does."""

    flow: bool
    start: int
    end: int = 0
    items: list[YamlNode] = field(default_factory=list)


YamlNode = Scalar | Mapping | Sequence


def load_nodes(source: Source, sink: Sink) -> YamlNode | None:
    """The one document of a YAML source; None for an empty one, and after a diagnostic."""
    reader = _Reader(source)
    try:
        reader.run()
    except _Refused as refused:
        sink.add(refused.diagnostic)
        return None
    return reader.root


class _Refused(Exception):
    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.title)
        self.diagnostic = diagnostic


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.root: YamlNode | None = None
        self.open: list[Mapping | Sequence] = []
        self.keys: list[YamlNode | None] = []  # the key that waits for its value, per open collection
        self.documents = 0

    def run(self) -> None:
        bad = UNPRINTABLE.search(self.source.text)
        if bad:
            problem = f"character U+{ord(bad.group()):04X} cannot be printed"
            raise _Refused(NotYaml(span=self._spot(bad.start(), bad.end()), problem=problem, advice="remove it"))
        for event in _events(self.source):
            self._take(type(event).__name__, event)

    def _spot(self, start: int, end: int) -> Span:
        return Span(self.source, start, end)

    def _take(self, name: str, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        if name == "ScalarEvent":
            self._check_plain(event, start, end)
            style = event.style if event.style in ("'", '"', "|", ">") else ""
            if style in ("|", ">"):  # whose mark runs on to what comes next
                end = start + len(self.source.text[start:end].rstrip())
            self._add(Scalar(event.value, style, start, end))
        elif name in ("MappingStartEvent", "SequenceStartEvent"):
            self._check_plain(event, start, end)
            self._open(Mapping(event.flow_style, start) if name[0] == "M" else Sequence(event.flow_style, start))
        elif name in ("MappingEndEvent", "SequenceEndEvent"):
            self._close(end)
        elif name == "AliasEvent":
            raise self._feature("aliases", "write the value out, or name it with `let`", start, end)
        elif name == "DocumentStartEvent":
            self._document(start)

    def _feature(self, feature: str, advice: str, start: int, end: int) -> _Refused:
        return _Refused(YamlFeature(span=self._spot(start, end), feature=feature, advice=advice))

    def _check_plain(self, event: Any, start: int, end: int) -> None:
        if event.anchor is not None:
            raise self._feature("anchors", f"remove `&{event.anchor}`; `let` names a value", start, max(end, start + 1))
        if event.tag is not None:
            advice = "remove the tag: a value's type follows from what it is"
            raise self._feature("tags", advice, start, max(end, start + 1))

    def _document(self, start: int) -> None:
        self.documents += 1
        if self.documents > 1:
            advice = "put each document in a file of its own, or make the definitions a list"
            raise self._feature("document markers between parts", advice, start, start + 3)

    def _add(self, node: YamlNode) -> None:
        if not self.open:
            self.root = node
            return
        around = self.open[-1]
        if isinstance(around, Sequence):
            around.items.append(node)
            return
        key = self.keys[-1]
        self.keys[-1] = node if key is None else None
        if key is not None:
            around.pairs.append((key, node))

    def _open(self, node: Mapping | Sequence) -> None:
        self._add(node)
        self.open.append(node)
        self.keys.append(None)
        if len(self.open) > MAX_TREE_DEPTH:
            raise _Refused(TooDeep(span=self._spot(node.start, node.start + 1), limit=MAX_TREE_DEPTH))

    def _close(self, end: int) -> None:
        node = self.open.pop()
        self.keys.pop()
        node.end = end if node.flow else self._block_end(node)

    def _block_end(self, node: Mapping | Sequence) -> int:
        """The end of a block's last line, or of the comments below it that are indented like it."""
        text = self.source.text
        end = self._line_end(_last_end(node))
        column = node.start - text.rfind("\n", 0, node.start) - 1
        while comment := _COMMENT_LINE.match(text, end):
            if len(comment.group(1)) < column:
                break
            end = comment.end()
        return end

    def _line_end(self, offset: int) -> int:
        newline = self.source.text.find("\n", offset)
        return len(self.source.text) if newline < 0 else newline


def _last_end(node: Mapping | Sequence) -> int:
    below = [value for _, value in node.pairs[-1:]] if isinstance(node, Mapping) else node.items[-1:]
    return below[0].end if below else node.start


def _events(source: Source) -> Iterator[Any]:
    import yaml

    loader = getattr(yaml, "CLoader", yaml.Loader)
    try:
        yield from yaml.parse(source.text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        start = min(mark.index if mark else 0, len(source.text))
        problem = error.problem or "this cannot be read"
        raise _Refused(
            NotYaml(span=Span(source, start, start + 1), problem=problem, advice=_advice(source.text, start, problem))
        ) from None
    except yaml.YAMLError as error:
        raise _Refused(NotYaml(span=Span(source, 0, 0), problem=str(error).split("\n")[0])) from None


def _advice(text: str, offset: int, problem: str) -> str:
    if text[offset : offset + 1] == "\t":
        return "indent with spaces; YAML allows no tabs there"
    if problem.startswith("mapping values"):
        return "check the indentation; a value that holds `: ` is put in quotes: 'rope(theta: 10_000)'"
    if problem.startswith("found unexpected end of stream"):
        return "a quote is not closed"
    return "check brackets and indentation; a value with special characters is put in single quotes"


# --- places inside scalars -------------------------------------------------------------------


def offsets(scalar: Scalar, text: str) -> int | list[int]:
    """Where a scalar's characters stand in the text: one shift for all, or one offset for each."""
    raw_start = scalar.start + (scalar.style in ("'", '"') and 1)
    if text.startswith(scalar.value, raw_start):
        return raw_start
    return _Aligner(scalar, text).run()


class _Aligner:
    """Walks a scalar's value and its spelling side by side, past folds, escapes and indentation."""

    def __init__(self, scalar: Scalar, text: str) -> None:
        self.scalar = scalar
        self.text = text
        self.at = scalar.start + 1 if scalar.style in ("'", '"') else scalar.start
        if scalar.style in ("|", ">"):
            self.at = text.find("\n", scalar.start) + 1

    def run(self) -> list[int]:
        places = []
        for character in self.scalar.value:
            if not character.isspace():
                self._skip_space()
            places.append(min(self.at, self.scalar.end))
            if not character.isspace():
                self.at += self._width()
        return places

    def _skip_space(self) -> None:
        text = self.text
        while self.at < self.scalar.end:
            if text[self.at].isspace():
                self.at += 1
            elif self.scalar.style == '"' and (escape := _ESCAPED_SPACE.match(text, self.at)):
                self.at = escape.end()
            else:
                return

    def _width(self) -> int:
        """How many characters spell the next one."""
        two = self.text[self.at : self.at + 2]
        if self.scalar.style == "'" and two == "''":
            return 2
        if self.scalar.style == '"' and two[:1] == "\\":
            return {"x": 4, "u": 6, "U": 10}.get(two[1:], 2)
        return 1


def comment_starts(source: Source) -> list[int]:
    """Where the comments of a readable YAML source start, those inside scalars' expressions included."""
    text, found, at = source.text, [], 0
    for event in _events(source):
        if type(event).__name__ != "ScalarEvent" or event.start_mark.index == event.end_mark.index:
            continue
        start, end = event.start_mark.index, event.end_mark.index
        found += [match.start(1) for match in _COMMENT.finditer(text, at, start) if match.group(1)]
        if event.style in ("|", ">"):
            found += [match.start(1) for match in _COMMENT.finditer(text, start, end) if match.group(1)]
        at = end
    found += [match.start(1) for match in _COMMENT.finditer(text, at) if match.group(1)]
    return found


__all__ = ["Mapping", "Scalar", "Sequence", "YamlNode", "comment_starts", "load_nodes", "offsets"]
