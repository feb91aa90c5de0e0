"""How the bodies of a graph are made and called in emitted source."""

from __future__ import annotations

from dataclasses import dataclass, field

from tantra_compiler.emit.expr import Expr, call
from tantra_compiler.emit.members import member, whole_layer
from tantra_compiler.emit.source import Source
from tantra_dsl.graph.model import Body, Node
from tantra_dsl.graph.paths import used_bodies, weighted_bodies

_DROPS = ("dropout", "seeded_dropout")


@dataclass
class Callables:
    """What each body has become: a class of its own, one of torch's layers, or a function where it owns nothing."""

    source: Source
    names: dict[str, str] = field(default_factory=dict)
    functions: frozenset[str] = field(init=False)
    stacked: frozenset[str] = field(init=False)
    uses: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.source.graph
        weighted = weighted_bodies(graph)
        nodes = [node for body in graph.bodies.values() for node in body.nodes]
        self.stacked = frozenset(key for node in nodes if node.op == "stack" for key in used_bodies(node))
        modules = {node.attr("body").key for node in nodes if node.op == "instance"}
        given = {node.attr("body").key for node in nodes if node.op == "call" and node.attr("instance") == "given"}
        self.uses = {n.attr("body").key: n.attr("name") for n in nodes if n.op in ("call", "instance")}
        classes = weighted | self.stacked | modules | given | self._random() | {graph.root}
        self.functions = frozenset(graph.bodies.keys() - classes)

    def _random(self) -> set[str]:
        """Bodies that behave differently in training, and so need a module's ``training``."""
        graph, found = self.source.graph, set[str]()
        for key, body in graph.bodies.items():
            if any(node.op in _DROPS or (node.op == "attend" and node.attr("dropout")) for node in body.nodes):
                found.add(key)
        while grown := {k for k, b in graph.bodies.items() for n in b.nodes if found & set(used_bodies(n))} - found:
            found |= grown
        return found

    def constructor(self, key: str) -> str:
        """Expression that makes an instance of body ``key``."""
        layer = whole_layer(self.source.graph.bodies[key]) if self.is_layer(key) else None
        return layer or f"{self.names[key]}()"

    def is_layer(self, key: str) -> bool:
        """Whether body ``key`` is exactly one of torch's layers, so that it needs no class."""
        graph = self.source.graph
        return key != graph.root and key not in self.stacked and whole_layer(graph.bodies[key]) is not None

    def takes_cache(self, key: str) -> bool:
        """Whether body ``key`` takes the cache of decoding."""
        return key in self.source.incremental.bodies

    def passes_cache(self, body: Body, node: Node, key: str) -> bool:
        """Whether ``node`` of ``body`` hands the cache on to ``key``, which it uses."""
        return self.source.incremental.passes_cache(self.source.graph, body, node, key)

    def call(self, body: Body, node: Node, args: tuple[Expr, ...], cached: bool) -> Expr:
        """The call that ``node`` of ``body`` is."""
        key = node.attr("body").key
        passed = ["cache"] if cached and self.passes_cache(body, node, key) else []
        if node.attr("instance") == "given":
            return call(args[0].text, *args[1:], *passed)
        if key in self.functions:
            return call(self.source.read(self.names[key]), *args, *passed)
        return call(member("self", node.attr("name")), *args, *passed)
