"""Which models can be decoded position by position, and what needs the cache for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.paths import bottom_up, used_bodies
from tantra_dsl.graph.types import Size, TensorType
from tantra_dsl.scalars.ir import Const, Op, Scalar, Var
from tantra_dsl.scalars.walk import variables_of

_ATTENTION = frozenset({"attend", "additive_attend"})
_SCANS = frozenset({"linear_scan", "selective_scan", "delta_scan"})
_PLACED = frozenset({"positions", "tabulate", "rope"})
_STATEFUL = _ATTENTION | _SCANS | _PLACED | {"conv1d", "shift"}
_ALONG = frozenset({"concat", "select", "slice", "pool", "softmax"})
_WHOLE = frozenset({"gather_time", "argmax_time"})


@dataclass(frozen=True)
class Incremental:
    """How a model decodes: the length that grows, why it cannot (or None), and the bodies that take a cache."""

    symbol: str | None
    reason: str | None
    bodies: frozenset[str] = field(default_factory=frozenset)

    @property
    def possible(self) -> bool:
        """Whether the model decodes position by position."""
        return self.reason is None

    def streams(self, type: TensorType) -> bool:
        """Whether a tensor of ``type`` grows while decoding."""
        return self.possible and self.symbol is not None and growing_axis(type, self.symbol) is not None


def growing_axis(type: TensorType, symbol: str) -> int | None:
    """Position of the dimension that depends on ``symbol``."""
    for position, dim in enumerate(type.dims):
        if any(name == symbol for name, _ in dim.size.terms):
            return position
    return None


def closure(body: Body, refs: Iterator[Ref] | tuple[Ref, ...]) -> frozenset[str]:
    """Ids of the nodes that ``refs`` depend on, themselves included."""
    found = {ref.node for ref in refs}
    for node in reversed(body.nodes):
        if node.id in found:
            found.update(ref.node for ref in node.inputs)
    return frozenset(found)


def forward_nodes(graph: Graph, body: Body) -> frozenset[str]:
    """Ids of the nodes that a forward call of ``body`` runs; in the root, without what only the loss needs."""
    outputs = [ref for name, ref in body.outputs if name != "loss" or body.key != graph.root]
    return closure(body, (*outputs, *(ref for _, ref in body.taps)))


def analyse(graph: Graph) -> Incremental:
    """How ``graph`` decodes."""
    symbol = _growing_symbol(graph)
    if symbol is None:
        return Incremental(None, "its output has no time axis that follows a sequence of tokens")
    bodies = list(_forward_bodies(graph))
    for body in bodies:
        for node in body.nodes:
            reason = _obstacle(graph, body, node, symbol) if node.id in forward_nodes(graph, body) else None
            if reason is not None:
                return Incremental(symbol, f"{body.definition}: {reason}")
    incremental = Incremental(symbol, None)
    return Incremental(symbol, None, frozenset(_cache_users(graph, incremental)))


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


def _forward_bodies(graph: Graph) -> Iterator[Body]:
    """The bodies that a forward call of the model runs."""
    pending, seen = [graph.root], {graph.root}
    while pending:
        body = graph.bodies[pending.pop()]
        yield body
        running = forward_nodes(graph, body)
        used = {key for node in body.nodes if node.id in running for key in used_bodies(node)}
        pending.extend(used - seen)
        seen |= used


def _obstacle(graph: Graph, body: Body, node: Node, symbol: str) -> str | None:
    for type in node.types:
        grown = [dim.size for dim in type.dims if any(name == symbol for name, _ in dim.size.terms)]
        if len(grown) > 1:
            return f"{node.op} pairs every position with every other"
        if grown and grown[0] != Size.symbol(symbol):
            return f"{node.op} changes the number of positions"
    operands = [body.type_of(ref) for ref in node.inputs if body.node(ref.node).types]
    if not any(growing_axis(type, symbol) is not None for type in operands):
        return None
    return _obstacle_of(node, operands, symbol)


def _obstacle_of(node: Node, operands: list[TensorType], symbol: str) -> str | None:
    if node.op in _ATTENTION:
        return _attention_obstacle(node, operands, symbol)
    if node.op == "conv1d" and (not node.attr("causal") or node.attr("stride", 1) != 1):
        return "a convolution that is not causal reads later positions"
    if node.op == "shift" and node.attr("by") < 0:
        return "a shift reads later positions"
    if node.op in _WHOLE or (node.op in _ALONG and _works_along(node, operands, symbol)):
        return f"{node.op} works along all positions"
    return None


def _works_along(node: Node, operands: list[TensorType], symbol: str) -> bool:
    widest = max(operands, key=lambda type: type.rank)
    name = node.attr("axis")
    axis = widest.rank - 1 if name == "last" else widest.axis(name)
    return axis is not None and axis == growing_axis(widest, symbol)


def _attention_obstacle(node: Node, operands: list[TensorType], symbol: str) -> str | None:
    queries, keys = (growing_axis(type, symbol) is not None for type in operands[:2])
    mask, score = node.attr("mask"), node.attr("score")
    used = frozenset[str]().union(*(variables_of(p.body) for p in (mask, score) if p is not None))
    if used & {"queries", "keys"}:
        return "its mask or score depends on the length"
    if not keys:
        return "its mask or score compares positions of two sequences" if "q" in used else None
    if not queries:
        return "attention reads a sequence that is still growing"
    if mask is None or not looks_back(mask.body):
        return "attention sees later positions"
    return None


def looks_back(mask: Scalar) -> bool:
    """Whether ``mask`` can be seen to imply ``k <= q``."""
    if isinstance(mask, Const):
        return not mask.value
    if not isinstance(mask, Op):
        return False
    if mask.op == "and":
        return any(map(looks_back, mask.args))
    if mask.op == "or":
        return all(map(looks_back, mask.args))
    if mask.op in ("le", "lt", "eq") and _key_and_query(*mask.args):
        return True
    if mask.op in ("ge", "gt", "eq") and _key_and_query(*reversed(mask.args)):
        return True
    return _distance_bound(mask)


def _key_and_query(a: Scalar, b: Scalar) -> bool:
    return a == Var("k") and b == Var("q")


def _distance_bound(mask: Op) -> bool:
    """Whether it says that ``q - k`` is at least a number that is not negative."""
    if mask.op not in ("ge", "gt", "le", "lt", "eq"):
        return False
    left, right = mask.args if mask.op in ("ge", "gt", "eq") else reversed(mask.args)
    distance = Op("sub", (Var("q"), Var("k")))
    return left == distance and isinstance(right, Const) and right.value >= 0


def _cache_users(graph: Graph, incremental: Incremental) -> Iterator[str]:
    users: set[str] = set()
    for key in bottom_up(graph):
        body = graph.bodies[key]
        running = forward_nodes(graph, body)
        if any(_uses_cache(body, node, incremental, users) for node in body.nodes if node.id in running):
            users.add(key)
            yield key


def _uses_cache(body: Body, node: Node, incremental: Incremental, users: set[str]) -> bool:
    if users.intersection(used_bodies(node)):
        return True
    if node.op in _STATEFUL and any(incremental.streams(body.type_of(ref)) for ref in node.inputs):
        return True
    return is_kept(body, node, incremental)


def is_kept(body: Body, node: Node, incremental: Incremental) -> bool:
    """Whether ``node`` is computed once and kept while decoding: it depends on inputs, yet not on what grows."""
    if node.op in ("input", "param", "instance", "weight") or not node.types or not incremental.possible:
        return False
    still = [t for t in node.types if not incremental.streams(t) and any(d.size.terms for d in t.dims)]
    if len(still) != len(node.types) or len(node.types) != 1:
        return False
    return _meets_stream(body, node, incremental)


def _meets_stream(body: Body, node: Node, incremental: Incremental) -> bool:
    """Whether something that grows reads ``node``, which itself reads no such thing."""
    if any(incremental.streams(body.type_of(ref)) for ref in node.inputs if body.node(ref.node).types):
        return False
    readers = [n for n in body.nodes if any(ref.node == node.id for ref in n.inputs)]
    return any(incremental.streams(t) for reader in readers for t in reader.types)
