"""Heads of a projection that are normalised or turned by their positions, in one op."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from tantra_compiler.passes import ops
from tantra_compiler.passes.add_norm import Norm, norms_of, through
from tantra_compiler.passes.base import Decision
from tantra_compiler.passes.inlined import free_id, makers, norm_weights
from tantra_compiler.passes.places import places
from tantra_dsl.graph.inline import without_unused
from tantra_dsl.graph.layers import layer_obstacle
from tantra_dsl.graph.model import Attr, Body, Graph, Node, Ref
from tantra_dsl.graph.types import Dim

_NORMS: Final = {"rms": "rms_norm", "layernorm": "layer_norm"}
_TURNS: Final = ("factor", "frequency", "interleaved", "width")


@dataclass(frozen=True)
class TurnHeads:
    """Makes ``split_heads``, norms and ``rope`` of the parts of one projection a ``turned_heads``, in its own memory.

    Nothing else may read the projection. Norms that are modules stay the owners of their weights.
    """

    name: ClassVar[str] = "turn_heads"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with fused heads."""
        bodies = {key: _changed(graph, body) for key, body in graph.bodies.items()}
        if all(bodies[key] is body for key, body in graph.bodies.items()):
            return graph
        return without_unused(replace(graph, bodies=bodies))

    def decisions(self, graph: Graph) -> tuple[Decision, ...]:
        """What becomes of every rope, and of norms of heads that nothing turns."""
        paths = places(graph)
        return tuple(
            Decision(f"{path}.{name}".strip("."), *choice)
            for key, body in graph.bodies.items()
            for name, choice in _choices(graph, body)
            for path in paths[key]
        )


def _choices(graph: Graph, body: Body) -> Iterator[tuple[str, tuple[str, str, str]]]:
    found = projections(graph, body)
    for projection in found:
        for part in projection.parts:
            if part.turn is not None or part.norm is not None:
                last = part.nodes[-1]
                yield last.id, (last.op, ops.TURNED_HEADS, _meaning(part, projection))
    fused = {node.id for projection in found for part in projection.parts for node in part.nodes}
    for node in body.nodes:
        if node.op == "rope" and node.id not in fused:
            yield node.id, ("rope", "rope", rope_obstacle(graph, body, node))


def _meaning(part: Part, projection: Projection) -> str:
    said = {
        (True, False): "its heads turn in the memory of their projection",
        (True, True): "one op with the norm before it, on heads of one projection",
        (False, True): "one op with the heads of its projection",
    }[part.turn is not None, part.norm is not None]
    in_place = all(other.norm is None for other in projection.parts)
    return said if in_place or part.norm is not None else "its heads turn in one op with those of its projection"


def rope_obstacle(graph: Graph, body: Body, rope: Node) -> str:
    """Why a rope stays apart."""
    norms = {norm.node.id: norm for norm in norms_of(graph, body)}
    before = rope.inputs[0]
    if before.node in norms:
        before = norms[before.node].x
    heads = body.node(before.node)
    if _only_reader(body, rope.inputs[0]) is None or (before != rope.inputs[0] and _only_reader(body, before) is None):
        return "what it turns is read elsewhere as well"
    if heads.op != "split_heads":
        return f"it turns what {heads.op} gives, not the heads of a projection"
    source = body.node(heads.inputs[0].node)
    if source.op not in ("linear", "parts"):
        return f"its heads are cut from what {source.op} gives, not from a projection"
    if _only_reader(body, heads.inputs[0]) is None or not _is_alone(body, source):
        return "its projection is read elsewhere as well"
    if heads.type.rank != 4 or heads.type.axis("time") != 1:
        return f"its heads are {heads.type}, not [batch, time, heads, head_dim]"
    if before.node != rope.inputs[0].node and rope.inputs[0].node in norms:
        norm = norms[rope.inputs[0].node]
        if makers(body, norm.operands if norm.inner is None else norm.node.inputs[:-1]) is None:
            return "the weight of the norm before it is made from other tensors"
    return "another part of its projection turns in another way"


def _is_alone(body: Body, source: Node) -> bool:
    """Whether the packed projection behind ``source`` is read by nothing else."""
    return source.op == "linear" or _only_reader(body, source.inputs[0]) is not None


# --- what is found -------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A part of a projection: ``nodes`` take it over, from ``split_heads`` on; none where it stays as it is."""

    given: Ref
    nodes: tuple[Node, ...] = ()
    norm: Norm | None = None
    turn: Node | None = None

    @property
    def result(self) -> Ref:
        """What the rest of the body reads."""
        return Ref(self.nodes[-1].id) if self.nodes else self.given


@dataclass(frozen=True)
class Projection:
    """A projection and its parts; ``cut`` is the node ``parts`` where there are several."""

    source: Node
    cut: Node | None
    parts: tuple[Part, ...]

    @property
    def turn(self) -> Node | None:
        """How its heads turn."""
        return next((part.turn for part in self.parts if part.turn is not None), None)


def projections(graph: Graph, body: Body) -> list[Projection]:
    """The projections of ``body`` whose heads are normalised or turned."""
    found = []
    for node in body.nodes:
        if node.op not in ("linear", "packed_linear"):
            continue
        reader = _only_reader(body, Ref(node.id))
        if reader is None or node.type.rank != 3 or node.type.axis("time") != 1:
            continue
        cut = reader if reader.op == "parts" else None
        if node.op == "packed_linear" and cut is None:
            continue
        parts = _parts_of(graph, body, node if cut is None else cut)
        if any(part.norm or part.turn for part in parts):
            found.append(Projection(node, cut, parts))
    return found


def _parts_of(graph: Graph, body: Body, node: Node) -> tuple[Part, ...]:
    """The parts, all of which that turn do so alike."""
    parts = [_part_of(graph, body, Ref(node.id, out)) for out in range(len(node.types))]
    first = next((part.turn for part in parts if part.turn is not None), None)
    return tuple(
        part if part.turn is None or first is None or _turns_alike(part.turn, first) else _unturned(part)
        for part in parts
    )


def _turns_alike(one: Node, other: Node) -> bool:
    return all(one.attr(name) == other.attr(name) for name in _TURNS)


def _unturned(part: Part) -> Part:
    return replace(part, nodes=part.nodes[:-1], turn=None)


def _part_of(graph: Graph, body: Body, given: Ref) -> Part:
    split = _only_reader(body, given)
    if split is None or split.op != "split_heads":
        return Part(given)
    nodes, norm, turn = [split], None, None
    following = _only_reader(body, Ref(split.id))
    norms = {each.node.id: each for each in norms_of(graph, body)}
    found = None if following is None else norms.get(following.id)
    if following is not None and found is not None and _can_join(body, found, split):
        norm = found
        nodes.append(following)
        following = _only_reader(body, Ref(following.id))
    if following is not None and following.op == "rope":
        turn = following
        nodes.append(following)
    return Part(given, tuple(nodes), norm, turn)


def _can_join(body: Body, norm: Norm, split: Node) -> bool:
    """Whether ``norm`` takes nothing but the heads and weights."""
    read = norm.operands if norm.inner is None else norm.node.inputs[:-1]
    return norm.x == Ref(split.id) and len(norm.node.types) == 1 and makers(body, read) is not None


def _only_reader(body: Body, ref: Ref) -> Node | None:
    """The node that alone reads ``ref``, once."""
    readers = [node for node in body.nodes for other in node.inputs if other == ref]
    ends = any(end == ref for _, end in (*body.outputs, *body.taps))
    return readers[0] if len(readers) == 1 and not ends else None


# --- the change ----------------------------------------------------------------------------


def _changed(graph: Graph, body: Body) -> Body:
    for projection in projections(graph, body):
        body = _with_op(body, projection)
    return body


def _with_op(body: Body, projection: Projection) -> Body:
    """``body`` with the op behind the projection, and what makes its weights before it."""
    taken = {node.id for node in body.nodes}
    source = _as_product(body, projection.source)
    anchor = projection.source if projection.cut is None else projection.cut
    before, vectors, has = _weights(body, projection, taken)
    fused = _op(projection, vectors, has, free_id(f"{anchor.id}_heads", taken))
    gone = {node.id for part in projection.parts for node in part.nodes} | {anchor.id, projection.source.id}
    gone |= {node.id for node in before}
    instead = {part.result: Ref(fused.id, out) for out, part in enumerate(projection.parts)}
    nodes: list[Node] = []
    for node in body.nodes:
        if node.id == anchor.id:
            nodes += [*before, source, fused]
        elif node.id not in gone:
            nodes.append(replace(node, inputs=through(node.inputs, instead)))
    outputs, taps = (tuple((n, instead.get(ref, ref)) for n, ref in refs) for refs in (body.outputs, body.taps))
    return replace(body, nodes=tuple(nodes), outputs=outputs, taps=taps)


def _as_product(body: Body, source: Node) -> Node:
    """The projection as an op whose result is memory of its own, also where its layer has been replaced."""
    source = replace(source, equation=None, target="projected")
    if source.op == "packed_linear" or layer_obstacle(body, source) is not None:
        return source
    total = source.type.with_last(Dim("packed", source.type.dims[-1].size))
    return replace(source, op="packed_linear", attrs=(("count", 1),), types=(total,))


def _weights(body: Body, projection: Projection, taken: set[str]) -> tuple[list[Node], list[Ref], list[str]]:
    """What makes the weights and must come before the op, the weights, and whose they are: "0.weight", "0.bias"."""
    anchor = body.nodes.index(projection.source if projection.cut is None else projection.cut)
    later = {node.id for node in body.nodes[anchor:]}
    before: list[Node] = []
    vectors, has = list[Ref](), list[str]()
    for number, part in enumerate(projection.parts):
        if part.norm is None:
            continue
        made, refs = norm_weights(part.norm, taken)
        read = part.norm.operands if part.norm.inner is None else part.norm.node.inputs[:-1]
        old = [node for node in makers(body, read) or () if node.id in later and node not in before]
        before += [*old, *made]
        vectors += refs
        has += [f"{number}.{name}" for name in ("weight", "bias")[: len(refs)]]
    return before, vectors, has


def _op(projection: Projection, vectors: list[Ref], has: list[str], id: str) -> Node:
    parts, turn = projection.parts, projection.turn
    types = (projection.source if projection.cut is None else projection.cut).types
    made = [part.nodes[-1].type if part.nodes else type for part, type in zip(parts, types, strict=True)]
    attrs: dict[str, Attr] = {
        "eps": tuple(0.0 if part.norm is None else part.norm.eps for part in parts),
        "heads": tuple(part.nodes[0].attr("heads") if part.nodes else 0 for part in parts),
        "names": tuple(type.dims[-1].name for type in made),
        "norms": tuple("none" if part.norm is None else _NORMS[part.norm.kind] for part in parts),
        "turned": tuple(part.turn is not None for part in parts),
        "vectors": tuple(has),
        "widths": tuple(type.dims[-1].size.known for type in made),
    }
    attrs |= {name: None if turn is None else turn.attr(name) for name in _TURNS}
    named = (
        projection.cut.target if projection.cut is not None else parts[0].nodes[-1].target or parts[0].nodes[0].target
    )
    return Node(
        id,
        ops.TURNED_HEADS,
        (Ref(projection.source.id), *vectors),
        tuple(sorted(attrs.items())),
        tuple(made),
        origin=projection.source.origin,
        target=named,
    )
