"""Building a body node by node, with types inferred on the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tantra_dsl.graph.model import Attr, Body, Init, Node, Ref
from tantra_dsl.graph.rules import infer
from tantra_dsl.graph.types import Dim, TensorType
from tantra_dsl.syntax.source import NOWHERE, Span


class BodyBuilder:
    """Collects nodes of one body in order; ids are made unique by a number where two would clash."""

    def __init__(self, key: str, definition: str, origin: Span = NOWHERE) -> None:
        self.key = key
        self.definition = definition
        self.origin = origin
        self.nodes: dict[str, Node] = {}

    def type_of(self, ref: Ref) -> TensorType:
        """Type of what ``ref`` refers to."""
        return self.nodes[ref.node].types[ref.out]

    def input(self, name: str, type: TensorType | None, kind: str = "tensor", **attrs: Attr) -> Ref:
        """Add an ``input`` node; a ``module`` input has no type."""
        types = () if type is None else (type,)
        return self._append(name, "input", (), {"name": name, "kind": kind, **attrs}, types)[0]

    def param(
        self,
        name: str,
        dims: Sequence[Dim],
        init: Init,
        decay: bool = True,
        trained: bool = True,
        origin: Span = NOWHERE,
    ) -> Ref:
        """Add a weight called ``name`` (its path below this body)."""
        attrs: dict[str, Attr] = {"name": name, "init": init, "decay": decay}
        if not trained:
            attrs["trained"] = False
        return self._append(name, "param", (), attrs, (TensorType(tuple(dims)),), origin=origin)[0]

    def add(
        self,
        op: str,
        inputs: Iterable[Ref],
        *,
        id: str | None = None,
        equation: int | None = None,
        target: str | None = None,
        origin: Span = NOWHERE,
        types: Sequence[TensorType] | None = None,
        **attrs: Attr,
    ) -> tuple[Ref, ...]:
        """Add an op and return a ref for each output. Raises ShapeError where operands do not fit.

        Types are inferred for primitives and must be given for structure (``call``, ``stack``, ``instance``).
        """
        refs = tuple(inputs)
        if types is None:
            types = infer(op, [self.type_of(ref) for ref in refs], attrs)
        return self._append(id or target or op, op, refs, attrs, types, equation, target, origin)

    def _append(
        self,
        wanted: str,
        op: str,
        inputs: tuple[Ref, ...],
        attrs: dict[str, Attr],
        types: Sequence[TensorType],
        equation: int | None = None,
        target: str | None = None,
        origin: Span = NOWHERE,
    ) -> tuple[Ref, ...]:
        id = self.free_id(wanted)
        self.nodes[id] = Node(id, op, inputs, tuple(sorted(attrs.items())), tuple(types), equation, target, origin)
        return tuple(Ref(id, out) for out in range(max(1, len(types))))

    def free_id(self, wanted: str) -> str:
        """``wanted``, or with a number behind it where that is taken."""
        id, number = wanted, 2
        while id in self.nodes:
            id, number = f"{wanted}_{number}", number + 1
        return id

    def names(self) -> dict[str, str]:
        """Final id of each node: the variable that it is assigned to, where that is free."""
        chosen = {id: id for id in self.nodes}
        used = set(self.nodes)
        for id, node in self.nodes.items():
            if node.target and node.target not in used:
                chosen[id] = node.target
                used.add(node.target)
        return chosen

    def finish(self, outputs: Iterable[tuple[str, Ref]], taps: Iterable[tuple[str, Ref]] = ()) -> Body:
        """The body, with its named outputs; nodes that an equation assigns go by their variable."""
        final = self.names()

        def renamed(ref: Ref) -> Ref:
            return Ref(final[ref.node], ref.out)

        nodes = tuple(
            replace(node, id=final[node.id], inputs=tuple(map(renamed, node.inputs))) for node in self.nodes.values()
        )
        named = tuple((name, renamed(ref)) for name, ref in outputs)
        tapped = tuple((name, renamed(ref)) for name, ref in taps)
        return Body(self.key, self.definition, nodes, named, tapped, self.origin)
