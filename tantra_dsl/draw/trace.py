"""Which steps of a body are drawn, and where a tensor comes from once the others are passed over."""

from __future__ import annotations

from functools import cached_property

from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.paths import bottom_up

_PASSED_OVER = frozenset({
    "dropout", "stop_gradient", "split_heads", "merge_heads", "repeat_heads", "split", "slice", "transpose", "shift",
    "unpatch", "stack_depth", "argmax_time", "indices", "positions", "expand_time",
})  # fmt: skip
"""Ops that only move numbers about: a line leads through them."""
_SHAPE_ONLY = {"positions": (0,), "tabulate": (0,), "indices": (0,), "expand_time": (1,)}
"""Operands that are asked for their length and not for what they hold."""
_CONSTANT = frozenset({"param", "weight", "instance"})


def joins_depth(node: Node) -> bool:
    """Whether a node only gathers what several layers made."""
    return node.op == "concat" and node.attr("axis") == "depth"


class Values:
    """For each body of a graph, which of its inputs it reads for what they hold."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._read: dict[str, frozenset[str]] = {}
        for key in bottom_up(graph):
            body = graph.bodies[key]
            live = self.live(body)
            self._read[key] = frozenset(str(n.attr("name")) for n in body.inputs if n.id in live)

    def live(self, body: Body) -> frozenset[str]:
        """Ids of the nodes that what the body gives depends on."""
        nodes = {node.id: node for node in body.nodes}
        found: set[str] = set()
        left = [ref.node for _, ref in (*body.outputs, *body.taps)]
        while left:
            id = left.pop()
            if id not in found:
                found.add(id)
                left += [ref.node for _, ref in self.operands(nodes[id])]
        return frozenset(found)

    def operands(self, node: Node) -> list[tuple[str, Ref]]:
        """The operands that ``node`` reads for what they hold, each with the name of the input that it is."""
        names = self._names(node)
        if node.op == "call":
            read = self._read[node.attr("body").key]
            return [(n, ref) for n, ref in zip(names, node.inputs, strict=True) if n in read or n == "module"]
        skipped = _SHAPE_ONLY.get(node.op, ())
        return [(n, ref) for i, (n, ref) in enumerate(zip(names, node.inputs, strict=True)) if i not in skipped]

    def _names(self, node: Node) -> list[str]:
        if node.op == "call":
            given = ["module"] if node.attr("instance") == "given" else []
            return given + [str(n.attr("name")) for n in self.graph.body_of(node).inputs]
        if node.op == "stack":
            return ["x", *map(str, node.attr("extras"))]
        return [str(place) for place in range(len(node.inputs))]


class Trace:
    """One body, read backwards from what it gives."""

    def __init__(self, values: Values, body: Body) -> None:
        self.values, self.body = values, body
        self.nodes = {node.id: node for node in body.nodes}
        self.live = values.live(body)
        self._sources: dict[str, tuple[str, ...]] = {}
        for node in body.nodes:  # in order, so that none has to look far back
            self.sources_of(node)

    @cached_property
    def constant(self) -> frozenset[str]:
        """Ids of the nodes that are the same for every batch: weights, and what is made of weights alone."""
        found: set[str] = set()
        for node in self.body.nodes:
            given = node.op == "input" and node.attr("kind") in ("param", "module")
            made = node.op not in ("input", "call", "stack", "tabulate", "positions") and bool(node.inputs)
            if given or node.op in _CONSTANT or (made and all(ref.node in found for ref in node.inputs)):
                found.add(node.id)
        return frozenset(found)

    def operands(self, node: Node) -> list[tuple[str, Ref]]:
        """The operands of a node that change with the batch, by input name; not where a position is looked up."""
        if node.op == "gather_time":
            return [("0", node.inputs[0])]
        return [(name, ref) for name, ref in self.values.operands(node) if ref.node not in self.constant]

    def constants(self, node: Node) -> list[Node]:
        """The operands of a node that are made of weights alone."""
        return [self.nodes[ref.node] for ref in node.inputs if ref.node in self.constant]

    def is_drawn(self, node: Node) -> bool:
        """Whether the node is a step of its own in a picture; inputs are, too."""
        if node.id in self.constant or node.op in _PASSED_OVER or joins_depth(node):
            return False
        return node.op != "concat" or bool(self.constants(node)) or len(self.sources_of(node)) > 1

    def sources(self, ref: Ref) -> tuple[str, ...]:
        """Ids of the drawn nodes that a tensor comes from, each once."""
        node = self.nodes[ref.node]
        if node.id in self.constant:
            return ()
        if self.is_drawn(node):
            return (node.id,)
        return self.sources_of(node)

    def sources_of(self, node: Node) -> tuple[str, ...]:
        """Ids of the drawn nodes that the operands of ``node`` come from, each once."""
        if node.id not in self._sources:
            found = [id for _, ref in self.operands(node) for id in self.sources(ref)]
            self._sources[node.id] = tuple(dict.fromkeys(found))
        return self._sources[node.id]

    def names(self, node: Node) -> tuple[str, ...]:
        """Names of the weights that a constant is made of, as an author knows them."""
        found: dict[str, None] = {}
        left = [node]
        while left:
            last = left.pop()
            name = self._name(last)
            if name:
                found[name] = None
            else:
                left += [self.nodes[ref.node] for ref in reversed(last.inputs)]
        return tuple(found)

    def _name(self, node: Node) -> str:
        if node.op in ("param", "input"):
            return str(node.attr("name"))
        if node.op == "weight":
            return f"{self.nodes[node.inputs[0].node].attr('name')}.{node.attr('path')}"
        return ""
