"""Reads the graph's text form; the inverse of ``graph.text.format_graph``."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Final, TypeVar, cast, get_args

from tantra_dsl.graph.infix import COMPARISON, INFIX
from tantra_dsl.graph.lexer import Tokens
from tantra_dsl.graph.model import Attr, Body, BodyRef, Graph, Init, InputSpec, Node, Ref
from tantra_dsl.graph.types import Dim, DType, Size, TensorType
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Program, Scalar, ScalarOp, Var

T = TypeVar("T")

_OPS: Final = frozenset(get_args(ScalarOp))
_PROGRAMS: Final = ("mask", "score", "fn", "frequency", "table")
_LEVELS: Final = tuple(
    {symbol: op for op, (symbol, strength) in INFIX.items() if strength == level} for level in (1, 2, COMPARISON, 5, 6)
)
_CONSTANTS: Final[dict[str, int | float | bool]] = {
    "true": True, "false": False, "inf": float("inf"), "nan": float("nan"),
}  # fmt: skip


def parse_graph(text: str) -> Graph:
    """The graph that ``text`` describes, without origins. Raises ValueError with line and column."""
    tokens = Tokens(text)
    tokens.expect("graph")
    name = tokens.name()
    tokens.expect("{")
    tokens.expect("root")
    root = tokens.name()
    facts = _bindings(tokens, tokens.integer) if tokens.accept("facts") else ()
    bodies: dict[str, Body] = {}
    while not tokens.accept("}"):
        body = _body(tokens)
        bodies[body.key] = body
    if tokens.next.kind != "end":
        tokens.fail("the end")
    return Graph(name, root, bodies, facts)


def parse_program(text: str) -> Program:
    """The scalar program that ``text`` describes. Raises ValueError with line and column."""
    return _program(Tokens(text))


def _body(tokens: Tokens) -> Body:
    tokens.expect("body")
    key = tokens.name()
    tokens.expect("of")
    definition = tokens.name()
    tokens.expect("{")
    nodes: list[Node] = []
    while not tokens.accept("return"):
        nodes.append(_node(tokens))
    outputs = () if tokens.sees("taps", "}") else _bindings(tokens, lambda: _ref(tokens))
    taps = _bindings(tokens, lambda: _ref(tokens)) if tokens.accept("taps") else ()
    tokens.expect("}")
    return Body(key, definition, tuple(nodes), outputs, taps)


def _bindings(tokens: Tokens, value: Callable[[], T]) -> tuple[tuple[str, T], ...]:
    pairs: list[tuple[str, T]] = []
    while not pairs or tokens.accept(","):
        name = tokens.name()
        tokens.expect("=")
        pairs.append((name, value()))
    return tuple(pairs)


def _ref(tokens: Tokens) -> Ref:
    node = tokens.name()
    if not tokens.accept("["):
        return Ref(node)
    out = tokens.integer()
    tokens.expect("]")
    return Ref(node, out)


def _node(tokens: Tokens) -> Node:
    id = tokens.name()
    types: list[TensorType] = []
    if tokens.accept(":"):
        types.append(_type(tokens))
        while tokens.accept(","):
            types.append(_type(tokens))
    tokens.expect("=")
    op = tokens.name()
    inputs, attrs = _operands(tokens)
    equation, target = _equation(tokens)
    return Node(id, op, inputs, attrs, tuple(types), equation, target)


def _operands(tokens: Tokens) -> tuple[tuple[Ref, ...], tuple[tuple[str, Attr], ...]]:
    inputs: list[Ref] = []
    attrs: list[tuple[str, Attr]] = []
    tokens.expect("(")
    while not tokens.accept(")"):
        if tokens.sees_binding():
            name = tokens.name()
            tokens.expect("=")
            attrs.append((name, _attr(tokens)))
        else:
            inputs.append(_ref(tokens))
        if not tokens.sees(")"):
            tokens.expect(",")
    return tuple(inputs), tuple(attrs)


def _equation(tokens: Tokens) -> tuple[int | None, str | None]:
    if not tokens.accept("@"):
        return None, None
    equation = None if tokens.accept("-") else tokens.integer()
    return equation, tokens.name() if tokens.accept(":") else None


# --- types -----------------------------------------------------------------------------


def _type(tokens: Tokens) -> TensorType:
    dtype = cast(DType, tokens.accept("int", "bool") or "float")
    dims: list[Dim] = []
    tokens.expect("[")
    while not tokens.accept("]"):
        dims.append(_dim(tokens))
        if not tokens.sees("]"):
            tokens.expect(",")
    return TensorType(tuple(dims), dtype)


def _dim(tokens: Tokens) -> Dim:
    name = tokens.name()
    if not tokens.accept("="):
        return Dim(name, Size.symbol(name))
    constant, terms = Fraction(0), []
    while True:
        factor = _fraction(tokens) if tokens.next.kind == "number" or tokens.sees("-") else None
        if factor is None or tokens.accept("*"):
            terms.append((tokens.name(), Fraction(1) if factor is None else factor))
        else:
            constant = factor
        if not tokens.accept("+"):
            return Dim(name, Size(constant, tuple(terms)))


def _fraction(tokens: Tokens) -> Fraction:
    numerator = tokens.integer()
    return Fraction(numerator, tokens.integer() if tokens.accept("/") else 1)


# --- attributes ------------------------------------------------------------------------


def _attr(tokens: Tokens) -> Attr:
    if tokens.next.kind == "string":
        return tokens.name()
    if tokens.accept("@"):
        return BodyRef(tokens.name())
    if tokens.accept("("):
        return _tuple(tokens)
    if tokens.accept("init"):
        return Init(tokens.name(), _numbers(tokens))
    if tokens.accept("spec"):
        return _spec(tokens)
    if tokens.sees(*_PROGRAMS):
        return _program(tokens)
    word = tokens.accept("true", "false", "none")
    return tokens.number() if word is None else {"true": True, "false": False, "none": None}[word]


def _tuple(tokens: Tokens) -> tuple[Attr, ...]:
    items: list[Attr] = []
    while not tokens.accept(")"):
        items.append(_attr(tokens))
        if not tokens.sees(")"):
            tokens.expect(",")
    return tuple(items)


def _numbers(tokens: Tokens) -> tuple[float, ...]:
    numbers: list[float] = []
    tokens.expect("(")
    while not tokens.accept(")"):
        numbers.append(tokens.number())
        if not tokens.sees(")"):
            tokens.expect(",")
    return tuple(numbers)


def _spec(tokens: Tokens) -> InputSpec:
    kind = tokens.name()
    if not tokens.accept("("):
        return InputSpec(kind)
    limit = tokens.integer()
    tokens.expect(")")
    return InputSpec(kind, limit)


# --- programs --------------------------------------------------------------------------


def _program(tokens: Tokens) -> Program:
    kind = tokens.accept(*_PROGRAMS)
    if kind is None:
        tokens.fail("a program")
    tokens.expect("(")
    variables: list[str] = []
    while not tokens.sees(";", ")"):
        variables.append(tokens.name())
        tokens.accept(",")
    captures = _captures(tokens) if tokens.accept(";") else ()
    tokens.expect(")")
    tokens.expect("{")
    body = _scalar(tokens, captures)
    tokens.expect("}")
    name = tokens.name() if tokens.accept("as") else ""
    return Program(kind, tuple(variables), body, captures, name)  # type: ignore[arg-type]


def _captures(tokens: Tokens) -> tuple[Capture, ...]:
    captures: list[Capture] = []
    while not captures or tokens.accept(","):
        name = tokens.name()
        flags = tokens.accept(":") is not None
        learned = flags and tokens.accept("learned") is not None
        integer = flags and tokens.accept("int") is not None
        captures.append(Capture(name, learned, integer))
    return tuple(captures)


def _scalar(tokens: Tokens, captures: tuple[Capture, ...]) -> Scalar:
    if not tokens.accept("if"):
        return _chain(tokens, captures, 0)
    condition = _chain(tokens, captures, 0)
    tokens.expect("then")
    then = _chain(tokens, captures, 0)
    tokens.expect("else")
    return Op("where", (condition, then, _scalar(tokens, captures)))


def _chain(tokens: Tokens, captures: tuple[Capture, ...], level: int) -> Scalar:
    """Operands joined by the symbols of ``level``, grouped from the left."""
    left = _operand(tokens, captures, level)
    symbols = _LEVELS[level]
    while (symbol := tokens.accept(*symbols)) is not None:
        left = Op(cast(ScalarOp, symbols[symbol]), (left, _operand(tokens, captures, level)))
    return left


def _operand(tokens: Tokens, captures: tuple[Capture, ...], level: int) -> Scalar:
    if level + 1 == len(_LEVELS):
        return _unary(tokens, captures)
    if "<" in _LEVELS[level + 1] and tokens.accept("not"):
        return Op("not", (_operand(tokens, captures, level),))
    return _chain(tokens, captures, level + 1)


def _unary(tokens: Tokens, captures: tuple[Capture, ...]) -> Scalar:
    if not tokens.accept("-"):
        return _power(tokens, captures)
    if tokens.next.kind == "number" or tokens.sees("inf", "nan"):
        return Const(-tokens.number())
    return Op("neg", (_unary(tokens, captures),))


def _power(tokens: Tokens, captures: tuple[Capture, ...]) -> Scalar:
    base = _atom(tokens, captures)
    return Op("pow", (base, _unary(tokens, captures))) if tokens.accept("**") else base


def _atom(tokens: Tokens, captures: tuple[Capture, ...]) -> Scalar:
    if tokens.next.kind == "number":
        return Const(tokens.number())
    if tokens.accept("("):
        inner = _scalar(tokens, captures)
        tokens.expect(")")
        return inner
    if tokens.accept("#"):
        return Gather(tokens.integer(), _arguments(tokens, captures, "[", "]"))
    word = tokens.accept(*_CONSTANTS)
    if word is not None:
        return Const(_CONSTANTS[word])
    return _named(tokens, captures)


def _named(tokens: Tokens, captures: tuple[Capture, ...]) -> Scalar:
    if tokens.sees_call() and tokens.next.text in _OPS:
        op = cast(ScalarOp, tokens.name())
        return Op(op, _arguments(tokens, captures, "(", ")"))
    name = tokens.name()
    if not tokens.sees("["):
        return Var(name)
    numbers = [number for number, held in enumerate(captures) if held.name == name]
    if not numbers:
        tokens.fail(f"a capture called {json.dumps(name)} before this")
    return Gather(numbers[0], _arguments(tokens, captures, "[", "]"))


def _arguments(tokens: Tokens, captures: tuple[Capture, ...], left: str, right: str) -> tuple[Scalar, ...]:
    items: list[Scalar] = []
    tokens.expect(left)
    while not tokens.accept(right):
        items.append(_scalar(tokens, captures))
        if not tokens.sees(right):
            tokens.expect(",")
    return tuple(items)
