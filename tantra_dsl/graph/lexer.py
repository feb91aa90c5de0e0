"""Tokens of the graph's text form."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final, NoReturn

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<symbol>\*\*|//|<=|>=|==|!=|[-+*/%<>()\[\]{},=:;@\#])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token: what it is, its text, and where it starts."""

    kind: str
    text: str
    start: int


class Tokens:
    """The tokens of a text, read from the front. Raises ValueError, with line and column, on what does not fit."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._place = 0

    @property
    def next(self) -> Token:
        """The token to be read next."""
        return self._tokens[self._place]

    def sees(self, *texts: str) -> bool:
        """Whether the next token is one of these names or symbols."""
        return self.next.kind in ("name", "symbol") and self.next.text in texts

    def sees_call(self) -> bool:
        """Whether a name and an opening bracket come next."""
        after = self._tokens[min(self._place + 1, len(self._tokens) - 1)]
        return self.next.kind == "name" and after.kind == "symbol" and after.text == "("

    def sees_binding(self) -> bool:
        """Whether ``name=`` comes next."""
        after = self._tokens[min(self._place + 1, len(self._tokens) - 1)]
        return self.next.kind in ("name", "string") and after.kind == "symbol" and after.text == "="

    def advance(self) -> Token:
        """Read the next token, whatever it is."""
        token = self.next
        self._place += token.kind != "end"
        return token

    def accept(self, *texts: str) -> str | None:
        """Read the next token if it is one of these names or symbols."""
        return self.advance().text if self.sees(*texts) else None

    def expect(self, text: str) -> None:
        """Read ``text``. Raises ValueError where something else stands."""
        if not self.accept(text):
            self.fail(text)

    def name(self) -> str:
        """Read a name, bare or quoted."""
        token = self.next
        if token.kind not in ("name", "string"):
            self.fail("a name")
        self.advance()
        return str(json.loads(token.text)) if token.kind == "string" else token.text

    def integer(self) -> int:
        """Read a whole number, with its sign."""
        value = self.number()
        if isinstance(value, float):
            self.fail("a whole number")
        return value

    def number(self) -> int | float:
        """Read a number, with its sign: an int where it is written as one."""
        negative = self.accept("-") is not None
        token = self.next
        if token.kind != "number" and not self.sees("inf", "nan"):
            self.fail("a number")
        self.advance()
        value = int(token.text) if token.text.isdigit() else float(token.text)
        return -value if negative else value

    def fail(self, wanted: str) -> NoReturn:
        """Raise ValueError: ``wanted`` should stand here."""
        before = self._text[: self.next.start]
        column = self.next.start - before.rfind("\n")
        found = self.next.text or "the end"
        raise ValueError(f"{before.count(chr(10)) + 1}:{column}: expected {wanted}, but found {found}")


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            line = text.count("\n", 0, place) + 1
            raise ValueError(f"{line}: {text[place]!r} cannot stand in a graph")
        kind = match.lastgroup or "space"
        if kind != "space":
            tokens.append(Token(kind, match.group(), place))
        place = match.end()
    return [*tokens, Token("end", "", len(text))]
