"""The gradients of an elementwise function as Python source, by torch's own gradients where it has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tantra_compiler.emit.builtins import match_builtin
from tantra_compiler.emit.expr import Expr, call, header, number, several, statement
from tantra_compiler.emit.formulas import Formula
from tantra_compiler.emit.named_parts import shared_parts
from tantra_compiler.emit.names import free
from tantra_dsl.scalars.derivative import ZERO, derivative, plus, times
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Op, Program, Scalar, Var
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.walk import children, substitute, variables_of, with_children

Gradient = Callable[[Expr, Expr, Expr, dict[str, str]], Expr]


def _by_argument(function: str, *settings: float) -> Gradient:
    """A gradient that torch takes of the argument."""
    return lambda grad, argument, _, keywords: call(function, grad, argument, *map(number, settings), **keywords)


def _by_value(function: str) -> Gradient:
    """A gradient that torch takes of the value."""
    return lambda grad, _, value, keywords: call(function, grad, value)


_GRADIENTS: Final[dict[str, Gradient]] = {
    "F.gelu": _by_argument("torch.ops.aten.gelu_backward"),
    "F.silu": _by_argument("torch.ops.aten.silu_backward"),
    "F.relu": _by_argument("torch.ops.aten.threshold_backward", 0),
    "F.softplus": _by_argument("torch.ops.aten.softplus_backward", 1, 20),
    "torch.sigmoid": _by_value("torch.ops.aten.sigmoid_backward"),
    "torch.tanh": _by_value("torch.ops.aten.tanh_backward"),
}
_SINGLE: Final = {"sigmoid": "torch.sigmoid", "tanh": "torch.tanh", "softplus": "F.softplus"}


@dataclass(frozen=True)
class _Part:
    """A function of torch's within a program: what stands for its value, its argument, its keywords."""

    value: Var
    function: str
    argument: Scalar
    keywords: tuple[tuple[str, str], ...]


def elementwise_text(program: Program) -> str:
    """``2: x0 * x1``: how many variables ``program`` has, and what it computes of them, whatever they are called."""
    names: dict[str, Scalar] = {each: Var(f"x{number}") for number, each in enumerate(program.variables)}
    return f"{len(names)}: {format_scalar(substitute(simplify(program.body), names))}"


def gradients_function(name: str, program: Program) -> str:
    """A function of a gradient and the variables of ``program``: its value, and what the gradient is by each variable.

    Raises ScalarError where a slope cannot be written.
    """
    return _Gradients(name, program).source()


class _Gradients:
    def __init__(self, name: str, program: Program) -> None:
        self.name, self.parameters = name, list(program.variables)
        self.taken = set(self.parameters)
        self.grad = self._free("grad")
        self.parts: list[_Part] = []
        self.outer = simplify(self._outer(simplify(program.body)))
        self.formula = Formula({each: Expr(each) for each in self.taken}, builtins=True, like=Expr(self.parameters[0]))

    def _free(self, wanted: str) -> str:
        name = free(wanted, self.taken)
        self.taken.add(name)
        return name

    def _outer(self, body: Scalar) -> Scalar:
        """``body`` with variables in the place of torch's own functions."""
        found = self._own_function(body)
        if found is None:
            return with_children(body, [self._outer(part) for part in children(body)])
        known = next((part for part in self.parts if (part.function, part.argument, part.keywords) == found), None)
        if known is None:
            known = _Part(Var(self._free("part")), *found)
            self.parts.append(known)
        return known.value

    def _own_function(self, body: Scalar) -> tuple[str, Scalar, tuple[tuple[str, str], ...]] | None:
        found = match_builtin(body)
        if found is not None and found[0] in _GRADIENTS:
            return found[0], found[1], tuple(found[2].items())
        if isinstance(body, Op) and body.op in _SINGLE:
            return _SINGLE[body.op], body.args[0], ()
        return None

    def source(self) -> str:
        """The function."""
        slopes = {each: derivative(self.outer, each) for each in self.parameters}
        inner = {part: derivative(self.outer, part.value.name) for part in self.parts}
        moves = {(part, each): derivative(part.argument, each) for part in self.parts for each in self.parameters}
        lines = header(self.name, [f"{each}: Tensor" for each in (self.grad, *self.parameters)], "tuple[Tensor, ...]")
        for part in self.parts:
            value = call(part.function, self.formula.expr(part.argument), **dict(part.keywords))
            lines += self._bound(part.value, value)
        lines += shared_parts(
            self.formula, [self.outer, *slopes.values(), *inner.values(), *moves.values()], self.taken
        )
        grads = {part: self._gradient(part, slope, lines) for part, slope in inner.items()}
        by_variable = [self._sum(each, slopes[each], grads, moves) for each in self.parameters]
        results = [self.formula.expr(self.outer), *map(self._printed, self.parameters, by_variable)]
        return "\n".join([*lines, *statement("return ", several(*results), 4)])

    def _bound(self, variable: Var, value: Expr) -> list[str]:
        self.formula.bound[variable] = Expr(variable.name)
        return statement(f"{variable.name} = ", value, 4)

    def _gradient(self, part: _Part, slope: Scalar, lines: list[str]) -> Var | None:
        """What stands for the gradient by the argument of ``part``, whose line is put behind ``lines``."""
        if slope == ZERO:
            return None
        self.formula.bound[Var(self.grad)] = Expr(self.grad)
        grad = self.formula.expr(times(Var(self.grad), slope))
        argument, value = self.formula.expr(part.argument), Expr(part.value.name)
        made = Var(self._free(f"{self.grad}_part"))
        lines += self._bound(made, _GRADIENTS[part.function](grad, argument, value, dict(part.keywords)))
        return made

    def _sum(
        self, variable: str, slope: Scalar, grads: dict[_Part, Var | None], moves: dict[tuple[_Part, str], Scalar]
    ) -> Scalar:
        total = times(Var(self.grad), slope)
        for part, grad in grads.items():
            total = plus(total, times(grad, moves[part, variable]) if grad is not None else ZERO)
        return total

    def _printed(self, variable: str, gradient: Scalar) -> Expr:
        return self.formula.expr(gradient) if variables_of(gradient) else call("torch.zeros_like", variable)
