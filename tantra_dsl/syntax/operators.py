"""Precedence: flat `operand operator operand ...` to a tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.lexer import Token
from tantra_dsl.syntax.source import Span
from tantra_dsl.syntax.tree import Binary, BinaryOp, Expr, Unary

# Loosest first, as in tree.Binary; `not` stands between `and` and the comparisons.
_ROWS: tuple[tuple[str, ...], ...] = (
    ("|>",), ("of",), ("then",), ("or",), ("and",), ("not",), ("==", "!=", "<", "<=", ">", ">="), ("..",),
    ("+", "-"), ("*", "/", "//", "%", "@"), ("negative",), ("**",), ("share",),
)  # fmt: skip
PRECEDENCE: dict[str, int] = {op: level for level, row in enumerate(_ROWS) for op in row}
COMPARISON = PRECEDENCE["=="]
_POWER = PRECEDENCE["**"]


def prefix_precedence(op: str) -> int:
    """How tightly the prefix operator ``-``, ``not`` or ``share`` binds."""
    return PRECEDENCE["negative" if op == "-" else op]


def resolve(items: list[Expr | Token], spot: Callable[[int, int], Span], sink: Sink) -> Expr:
    """The tree of a flat list; prefix operators stand before their operand.

    Reports chained comparisons and a ``not`` that a tighter operator would cut in two.
    """
    return _Resolver(spot, sink).run(items)


class _Resolver:
    def __init__(self, spot: Callable[[int, int], Span], sink: Sink) -> None:
        self.spot = spot
        self.sink = sink
        self.operands: list[Expr] = []
        self.waiting: list[tuple[int, Token, bool]] = []  # precedence, operator, is it a prefix

    def run(self, items: list[Expr | Token]) -> Expr:
        want_operand = True
        for item in items:
            if not isinstance(item, tuple):
                self.operands.append(item)
                want_operand = False
            elif want_operand:
                self._prefix(item)
            else:
                self._binary(item)
                want_operand = True
        while self.waiting:
            self._apply()
        return self.operands[0]

    def _prefix(self, token: Token) -> None:
        level = prefix_precedence(token[1])
        if self.waiting and token[1] == "not" and self.waiting[-1][0] > level:
            self._misplaced(token, self.waiting[-1][1][1])
        self.waiting.append((level, token, True))

    def _binary(self, token: Token) -> None:
        level = PRECEDENCE[token[1]]
        while self.waiting and self.waiting[-1][0] >= level + (level == _POWER):
            if self.waiting[-1][0] == level == COMPARISON:
                self._chained(token)
            self._apply()
        self.waiting.append((level, token, False))

    def _misplaced(self, token: Token, operator: str) -> None:
        from tantra_dsl.diagnostics.syntax import MisplacedNot

        self.sink.add(MisplacedNot(span=self.spot(token[2], token[3]), operator=operator))

    def _chained(self, token: Token) -> None:
        from tantra_dsl.diagnostics.syntax import ChainedComparison

        self.sink.add(ChainedComparison(span=self.spot(token[2], token[3])))

    def _apply(self) -> None:
        _, token, is_prefix = self.waiting.pop()
        right = self.operands.pop()
        if is_prefix:
            span = self.spot(token[2], right.span.end)
            self.operands.append(Unary(token[1], right, span=span))  # type: ignore[arg-type]
            return
        left = self.operands.pop()
        span = self.spot(left.span.start, right.span.end)
        self.operands.append(Binary(cast(BinaryOp, token[1]), left, right, span=span))


__all__ = ["COMPARISON", "PRECEDENCE", "prefix_precedence", "resolve"]
