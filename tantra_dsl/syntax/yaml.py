"""YAML to tree: a key is the head of a member, a scalar is the text of an expression.

The nodes become the very tokens that the text would have given, with their places in the YAML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tantra_dsl.diagnostics.core import Diagnostic, Sink
from tantra_dsl.diagnostics.syntax import DuplicateKey, YamlFeature, YamlShape
from tantra_dsl.syntax.lexer import Lexer, Token
from tantra_dsl.syntax.limits import CappedSink, TooManyMistakes
from tantra_dsl.syntax.source import Source, Span
from tantra_dsl.syntax.text import parse_tokens
from tantra_dsl.syntax.tree import File
from tantra_dsl.syntax.yaml_nodes import Mapping, Scalar, Sequence, YamlNode, load_nodes, offsets
from tantra_dsl.syntax.yaml_scalars import LABELLED

_LISTED = {"expect": "EXPECT", "remove": "REMOVE", "use": "USE"}


def parse_yaml(source: Source, sink: Sink) -> File | None:
    """The tree of a YAML source; None where part of it could not be read.

    Every mistake goes to ``sink``, with its place in the YAML, inside scalars too.
    """
    try:
        return _read(source, CappedSink(sink))
    except TooManyMistakes:
        return None


def _read(source: Source, sink: Sink) -> File | None:
    root = load_nodes(source, sink)
    if sink.items:
        return None
    translator = Translator(source, sink)
    if root is not None:
        translator.file(root)
    file = parse_tokens(translator.tokens, source, sink)
    return None if translator.damaged else file


@dataclass(frozen=True, slots=True)
class _Piece:
    """Part of a scalar: a text and the places of its characters."""

    text: str
    places: int | list[int]

    def start(self, offset: int) -> int:
        if isinstance(self.places, int):
            return self.places + min(offset, len(self.text))
        if not self.places:
            return 0
        return self.places[offset] if offset < len(self.places) else self.places[-1] + 1

    def end(self, offset: int) -> int:
        return self.start(offset - 1) + 1 if offset else self.start(0)

    def cut(self, start: int, end: int) -> _Piece:
        places = self.places + start if isinstance(self.places, int) else self.places[start:end]
        return _Piece(self.text[start:end], places)


class Translator:
    """Collects the tokens of one YAML document."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self.source = source
        self.sink = sink
        self.tokens: list[Token] = []
        self.damaged = False

    # --- tokens ----------------------------------------------------------------------------

    def _put(self, terminal: str, text: str, start: int, end: int | None = None) -> None:
        self.tokens.append((terminal, text, start, start if end is None else end, False))

    def _part(self) -> None:
        """A separator, unless nothing stands before the member that comes."""
        if self.tokens and self.tokens[-1][0] not in ("LBRACE", "SEMICOLON"):
            self._put("SEMICOLON", "", self.tokens[-1][3])

    def _piece(self, scalar: Scalar) -> _Piece:
        return _Piece(scalar.value, offsets(scalar, self.source.text))

    def _lex(self, piece: _Piece, *, members: bool, follow: str = "", after: str | None = None) -> list[Token]:
        """The tokens of a piece, as if ``follow`` stood behind it and the terminal ``after`` before."""

        def spot(start: int, end: int) -> Span:
            return Span(self.source, piece.start(start), piece.end(end))

        lexer = Lexer(piece.text + follow, spot, self.sink, members=members, after=after)
        tokens = lexer.run()
        if tokens is None or lexer.damaged:
            self.damaged = True
            return []
        if follow and "".join(token[1] for token in tokens[-len(follow) :]) != follow:
            self._swallowed(piece, spot(0, len(piece.text)))
            return []
        if follow:
            del tokens[-len(follow) :]
        return [(kind, text, piece.start(start), piece.end(end), False) for kind, text, start, end, _ in tokens]

    def _swallowed(self, piece: _Piece, span: Span) -> None:
        """A comment or a string without an end took what follows the piece with it."""
        self.damaged = True
        if "#" in piece.text and '"' not in piece.text:
            self._report(YamlShape(span=span, found="a `#` in a key", expected="the head of a member"))

    def _value(self, scalar: Scalar) -> None:
        piece = self._piece(scalar)
        if not piece.text.strip():
            self._shape(scalar, "an empty value", "a value", "write `{}` for a part without settings")
        self._put("VALUE_OPEN", "", scalar.start)
        self.tokens += self._lex(piece, members=False) or [("NAME", "none", scalar.start, scalar.end, False)]
        self._put("VALUE_CLOSE", "", scalar.end)

    def _report(self, diagnostic: Diagnostic) -> None:
        self.damaged = True
        self.sink.add(diagnostic)

    def _shape(self, node: YamlNode, found: str, expected: str, advice: str = "") -> None:
        start = node.start
        line_end = self.source.text.find("\n", start)
        end = node.end if line_end < 0 else min(node.end, line_end)
        span = Span(self.source, start, max(end, start + 1))
        self._report(YamlShape(span=span, found=found, expected=expected, advice=advice))

    # --- files and bodies ------------------------------------------------------------------

    def file(self, root: YamlNode) -> None:
        """A mapping of members (one model where its first key is `model`), or a list of such."""
        if isinstance(root, Scalar):
            if root.value.strip():
                self._shape(root, "a bare value", "a mapping that starts with `model:`, or a list of definitions")
        elif isinstance(root, Mapping):
            self._top(root)
        else:
            for item in root.items:
                self._top(item)

    def _top(self, node: YamlNode) -> None:
        first = node.pairs[0] if isinstance(node, Mapping) and node.pairs else None
        if first and isinstance(first[0], Scalar) and first[0].value == "model" and isinstance(first[1], Scalar):
            assert isinstance(node, Mapping)
            self._model(node, first[0], first[1])
        else:
            self._item(node)

    def _model(self, node: Mapping, word: Scalar, head: Scalar) -> None:
        self._part()
        self._put("DEFINE", "model", word.start, word.end)
        self.tokens += self._lex(self._piece(head), members=True, follow="{}", after="DEFINE")
        rest = node.pairs[1:]
        if rest and isinstance(rest[0][0], Scalar) and rest[0][0].value == "extends" and isinstance(rest[0][1], Scalar):
            self._put("EXTENDS", "extends", rest[0][0].start, rest[0][0].end)
            self.tokens += self._lex(self._piece(rest[0][1]), members=True, follow="{}")
            head, rest = rest[0][1], rest[1:]
        self._put("LBRACE", "", head.end)
        self._pairs(rest, node.flow)
        self._put("RBRACE", "", node.end)

    def _item(self, node: YamlNode) -> None:
        """One item of a list of members: a mapping of members, or the text of one."""
        if isinstance(node, Mapping):
            self._pairs(node.pairs, node.flow)
        elif isinstance(node, Sequence):
            self._shape(node, "a list", "a member, as text or as a mapping")
        elif not node.value.strip():
            self._shape(node, "an empty item", "a member, as text or as a mapping")
        else:
            self._part()
            self.tokens += self._lex(self._piece(node), members=True)

    def _body(self, node: Mapping | Sequence, start: int) -> None:
        self._put("LBRACE", "", start)
        if isinstance(node, Mapping):
            self._pairs(node.pairs, node.flow)
        else:
            for item in node.items:
                self._item(item)
        self._put("RBRACE", "", node.end)

    def _pairs(self, pairs: list[tuple[YamlNode, YamlNode]], flow: bool) -> None:
        seen: dict[str, Scalar] = {}
        for key, value in pairs:
            if not isinstance(key, Scalar):
                self._shape(key, "a key that is a mapping or a list", "the head of a member, such as `dim`")
            elif key.value == "<<":
                span = Span(self.source, key.start, key.end)
                self._report(YamlFeature(span=span, feature="merge keys", advice="use `extends`"))
            elif (first := seen.setdefault(key.value, key)) is not key:
                self._twice(key, first)
            elif not (flow and self._cut_by_comma(pairs, value)):
                self._part()
                self._member(key, value)

    def _twice(self, key: Scalar, first: Scalar) -> None:
        places = [Span(self.source, scalar.start, scalar.end) for scalar in (key, first)]
        self._report(DuplicateKey(span=places[0], key=key.value, first=places[1]))

    def _cut_by_comma(self, pairs: list[tuple[YamlNode, YamlNode]], value: YamlNode) -> bool:
        """`{mask: window(1024, 3)}`: YAML ends the value at the comma; told once, at the value."""
        if not isinstance(value, Scalar) or value.style or not _is_cut(value.value):
            return _is_cut_end(pairs, value)
        self._shape(
            value, "half a value", "a whole one", "inside {} and [], put a value with commas or brackets in quotes"
        )
        return True

    # --- members ---------------------------------------------------------------------------

    def _member(self, key: Scalar, value: YamlNode) -> None:
        if key.value in _LISTED:
            self._listed(key, value)
        elif isinstance(value, Scalar):
            self._scalar_member(key, value)
        elif match := LABELLED.fullmatch(key.value):
            piece = self._piece(key)
            self._labelled(piece.cut(0, match.end(1)), piece.cut(match.start(2), len(piece.text)), value, key)
        else:
            self._collection_member(key, value)

    def _listed(self, key: Scalar, value: YamlNode) -> None:
        """`expect`, `remove` and `use` take one value or a list of them."""
        for item in value.items if isinstance(value, Sequence) else [value]:
            if not isinstance(item, Scalar) or not item.value.strip():
                self._shape(item, "this", f"what to {key.value}, as text")
                continue
            self._part()
            self._put(_LISTED[key.value], key.value, key.start, key.end)
            if key.value == "expect":
                self._value(item)
            elif key.value == "remove" or item.value.startswith('"'):
                self.tokens += self._lex(self._piece(item), members=False)
            else:
                from tantra_dsl.syntax.literals import quote

                self._put("STRING", quote(item.value), item.start, item.end)

    def _scalar_member(self, key: Scalar, value: Scalar) -> None:
        head = self._lex(self._piece(key), members=True, follow=":")
        self.tokens += head
        if head and head[0][0] == "DEFINE":
            self._put("EQUAL", "=", key.end)
        else:
            self._put("COLON", ":", key.end)
        self._value(value)

    def _collection_member(self, key: Scalar, value: Mapping | Sequence) -> None:
        piece = self._piece(key)
        head = self._lex(piece, members=True, follow=":")
        kind = head[0][0] if head else ""
        if kind in ("LET", "SHARE", "INPUT") or (kind == "NAME" and _count_form(value)):
            self.tokens += head
            self._put("COLON", ":", key.end)
            self._expression(value)
        elif isinstance(value, Mapping) or kind == "DEFINE" or _is_anonymous(key.value):
            self.tokens += self._lex(piece, members=True, follow="{}")
            self._body(value, key.end)
        else:
            self.tokens += head
            self._put("COLON", ":", key.end)
            self._expression(value)

    def _labelled(self, callee: _Piece, label: _Piece, value: Mapping | Sequence, key: Scalar) -> None:
        self.tokens += self._lex(label, members=True, follow=":")
        self._put("COLON", ":", key.end)
        self.tokens += self._lex(callee, members=True, follow="{}", after="COLON")
        self._body(value, key.end)

    # --- expressions -----------------------------------------------------------------------

    def _expression(self, node: YamlNode) -> None:
        if isinstance(node, Scalar):
            self._value(node)
        elif isinstance(node, Sequence):
            self._list(node)
        elif counted := _count_form(node):
            self._value(counted[0])
            self._put("OF", "of", counted[1].start)
            self._call(counted[1], counted[2])
        elif len(node.pairs) == 1 and isinstance(node.pairs[0][0], Scalar):
            self._call(node.pairs[0][0], node.pairs[0][1])
        else:
            self._shape(node, "a mapping", "a value, or a mapping with one key: a part and its settings")
            self._put("NAME", "none", node.start)

    def _list(self, node: Sequence) -> None:
        self._put("LSQB", "[", node.start, node.start + 1)
        for index, item in enumerate(node.items):
            if index:
                self._put("COMMA", ",", item.start)
            self._expression(item)
        self._put("RSQB", "]", node.end - 1, node.end)

    def _call(self, key: Scalar, value: YamlNode) -> None:
        if isinstance(value, Mapping) or (isinstance(value, Sequence) and _is_anonymous(key.value)):
            self.tokens += self._lex(self._piece(key), members=True, follow="{}", after="COLON")
            self._body(value, key.end)
        else:
            self._shape(value, "this", f"a mapping with the settings of `{key.value}`")
            self._put("NAME", "none", value.start)


def _count_form(node: YamlNode) -> tuple[Scalar, Scalar, YamlNode] | None:
    """`{count: 12, block: {...}}`, which is `12 of block { ... }`."""
    if not isinstance(node, Mapping) or len(node.pairs) != 2:
        return None
    (word, count), (part, body) = node.pairs
    if not (isinstance(word, Scalar) and word.value == "count" and isinstance(count, Scalar)):
        return None
    bracey = isinstance(part, Scalar) and not isinstance(body, Scalar)
    return (count, part, body) if bracey and isinstance(part, Scalar) else None


def _is_anonymous(key: str) -> bool:
    return re.match(r"(?:block|module)\s*(?:\(|$)", key) is not None


def _is_cut(text: str) -> bool:
    """Whether a plain scalar opens more parentheses than it closes."""
    return text.count("(") > text.count(")") and '"' not in text


def _is_cut_end(pairs: list[tuple[YamlNode, YamlNode]], value: YamlNode) -> bool:
    """Whether a pair without a value is the rest of a value that a comma cut."""
    if not isinstance(value, Scalar) or value.start != value.end:
        return False
    earlier = [other for _, other in pairs if other.start < value.start]
    return any(isinstance(other, Scalar) and not other.style and _is_cut(other.value) for other in earlier)


__all__ = ["parse_yaml"]
