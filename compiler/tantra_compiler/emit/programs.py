"""Scalar programs as the small functions of an emitted module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tantra_compiler.emit.expr import Expr, call, header, quoted, statement
from tantra_compiler.emit.formulas import Formula
from tantra_compiler.emit.gradients import elementwise_text, gradients_function
from tantra_compiler.emit.named_parts import named_parts
from tantra_compiler.emit.names import free, identifier, program_name
from tantra_dsl.scalars.derivative import derivative
from tantra_dsl.scalars.ir import Capture, Const, Program, Scalar, Var
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.walk import fold, substitute

_COORDINATES: Final = ("b", "h", "q", "k")
_PARAMETERS: Final = {"mask": _COORDINATES, "score": ("s", *_COORDINATES), "frequency": ("j",), "table": ("p", "c")}
_LENGTHS: Final = {"queries": Expr("q.shape[-2]"), "keys": Expr("k.shape[-1]")}

Claim = Callable[[str], str]
"""Takes a wanted name of the emitted module and gives one that is free."""


@dataclass
class Programs:
    """The scalar functions that a module needs so far; equal programs share one."""

    claim: Claim
    _names: dict[tuple[object, ...], str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    def function(self, program: Program, **constants: int) -> str:
        """Name of the function that computes ``program``, with the named variables set to numbers."""
        values = {name: Const(value) for name, value in constants.items()}
        body = simplify(substitute(program.body, values))
        key = (program.kind, program.variables, body, program.captures)
        if key not in self._names:
            self._names[key] = self.claim(program_name(program.name, program.kind))
            self.sources.append(_source(self._names[key], program, body))
        return self._names[key]

    def elementwise(self, program: Program) -> str:
        """Name of the object that holds ``program`` and its gradients."""
        key = ("elementwise", program.variables, program.body)
        if key not in self._names:
            value = self.function(program)
            gradients = self.claim(f"{value}_gradients")
            self.sources.append(gradients_function(gradients, program))
            self._names[key] = self.claim(value.upper())
            made = call("Elementwise", value, gradients, quoted(elementwise_text(program)))
            self.sources.append("\n".join(statement(f"{self._names[key]} = ", made, 0)))
        return self._names[key]

    def between(self, program: Program) -> str:
        """Name of the object that holds ``program`` and its slopes by each variable, for a loss to go through."""
        key = ("between", program.variables, program.body)
        if key not in self._names:
            value = self.function(program)
            slopes = [self._slope(program, value, variable) for variable in program.variables]
            self._names[key] = self.claim(f"{value}_between")
            made = call("Between", value, *slopes, text=quoted(elementwise_text(program)))
            self.sources.append("\n".join(statement(f"{self._names[key]} = ", made, 0)))
        return self._names[key]

    def _slope(self, program: Program, value: str, variable: str) -> str:
        end = "" if variable == program.variables[0] else f"_{variable}"
        return self.function(replace(program, body=derivative(program.body, variable), name=f"{value}_slope{end}"))


def _source(name: str, program: Program, body: Scalar) -> str:
    captures = capture_names(program.captures, _parameters(program))
    return tensor_function(name, program, body, captures, _LENGTHS if program.kind in ("mask", "score") else {})


def _parameters(program: Program) -> list[str]:
    return list(_PARAMETERS.get(program.kind, program.variables))


def tensor_function(
    name: str, program: Program, body: Scalar, captures: list[str], lengths: Mapping[str, Expr], returns: str = "Tensor"
) -> str:
    """A function on tensors that computes ``body`` with the parameters of ``program``, then ``captures``.

    ``lengths`` says how the numbers of queries and keys are written.
    """
    parameters = _parameters(program)
    whole = frozenset({"b", "h", "q", "k"}) if program.kind == "mask" or program.captures else frozenset("b")
    variables = {**{name: Expr(name) for name in parameters}, **lengths}
    like = None if program.kind == "mask" else Expr(parameters[0])
    formula = Formula(variables, [Expr(name) for name in captures], whole, program.kind == "fn", like)
    head = header(name, (f"{each}: Tensor" for each in (*parameters, *captures)), returns)
    lines = [*head, *named_parts(formula, body, {*parameters, *captures})]
    result = _filled(body, parameters[-1], program.kind) if isinstance(body, Const) else formula.expr(body)
    return "\n".join([*lines, *statement("return ", result, 4)])


def capture_names(captures: Iterable[Capture], taken: Iterable[str]) -> list[str]:
    """What captured tensors are called as parameters, beside those that are ``taken``."""
    names: list[str] = []
    for capture in captures:
        names.append(free(identifier(capture.name), [*taken, *names]))
    return names


def _filled(body: Const, like: str, kind: str) -> Expr:
    value = repr(bool(body.value)) if kind == "mask" else repr(float(body.value))
    return call("torch.full_like", like, value, **({"dtype": "torch.bool"} if kind == "mask" else {}))


def occurrences(body: Scalar) -> Counter[str]:
    """How often each variable occurs in ``body``, as it is written."""

    def count(node: Scalar, parts: list[Counter[str]]) -> Counter[str]:
        total: Counter[str] = Counter([node.name]) if isinstance(node, Var) else Counter()
        for part in parts:
            total.update(part)
        return total

    return fold(body, count)
