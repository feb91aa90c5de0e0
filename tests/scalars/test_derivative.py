"""Symbolic derivatives against automatic differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tantra_dsl.scalars.derivative import derivative
from tantra_dsl.scalars.evaluate import evaluate
from tantra_dsl.scalars.format import format_scalar, parse_scalar
from tantra_dsl.scalars.ir import Const, Op, Scalar, Var
from tantra_dsl.scalars.walk import ScalarError
from tests.scalars.programs import numbers

Tensor = torch.Tensor
IN_TORCH: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "mod": torch.remainder, "pow": torch.pow,
    "neg": torch.neg, "abs": torch.abs, "min": torch.minimum, "max": torch.maximum, "exp": torch.exp, "log": torch.log,
    "log2": torch.log2, "sqrt": torch.sqrt, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "erf": torch.erf,
    "softplus": torch.nn.functional.softplus, "sin": torch.sin, "cos": torch.cos, "floor": torch.floor,
    "floordiv": lambda a, b: torch.floor(a / b), "where": torch.where, "lt": torch.lt, "le": torch.le, "gt": torch.gt,
    "ge": torch.ge, "eq": torch.eq, "ne": torch.ne, "and": torch.logical_and, "or": torch.logical_or,
    "not": torch.logical_not,
}  # fmt: skip

ACTIVATIONS = [
    "0.5 * x * (1 + erf(x / 1.4142135623730951))",
    "0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x ** 3)))",
    "max(x, 0) ** 2",
    "x * sigmoid(1.702 * x)",
    "30 * tanh(x / 30)",
    "if x > 0 then x else exp(x) - 1",
    "x * tanh(softplus(x))",
    "min(max(x, -1), 1)",
    "abs(x)",
    "x % 3",
    "2 ** x",
    "x ** x",
    "1 / (1 + x * x)",
    "min(x, x)",
    "log2(x * x + 1) + sqrt(x * x + 1) + sin(x) * cos(x)",
]


def in_torch(expr: Scalar, x: Tensor) -> Tensor:
    if isinstance(expr, Const):
        return torch.tensor(expr.value, dtype=torch.bool if isinstance(expr.value, bool) else torch.float64)
    if isinstance(expr, Var):
        return x if expr.name == "x" else torch.tensor(1.25, dtype=torch.float64)
    assert isinstance(expr, Op)
    parts = [in_torch(part, x) for part in expr.args]
    result = parts[0]
    if expr.op in ("min", "max", "add", "mul", "and", "or"):
        for part in parts[1:]:
            result = IN_TORCH[expr.op](result, part)
        return result
    return IN_TORCH[expr.op](*parts)


def slope_in_torch(expr: Scalar, at: float) -> float:
    x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    result = in_torch(expr, x)
    if not result.requires_grad:
        return 0.0
    (slope,) = torch.autograd.grad(result, x, allow_unused=True)
    return 0.0 if slope is None else float(slope)


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("text", ACTIVATIONS)
@pytest.mark.parametrize("at", [-2.5, -1.0, -0.3, 0.0, 0.5, 1.0, 4.0])
def test_slopes_of_activations(text: str, at: float) -> None:
    expr = parse_scalar(text)
    expected = slope_in_torch(expr, at)
    if math.isnan(expected) or (text == "x ** x" and at <= 0):
        return
    assert close(float(evaluate(derivative(expr, "x"), {"x": at})), expected)


def small(expr: Scalar) -> bool:
    return all(abs(float(number)) < 50 for number in _constants(expr))


def _constants(expr: Scalar) -> list[float]:
    if isinstance(expr, Const):
        return [expr.value]
    return [number for part in getattr(expr, "args", ()) for number in _constants(part)]


@settings(max_examples=200, deadline=None)
@given(numbers(("x", "y"), depth=2), st.floats(-3, 3).map(lambda value: round(value, 3)))
def test_slopes_of_anything(expr: Scalar, at: float) -> None:
    assume(small(expr) and "@" not in format_scalar(expr))
    try:
        slope = derivative(expr, "x")
    except ScalarError:
        return
    found, expected = float(evaluate(slope, {"x": at, "y": 1.25})), slope_in_torch(expr, at)
    value = float(in_torch(expr, torch.tensor(at, dtype=torch.float64)))
    assume(all(math.isfinite(number) for number in (found, expected, value)))
    assert math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y", "0"),
        ("x", "1"),
        ("3 * x", "3"),
        ("x * x", "x + x"),
        ("x + y", "1"),
        ("y - x", "-1"),
        ("x ** 3", "3 * x ** 2"),
        ("floor(x)", "0"),
        ("if y > 0 then x else 2 * x", "if y > 0 then 1 else 2"),
    ],
)
def test_slopes_are_written_briefly(text: str, expected: str) -> None:
    assert format_scalar(derivative(parse_scalar(text), "x")) == expected


def test_captured_tensors_are_constants() -> None:
    assert format_scalar(derivative(parse_scalar("x * @0[q]"), "x")) == "@0[q]"


def test_a_derivative_that_would_explode_is_refused() -> None:
    text = "x"
    for _ in range(60):
        text = f"({text}) * sin({text})" if len(text) < 5000 else f"tanh({text})"
    with pytest.raises(ScalarError):
        derivative(parse_scalar(text), "x")
