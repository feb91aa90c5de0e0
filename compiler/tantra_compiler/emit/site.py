"""One op to be written down: the node, what its operands are called, and what the module around it offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tantra_compiler.emit.expr import Expr, call, number
from tantra_compiler.emit.source import Source
from tantra_dsl.graph.model import Body, Node
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.ir import Program


@dataclass(frozen=True)
class Site:
    """An op in the body that is being written; ``cached`` tells whether a ``cache`` is in scope."""

    source: Source
    body: Body
    node: Node
    args: tuple[Expr, ...]
    cached: bool

    def type(self, slot: int) -> TensorType:
        """Type of operand ``slot``."""
        return self.body.type_of(self.node.inputs[slot])

    def optional(self, required: int) -> dict[str, Expr]:
        """The optional operands that are present, by name, after ``required`` ones."""
        return dict(zip(self.node.attr("has", ()), self.args[required:], strict=False))

    def captures(self, required: int) -> tuple[Expr, ...]:
        """The captured tensors of the op's programs, after ``required`` operands and the optional ones."""
        start = required + len(self.node.attr("has", ()))
        return tuple(self._capture(slot) for slot in range(start, len(self.args)))

    def _capture(self, slot: int) -> Expr:
        """A field of the growing sequence is read at all its positions, those in the cache included."""
        if self.cached and self.source.incremental.streams(self.body, self.type(slot)):
            return self.run("append", self.args[slot], "cache")
        return self.args[slot]

    def cache(self, slot: int = 0) -> dict[str, str]:
        """``cache=cache`` where operand ``slot`` grows while decoding."""
        growing = self.cached and self.source.incremental.streams(self.body, self.type(slot))
        return {"cache": "cache"} if growing else {}

    def run(self, function: str, *args: Expr | str, **keywords: Expr | str) -> Expr:
        """A call of the runtime."""
        return call(self.source.use(function), *args, **keywords)

    def program(self, program: Program, **constants: int) -> str:
        """Name of the emitted function that computes ``program``."""
        return self.source.read(self.source.programs.function(program, **constants))

    def axis(self, slot: int = 0) -> int:
        """Attribute ``axis`` as a number, counted from the end of operand ``slot``."""
        name, type = self.node.attr("axis"), self.type(slot)
        position = type.rank - 1 if name == "last" else type.axis(name)
        assert position is not None, f"{type} has no axis {name}"
        return position - type.rank

    def given(self, **defaults: int | float | bool | None) -> dict[str, Expr]:
        """The attributes that differ from the ``defaults`` of the runtime function, as keywords."""
        values = {name: self.node.attr(name, default) for name, default in defaults.items()}
        changed = {name: value for name, value in values.items() if value is not None and value != defaults[name]}
        return {name: number(value) for name, value in changed.items()}


Lowering = Callable[[Site], Expr]
LOWERINGS: dict[str, Lowering] = {}


def lowers(*ops: str) -> Callable[[Lowering], Lowering]:
    """Register how the named ops are written."""

    def register(function: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(ops, function))
        return function

    return register
