"""Elementwise functions: their gradients as written source, and the operator that computes them again."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import tantra_dsl
from tantra_compiler.compile import pipeline
from tantra_compiler.emit.expr import Expr
from tantra_compiler.emit.gradients import elementwise_text, gradients_function
from tantra_compiler.options import CompileOptions
from tantra_compiler.passes.base import Step, run_passes
from tantra_compiler.runtime import operators
from tantra_compiler.runtime.elementwise import (
    MAPPED,
    MAPPED_BACKWARD,
    MAPPED_GRADIENTS,
    Elementwise,
    mapped,
    mapped_reference,
)
from tantra_compiler.runtime.linear import Linear
from tantra_compiler.runtime.mapped_linear import mapped_linear
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Program

PROGRAMS = {
    "silu gate": ("a * sigmoid(a) * b", "a b"),
    "gelu": ("0.5 * a * (1 + erf(a / sqrt(2)))", "a"),
    "gelu by tanh": ("0.5 * a * (1 + tanh(sqrt(0.6366197723675814) * (a + 0.044715 * a ** 3)))", "a"),
    "relu squared": ("max(a, 0) ** 2", "a"),
    "mish": ("a * tanh(softplus(a))", "a"),
    "gate of a gate": ("sigmoid(a * sigmoid(b)) * b + a", "a b"),
    "three": ("a * sigmoid(a) * b + tanh(c) * exp(-(a * a))", "a b c"),
    "a variable that does nothing": ("tanh(a) + 0 * b", "a b"),
    "steps": ("if a > b then tanh(a) * b else b", "a b"),
    "called like the gradient": ("tanh(grad) * part", "grad part"),
    "largest": ("max(a, b) * min(a, 0.5)", "a b"),
    "soft cap": ("30 * tanh(a / 30)", "a"),
    "rounded down": ("a // 0.3 + a % 0.7", "a"),
}


def program(name: str) -> Program:
    text, variables = PROGRAMS[name]
    return Program("fn", tuple(variables.split()), parse_scalar(text))


def gradients_of(name: str) -> Callable[..., tuple[Tensor, ...]]:
    scope: dict[str, Any] = {"torch": torch, "F": F, "Tensor": Tensor}
    exec(gradients_function("made", program(name)), scope)
    return scope["made"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", PROGRAMS)
def test_written_gradients_are_those_of_autograd(name: str) -> None:
    from tantra_compiler.emit.formulas import Formula

    given = program(name)
    variables = [torch.randn(200, dtype=torch.float64, requires_grad=True) for _ in given.variables]
    grad = torch.randn(200, dtype=torch.float64)
    formula = Formula({each: Expr(each) for each in given.variables}, builtins=True, like=Expr(given.variables[0]))
    scope = {"torch": torch, "F": F, **dict(zip(given.variables, variables, strict=True))}
    value = eval(formula.expr(given.body).text, scope)
    expected = torch.autograd.grad(value, variables, grad, allow_unused=True)
    again, *found = gradients_of(name)(grad, *(x.detach() for x in variables))
    torch.testing.assert_close(again, value.detach())
    for mine, true in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, torch.zeros_like(mine) if true is None else true)


def test_the_text_is_the_same_whatever_variables_are_called() -> None:
    other = Program("fn", ("up", "gate"), parse_scalar("up * sigmoid(up) * gate"))
    assert elementwise_text(program("silu gate")) == elementwise_text(other) == "2: x0 * sigmoid(x0) * x1"


# --- the operator --------------------------------------------------------------------------


def silu_gate(a: Tensor, b: Tensor) -> Tensor:
    return F.silu(a) * b


SILU_GATE = Elementwise(silu_gate, gradients_of("silu gate"), elementwise_text(program("silu gate")))


@pytest.fixture(autouse=True)
def every_size_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", 0)


OPERANDS: dict[str, list[tuple[int, ...]]] = {
    "two": [(2, 5, 12), (2, 5, 12)],
    "side by side": [(2, 5, 24)],
    "a vector": [(2, 5, 12), (12,)],
    "a number": [(), (2, 5, 12)],
    "a column": [(2, 5, 1), (2, 5, 12)],
    "a row of the batch": [(5, 12), (2, 5, 12)],
    "none": [(0, 12), (0, 12)],
}


def taught(run: Callable[..., Tensor], operands: list[Tensor]) -> list[Tensor]:
    given = [operand.detach().clone().requires_grad_() for operand in operands]
    out = run(*given)
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)
    return [out, *torch.autograd.grad((out * weight).sum(), given)]


@pytest.mark.parametrize("shapes", OPERANDS)
def test_the_operator_is_the_plain_form(shapes: str) -> None:
    operands = [torch.randn(shape, dtype=torch.float64) for shape in OPERANDS[shapes]]
    mine = taught(lambda *x: mapped(SILU_GATE, *x, width=12), operands)
    plain = taught(lambda *x: mapped_reference(SILU_GATE, *x, width=12), operands)
    for own, other in zip(mine, plain, strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("shapes", OPERANDS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_of_it_is_the_plain_form(shapes: str, bias: bool) -> None:
    layer = Linear(12, 7, bias=bias).double()
    operands = [torch.randn(shape, dtype=torch.float64) for shape in OPERANDS[shapes]]
    every: list[list[Tensor]] = []
    for run in (lambda *x: mapped_linear(SILU_GATE, layer, *x, width=12),
                lambda *x: layer(mapped_reference(SILU_GATE, *x, width=12))):  # fmt: skip
        layer.zero_grad()
        found = taught(run, operands)
        run(*operands).square().sum().backward()
        every.append([*found, *(weight.grad for weight in layer.parameters() if weight.grad is not None)])
    for own, other in zip(*every, strict=True):
        torch.testing.assert_close(own, other)


def test_only_operands_are_kept() -> None:
    kept: list[Tensor] = []
    a, b = (torch.randn(64, 12, requires_grad=True) for _ in range(2))
    layer = Linear(12, 7, bias=False)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):  # type: ignore[func-returns-value]
        mapped_linear(SILU_GATE, layer, a, b, width=12)
    assert {x.data_ptr() for x in kept} == {x.data_ptr() for x in (a, b, layer.weight)}


def test_a_layer_with_a_hook_is_called() -> None:
    layer, x = Linear(12, 7), torch.randn(3, 24, requires_grad=True)
    plain = mapped_linear(SILU_GATE, layer, x, width=12)
    layer.register_forward_hook(lambda _, __, out: 2 * out)
    torch.testing.assert_close(mapped_linear(SILU_GATE, layer, x, width=12), 2 * plain)


def test_operators_are_what_torch_expects() -> None:
    operands = [torch.randn(2, 5, 24, requires_grad=True)]
    torch.library.opcheck(MAPPED, (operands, 12, SILU_GATE.key))
    still = [x.detach() for x in operands]
    torch.library.opcheck(MAPPED_GRADIENTS, (torch.randn(2, 5, 12), still, 12, SILU_GATE.key))
    # torch does not make an operator functional that writes and returns a list: it runs outside of graphs only
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(MAPPED_BACKWARD, (torch.randn(2, 5, 12), still, 12, SILU_GATE.key), test_utils=checks)


def test_it_compiles_as_one_graph_and_takes_transformations() -> None:
    torch._dynamo.reset()
    layer, x = Linear(12, 7), torch.randn(3, 24)
    plain = layer(mapped_reference(SILU_GATE, x, width=12))
    compiled = torch.compile(
        lambda x: mapped_linear(SILU_GATE, layer, x, width=12), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(x), plain)
    by_func = torch.func.grad(lambda x: mapped(SILU_GATE, x, width=12).sum())(x)
    given = x.clone().requires_grad_()
    mapped(SILU_GATE, given, width=12).sum().backward()
    torch.testing.assert_close(by_func, given.grad)


# --- the pass ------------------------------------------------------------------------------

SPEC = """
fn odd(a, b) = tanh(a) * b
module net(x) {
  a = linear(x, dim)
  b = linear(x, dim)
  %s
}
model tiny {
  vocab: 16
  dim: 8
  embed: tokens
  layers: 1 of block {
    wiring: residual
    net
  }
  head: language_model
  objective: next_token
}
"""
KEPT = "one op with its linear layer; its value is not kept, but made again"
ALONE = "one op; what lies between its steps is not kept"


def decided(lines: str) -> list[SimpleNamespace]:
    found: list[SimpleNamespace] = []

    def watch(step: Step) -> None:
        if step.name == "fuse_activations":
            found.extend(SimpleNamespace(choice=each.choice, reason=each.reason) for each in step.decisions)

    run_passes(tantra_dsl.loads(SPEC % lines).graph(), pipeline(CompileOptions()), watch)
    return found


@pytest.mark.parametrize(
    ("lines", "choice", "reason"),
    [
        ("return linear(odd(a, b), dim)", "mapped_linear", KEPT),
        ("c = odd(a, b)\n  return linear(c, dim) + c", "mapped", ALONE),
        ("return odd(a, b)", "mapped", ALONE),
        ("c = a + b\n  return linear(c, dim)", "map", "its slopes are constants, for which nothing is kept"),
        ("c = a * b\n  return linear(c, dim) + c", None, ""),
    ],
)
def test_what_becomes_of_a_function_is_told(lines: str, choice: str | None, reason: str) -> None:
    found = decided(lines)
    assert [(each.choice, each.reason) for each in found] == ([(choice, reason)] if choice else [])
