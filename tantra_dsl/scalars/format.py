"""Scalar expressions as text in the language's own spelling, and back."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from typing import NamedTuple

from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Scalar, ScalarOp, Var
from tantra_dsl.scalars.walk import MAX_DEPTH, ScalarError, fold

_IF, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(10)

SYMBOLS: dict[ScalarOp, str] = {
    "or": "or", "and": "and", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==",
    "ne": "!=", "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "pow": "**",
}  # fmt: skip
_LEVELS: dict[str, int] = {
    "or": _OR, "and": _AND, "<": _COMPARE, "<=": _COMPARE, ">": _COMPARE, ">=": _COMPARE, "==": _COMPARE,
    "!=": _COMPARE, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT, "**": _POWER,
}  # fmt: skip
_OPERATORS: dict[str, ScalarOp] = {symbol: op for op, symbol in SYMBOLS.items()}
FUNCTIONS: frozenset[str] = frozenset(
    {"abs", "min", "max", "exp", "log", "log2", "sqrt", "tanh", "sigmoid", "softplus", "erf", "sin", "cos", "floor"}
    | {"add", "mul", "and", "or"}
)
_WORDS = frozenset({"if", "then", "else", "and", "or", "not", "true", "false"})


class _Text(NamedTuple):
    text: str
    level: int

    def at(self, level: int) -> str:
        """The text, in parentheses where it binds looser than ``level``."""
        return self.text if self.level >= level else f"({self.text})"


def format_scalar(expr: Scalar, captures: Sequence[Capture] = ()) -> str:
    """``expr`` with the fewest parentheses, such as ``k <= q and q - k < 1024``; ``parse_scalar`` inverts it exactly.

    A capture is called by its name where that is unique and an ordinary name, otherwise ``@number``.
    """
    names = _capture_names(captures)
    return fold(expr, lambda node, parts: _format(node, parts, names)).text


def _capture_names(captures: Sequence[Capture]) -> list[str]:
    names = [capture.name for capture in captures]
    return [name if _plain(name) and names.count(name) == 1 else f"@{i}" for i, name in enumerate(names)]


def _plain(name: str) -> bool:
    return name.isidentifier() and name.isascii() and name not in _WORDS and not keyword.iskeyword(name)


def _format(node: Scalar, parts: list[_Text], names: list[str]) -> _Text:
    if isinstance(node, Const):
        return _format_constant(node.value)
    if isinstance(node, Var):
        return _Text(node.name, _ATOM)
    if isinstance(node, Gather):
        name = names[node.capture] if node.capture < len(names) else f"@{node.capture}"
        return _Text(f"{name}[{_listed(parts)}]", _ATOM)
    return _format_op(node, parts)


def _listed(parts: list[_Text]) -> str:
    return ", ".join(part.text for part in parts)


def _format_constant(value: int | float | bool) -> _Text:
    if isinstance(value, bool):
        return _Text("true" if value else "false", _ATOM)
    text = repr(value)
    return _Text(text, _SIGN if text.startswith("-") else _ATOM)


def _format_op(node: Op, parts: list[_Text]) -> _Text:
    if node.op == "where":
        condition, then, otherwise = parts
        return _Text(f"if {condition.at(_OR)} then {then.at(_OR)} else {otherwise.text}", _IF)
    if node.op == "not":
        return _Text(f"not {parts[0].at(_NOT)}", _NOT)
    if node.op == "neg":
        literal = isinstance(node.args[0], Const) and not parts[0].text.startswith("-")
        return _Text(f"-({parts[0].text})" if literal else f"-{parts[0].at(_SIGN)}", _SIGN)
    if node.op in SYMBOLS and len(parts) == 2:
        return _format_infix(SYMBOLS[node.op], *parts)
    return _Text(f"{node.op}({_listed(parts)})", _ATOM)


def _format_infix(symbol: str, left: _Text, right: _Text) -> _Text:
    level = _LEVELS[symbol]
    if level == _POWER:
        return _Text(f"{left.at(_ATOM)} ** {right.at(_SIGN)}", level)
    inner = level + 1 if level == _COMPARE else level
    return _Text(f"{left.at(inner)} {symbol} {right.at(level + 1)}", level)


# --- parsing -------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)|(?P<name>@\d+|[A-Za-z_]\w*)"
    r"|(?P<symbol>\*\*|//|<=|>=|==|!=|[-+*/%<>()\[\],])|(?P<bad>\S))",
    re.ASCII,
)


def parse_scalar(text: str, captures: Sequence[Capture] = ()) -> Scalar:
    """The expression that ``format_scalar`` wrote as ``text``. Raises ScalarError with the column of a mistake."""
    parser = _Parser(text, _capture_names(captures))
    expr = parser.expression(_IF)
    parser.expect("")
    return expr


class _Parser:
    """Precedence climbing over a token list; two frames per nesting level."""

    def __init__(self, text: str, captures: list[str]) -> None:
        self.tokens = [(m.lastgroup or "", m.group(m.lastgroup or 0), m.start()) for m in _TOKEN.finditer(text)]
        self.tokens.append(("end", "", len(text)))
        self.captures = {name: number for number, name in enumerate(captures)}
        self.position = 0
        self.depth = 0

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)][1]

    def take(self) -> tuple[str, str]:
        kind, text, _ = self.tokens[self.position]
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return kind, text

    def fail(self, wanted: str) -> ScalarError:
        found = self.peek() or "the end"
        return ScalarError(f"expected {wanted} at column {self.tokens[self.position][2] + 1}, found {found}", Const(0))

    def expect(self, symbol: str) -> None:
        if self.peek() != symbol:
            raise self.fail(symbol or "the end")
        self.take()

    def expression(self, level: int) -> Scalar:
        self.depth += 1
        if self.depth > 2 * MAX_DEPTH:
            raise ScalarError(f"the expression is nested more than {MAX_DEPTH} deep", Const(0))
        left = self.prefix(level)
        while (found := _LEVELS.get(self.peek(), -1)) >= level:
            operator = _OPERATORS[self.take()[1]]
            left = Op(operator, (left, self.expression(_SIGN if found == _POWER else found + 1)))
            if found == _COMPARE and _LEVELS.get(self.peek()) == _COMPARE:
                raise self.fail("one comparison only")
        self.depth -= 1
        return left

    def prefix(self, level: int) -> Scalar:
        kind, text = self.take()
        if text == "-":
            return self.negative()
        if text == "(":
            inner = self.expression(_IF)
            self.expect(")")
            return inner
        if text == "not" and level <= _NOT:
            return Op("not", (self.expression(_NOT),))
        if text == "if" and level == _IF:
            return self.conditional()
        if text in ("true", "false"):
            return Const(text == "true")
        if kind == "number":
            return self.number(text)
        return self.named(kind, text)

    def number(self, text: str) -> Scalar:
        if len(text) > 400:
            raise ScalarError("the number has more than 400 digits", Const(0))
        return Const(int(text) if text.isdigit() else float(text))

    def negative(self) -> Scalar:
        if self.tokens[self.position][0] == "number" and self.peek(1) != "**":
            literal = self.prefix(_ATOM)
            assert isinstance(literal, Const)
            return Const(-literal.value)
        return Op("neg", (self.expression(_SIGN),))

    def conditional(self) -> Scalar:
        condition = self.expression(_OR)
        self.expect("then")
        then = self.expression(_OR)
        self.expect("else")
        return Op("where", (condition, then, self.expression(_IF)))

    def closed(self, end: str) -> tuple[Scalar, ...]:
        parts = [self.expression(_IF)]
        while self.peek() == ",":
            self.take()
            parts.append(self.expression(_IF))
        self.expect(end)
        return tuple(parts)

    def named(self, kind: str, text: str) -> Scalar:
        if text in FUNCTIONS and self.peek() == "(":
            self.take()
            return Op(text, self.closed(")"))  # type: ignore[arg-type]
        if self.peek() == "[" and (text in self.captures or text.startswith("@")):
            self.take()
            number = self.captures[text] if text in self.captures else int(text[1:])
            return Gather(number, self.closed("]"))
        if kind != "name" or text in _WORDS or text.startswith("@"):
            self.position = max(self.position - 1, 0)
            raise self.fail("a value")
        return Var(text)
