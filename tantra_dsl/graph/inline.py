"""A call replaced by what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tantra_dsl.graph.lengths import Binding, bind, bound_type
from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.paths import bottom_up, owns_body

Place = tuple[int, int, int]


def inlined(graph: Graph, body: Body, call: Node) -> Body | None:
    """``body`` with the nodes of what ``call`` calls in its place; weights keep their paths.

    None where that cannot be said: layers that tap, or an instance with parts of its own that several calls share.
    """
    inner = graph.body_of(call)
    shared = call.attr("instance") == "given"
    if inner.taps or (shared and any(owns_body(node) or node.op == "stack" for node in inner.nodes)):
        return None
    return _Inlining(body, call, inner, shared).body()


def without_unused(graph: Graph) -> Graph:
    """``graph`` with those bodies alone that its root reaches."""
    used = set(bottom_up(graph))
    return replace(graph, bodies={key: body for key, body in graph.bodies.items() if key in used})


@dataclass
class _Inlining:
    """``inner`` put in the place of ``call``; a ``shared`` instance's weights are read from the instance."""

    outer: Body
    call: Node
    inner: Body
    shared: bool

    def __post_init__(self) -> None:
        self.arguments = self.call.inputs[1:] if self.shared else self.call.inputs
        self.refs = dict(zip((Ref(node.id) for node in self.inner.inputs), self.arguments, strict=True))
        self.binding = self._binding()
        self.results = dict(enumerate(ref for _, ref in self.inner.outputs))
        self.taken = {node.id for node in self.outer.nodes}

    def _binding(self) -> Binding:
        outer = {node.id: node.types for node in self.outer.nodes}
        given = [
            (own.types, outer[ref.node], ref.out) for own, ref in zip(self.inner.inputs, self.arguments, strict=True)
        ]
        return bind((own[0], types[out]) for own, types, out in given if own and types)

    def body(self) -> Body:
        placed = list(self._placed())
        after = {Ref(self.call.id, out): self.refs.get(ref, ref) for out, ref in self.results.items()}
        numbers = {
            place: rank for rank, place in enumerate(sorted({place for _, place in placed if place is not None}))
        }
        nodes = [
            replace(node, inputs=_through(node.inputs, after), equation=None if place is None else numbers[place])
            for node, place in placed
        ]
        outputs = tuple((name, after.get(ref, ref)) for name, ref in self.outer.outputs)
        taps = tuple((name, after.get(ref, ref)) for name, ref in self.outer.taps)
        return replace(self.outer, nodes=tuple(nodes), outputs=outputs, taps=taps)

    def _placed(self) -> Iterator[tuple[Node, Place | None]]:
        """All nodes with the place of their equation: those of the call's own come before, inside of and after it."""
        later = 0
        for node in self.outer.nodes:
            if node.id == self.call.id:
                yield from self._inside()
                later = 2
            else:
                here = later if node.equation == self.call.equation else 0
                yield node, None if node.equation is None else (node.equation, here, 0)

    def _inside(self) -> Iterator[tuple[Node, Place | None]]:
        ends = {ref: out for out, ref in self.results.items()}
        targets = (self.call.target or "").split(", ")
        for node in self.inner.nodes:
            if node.op == "input":
                continue
            moved = self._moved(node)
            if Ref(node.id) in ends:
                moved = replace(moved, target=targets[ends[Ref(node.id)]] or None if self.call.target else moved.target)
            for out in range(max(1, len(node.types))):
                self.refs[Ref(node.id, out)] = Ref(moved.id, out)
            outer = self.call.equation
            yield moved, None if outer is None or node.equation is None else (outer, 1, node.equation)

    def _moved(self, node: Node) -> Node:
        types = tuple(bound_type(type, self.binding) for type in node.types)
        inputs = _through(node.inputs, self.refs)
        moved = replace(node, id=self._free(f"{self.call.id}_{node.id}"), inputs=inputs, types=types)
        if node.op == "param" and self.shared:
            return replace(moved, op="weight", inputs=self.call.inputs[:1], attrs=(("path", node.attr("name")),))
        if node.op in ("param", "stack") or owns_body(node):
            named = {**dict(node.attrs), "name": f"{self.call.attr('name')}.{node.attr('name')}"}
            return replace(moved, attrs=tuple(sorted(named.items())))
        return moved

    def _free(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self.taken:
            name, number = f"{wanted}_{number}", number + 1
        self.taken.add(name)
        return name


def _through(refs: tuple[Ref, ...], instead: Mapping[Ref, Ref]) -> tuple[Ref, ...]:
    return tuple(instead.get(ref, ref) for ref in refs)
