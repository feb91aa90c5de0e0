"""Whole-number expressions of a mask's plan as plain Python."""

from __future__ import annotations

from functools import reduce
from typing import Final

from tantra_compiler.emit.expr import ADD, ATOM, COMPARE, CONDITION, MUL, UNARY, Expr, call, infix, number
from tantra_dsl.scalars.ir import Const, Gather, Scalar, Var

_INFIX: Final = {
    "add": ("+", ADD), "sub": ("-", ADD), "mul": ("*", MUL), "div": ("/", MUL), "floordiv": ("//", MUL),
    "mod": ("%", MUL), "lt": ("<", COMPARE), "le": ("<=", COMPARE), "gt": (">", COMPARE), "ge": (">=", COMPARE),
    "eq": ("==", COMPARE), "ne": ("!=", COMPARE),
}  # fmt: skip
_FUNCTIONS: Final = {
    "abs": "abs", "exp": "exp_of", "log": "math.log", "log2": "math.log2", "sqrt": "math.sqrt", "tanh": "math.tanh",
    "erf": "math.erf", "sin": "math.sin", "cos": "math.cos", "floor": "floor_of", "min": "min", "max": "max",
}  # fmt: skip


def whole(expr: Scalar, captures: list[str], real: frozenset[str] = frozenset()) -> Expr:
    """``expr`` over Python numbers; captured tensors, called ``captures``, are read an element at a time.

    Those that are ``real`` hold real numbers, the others whole ones.
    """
    if isinstance(expr, Const):
        return number(expr.value)
    if isinstance(expr, Var):
        return Expr(expr.name)
    if isinstance(expr, Gather):
        name, place = captures[expr.capture], ", ".join(whole(part, captures, real).text for part in expr.index)
        return call("float" if name in real else "int", f"{name}[{place}]")
    parts = [whole(part, captures, real) for part in expr.args]
    if expr.op in _INFIX:
        symbol, rank = _INFIX[expr.op]
        return reduce(lambda left, right: infix(symbol, rank, left, right), parts)
    if expr.op in ("and", "or"):
        inner = f" {expr.op} ".join(part.at(COMPARE) for part in parts)
        return Expr(inner, CONDITION)
    if expr.op == "where":
        condition, then, otherwise = parts
        return Expr(f"{then.at(COMPARE)} if {condition.at(COMPARE)} else {otherwise.at(COMPARE)}", CONDITION)
    if expr.op == "neg":
        return Expr(f"-{parts[0].at(UNARY)}", UNARY)
    if expr.op == "not":
        return Expr(f"not {parts[0].at(ATOM)}", CONDITION)
    return _function(expr.op, parts)


def _function(op: str, parts: list[Expr]) -> Expr:
    if op == "pow":
        return call("power_of", *parts)
    if op == "sigmoid":
        return Expr(f"1 / (1 + math.exp(-{parts[0].at(UNARY)}))", MUL)
    return Expr(f"math.log1p(math.exp({parts[0].text}))") if op == "softplus" else call(_FUNCTIONS[op], *parts)
