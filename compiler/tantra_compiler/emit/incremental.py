"""Which models can be decoded position by position, and what needs the cache for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tantra_compiler.emit.kept import kept_groups
from tantra_compiler.emit.obstacles import ATTENTION, Growing, growing_axis, grows, obstacle
from tantra_dsl.graph.lengths import bind
from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.paths import bottom_up, used_bodies
from tantra_dsl.graph.types import TensorType

_SCANS = frozenset({"linear_scan", "selective_scan", "delta_scan"})
_PLACED = frozenset({"positions", "tabulate", "rope", "turned_heads"})
_STATEFUL = ATTENTION | _SCANS | _PLACED | {"conv1d", "shift"}


@dataclass(frozen=True)
class Incremental:
    """How a model decodes.

    ``reason`` says why it cannot, or is None; ``growing`` holds, for each body that decoding runs, its lengths that
    grow; ``bodies`` are those that take a cache.
    """

    reason: str | None
    growing: Mapping[str, Growing] = field(default_factory=dict)
    bodies: frozenset[str] = field(default_factory=frozenset)

    @property
    def possible(self) -> bool:
        """Whether the model decodes position by position."""
        return self.reason is None

    def streams(self, body: Body, type: TensorType) -> bool:
        """Whether a tensor of ``type`` in ``body`` grows while decoding."""
        return self.possible and growing_axis(type, self.growing.get(body.key, frozenset())) is not None

    def passes_cache(self, graph: Graph, body: Body, node: Node, key: str) -> bool:
        """Whether ``node`` of ``body`` hands the cache on to ``key``, which it uses."""
        growing = self.growing.get(body.key, frozenset())
        return self.possible and key in self.bodies and bool(inner_growing(graph, body, node, key, growing))


def closure(body: Body, refs: Iterable[Ref]) -> frozenset[str]:
    """Ids of the nodes that ``refs`` depend on, themselves included."""
    found = {ref.node for ref in refs}
    for node in reversed(body.nodes):
        if node.id in found:
            found.update(ref.node for ref in node.inputs)
    return frozenset(found)


def forward_nodes(graph: Graph, body: Body) -> list[Node]:
    """The nodes that a forward call of ``body`` runs; in the root, without what only the loss needs."""
    outputs = [ref for name, ref in body.outputs if name != "loss" or body.key != graph.root]
    running = closure(body, (*outputs, *(ref for _, ref in body.taps)))
    return [node for node in body.nodes if node.id in running]


def inner_growing(graph: Graph, body: Body, node: Node, key: str, growing: Growing) -> Growing:
    """The lengths of body ``key`` that grow where ``node`` of ``body`` uses it and ``growing`` grow around it."""
    if node.op == "instance":
        return frozenset()
    inputs = graph.bodies[key].inputs
    if node.op == "stack":
        extras = dict(zip(node.attr("extras"), node.inputs[1:], strict=True))
        given = [node.inputs[0], *(extras.get(parameter.attr("name"), node.inputs[0]) for parameter in inputs[1:])]
    else:
        given = list(node.inputs[1 if node.attr("instance") == "given" else 0 :])
    typed = [(own, ref) for own, ref in zip(inputs, given, strict=True) if own.types and body.node(ref.node).types]
    lengths = bind((own.type, body.type_of(ref)) for own, ref in typed)
    return frozenset(symbol for symbol, size in lengths.items() if grows(size, growing))


def analyse(graph: Graph) -> Incremental:
    """How ``graph`` decodes."""
    symbol = _growing_symbol(graph)
    if symbol is None:
        return Incremental("its output has no time axis that follows a sequence of tokens")
    growing = {graph.root: frozenset({symbol})}
    for key in reversed(bottom_up(graph)):
        reason = _spread(graph, graph.bodies[key], growing)
        if reason is not None:
            return Incremental(f"{graph.bodies[key].definition}: {reason}")
    known = Incremental(None, growing)
    return Incremental(None, growing, frozenset(_cache_users(graph, known)))


def _growing_symbol(graph: Graph) -> str | None:
    """The length of the tokens that the first output runs along."""
    root = graph.main
    output = root.type_of(next(ref for name, ref in root.outputs if name != "loss"))
    axis = output.axis("time")
    if axis is None:
        return None
    size = output.dims[axis].size
    tokens = [n.type.dims[1].size for n in root.inputs if n.attr("spec").kind in ("tokens", "ids")]
    return size.terms[0][0] if size in tokens and len(size.terms) == 1 else None


def _spread(graph: Graph, body: Body, growing: dict[str, Growing]) -> str | None:
    """Note what grows in the bodies that ``body`` uses; the reason where something in it cannot be incremental."""
    own = growing.get(body.key)
    if own is None:
        return None
    for node in forward_nodes(graph, body):
        reason = obstacle(body, node, own)
        if reason is not None:
            return reason
        for key in used_bodies(node):
            inner = inner_growing(graph, body, node, key, own)
            if inner and growing.setdefault(key, inner) != inner:
                return f"{graph.bodies[key].definition} is used on sequences that grow in different ways"
    return None


def _cache_users(graph: Graph, incremental: Incremental) -> Iterator[str]:
    users: set[str] = set()
    for key in bottom_up(graph):
        body = graph.bodies[key]
        if key in incremental.growing and _takes_cache(graph, body, incremental, users):
            users.add(key)
            yield key


def _takes_cache(graph: Graph, body: Body, incremental: Incremental, users: set[str]) -> bool:
    running = forward_nodes(graph, body)
    known = Incremental(None, incremental.growing, frozenset(users))
    for node in running:
        if any(known.passes_cache(graph, body, node, key) for key in used_bodies(node)):
            return True
        if node.op in _STATEFUL and any(incremental.streams(body, body.type_of(ref)) for ref in node.inputs):
            return True
    grown = any(incremental.streams(body, type) for node in running for type in node.types)
    return grown and bool(groups_to_keep(body, [node.id for node in running], incremental))


def groups_to_keep(body: Body, running: Iterable[str], incremental: Incremental) -> dict[str, frozenset[str]]:
    """What ``body`` computes once and keeps, among the nodes that are ``running``."""
    return kept_groups(body, frozenset(running), lambda type: incremental.streams(body, type))
