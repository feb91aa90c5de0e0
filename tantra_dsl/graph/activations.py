"""Elementwise functions that need not keep their value: computed again in the backward pass from what they read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tantra_dsl.graph.costs.elementwise import kept_parts
from tantra_dsl.graph.layers import layer_obstacle
from tantra_dsl.graph.model import Body, Node, Ref
from tantra_dsl.scalars.derivative import derivative
from tantra_dsl.scalars.ir import Program, Scalar, Var
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.walk import ScalarError, check_bounds, substitute, variables_of


def activations(body: Body) -> Iterator[Activation]:
    """Every map that no other map alone reads, with the maps that it alone reads."""
    for node in body.nodes:
        if node.op == "map" and not _is_inner(body, node):
            yield Activation(body, node)


def readers(body: Body, node: Node) -> list[Node]:
    """Nodes that read ``node``, a node for each time; the body's end counts as the node itself."""
    ends = sum(ref.node == node.id for _, ref in (*body.outputs, *body.taps))
    return [other for other in body.nodes for ref in other.inputs if ref.node == node.id] + [node] * ends


def _is_inner(body: Body, node: Node) -> bool:
    """Whether a map is written into the one that reads it."""
    found = readers(body, node)
    same = len({reader.id for reader in found}) == 1 and found[0].id != node.id and found[0].op == "map"
    return same and found[0].type.dims == node.type.dims and not _captures(node) and not _captures(found[0])


def _captures(node: Node) -> bool:
    return bool(node.attr("program").captures)


@dataclass
class Activation:
    """The map ``root`` with the ``inner`` ones written into it: one ``function`` of ``operands`` called x0, x1, ...

    ``reader`` is the linear layer that alone reads it, if one does.
    """

    body: Body
    root: Node
    inner: list[Node] = field(default_factory=list)
    operands: list[Ref] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.function = simplify(self._opened(self.root))
        found = readers(self.body, self.root)
        self.reader = found[0] if len(found) == 1 and found[0].op == "linear" else None

    def _opened(self, node: Node) -> Scalar:
        program: Program = node.attr("program")
        values: dict[str, Scalar] = {}
        for variable, ref in zip(program.variables, node.inputs, strict=False):
            made = self.body.node(ref.node)
            if made.op == "map" and _is_inner(self.body, made):
                self.inner.append(made)
                values[variable] = self._opened(made)
            else:
                values[variable] = self._operand(ref)
        return substitute(program.body, values)

    def _operand(self, ref: Ref) -> Var:
        if ref not in self.operands:
            self.operands.append(ref)
        return Var(f"x{self.operands.index(ref)}")

    @property
    def variables(self) -> list[str]:
        """Names of the operands."""
        return [f"x{number}" for number in range(len(self.operands))]

    # --- whether ---------------------------------------------------------------------------

    def is_worth_telling(self) -> bool:
        """Whether anybody may wonder why it was not fused."""
        return self.obstacle() is None or self.reader is not None or bool(self.inner)

    def obstacle(self) -> str | None:
        """Why it stays as it is; None where it is fused."""
        types = [self.body.type_of(ref) for ref in self.operands]
        if self.root.attr("program").captures:
            return "it reads elements of a tensor"
        if not types or any(type.dtype != "float" for type in (*types, self.root.type)):
            return "it reads whole numbers or truth values"
        if not self.root.type.rank or self.root.type.dims[-1].size.known is None:
            return "its width is not known"
        if not any(dim.size.terms for dim in self.root.type.dims):
            return "it is made of weights alone"
        if any(type.rank and type.dims[-1].size.known not in (1, self.width) for type in types):
            return "it reads a tensor of another width"
        return self._no_gain()

    def _no_gain(self) -> str | None:
        try:
            check_bounds(self.function)
            slopes = [derivative(self.function, variable) for variable in self.variables]
        except ScalarError as error:
            return f"it has no derivative that can be written: {error}"
        if not any(variables_of(slope) for slope in slopes):
            return "its slopes are constants, for which nothing is kept"
        if not self.takes_linear() and not self._keeps_between():
            return "it is a single step" if self.reader is None else layer_obstacle(self.body, self.reader)
        return None

    def takes_linear(self) -> bool:
        """Whether the linear layer that reads it can be one op with it."""
        return self.reader is not None and layer_obstacle(self.body, self.reader) is None

    @property
    def width(self) -> int:
        """Extent of its value along the last dimension."""
        return self.root.type.dims[-1].size.known or 0

    def _keeps_between(self) -> bool:
        """Whether torch's own backward pass would keep something that is neither an operand nor the value."""
        kept = kept_parts(self.function, frozenset(self.variables))
        return any(not isinstance(part, Var) and part != self.function for part in kept)
