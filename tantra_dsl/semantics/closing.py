"""Closing the bodies: taps that other layers read become outputs, and what nothing reads is left out."""

from __future__ import annotations

from dataclasses import replace

from tantra_dsl.graph.model import Body, Ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.semantics.frame import Session


def close(session: Session) -> None:
    """Export taps, then drop what does not reach an output: an equation may matter in some layers and not in others."""
    export(session)
    for key, body in list(session.bodies.items()):
        session.bodies[key] = _pruned(body)


def _pruned(body: Body) -> Body:
    needed = {ref.node for _, ref in (*body.outputs, *body.taps)}
    for node in reversed(body.nodes):
        if node.id in needed:
            needed.update(ref.node for ref in node.inputs)
    return replace(body, nodes=tuple(node for node in body.nodes if node.id in needed or node.op == "input"))


def export(session: Session) -> None:
    """Give bodies the taps that later layers read, and their calls the further outputs."""
    if not session.exports:
        return
    for key, paths in session.exports.items():
        body = session.bodies[key]
        session.bodies[key] = replace(body, taps=tuple(sorted(paths.items())))
    for key in list(session.bodies):
        _widen_calls(session, key)


def _widen_calls(session: Session, key: str) -> None:
    body = session.bodies[key]
    nodes = []
    for node in body.nodes:
        target = session.bodies.get(node.attr("body").key) if node.op == "call" else None
        if target is not None and target.taps:
            own = node.types[: len(target.outputs)]
            node = replace(node, types=(*own, *(_tap_type(session, target, name, ref) for name, ref in target.taps)))
        nodes.append(node)
    taps = tuple((name, _resolved(session, body, name, ref)) for name, ref in body.taps)
    session.bodies[key] = replace(body, nodes=tuple(nodes), taps=taps)


def _tap_type(session: Session, body: Body, name: str, ref: Ref) -> TensorType:
    if ref.out >= 0 and ref.out < len(body.node(ref.node).types):
        return body.type_of(ref)
    inner = session.bodies[body.node(ref.node).attr("body").key]
    rest = name.split(".", 1)[1]
    return _tap_type(session, inner, rest, dict(inner.taps)[rest])


def _resolved(session: Session, body: Body, name: str, ref: Ref) -> Ref:
    if ref.out >= 0:
        return ref
    inner = session.bodies[body.node(ref.node).attr("body").key]
    rest = name.split(".", 1)[1]
    position = [tap for tap, _ in inner.taps].index(rest)
    return Ref(ref.node, len(inner.outputs) + position)
