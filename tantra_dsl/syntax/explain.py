"""What an unexpected token means, in the author's terms."""

from __future__ import annotations

from collections.abc import Callable

from tantra_dsl.diagnostics.core import Diagnostic, one_of
from tantra_dsl.diagnostics.syntax import EqualInArguments, ForeignSpelling, MissingValue, Unexpected
from tantra_dsl.syntax.lexer import CLOSERS, ENDS, Token
from tantra_dsl.syntax.source import Span
from tantra_dsl.syntax.tables import Table
from tantra_dsl.syntax.words import RESERVED

# What must be followed by a value.
_DANGLING = {
    "COLON", "EQUAL", "TARGETS", "RETURN", "EXPECT", "PIPE", "OF", "THEN", "ELSE", "IF", "OR", "AND", "NOT", "EQUALS",
    "UNEQUAL", "LESS", "AT_MOST", "MORE", "AT_LEAST", "RANGE", "PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "PERCENT",
    "AT", "POWER", "SHARED",
}  # fmt: skip
_CLOSING = {"RPAR", "RSQB", "RBRACE", "COMMA", "SEMICOLON", "VALUE_CLOSE", "$END"}
_MEMBER_WORDS = {"DEFINE", "LET", "SHARE", "INPUT", "RETURN", "EXPECT", "REMOVE", "USE", "TARGETS"}
_PUNCTUATION = {
    "COMMA": "`,`", "RPAR": "`)`", "RSQB": "`]`", "RBRACE": "`}`", "COLON": "`:`", "EQUAL": "`=`", "LBRACE": "`{`",
    "THEN": "`then`", "ELSE": "`else`", "EXTENDS": "`extends`", "LPAR": "`(`", "BAR": "`|`",
    "VALUE_CLOSE": "the end of the value",
}  # fmt: skip


class Explainer:
    """Makes the diagnostic for a token that the automaton cannot take."""

    def __init__(self, table: Table, spot: Callable[[int, int], Span]) -> None:
        self.table = table
        self.spot = spot

    def __call__(self, tokens: list[Token], index: int, states: list[int]) -> tuple[Diagnostic, int]:
        """The diagnostic, and the index of the token from which the next member is looked for."""
        for slip in (self._no_value, self._equal, self._bar):
            if found := slip(tokens, index):
                return found
        token = tokens[index]
        terminals = {name for row in self.table.states for name in row if name.isupper()}
        expected = describe_expected({name for name in terminals if self.accepts(states, name)})
        advice = _advice(tokens, index)
        span = self._span(token, tokens[index - 1] if index else None)
        return Unexpected(span=span, found=describe(token), expected=expected, advice=advice), index

    def accepts(self, states: list[int], terminal: str) -> bool:
        """Whether the automaton could take ``terminal`` next."""
        rows, rules = self.table.states, self.table.rules
        stack = list(states)
        while (action := rows[stack[-1]].get(terminal)) is not None:
            if action >= 0:
                return True
            name, length, _ = rules[~action]
            if length:
                del stack[-length:]
            stack.append(rows[stack[-1]][name])
        return False

    def _span(self, token: Token, before: Token | None) -> Span:
        """The token, or what stands before it where the token is an end that has no text."""
        if token[1] or before is None:
            return self.spot(token[2], token[3])
        return self.spot(before[2], before[3])

    # --- slips -----------------------------------------------------------------------------

    def _no_value(self, tokens: list[Token], index: int) -> tuple[Diagnostic, int] | None:
        """``x =`` with nothing after it: the next member was taken for the value, or an end came."""
        if index == 0:
            return None
        kind, before = tokens[index][0], tokens[index - 1]
        new_line = kind in _MEMBER_WORDS and tokens[index][4]
        if before[0] in _DANGLING and (kind in _CLOSING or new_line):
            return self._missing(before), index
        start = _key_start(tokens, index - 1) if kind in ("COLON", "TARGETS", "LBRACE") else index
        if 0 < start < index and tokens[start][4] and tokens[start - 1][0] in _DANGLING:
            return self._missing(tokens[start - 1]), start
        return None

    def _missing(self, token: Token) -> Diagnostic:
        shown = "=" if token[0] == "TARGETS" else token[1]
        start = token[3] - 1 if token[0] == "TARGETS" else token[2]
        return MissingValue(span=self.spot(start, token[3]), after=shown)

    def _equal(self, tokens: list[Token], index: int) -> tuple[Diagnostic, int] | None:
        if tokens[index][0] != "EQUAL" or index == 0 or tokens[index - 1][0] != "NAME" or not _in_round(tokens, index):
            return None
        token = tokens[index]
        name, value = tokens[index - 1][1], tokens[index + 1][1] or "..."
        return EqualInArguments(span=self.spot(token[2], token[3]), name=name, value=value), index

    def _bar(self, tokens: list[Token], index: int) -> tuple[Diagnostic, int] | None:
        token = tokens[index]
        if token[0] != "BAR":
            return None
        return ForeignSpelling(span=self.spot(token[2], token[3]), found="|", instead="or"), index


def _in_round(tokens: list[Token], index: int) -> bool:
    """Whether the innermost bracket around a token is a parenthesis."""
    depth = 0
    for kind, *_ in reversed(tokens[:index]):
        depth += kind in ("RPAR", "RSQB", "RBRACE")
        if kind in CLOSERS:
            if depth == 0:
                return kind in ("LPAR", "LPAR_START")
            depth -= 1
    return False


def _key_start(tokens: list[Token], index: int) -> int:
    """The first token of the dotted name that ends at ``index``."""
    while index > 1 and tokens[index][0] == "NAME" and tokens[index - 1][0] == "DOT":
        index -= 2
    return index


def _advice(tokens: list[Token], index: int) -> str:
    kind, text = tokens[index][:2]
    before = tokens[index - 1] if index else ("", "", 0, 0, True)
    after = tokens[index + 1][0] if index + 1 < len(tokens) else ""
    if kind == "IF" and before[0] in _DANGLING:
        return "put the whole `if ... then ... else ...` in parentheses"
    if kind == "DEFINE" and before[0] in _DANGLING:
        return f"what is defined in place has no name: write `{text} {{ ... }}`, or define it first and use its name"
    if kind == "EQUAL":
        return "to compare, write `==`; one equation gives names to one value"
    if kind == "COLON" and before[0] == "STRING":
        return "keys are written without quotes"
    if text in RESERVED and after in ("COLON", "EQUAL"):
        return f"`{text}` is a word of the language; choose another name"
    if kind == "NUMBER" and before[0] == "DOT" and index > 1 and tokens[index - 2][0] == "NAME":
        return f"references count layers in brackets: `{tokens[index - 2][1]}[{text}]`"
    if kind == "DOT" and "NUMBER" in (before[0], after):
        return "write digits on both sides of the point: `0.5`, `1.0`"
    return ""


def describe(token: Token) -> str:
    """A token as the author sees it."""
    kind, text = token[:2]
    if kind == "$END":
        return "end of the file"
    if not text:
        return {"VALUE_CLOSE": "end of the value", "SEMICOLON": "end of the item"}.get(kind, "end of the mapping")
    shown = " ".join(text.split())
    return f"`{shown}`" if len(shown) <= 30 else f"`{shown[:27]}...`"


def describe_expected(terminals: set[str]) -> str:
    """What could stand here: values, operators and members are named as such."""
    words = []
    if {"LET", "PLUS"} <= terminals:
        return one_of(["an operator", "the next member"])
    if "NUMBER" in terminals and "PLUS" not in terminals:
        words.append("a member" if "LET" in terminals else "a value")
    elif terminals & ENDS == {"NAME"} or terminals == {"NAME"}:
        words.append("a name")
    elif terminals == {"STRING"}:
        words.append("a string")
    if "PLUS" in terminals:
        words.append("an operator")
    after_value = "PLUS" in terminals
    hidden = {"LPAR", "LBRACE"} if after_value or "NUMBER" in terminals else set()
    if terminals & {"RPAR", "RSQB", "VALUE_CLOSE"}:
        hidden |= {"COLON", "THEN"}  # true, but seldom what was meant
    words += [shown for name, shown in _PUNCTUATION.items() if name in terminals - hidden]
    return one_of(words)


__all__ = ["Explainer", "describe", "describe_expected"]
