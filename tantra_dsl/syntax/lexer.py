"""Text to tokens: brackets always balance, and every mistake has been told once.

A token is ``(terminal, text, start, end, begins_line)``. A closing bracket with empty text was
missing and has been reported; ``BAD`` marks a place that has been reported and that no rule takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.limits import MAX_DEPTH
from tantra_dsl.syntax.source import Span
from tantra_dsl.syntax.tables import load_table
from tantra_dsl.syntax.words import RESERVED, SOFT, TARGETS, begins_member, soft_terminal

Token = tuple[str, str, int, int, bool]

_MAX_DIGITS = 40
_MAX_EXPONENT = 308

# What can end a member, and what separates two.
ENDS = frozenset({"NAME", "NUMBER", "STRING", "RPAR", "RSQB", "RBRACE", "VALUE_CLOSE"})
_MEMBER_CAN_START_AFTER = ENDS | {None, "COMMA", "SEMICOLON", "LBRACE"}

CLOSERS = {"LPAR": "RPAR", "LPAR_START": "RPAR", "LSQB": "RSQB", "LSQB_START": "RSQB", "LBRACE": "RBRACE"}

_CONSTANTS = {
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "none", "NONE": "none",
    "null": "none", "Null": "none",
}  # fmt: skip
_FOREIGN = {
    "&&": "and", "||": "or", "<>": "!=", ":=": "=", "≤": "<=", "≥": ">=", "≠": "!=", "×": "*", "·": "*", "÷": "/",
    "−": "-", "–": "-", "—": "-", "∧": "and", "∨": "or", "¬": "not", "…": "..", "&": "and", "!": "not", "^": "**",
}  # fmt: skip
_SPECIAL = frozenset({*RESERVED, *SOFT, *_CONSTANTS})


def _either(spellings: list[str]) -> str:
    return "|".join(re.escape(text) for text in sorted(spellings, key=len, reverse=True))


@cache
def _scanner() -> re.Pattern[str]:
    table = load_table()
    symbols = [text for text in table.literals if not text[0].isalpha()]
    return re.compile(
        r"[ \t\r]*(?:"
        rf"(?P<NAME>{table.pattern('NAME')})"
        r"|(?P<SKIP>(?:[ \t\r\n]|\#[^\n]*)+)"
        rf"|(?!!=)(?P<FOREIGN>{_either(list(_FOREIGN))})"
        rf"|(?P<SYMBOL>{_either(symbols)})"
        rf"|(?P<NUMBER>{table.pattern('NUMBER')})"
        r"|(?P<BAD_NUMBER>[0-9][A-Za-z0-9_]*(?:\.[0-9][A-Za-z0-9_]*)*)"
        rf"|(?P<STRING>{table.pattern('STRING')})"
        r"|(?P<QUOTED>[“”„][^“”\"\n]*[“”\"]|[‘’'][^‘’'\n]*[‘’'])"
        r'|(?P<UNTERMINATED>["“”„\'‘’][^\n]*)'
        r"|(?P<UNKNOWN>[$?`~\\]+|.))",
        re.DOTALL,
    )


class Lexer:
    """Turns one text into tokens.

    ``spot`` makes a span of two offsets in the text; ``members`` says whether the text holds
    members (a file, the head of one) or one expression (a YAML scalar), and ``after`` which terminal
    it continues.
    """

    def __init__(
        self, text: str, spot: Callable[[int, int], Span], sink: Sink, *, members: bool, after: str | None = None
    ) -> None:
        self.text = text
        self.spot = spot
        self.sink = sink
        self.members = members
        self.after = after
        self.tokens: list[Token] = []
        self.open: list[int] = []
        self.in_braces = members
        self.cut_string = -1  # where the last string without an end started
        self.fixed = load_table().literals
        self.damaged = False  # brackets were added or dropped, so the structure is a guess

    def run(self) -> list[Token] | None:
        """The tokens, or None where the text nests too deeply to go on."""
        text, tokens, scan, fixed = self.text, self.tokens, _scanner().match, self.fixed
        position, size = 0, len(text)
        begins = False
        previous = self.after
        while position < size:
            match = scan(text, position)
            assert match is not None
            position = match.end()
            group = match.lastgroup
            start = match.start(match.lastindex or 0)
            word = text[start:position]
            if group == "SYMBOL":
                terminal = fixed[word]
                if word in "()[]{}":
                    if not self._bracket(terminal, word, start, begins):
                        return None
                    previous, begins = tokens[-1][0] if tokens else None, False
                    continue
            elif group == "SKIP":
                begins = begins or "\n" in word
                continue
            elif group == "NAME":
                terminal = "NAME"
                starts = self.in_braces and (begins or previous in _MEMBER_CAN_START_AFTER)
                if word in _SPECIAL:
                    if begins and not self.in_braces and begins_member(word, text, position):
                        self._leave_round(start)
                        starts, previous = True, None
                    terminal, word = self._word(word, start, position, previous, starts)
                if starts and terminal == "NAME" and (head := TARGETS.match(text, start)):
                    terminal, word, position = "TARGETS", head.group(), head.end()
            else:
                terminal, word = self._other(group or "", word, start, position)
            tokens.append((terminal, word, start, position, begins))
            previous, begins = terminal, False
        self._end()
        return tokens

    def _word(self, word: str, start: int, end: int, previous: str | None, starts: bool) -> tuple[str, str]:
        if word in SOFT:
            return soft_terminal(word, self.text, end, previous, starts), word
        if word in _CONSTANTS and previous != "DOT":
            instead = _CONSTANTS[word]
            self._foreign(start, end, word, instead)
            return "NAME", instead
        return self.fixed.get(word, "NAME"), word

    def _other(self, group: str, word: str, start: int, end: int) -> tuple[str, str]:
        """The terminal and text of a number, a string or something foreign."""
        if group == "STRING":
            return "STRING", word
        if group == "NUMBER":
            return self._number(word, start, end)
        if group == "FOREIGN":
            instead = _FOREIGN[word]
            self._foreign(start, end, word, instead)
            return self.fixed[instead], instead
        if group == "QUOTED":
            self._foreign(start, end, word[0] + word[-1], '""')
            return "STRING", '"' + word[1:-1].replace('"', '\\"') + '"'
        if group == "UNTERMINATED":
            self.cut_string = start
        self._nothing(group, word, self.spot(start, end))
        return "BAD", word

    def _foreign(self, start: int, end: int, found: str, instead: str) -> None:
        from tantra_dsl.diagnostics.syntax import ForeignSpelling

        self.sink.add(ForeignSpelling(span=self.spot(start, end), found=found, instead=instead))

    def _nothing(self, group: str, word: str, span: Span) -> None:
        from tantra_dsl.diagnostics.syntax import BadNumber, UnknownCharacter, UnterminatedString

        if group == "BAD_NUMBER":
            self.sink.add(BadNumber(span=span, text=word if len(word) <= 30 else word[:27] + "..."))
        elif group == "UNTERMINATED":
            self.sink.add(UnterminatedString(span=span))
        else:
            self.sink.add(UnknownCharacter(span=span, text=word, name=_describe(word[0])))

    def _number(self, word: str, start: int, end: int) -> tuple[str, str]:
        if len(word) <= 9 and word.isdigit():
            return "NUMBER", word
        digits, _, exponent = word.rstrip("KMBT").lower().partition("e")
        reason = ""
        if sum(map(str.isdigit, digits)) > _MAX_DIGITS:
            reason = f"more than {_MAX_DIGITS} digits"
        elif len(exponent) > 5 or abs(int(exponent or "0")) > _MAX_EXPONENT:
            reason = f"an exponent beyond {_MAX_EXPONENT}"
        if not reason:
            return "NUMBER", word
        from tantra_dsl.diagnostics.syntax import NumberTooLong

        self.sink.add(NumberTooLong(span=self.spot(start, end), reason=reason))
        return "BAD", word

    # --- brackets --------------------------------------------------------------------------

    def _bracket(self, terminal: str, word: str, start: int, begins: bool) -> bool:
        """Take one bracket; False where the nesting is too deep."""
        if word in ")]}":
            self._close(terminal, word, start, begins)
            return True
        if begins and self.in_braces and word != "{" and self.tokens and self.tokens[-1][0] in ENDS:
            terminal += "_START"
        self.open.append(len(self.tokens))
        self.in_braces = word == "{"
        self.tokens.append((terminal, word, start, start + 1, begins))
        if len(self.open) <= MAX_DEPTH:
            return True
        from tantra_dsl.diagnostics.syntax import TooDeep

        self.sink.add(TooDeep(span=self.spot(start, start + 1), limit=MAX_DEPTH))
        return False

    def _leave_round(self, start: int) -> None:
        """A word that can only begin a member begins a line inside parentheses: close them."""
        while not self.in_braces and self.open:
            self._unclosed(self.open[-1], self.spot(start, start + 1))
            self._pop((self._wanted(), "", start, start, False))

    def _close(self, terminal: str, word: str, start: int, begins: bool) -> None:
        while self.open and self._wanted() != terminal and self._is_open(terminal):
            self._unclosed(self.open[-1], self.spot(start, start + 1))
            self._pop((self._wanted(), "", start, start, False))
        if self.open and self._wanted() == terminal:
            self._pop((terminal, word, start, start + 1, begins))
        elif self.open and self._wanted() != "RBRACE" and terminal != "RBRACE":
            self._unopened(start, word, self.tokens[self.open[-1]])
            self._pop((self._wanted(), word, start, start + 1, begins))
        else:
            self._unopened(start, word, None)

    def _unopened(self, start: int, word: str, opener: Token | None) -> None:
        from tantra_dsl.diagnostics.syntax import Unopened

        self.damaged = True
        at = self.spot(opener[2], opener[3]) if opener else None
        shown = opener[1] if opener else ""
        self.sink.add(Unopened(span=self.spot(start, start + 1), closer=word, opener=shown, opened_at=at))

    def _wanted(self) -> str:
        return CLOSERS[self.tokens[self.open[-1]][0]]

    def _is_open(self, terminal: str) -> bool:
        return any(CLOSERS[self.tokens[index][0]] == terminal for index in self.open)

    def _pop(self, closer: Token) -> None:
        self.open.pop()
        self.tokens.append(closer)
        self.in_braces = self.tokens[self.open[-1]][0] == "LBRACE" if self.open else self.members

    def _unclosed(self, index: int, stopped_at: Span | None) -> None:
        from tantra_dsl.diagnostics.syntax import Unclosed

        self.damaged = True
        _, word, start, end, _ = self.tokens[index]
        if self.cut_string > start and "\n" not in self.text[start : self.cut_string]:
            return  # the string without an end took the bracket with it
        closer = {"(": ")", "[": "]", "{": "}"}[word]
        self.sink.add(Unclosed(span=self.spot(start, end), opener=word, closer=closer, stopped_at=stopped_at))

    def _end(self) -> None:
        """Close what is open; of braces, blame those whose closing brace is indented for another."""
        braces = [index for index in self.open if self.tokens[index][1] == "{"]
        for index in (self._misindented()[: len(braces)] or braces) if braces else []:
            self._unclosed(index, None)
        end = len(self.text)
        while self.open:
            if self.tokens[self.open[-1]][1] != "{":
                self._unclosed(self.open[-1], None)
            self._pop((self._wanted(), "", end, end, False))

    def _misindented(self) -> list[int]:
        found, stack = [], []
        for index, token in enumerate(self.tokens):
            if token[0] == "LBRACE":
                stack.append(index)
            elif token[0] == "RBRACE":
                opener = stack.pop()
                if token[4] and self._indent(self.tokens[opener][2]) > self._indent(token[2]):
                    found.append(opener)
        return sorted(found)

    def _indent(self, offset: int) -> int:
        line = self.text.rfind("\n", 0, offset) + 1
        return len(self.text[line:offset]) - len(self.text[line:offset].lstrip())


def _describe(character: str) -> str:
    import unicodedata

    name = unicodedata.name(character, f"U+{ord(character):04X}").lower()
    return f"`{character}` ({name})" if character.isprintable() and not character.isspace() else f"a {name}"


__all__ = ["CLOSERS", "ENDS", "Lexer", "Token"]
