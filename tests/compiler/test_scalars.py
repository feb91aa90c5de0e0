"""Scalar programs as emitted functions, against their evaluation in plain Python."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hand_programs import GELU, GELU_TANH, QUICK_GELU, RELU, RELU2, SILU, fn, mask, op, scalar
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tantra_compiler.emit.builtins import match_builtin
from tantra_compiler.emit.programs import Programs
from tantra_dsl.scalars.evaluate import evaluate
from tantra_dsl.scalars.ir import Const, Gather, Program, Scalar, Var
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.walk import ScalarError


def run(program: Program, *arguments: Tensor) -> Tensor:
    """The emitted function of ``program`` on ``arguments``."""
    programs = Programs(lambda name: name)
    name = programs.function(program)
    source = "\n".join(programs.sources)
    assert max(map(len, source.splitlines())) <= 120
    scope: dict[str, Any] = {"torch": torch, "F": F, "Tensor": Tensor}
    exec(source, scope)
    return scope[name](*arguments)  # type: ignore[no-any-return]


# --- torch's own functions -------------------------------------------------------------

SAME = {
    "gelu": (GELU, "F.gelu", {}),
    "gelu_tanh": (GELU_TANH, "F.gelu", {"approximate": '"tanh"'}),
    "silu": (SILU, "F.silu", {}),
    "relu": (RELU, "F.relu", {}),
    "silu as a quotient": (fn(op("div", "x", op("add", 1, op("exp", op("neg", "x")))), "x"), "F.silu", {}),
    "gelu, halved last": (
        fn(op("mul", op("mul", op("add", op("erf", op("mul", "x", math.sqrt(0.5))), 1.0), "x"), 0.5), "x"),
        "F.gelu",
        {},
    ),
    "relu the other way": (fn(op("max", 0, "x"), "x"), "F.relu", {}),
    "sigmoid": (fn(op("div", 1, op("add", op("exp", op("neg", "x")), 1)), "x"), "torch.sigmoid", {}),
    "softplus": (fn(op("log", op("add", 1, op("exp", "x"))), "x"), "F.softplus", {}),
}


@pytest.mark.parametrize("name", SAME)
def test_torch_functions_are_told_by_structure(name: str) -> None:
    program, function, keywords = SAME[name]
    assert match_builtin(program.body) == (function, Var("x"), keywords)
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    expected = torch.tensor([evaluate(program.body, {"x": value.item()}) for value in x], dtype=torch.float64)
    assert (run(program, x) - expected).abs().max() < 1e-9


@pytest.mark.parametrize(
    "program", [QUICK_GELU, fn(op("mul", "x", op("sigmoid", op("mul", 1.001, "x"))), "x", name="silu")]
)
def test_names_do_not_decide(program: Program) -> None:
    assert match_builtin(program.body) is None


def test_a_torch_function_inside_a_formula() -> None:
    assert match_builtin(RELU2.body) is None
    programs = Programs(lambda name: name)
    programs.function(RELU2)
    assert "F.relu(x) ** 2" in programs.sources[0]


def test_the_argument_may_be_an_expression() -> None:
    shifted = op("add", "x", 1)
    assert match_builtin(op("mul", shifted, op("sigmoid", shifted))) == ("F.silu", shifted, {})


# --- any program -----------------------------------------------------------------------

UNARY = ["neg", "abs", "exp", "tanh", "sigmoid", "softplus", "erf", "sin", "cos", "floor"]
BINARY = ["add", "sub", "mul", "min", "max"]
COMPARISON = ["lt", "le", "gt", "ge", "eq", "ne"]


def numbers(variables: list[str]) -> st.SearchStrategy[Scalar]:
    leaves = (
        st.sampled_from(variables).map(Var) | st.integers(-4, 4).map(Const) | st.sampled_from([0.5, -1.5]).map(Const)
    )

    def grown(inner: st.SearchStrategy[Scalar]) -> st.SearchStrategy[Scalar]:
        pairs = st.builds(lambda name, a, b: op(name, a, b), st.sampled_from(BINARY), inner, inner)
        single = st.builds(lambda name, a: op(name, a), st.sampled_from(UNARY), inner)
        whole = st.builds(
            lambda name, a, b: op(name, a, Const(b)),
            st.sampled_from(["mod", "floordiv", "pow"]),
            inner,
            st.integers(1, 3),
        )
        tests = st.builds(lambda name, a, b: op(name, a, b), st.sampled_from(COMPARISON), inner, inner)
        chosen = st.builds(lambda c, a, b: op("where", c, a, b), tests, inner, inner)
        return pairs | single | whole | chosen

    return st.recursive(leaves, grown, max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(body=numbers(["x", "y"]), x=st.sampled_from([-2.0, -0.5, 0.75, 3.0]), y=st.sampled_from([-1.0, 0.25, 2.0]))
def test_functions_compute_their_program(body: Scalar, x: float, y: float) -> None:
    try:
        simplified = simplify(body)
    except ScalarError:
        assume(False)
    expected = float(evaluate(simplified, {"x": x, "y": y}))
    assume(math.isfinite(expected) and abs(expected) < 1e12 and well_conditioned(simplified, x, y))
    made = run(fn(body, "x", "y"), torch.tensor([x], dtype=torch.float64), torch.tensor([y], dtype=torch.float64))
    assert made.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def well_conditioned(body: Scalar, x: float, y: float) -> bool:
    """Whether rounding cannot move it across a step: values just beside give almost the same."""
    near = [evaluate(body, {"x": x + e, "y": y + d}) for e in (-1e-11, 0, 1e-11) for d in (-1e-11, 0, 1e-11)]
    return max(near) - min(near) <= 1e-6 * max(1.0, abs(near[4]))


POSITIONS = ["q", "k", "h"]


def truths() -> st.SearchStrategy[Scalar]:
    whole = st.sampled_from(POSITIONS).map(Var) | st.integers(0, 5).map(Const)
    sums = st.builds(lambda name, a, b: op(name, a, b), st.sampled_from(["add", "sub", "max"]), whole, whole)
    kept = st.builds(lambda a, n: op("mod", a, Const(n)), sums, st.integers(1, 4))
    tests = st.builds(lambda name, a, b: op(name, a, b), st.sampled_from(COMPARISON), sums | kept, sums | whole)

    def joined(inner: st.SearchStrategy[Scalar]) -> st.SearchStrategy[Scalar]:
        pairs = st.builds(lambda name, a, b: op(name, a, b), st.sampled_from(["and", "or"]), inner, inner)
        return pairs | inner.map(lambda a: op("not", a))

    return st.recursive(tests, joined, max_leaves=6)


@settings(max_examples=80, deadline=None)
@given(body=truths())
def test_masks_compute_their_program(body: Scalar) -> None:
    b, h = torch.arange(1).view(1, 1, 1, 1), torch.arange(2).view(2, 1, 1)
    q, k = torch.arange(5).view(5, 1), torch.arange(5)
    made = run(mask(body), b, h, q, k).broadcast_to(1, 2, 5, 5)[0]
    expected = [
        [[bool(evaluate(body, {"b": 0, "h": i, "q": j, "k": n})) for n in range(5)] for j in range(5)] for i in range(2)
    ]
    assert made.dtype == torch.bool
    assert made.tolist() == expected


def test_long_programs_are_cut_into_named_parts() -> None:
    body: Scalar = scalar("x")
    for number in range(14):
        body = op(
            "add",
            op("tanh", op("mul", body, 0.123456789 + number)),
            op("sigmoid", op("mul", "x", 1.000000001 * number)),
        )
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    expected = torch.tensor([evaluate(body, {"x": value.item()}) for value in x], dtype=torch.float64)
    assert torch.allclose(run(fn(body, "x"), x), expected, rtol=1e-12)


def test_what_occurs_twice_is_computed_once() -> None:
    twice = op("exp", op("mul", "x", 0.3333))
    programs = Programs(lambda name: name)
    programs.function(fn(op("add", op("sin", twice), op("cos", twice)), "x"))
    assert programs.sources[0].count("torch.exp") == 1


def test_equal_programs_share_a_function_whatever_they_are_called() -> None:
    programs = Programs(lambda name: name)
    first = programs.function(fn(QUICK_GELU.body, "x", name="quick_gelu"))
    assert programs.function(fn(QUICK_GELU.body, "x", name="other")) == first
    assert len(programs.sources) == 1


def test_indices_are_whole_numbers() -> None:
    from tantra_dsl.scalars.ir import Capture

    bucket = op("floor", op("log2", op("add", op("abs", op("sub", "q", "k")), 1)))
    program = Program(
        "score",
        ("s", "b", "h", "q", "k"),
        op("add", "s", Gather(0, (bucket, Var("h")))),
        (Capture("table", learned=True),),
    )
    table = torch.arange(8.0).view(4, 2)
    h, q, k = torch.arange(2).view(2, 1, 1), torch.arange(3).view(3, 1), torch.arange(3)
    made = run(program, torch.zeros(3, 3), torch.zeros(1, 1, 1, 1), h, q, k, table)
    assert made[1].tolist() == [[1, 3, 3], [3, 1, 3], [3, 3, 1]]


def test_constants_alone_fill_a_tensor() -> None:
    assert run(fn(Const(2), "x"), torch.zeros(3)).tolist() == [2, 2, 2]
    assert isinstance(simplify(op("lt", 1, 2)), Const)
    assert run(mask(op("lt", 1, 2)), *[torch.arange(2)] * 4).tolist() == [True, True]
