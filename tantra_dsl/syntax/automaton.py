"""The LALR automaton: tokens to a tree, going on at the next member after a mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tantra_dsl.diagnostics.core import Diagnostic
from tantra_dsl.syntax.lexer import CLOSERS, Token
from tantra_dsl.syntax.limits import MAX_STATES, MAX_TREE_DEPTH
from tantra_dsl.syntax.source import Span
from tantra_dsl.syntax.tables import Table

Make = Callable[[list[Any]], Any] | None


class Groups:
    """The bracket structure of balanced tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self.partner: dict[int, int] = {}
        # The innermost opening bracket around each token, or -1; for a closing one, its partner.
        self.around: list[int] = []
        stack = [-1]
        for index, token in enumerate(tokens):
            self.around.append(stack[-1])
            if token[0] in ("RPAR", "RSQB", "RBRACE"):
                self.partner[stack.pop()] = index
            elif token[0] in CLOSERS:
                stack.append(index)

    def enclosing_brace(self, tokens: list[Token], index: int) -> int:
        """The opening brace whose members hold the token, or -1 at the top."""
        opener = self.around[index]
        while opener >= 0 and tokens[opener][0] != "LBRACE":
            opener = self.around[opener]
        return opener

    def in_broken(self, tokens: list[Token], index: int) -> bool:
        """Whether a parenthesis around or just before the token lacks its partner, which has been told."""
        before = tokens[index - 1] if index else tokens[index]
        if before[0] in ("RPAR", "RSQB") and not before[1]:
            return True
        opener = self.around[index]
        while opener >= 0 and tokens[opener][0] != "LBRACE":
            if not tokens[self.partner[opener]][1]:
                return True
            opener = self.around[opener]
        return False


class Automaton:
    """Runs the table over tokens, whose offsets ``spot`` turns into spans."""

    def __init__(
        self, table: Table, actions: list[Make], spot: Callable[[int, int], Span], report: Callable[[Diagnostic], None]
    ) -> None:
        self.table = table
        self.actions = actions
        self.spot = spot
        self.report = report
        self.tokens: list[Token] = []
        self.groups: Groups | None = None
        self.failed = False
        self.resumed = -1  # the last token that reading went on with: it never goes on at an earlier one

    def run(self, tokens: list[Token], end: int) -> Any:
        """The value of the whole text (lists of what could be read, after a mistake)."""
        self.tokens = [*tokens, ("$END", "", end, end, True)]
        rows, rules = self.table.states, list(zip(self.table.rules, self.actions, strict=True))
        values: list[Any] = []
        states, state, index = [0], 0, 0
        while True:
            token = self.tokens[index]
            action = rows[state].get(token[0])
            if action is None:
                index = self._recover(index, states, values)
                state = states[-1]
            elif action >= 0:
                if token[0] == "$END":
                    return values[0]
                states.append(action)
                values.append(token)
                state = action
                index += 1
                if len(states) > MAX_STATES:
                    return self._too_deep(token)
            else:
                (name, length, _), make = rules[~action]
                if length == 1:
                    if make is not None:
                        values[-1] = make(values[-1:])
                    state = rows[states[-2]][name]
                    states[-1] = state
                    continue
                if length:
                    parts = values[-length:]
                    del values[-length:], states[-length:]
                    values.append(make(parts) if make else parts[0])
                else:
                    values.append(make([]) if make else None)
                state = rows[states[-1]][name]
                states.append(state)

    def _too_deep(self, token: Token) -> None:
        from tantra_dsl.diagnostics.syntax import TooDeep

        self.failed = True
        self.report(TooDeep(span=self.spot(token[2], token[3]), limit=MAX_TREE_DEPTH))

    # --- after a mistake -------------------------------------------------------------------

    def _recover(self, index: int, states: list[int], values: list[Any]) -> int:
        """Report, drop the member under way, and give the index of the token to go on with."""
        self.failed = True
        tokens = self.tokens
        groups = self.groups = self.groups or Groups(tokens)
        resume = index
        if tokens[index][0] != "BAD" and not groups.in_broken(tokens, index):
            from tantra_dsl.syntax.explain import Explainer

            diagnostic, resume = Explainer(self.table, self.spot)(tokens, index, states)
            self.report(diagnostic)
        dropped = self._drop_member(index, states, values)
        boundary = self._boundary(resume, index, states[-1])
        opens_body = any(isinstance(part, tuple) and part[:1] in (("DEFINE",), ("BLOCK",)) for part in dropped)
        if opens_body:
            self._read_inside(index, boundary)
        return boundary

    def _drop_member(self, index: int, states: list[int], values: list[Any]) -> list[Any]:
        """Unwind to where a member of the body around the token may start; gives the dropped values."""
        assert self.groups is not None
        brace = self.groups.enclosing_brace(self.tokens, index)
        opened = [at for at, value in enumerate(values) if isinstance(value, tuple) and value[0] == "LBRACE"]
        outer = [at for at in opened if brace >= 0 and values[at][2] <= self.tokens[brace][2]]
        keep = opened[len(outer)] if len(outer) < len(opened) else len(values)  # a closed body may wait unreduced
        while "member" not in self.table.states[states[keep]]:
            keep -= 1
        dropped = values[keep:]
        del states[keep + 1 :], values[keep:]
        return dropped

    def _boundary(self, start: int, failed_at: int, state: int) -> int:
        """The first token from ``start`` at which the members of the enclosing body can go on."""
        assert self.groups is not None
        groups, tokens = self.groups, self.tokens
        row = self.table.states[state]
        brace = groups.enclosing_brace(tokens, start)
        stop = groups.partner.get(brace, len(tokens) - 1)
        index = start
        while index < stop:
            first = tokens[index][4] or tokens[index - 1][0] in ("COMMA", "SEMICOLON")
            if first and groups.around[index] == brace and self._can_resume(index, failed_at, row):
                break
            index = groups.partner.get(index, index) + 1
        self.resumed = max(index, self.resumed)
        return index

    def _can_resume(self, index: int, failed_at: int, row: dict[str, int]) -> bool:
        token = self.tokens[index]
        if index <= self.resumed:
            return False
        starts_member = row.get(token[0]) is not None and token[0] not in ("COMMA", "SEMICOLON")
        return starts_member and (index != failed_at or token[4])

    def _read_inside(self, start: int, stop: int) -> None:
        """Look for mistakes in the bodies that were skipped along with a broken head."""
        assert self.groups is not None
        index = start
        while index < stop:
            partner = self.groups.partner.get(index)
            if partner and self.tokens[index][0] == "LBRACE" and partner <= stop:
                inner = Automaton(self.table, self.actions, self.spot, self.report)
                inner.run(self.tokens[index + 1 : partner], self.tokens[partner][2])
            index = (partner or index) + 1


__all__ = ["Automaton", "Groups"]
