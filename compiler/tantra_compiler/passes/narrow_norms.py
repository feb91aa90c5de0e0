"""Norms that products alone read give what those read: under autocast, numbers in its precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from tantra_compiler.passes import ops
from tantra_compiler.passes.add_norm import Norm, norm_bodies, norm_path, norms_of
from tantra_compiler.passes.base import Decision
from tantra_compiler.passes.places import places
from tantra_compiler.passes.recipe import with_attr
from tantra_dsl.graph.inline import without_unused
from tantra_dsl.graph.linear_loss import LINEAR_LOSS, needed_for
from tantra_dsl.graph.model import Body, BodyRef, Graph, Node, Ref

PRODUCTS: Final = frozenset({"linear", "packed_linear", LINEAR_LOSS})
"""Ops that under autocast round their first input before all else, and that have one gradient for it."""


@dataclass(frozen=True)
class NarrowNorms:
    """Marks norms that one product alone reads as ``narrow``: the numbers are those that it would round them to.

    Where several read a norm, their gradients add up in float32, which a narrow norm would not have.
    """

    name: ClassVar[str] = "narrow_norms"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with marked norms; a norm that is called elsewhere as well has a body for each use."""
        bodies = dict(graph.bodies)
        for key, body in graph.bodies.items():
            for norm in _marked(graph, body):
                bodies[key], made = _narrowed(bodies[key], norm)
                bodies |= made
        if all(bodies[key] is body for key, body in graph.bodies.items()):
            return graph
        return without_unused(replace(graph, bodies=bodies))

    def decisions(self, graph: Graph) -> tuple[Decision, ...]:
        """What becomes of every norm of ``graph``."""
        paths, apart = places(graph), norm_bodies(graph)
        return tuple(
            Decision(_path(path, body, norm), "normalize", *_choice(graph, body, norm))
            for key, body in graph.bodies.items()
            if key not in apart
            for norm in _norms(graph, body)
            for path in paths[key]
        )


def _path(path: str, body: Body, norm: Norm) -> str:
    """As before the add was put in: the path of the module whose weights the norm reads."""
    read = [body.node(ref.node) for ref in norm.node.inputs[2:]]
    read += [body.node(ref.node) for node in read if node.op == "map" for ref in node.inputs]
    modules = [body.node(node.inputs[0].node).attr("name") for node in read if node.op == "weight"]
    named = modules and norm.node.op == ops.ADD_NORM
    return f"{path}.{modules[0]}".strip(".") if named else norm_path(path, norm)


def _choice(graph: Graph, body: Body, norm: Norm) -> tuple[str, str]:
    reason = _obstacle(graph, body, norm)
    return ("wide", reason) if reason is not None else ("narrow", "one product alone reads it, in autocast's precision")


def _norms(graph: Graph, body: Body) -> list[Norm]:
    """Norms of ``body``, those with an add before them as well."""
    added = [Norm(n, n.inputs[0], n.op, n.attr("kind"), n.attr("eps"), ()) for n in body.nodes if n.op == ops.ADD_NORM]
    return [*added, *norms_of(graph, body)]


def _marked(graph: Graph, body: Body) -> list[Norm]:
    if body.key in norm_bodies(graph):
        return []
    return [norm for norm in _norms(graph, body) if _obstacle(graph, body, norm) is None]


def _obstacle(graph: Graph, body: Body, norm: Norm) -> str | None:
    """Why a norm stays as wide as what it norms; None where it need not."""
    if norm.node.op == "call" and norm.node.attr("instance") == "given":
        return "its module is called from several places"
    return _reader_obstacle(graph, body, Ref(norm.node.id, int(norm.node.op == ops.ADD_NORM)))


def _reader_obstacle(graph: Graph, body: Body, ref: Ref) -> str | None:
    """Why what reads ``ref`` is not one product alone, through calls; what only a loss reads counts apart."""
    reasons = [_use_obstacle(graph, body, ref, ends) for ends in _runs(graph, body)]
    if all(reason == _UNREAD for reason in reasons):
        return _UNREAD
    return next((reason for reason in reasons if reason not in (None, _UNREAD)), None)


_UNREAD: Final = "nothing reads it"


def _runs(graph: Graph, body: Body) -> list[list[Ref]]:
    """What is computed at once: in the whole model, its results apart from its loss."""
    taps = [ref for _, ref in body.taps]
    if body.key != graph.root:
        return [[*(ref for _, ref in body.outputs), *taps]]
    results = [ref for name, ref in body.outputs if name != "loss"]
    return [[*results, *taps], [ref for name, ref in body.outputs if name == "loss"]]


def _use_obstacle(graph: Graph, body: Body, ref: Ref, ends: list[Ref]) -> str | None:
    if ref in ends:
        return "it is a result of its block"
    needed = needed_for(body, {end.node for end in ends})
    readers = [(n, slot) for n in body.nodes if n.id in needed for slot, read in enumerate(n.inputs) if read == ref]
    if not readers:
        return _UNREAD
    if len(readers) > 1:
        return f"{len(readers)} ops read it, whose gradients add up"
    node, slot = readers[0]
    if node.op == "call":
        inner, arguments = graph.body_of(node), slot - (node.attr("instance") == "given")
        return _reader_obstacle(graph, inner, Ref(inner.inputs[arguments].id))
    return None if node.op in PRODUCTS and slot == 0 else f"{node.op} reads it"


# --- the change ----------------------------------------------------------------------------


def _narrowed(body: Body, norm: Norm) -> tuple[Body, dict[str, Body]]:
    """``body`` with ``norm`` marked, and the body that it calls for that."""
    if norm.inner is None:
        return _with_node(body, norm.node.id, lambda node: with_attr(node, "narrow", True)), {}
    inner = norm.inner
    key = f"{inner.key}_narrow"
    ((_, result),) = inner.outputs
    made = _with_node(replace(inner, key=key), result.node, lambda node: with_attr(node, "narrow", True))
    return _with_node(body, norm.node.id, lambda node: with_attr(node, "body", BodyRef(key))), {key: made}


def _with_node(body: Body, id: str, change: Callable[[Node], Node]) -> Body:
    return replace(body, nodes=tuple(change(node) if node.id == id else node for node in body.nodes))
