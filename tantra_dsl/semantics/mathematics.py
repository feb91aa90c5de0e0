"""Mathematical functions, on numbers at once and on tensors as elementwise nodes."""

from __future__ import annotations

import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.references as references
from tantra_dsl.diagnostics.semantics import BadArithmetic, WrongType
from tantra_dsl.scalars.ir import Op, Scalar, Var
from tantra_dsl.semantics.numbers import FUNCTIONS, ArithmeticMistake, function
from tantra_dsl.semantics.primitives import (
    Application,
    Primitive,
)
from tantra_dsl.semantics.values import POISON, Poison, Tensor, Value, is_number


def mathematical(name: str) -> Primitive:
    """The primitive that applies the function ``name``."""

    def build(a: Application) -> Value:
        return _apply_function(name, a)

    return Primitive(name, (), (("values*", None),), build)


def _apply_function(name: str, a: Application) -> Value:
    values = [evaluate.force(thunk, a.frame) for thunk in a.thunks.values()]
    if any(value is POISON for value in values):
        return POISON
    arity = FUNCTIONS[name][0]
    if len(values) != arity and not (arity < 0 and len(values) >= -arity):
        report = WrongType(
            span=a.span,
            wanted=f"{abs(arity)} value{'s' if abs(arity) > 1 else ''}",
            got=str(len(values)),
            where=f"`{name}`",
        )
        return a.frame.session.report(report)
    if all(is_number(value) for value in values):
        try:
            return function(name, values)
        except ArithmeticMistake as mistake:
            return a.frame.session.report(BadArithmetic(span=a.frame.user_span(a.span), reason=str(mistake)))
    return _map_function(name, values, a)


def _map_function(name: str, values: list[Value], a: Application) -> Value:
    operands: list[Tensor] = []
    scalars: list[Scalar] = []
    for value in values:
        if is_number(value):
            scalars.append(evaluate.constant(value))
            continue
        tensor = references.tensor(value, a.frame, a.span)
        if isinstance(tensor, Poison):
            return POISON
        scalars.append(Var("abcdefgh"[len(operands)]))
        operands.append(tensor)
    if name == "ceil":
        body: Scalar = Op("neg", (Op("floor", (Op("neg", (scalars[0],)),)),))
    elif name in ("min", "max"):
        body = scalars[0]
        for scalar in scalars[1:]:
            body = Op(name, (body, scalar))  # type: ignore[arg-type]
    else:
        body = Op(name, tuple(scalars))  # type: ignore[arg-type]
    return evaluate.apply_map(body, operands, a.span, a.frame, f"`{name}`", name)
