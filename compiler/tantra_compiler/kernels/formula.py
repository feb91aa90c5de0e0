"""Scalar expressions as Triton source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final

from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Scalar, Var

_SYMBOLS: Final = {
    "add": "+", "sub": "-", "mul": "*", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
    "and": "&", "or": "|",
}  # fmt: skip
_OF_REALS: Final = {
    "exp": "tl.exp", "log": "tl.log", "log2": "tl.log2", "sqrt": "tl.sqrt", "sin": "tl.sin", "cos": "tl.cos",
    "erf": "tl.erf", "tanh": "tanh", "sigmoid": "sigmoid", "softplus": "softplus",
}  # fmt: skip
_WHOLE_RESULT: Final = frozenset({"add", "sub", "mul", "neg", "abs", "min", "max", "floordiv", "mod"})
_MOST_FACTORS: Final = 8


class TritonFormula:
    """Prints expressions over int32 positions and float32 scores.

    ``names`` says what variables are called; all others are called as they are. The captures' strides are read from
    the flat tuple ``strides``, their dimensions being ``ranks``.
    """

    def __init__(self, names: Mapping[str, str], captures: Sequence[Capture], ranks: Sequence[int]) -> None:
        self.names = names
        self.captures = captures
        self.starts = [sum(ranks[:number]) for number in range(len(ranks))]

    def text(self, expr: Scalar) -> str:
        """``expr`` as Triton."""
        if isinstance(expr, Const):
            return repr(expr.value)
        if isinstance(expr, Var):
            return self.names.get(expr.name, expr.name)
        if isinstance(expr, Gather):
            return self._load(expr)
        parts = [self.text(part) for part in expr.args]
        if expr.op == "mul" and sum(self._needs_room(part) for part in expr.args) > 1:
            parts[0] = f"{parts[0]}.to(tl.int64)"
        if expr.op in _SYMBOLS:
            return "(" + f" {_SYMBOLS[expr.op]} ".join(parts) + ")"
        return self._other(expr, parts)

    def _needs_room(self, expr: Scalar) -> bool:
        """Whether a product with another such number may not fit 32 bits."""
        return self.is_whole(expr) and not isinstance(expr, Const)

    def _other(self, expr: Op, parts: list[str]) -> str:
        op = expr.op
        if op in ("floordiv", "mod"):
            return self._division(expr, parts)
        if op in ("min", "max"):
            function = "tl.minimum" if op == "min" else "tl.maximum"
            return reduce(lambda left, right: f"{function}({left}, {right})", parts)
        if op == "where":
            return f"tl.where({parts[0]}, {parts[1]}, {parts[2]})"
        if op == "neg":
            return f"(-{parts[0]})"
        if op == "not":
            return f"(~{parts[0]})"
        if op == "abs":
            return f"tl.abs({parts[0]})"
        if op == "div":
            return f"({self._real(expr.args[0])} / {parts[1]})"
        if op == "floor":
            return parts[0] if self.is_whole(expr.args[0]) else f"tl.floor({self._real(expr.args[0])}).to(tl.int32)"
        if op == "pow":
            return self._power(expr)
        return f"{_OF_REALS[op]}({self._real(expr.args[0])})"

    def _division(self, expr: Op, parts: list[str]) -> str:
        if all(map(self.is_whole, expr.args)):
            return f"{'floor_div' if expr.op == 'floordiv' else 'floor_mod'}({parts[0]}, {parts[1]})"
        quotient = f"tl.floor({self._real(expr.args[0])} / {parts[1]})"
        return quotient if expr.op == "floordiv" else f"({parts[0]} - {quotient} * {parts[1]})"

    def _power(self, expr: Op) -> str:
        base, exponent = expr.args
        if isinstance(exponent, Const) and float(exponent.value).is_integer():
            count = abs(int(exponent.value))
            if count == 0:
                return "1.0"
            if count <= _MOST_FACTORS:
                product = "(" + " * ".join([self.text(base)] * count) + ")"
                return product if exponent.value > 0 else f"(1.0 / {product})"
        if isinstance(base, Const) and base.value > 0:
            return f"tl.exp2({self.text(exponent)} * {math.log2(base.value)!r})"
        if exponent == Const(0.5):
            return f"tl.sqrt({self._real(base)})"
        return f"power({self._real(base)}, {self.text(exponent)})"

    def _real(self, expr: Scalar) -> str:
        """``expr`` as a real number."""
        if isinstance(expr, Const):
            return repr(float(expr.value))
        return f"({self.text(expr)} * 1.0)" if self.is_whole(expr) else self.text(expr)

    def _load(self, expr: Gather) -> str:
        start = self.starts[expr.capture]
        offsets = [f"{self.position(part)} * strides[{start + axis}]" for axis, part in enumerate(expr.index)]
        place = " + ".join([f"captures[{expr.capture}]", *(each for each in offsets if not each.startswith("0 * "))])
        kind = "tl.int32" if self.captures[expr.capture].integer else "tl.float32"
        return f"tl.load({place}).to({kind})"

    def position(self, expr: Scalar) -> str:
        """``expr`` as an index."""
        return self.text(expr) if self.is_whole(expr) else f"{self._real(expr)}.to(tl.int32)"

    def is_whole(self, expr: Scalar) -> bool:
        """Whether ``expr`` is printed as a whole number."""
        if isinstance(expr, Const):
            return isinstance(expr.value, int)
        if isinstance(expr, Var):
            return expr.name != "s"
        if isinstance(expr, Gather):
            return self.captures[expr.capture].integer
        if expr.op == "where":
            return all(map(self.is_whole, expr.args[1:]))
        return expr.op == "floor" or (expr.op in _WHOLE_RESULT and all(map(self.is_whole, expr.args)))


class RealFormula(TritonFormula):
    """Prints expressions over float32 variables."""

    def is_whole(self, expr: Scalar) -> bool:
        """Whether ``expr`` is printed as a whole number."""
        return False if isinstance(expr, Var) else super().is_whole(expr)
