"""Elementwise functions as one op, with the linear layer that alone reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from tantra_compiler.emit.builtins import match_builtin
from tantra_compiler.passes import ops
from tantra_compiler.passes.base import Decision, each_body
from tantra_compiler.passes.packed import layer_name, layer_obstacle
from tantra_compiler.passes.places import places
from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.scalars.derivative import derivative
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, Var
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.walk import ScalarError, check_bounds, children, substitute, variables_of

_ = ops
_OWN_VALUE = frozenset({"exp", "sqrt", "tanh", "sigmoid"})
"""Functions whose slope torch takes from their value."""
_LINEAR = frozenset({"add", "sub", "neg"})


@dataclass(frozen=True)
class FuseActivations:
    """Makes elementwise functions of functions one op that keeps only what they are made from.

    ``mapped_linear`` where a linear layer alone reads the result; else ``mapped``, where something would be kept on
    the way. Which functions they are does not matter.
    """

    name: ClassVar[str] = "fuse_activations"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with fused functions."""
        return each_body(graph, _fused)

    def decisions(self, graph: Graph) -> tuple[Decision, ...]:
        """What becomes of the elementwise functions that a linear layer reads, and of those that take several steps."""
        paths = places(graph)
        return tuple(
            Decision(f"{path}.{_title(body, tree)}".strip("."), "map", *tree.choice())
            for key, body in graph.bodies.items()
            for tree in _trees(body)
            if tree.is_worth_telling()
            for path in paths[key]
        )


def _title(body: Body, tree: _Tree) -> str:
    return layer_name(body, tree.reader) if tree.reader is not None else tree.root.target or tree.root.id


def _fused(body: Body) -> Body:
    for tree in _trees(body):
        if tree.obstacle() is None:
            return _fused(tree.applied())
    return body


def _trees(body: Body) -> Iterator[_Tree]:
    """Every map that no other map alone reads, with the maps that it alone reads."""
    for node in body.nodes:
        if node.op == "map" and not _is_inner(body, node):
            yield _Tree(body, node)


def _readers(body: Body, node: Node) -> list[Node]:
    """Nodes that read ``node``, a node for each time; the body's end counts as the node itself."""
    ends = sum(ref.node == node.id for _, ref in (*body.outputs, *body.taps))
    return [other for other in body.nodes for ref in other.inputs if ref.node == node.id] + [node] * ends


def _is_inner(body: Body, node: Node) -> bool:
    """Whether a map is written into the one that reads it."""
    readers = _readers(body, node)
    same = len({reader.id for reader in readers}) == 1 and readers[0].id != node.id and readers[0].op == "map"
    return same and readers[0].type.dims == node.type.dims and not _captures(node) and not _captures(readers[0])


def _captures(node: Node) -> bool:
    return bool(node.attr("program").captures)


@dataclass
class _Tree:
    """A map with the maps inside of it, as one function ``body_of`` of ``operands``."""

    body: Body
    root: Node
    inner: list[Node] = field(default_factory=list)
    operands: list[Ref] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.function = simplify(self._opened(self.root))
        readers = _readers(self.body, self.root)
        self.reader = readers[0] if len(readers) == 1 and readers[0].op == "linear" else None
        self.readers = len(readers)

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

    def choice(self) -> tuple[str, str]:
        """What it becomes, and why."""
        obstacle = self.obstacle()
        if obstacle is not None:
            return "map", obstacle
        if self._takes_linear():
            return "mapped_linear", "one op with its linear layer; its value is not kept, but made again"
        return "mapped", f"one op; what lies between its steps is not kept{self._why_alone()}"

    def _why_alone(self) -> str:
        if self.reader is None:
            return ""
        return f"; {layer_obstacle(self.body, self.reader)}"

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
        if any(type.rank and type.dims[-1].size.known not in (1, self._width) for type in types):
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
        if not self._takes_linear() and not _keeps_between(self.function):
            return "it is a single step" if self.reader is None else layer_obstacle(self.body, self.reader)
        return None

    def _takes_linear(self) -> bool:
        return self.reader is not None and layer_obstacle(self.body, self.reader) is None

    @property
    def _width(self) -> int:
        return self.root.type.dims[-1].size.known or 0

    # --- how -------------------------------------------------------------------------------

    def applied(self) -> Body:
        """The body with the op in place of the maps, and of the linear layer where one is taken in."""
        refs, order, gone = self._packed()
        op = self._op(refs, order)
        last = self.reader if self._takes_linear() and self.reader is not None else self.root
        gone |= {self.root.id, *(node.id for node in self.inner)} - {last.id}
        nodes = tuple(op if node.id == last.id else node for node in self.body.nodes if node.id not in gone)
        return replace(self.body, nodes=nodes)

    def _packed(self) -> tuple[list[Ref], list[int], set[str]]:
        """What is read, the operands in the order in which it holds them, and the nodes that are no longer needed.

        Packed layers whose parts are all read here, and here only, are read as they are.
        """
        refs: list[Ref] = []
        order: list[int] = []
        gone: set[str] = set()
        for number, ref in enumerate(self.operands):
            node = self.body.node(ref.node)
            parts = [Ref(node.id, out) for out in range(len(node.types))]
            if node.op != "parts" or not self._alone_reads(node) or not set(parts) <= set(self.operands):
                refs.append(ref)
                order.append(number)
            elif node.id not in gone:
                refs.append(node.inputs[0])
                order += [self.operands.index(part) for part in parts]
                gone.add(node.id)
        return refs, order, gone

    def _alone_reads(self, node: Node) -> bool:
        own = {self.root.id, *(inner.id for inner in self.inner)}
        alike = all(type.dims[-1].size.known == self._width for type in node.types)
        return alike and all(reader.id in own and reader is not node for reader in _readers(self.body, node))

    def _op(self, refs: list[Ref], order: list[int]) -> Node:
        names = [self.root.attr("program").name, *(node.attr("program").name for node in self.inner)]
        telling = [name for name in names if name.isidentifier()]
        called = self._names()
        function = substitute(self.function, {f"x{number}": Var(name) for number, name in enumerate(called)})
        variables = tuple(called[number] for number in order)
        program = Program("fn", variables, function, name=telling[0] if len(telling) == 1 else "activation")
        attrs = (("dim", self.root.type.dims[-1].name), ("program", program), ("width", self._width))
        if not self._takes_linear() or self.reader is None:
            return replace(self.root, op="mapped", inputs=tuple(refs), attrs=attrs)
        has = ("bias",) if len(self.reader.inputs) == 3 else ()
        inputs = (*self.reader.inputs[1:], *refs)
        return replace(self.reader, op="mapped_linear", inputs=inputs, attrs=(attrs[0], ("has", has), *attrs[1:]))

    def _names(self) -> list[str]:
        """What the variables are called: as what is read is, where that tells them apart."""
        if len(self.operands) == 1:
            return ["x"]
        targets = [(self.body.node(ref.node).target or "").split(", ") for ref in self.operands]
        names = [each[ref.out] if ref.out < len(each) else "" for each, ref in zip(targets, self.operands, strict=True)]
        telling = len(set(names)) == len(names) and all(name.isidentifier() for name in names)
        return names if telling else self.variables


def _keeps_between(function: Scalar) -> bool:
    """Whether torch's own backward pass would keep something that is neither a variable nor the value."""
    return any(_is_made(part) for node in _nodes(function) for part in _kept_by(node)) or any(
        node != function and _keeps_value(node) for node in _nodes(function)
    )


def _is_made(part: Scalar) -> bool:
    return not isinstance(part, Var | Const)


def _nodes(function: Scalar) -> Iterator[Scalar]:
    """Operations that torch takes one by one: its own functions are one step."""
    yield function
    found = match_builtin(function)
    for part in [found[1]] if found is not None else children(function):
        yield from _nodes(part)


def _kept_by(node: Scalar) -> list[Scalar]:
    """Operands that the slope of ``node`` reads."""
    found = match_builtin(node)
    if found is not None:
        return [found[1]]
    if not isinstance(node, Op) or node.op in _LINEAR or node.op in _OWN_VALUE:
        return []
    moving = [part for part in node.args if variables_of(part)]
    return moving if node.op not in ("mul", "where") or len(moving) > 1 else []


def _keeps_value(node: Scalar) -> bool:
    return match_builtin(node) is None and isinstance(node, Op) and node.op in _OWN_VALUE and bool(variables_of(node))
