"""Scalar programs as Python expressions on tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final

from tantra_compiler.emit.builtins import match_builtin
from tantra_compiler.emit.expr import (
    ADD,
    BITAND,
    BITOR,
    COMPARE,
    MUL,
    UNARY,
    Expr,
    call,
    index,
    infix,
    method,
    number,
    power,
)
from tantra_dsl.scalars.ir import Const, Gather, Op, Scalar, Var

_INFIX: Final = {
    "add": ("+", ADD), "sub": ("-", ADD), "mul": ("*", MUL), "div": ("/", MUL), "floordiv": ("//", MUL),
    "mod": ("%", MUL), "and": ("&", BITAND), "or": ("|", BITOR), "lt": ("<", COMPARE), "le": ("<=", COMPARE),
    "gt": (">", COMPARE), "ge": (">=", COMPARE), "eq": ("==", COMPARE), "ne": ("!=", COMPARE),
}  # fmt: skip

_FUNCTIONS: Final = {
    "abs": "abs", "exp": "torch.exp", "log": "torch.log", "log2": "torch.log2", "sqrt": "torch.sqrt",
    "tanh": "torch.tanh", "sigmoid": "torch.sigmoid", "softplus": "F.softplus", "erf": "torch.erf",
    "sin": "torch.sin", "cos": "torch.cos", "floor": "torch.floor",
}  # fmt: skip

WHOLE: Final = frozenset({"add", "sub", "mul", "neg", "abs", "min", "max", "floordiv", "mod"})
"""Operations that give whole numbers for whole numbers."""


class Formula:
    """Prints scalar expressions.

    ``variables`` says what each variable is called here, ``captures`` each captured tensor, ``bound`` the
    subexpressions that already have a name. ``whole`` names the variables that hold ints, ``builtins`` allows
    torch's own functions where a part equals one, ``like`` is a variable that holds fractions.
    """

    def __init__(
        self,
        variables: Mapping[str, Expr],
        captures: Sequence[Expr] = (),
        whole: frozenset[str] = frozenset(),
        builtins: bool = False,
        like: Expr | None = None,
    ) -> None:
        self.variables = variables
        self.captures = captures
        self.whole = whole
        self.builtins = builtins
        self.like = like
        self.bound: dict[Scalar, Expr] = {}

    def expr(self, scalar: Scalar) -> Expr:
        """``scalar`` as Python."""
        if scalar in self.bound:
            return self.bound[scalar]
        if isinstance(scalar, Const):
            return number(scalar.value)
        if isinstance(scalar, Var):
            return self.variables[scalar.name]
        if isinstance(scalar, Gather):
            return index(self.captures[scalar.capture], *(self.index_of(part) for part in scalar.index))
        return self._builtin(scalar) or self._operation(scalar)

    def printed_parts(self, scalar: Scalar) -> tuple[Scalar, ...]:
        """The expressions that ``expr(scalar)`` prints inside of it."""
        if isinstance(scalar, Gather):
            return scalar.index
        found = match_builtin(scalar) if self.builtins and isinstance(scalar, Op) else None
        if found is not None:
            return (found[1],)
        return scalar.args if isinstance(scalar, Op) else ()

    def index_of(self, scalar: Scalar) -> str:
        """``scalar`` as an index of a tensor."""
        return self.expr(scalar).text if self._is_whole(scalar) else method(self.expr(scalar), "long").text

    def _is_whole(self, scalar: Scalar) -> bool:
        if isinstance(scalar, Const):
            return isinstance(scalar.value, int)
        if isinstance(scalar, Var):
            return scalar.name in self.whole
        if isinstance(scalar, Gather):
            return False
        if scalar.op == "where":
            return all(map(self._is_whole, scalar.args[1:]))
        return scalar.op in WHOLE and all(map(self._is_whole, scalar.args))

    def _builtin(self, scalar: Op) -> Expr | None:
        found = match_builtin(scalar) if self.builtins else None
        if found is None:
            return None
        function, argument, keywords = found
        return call(function, self.expr(argument), **keywords)

    def _operation(self, scalar: Op) -> Expr:
        op, args = scalar.op, scalar.args
        if op == "floordiv" and not self._is_whole(scalar):  # torch has no gradient of its //
            return call("torch.floor", self._operation(Op("div", args)))
        if op in _INFIX:
            symbol, rank = _INFIX[op]
            return reduce(lambda left, right: infix(symbol, rank, left, right), map(self.expr, args))
        if op in ("min", "max"):
            return self._extreme(op, args)
        if op == "pow":
            return power(self.expr(args[0]), self.expr(args[1]))
        if op in ("neg", "not"):
            return Expr(("-" if op == "neg" else "~") + self.expr(args[0]).at(UNARY), UNARY)
        if op == "where":
            return call("torch.where", *self._branches(args))
        return call(_FUNCTIONS[op], self.expr(args[0]))

    def _branches(self, args: tuple[Scalar, ...]) -> list[Expr]:
        """Condition and branches; of two numbers one becomes a tensor, so that the result is of the variables' type."""
        printed = [self.expr(arg) for arg in args]
        if self.like is not None and all(isinstance(arg, Const) for arg in args[1:]):
            printed[1] = call("torch.full_like", self.like, printed[1])
        return printed

    def _extreme(self, op: str, args: tuple[Scalar, ...]) -> Expr:
        """Smallest or largest of the operands; torch takes a number only as a bound."""
        bounds = [arg for arg in args if isinstance(arg, Const)]
        tensors = [self.expr(arg) for arg in args if not isinstance(arg, Const)]
        if not tensors:
            return number((min if op == "min" else max)(bound.value for bound in bounds))
        function = "torch.minimum" if op == "min" else "torch.maximum"
        result = reduce(lambda left, right: call(function, left, right), tensors)
        for bound in bounds:
            keyword = "max" if op == "min" else "min"
            result = method(result, "clamp", **{keyword: number(bound.value)})
        return result
