"""Elementwise functions as one op, with the linear layer that alone reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tantra_compiler.passes import ops
from tantra_compiler.passes.base import Decision, each_body
from tantra_compiler.passes.places import places
from tantra_dsl.graph.activations import Activation, activations, readers
from tantra_dsl.graph.layers import layer_name, layer_obstacle
from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.scalars.ir import Program, Var
from tantra_dsl.scalars.walk import substitute

_ = ops


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
            Decision(f"{path}.{_title(body, each)}".strip("."), "map", *_choice(body, each))
            for key, body in graph.bodies.items()
            for each in activations(body)
            if each.is_worth_telling()
            for path in paths[key]
        )


def _title(body: Body, each: Activation) -> str:
    return layer_name(body, each.reader) if each.reader is not None else each.root.target or each.root.id


def _fused(body: Body) -> Body:
    for each in activations(body):
        if each.obstacle() is None:
            return _fused(_Fused(body, each).applied())
    return body


def _choice(body: Body, each: Activation) -> tuple[str, str]:
    obstacle = each.obstacle()
    if obstacle is not None:
        return "map", obstacle
    if each.takes_linear():
        return "mapped_linear", "one op with its linear layer; its value is not kept, but made again"
    why = f"; {layer_obstacle(body, each.reader)}" if each.reader is not None else ""
    return "mapped", f"one op; what lies between its steps is not kept{why}"


@dataclass
class _Fused:
    """An activation being made one op."""

    body: Body
    made: Activation

    def applied(self) -> Body:
        """The body with the op in place of the maps, and of the linear layer where one is taken in."""
        refs, order, gone = self._packed()
        op = self._op(refs, order)
        last = self.made.reader if self.made.takes_linear() and self.made.reader is not None else self.made.root
        gone |= {self.made.root.id, *(node.id for node in self.made.inner)} - {last.id}
        nodes = tuple(op if node.id == last.id else node for node in self.body.nodes if node.id not in gone)
        return replace(self.body, nodes=nodes)

    def _packed(self) -> tuple[list[Ref], list[int], set[str]]:
        """What is read, the operands in the order in which it holds them, and the nodes that are no longer needed.

        Packed layers whose parts are all read here, and here only, are read as they are.
        """
        refs: list[Ref] = []
        order: list[int] = []
        gone: set[str] = set()
        for number, ref in enumerate(self.made.operands):
            node = self.body.node(ref.node)
            parts = [Ref(node.id, out) for out in range(len(node.types))]
            if node.op != "parts" or not self._alone_reads(node) or not set(parts) <= set(self.made.operands):
                refs.append(ref)
                order.append(number)
            elif node.id not in gone:
                refs.append(node.inputs[0])
                order += [self.made.operands.index(part) for part in parts]
                gone.add(node.id)
        return refs, order, gone

    def _alone_reads(self, node: Node) -> bool:
        own = {self.made.root.id, *(inner.id for inner in self.made.inner)}
        alike = all(type.dims[-1].size.known == self.made.width for type in node.types)
        return alike and all(reader.id in own and reader is not node for reader in readers(self.body, node))

    def _op(self, refs: list[Ref], order: list[int]) -> Node:
        names = [self.made.root.attr("program").name, *(node.attr("program").name for node in self.made.inner)]
        telling = [name for name in names if name.isidentifier()]
        called = self._names()
        function = substitute(self.made.function, {f"x{number}": Var(name) for number, name in enumerate(called)})
        variables = tuple(called[number] for number in order)
        program = Program("fn", variables, function, name=telling[0] if len(telling) == 1 else "activation")
        attrs = (("dim", self.made.root.type.dims[-1].name), ("program", program), ("width", self.made.width))
        if not self.made.takes_linear() or self.made.reader is None:
            return replace(self.made.root, op="mapped", inputs=tuple(refs), attrs=attrs)
        has = ("bias",) if len(self.made.reader.inputs) == 3 else ()
        inputs = (*self.made.reader.inputs[1:], *refs)
        return replace(self.made.reader, op="mapped_linear", inputs=inputs, attrs=(attrs[0], ("has", has), *attrs[1:]))

    def _names(self) -> list[str]:
        """What the variables are called: as what is read is, where that tells them apart."""
        if len(self.made.operands) == 1:
            return ["x"]
        targets = [(self.body.node(ref.node).target or "").split(", ") for ref in self.made.operands]
        names = [
            each[ref.out] if ref.out < len(each) else "" for each, ref in zip(targets, self.made.operands, strict=True)
        ]
        telling = len(set(names)) == len(names) and all(name.isidentifier() for name in names)
        return names if telling else self.made.variables
