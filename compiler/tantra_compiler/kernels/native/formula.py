"""Scalar expressions as lines of C, every distinct step of them once."""

from __future__ import annotations

from functools import reduce
from typing import Final

from tantra_dsl.scalars.ir import Const, Gather, Op, Scalar, Var
from tantra_dsl.scalars.types import COMPARISONS, LOGIC
from tantra_dsl.scalars.walk import fold

_SYMBOLS: Final = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==",
    "ne": "!=", "and": "&", "or": "|",
}  # fmt: skip
_FUNCTIONS: Final = {
    "exp": "expf", "log": "logf", "log2": "log2f", "sqrt": "__builtin_sqrtf", "sin": "sinf", "cos": "cosf",
    "erf": "erff", "tanh": "tanhf", "sigmoid": "sigmoid", "softplus": "softplus", "abs": "__builtin_fabsf",
    "floor": "__builtin_floorf",
}  # fmt: skip
_MOST_FACTORS: Final = 8


class CFormula:
    """Names for expressions over float32 variables, which are called as they are; ``lines`` define the names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._named: dict[str, str] = {}
        self._truths: set[str] = set()

    def name(self, expr: Scalar) -> str:
        """What holds the value of ``expr`` behind ``lines``."""
        return fold(expr, self._visit)

    def _visit(self, node: Scalar, parts: list[str]) -> str:
        if isinstance(node, Const):
            return literal(node.value)
        if isinstance(node, Var):
            return node.name
        assert not isinstance(node, Gather), "elementwise functions read no tables"
        return self._step(_text(node, parts), self._is_truth(node, parts))

    def _is_truth(self, node: Op, parts: list[str]) -> bool:
        if node.op == "where":
            return parts[1] in self._truths
        return node.op in COMPARISONS or node.op in LOGIC

    def _step(self, text: str, truth: bool) -> str:
        if text not in self._named:
            made = f"t{len(self._named)}"
            self._named[text] = made
            self.lines.append(f"const {'int' if truth else 'f32'} {made} = {text};")
            if truth:
                self._truths.add(made)
        return self._named[text]


def literal(value: float) -> str:
    """A number in C; truth values are whole."""
    if isinstance(value, bool):
        return str(int(value))
    if value != value:
        return '__builtin_nanf("")'
    if value in (float("inf"), float("-inf")):
        return "__builtin_inff()" if value > 0 else "(-__builtin_inff())"
    return f"({float(value)!r}f)" if value < 0 else f"{float(value)!r}f"


def _text(node: Op, parts: list[str]) -> str:
    op = node.op
    if op in _SYMBOLS:
        return f" {_SYMBOLS[op]} ".join(parts)
    if op in ("min", "max"):
        return reduce(lambda left, right: f"{'smaller' if op == 'min' else 'larger'}({left}, {right})", parts)
    if op == "where":
        return f"{parts[0]} ? {parts[1]} : {parts[2]}"
    if op in ("neg", "not"):
        return f"{'-' if op == 'neg' else '!'}{parts[0]}"
    if op in ("floordiv", "mod"):
        quotient = f"__builtin_floorf({parts[0]} / {parts[1]})"
        return quotient if op == "floordiv" else f"{parts[0]} - {parts[1]} * {quotient}"
    return _power(node, parts) if op == "pow" else f"{_FUNCTIONS[op]}({parts[0]})"


def _power(node: Op, parts: list[str]) -> str:
    """Whole powers are products, as exact for negative numbers; C's own function does the others."""
    exponent = node.args[1]
    if isinstance(exponent, Const) and float(exponent.value).is_integer() and abs(exponent.value) <= _MOST_FACTORS:
        product = " * ".join([parts[0]] * abs(int(exponent.value))) or "1.0f"
        return product if exponent.value >= 0 else f"1.0f / ({product})"
    if exponent == Const(0.5):
        return f"__builtin_sqrtf({parts[0]})"
    return f"powf({parts[0]}, {parts[1]})"
