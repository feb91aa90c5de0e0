"""Cross-entropies of what a linear layer scores: found in any body, and made one op that need not hold all scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tantra_dsl.graph.inline import inlined, without_unused
from tantra_dsl.graph.model import Attr, Body, Graph, Node, Ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.derivative import derivative
from tantra_dsl.scalars.ir import Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import ScalarError, check_bounds, substitute

LINEAR_LOSS = "linear_cross_entropy"
"""The op: inputs x, weight, target, bias?, then vectors that its program reads after the scores."""

SCORES = "x"
"""What its program calls the scores."""


@dataclass(frozen=True, slots=True)
class LinearLoss:
    """A cross-entropy, by body and node: made one op with its linear layer, or left for a ``reason``."""

    body: str
    node: str
    reason: str | None


def with_linear_losses(graph: Graph) -> tuple[Graph, tuple[LinearLoss, ...]]:
    """``graph`` with every cross-entropy that allows it made one op with its linear layer, and all that were looked at.

    What lies between may be any elementwise function that reads, beside the scores, single numbers and vectors with a
    number for each class. A head that is called is written out where its loss is.
    """
    found: list[LinearLoss] = []
    bodies = dict(graph.bodies)
    for key, body in graph.bodies.items():
        for node in body.nodes:
            if node.op == "cross_entropy":
                made = _fused(graph, bodies[key], node.id)
                bodies[key] = bodies[key] if isinstance(made, str) else made
                found.append(LinearLoss(key, node.id, made if isinstance(made, str) else None))
    if all(bodies[key] is body for key, body in graph.bodies.items()):
        return graph, tuple(found)
    return without_unused(replace(graph, bodies=bodies)), tuple(found)


def _fused(graph: Graph, body: Body, loss: str) -> Body | str:
    """``body`` with the cross-entropy ``loss`` made one op; or why not."""
    opened = _opened(graph, body, loss)
    if isinstance(opened, str):
        return opened
    chain = _Chain(opened, opened.node(loss))
    reason = chain.reason() or chain.read_elsewhere(body.key == graph.root)
    return reason or chain.fused()


def _opened(graph: Graph, body: Body, loss: str) -> Body | str:
    """``body`` with the calls written out that lie between ``loss`` and a linear layer."""
    while True:
        node = body.node(body.node(loss).inputs[0].node)
        while node.op == "map" and (scores := _scores(body, node)) is not None:
            node = body.node(scores.node)
        if node.op != "call":
            return body
        made = inlined(graph, body, node)
        if made is None:
            return f"the head {node.attr('name')} is shared by several calls and has modules of its own"
        body = made


def _scores(body: Body, map: Node) -> Ref | None:
    """The one operand of ``map`` that has a number for every position and class; None where it is not one."""
    found = {ref for ref in map.inputs[: map.attr("arity")] if body.type_of(ref) == map.type}
    return found.pop() if len(found) == 1 else None


class _Chain:
    """What lies between a linear layer and the cross-entropy ``loss``: a function of the scores and of ``vectors``."""

    def __init__(self, body: Body, loss: Node) -> None:
        self.body, self.loss = body, loss
        self.maps: list[Node] = []
        self.vectors: list[Ref] = []
        self.function: Scalar = Var(SCORES)
        self.scores = loss.inputs[0]
        self.linear = body.node(self.scores.node)

    def reason(self) -> str | None:
        """Walks to the linear layer; what is in the way, where something is."""
        while self.linear.op == "map":
            reason = self._take(self.linear)
            if reason is not None:
                return reason
            self.linear = self.body.node(self.scores.node)
        if self.linear.op != "linear":
            where = "between the linear layer and the loss" if self.maps else "before the loss"
            return f"{self.linear.op} stands {where}, where only elementwise functions of a linear layer's scores may"
        return self._slopes_missing()

    def _take(self, map: Node) -> str | None:
        program: Program = map.attr("program")
        scores = _scores(self.body, map)
        if program.captures:
            return f"the function before the loss reads elements of {program.captures[0].name}"
        if scores is None:
            return "the function before the loss reads several tensors with a number for every position and class"
        values: dict[str, Scalar] = {}
        for variable, ref in zip(program.variables, map.inputs, strict=True):
            type = self.body.type_of(ref)
            if ref != scores and not _is_vector(type, map.type):
                return f"the function before the loss reads {type}, which differs from position to position"
            values[variable] = Var(SCORES) if ref == scores else self._vector(ref)
        self.function = substitute(self.function, {SCORES: substitute(program.body, values)})
        self.maps.append(map)
        self.scores = scores
        return None

    def _vector(self, ref: Ref) -> Var:
        if ref not in self.vectors:
            self.vectors.append(ref)
        return Var(f"v{self.vectors.index(ref)}")

    def _slopes_missing(self) -> str | None:
        try:
            check_bounds(self.function)
            for variable in (SCORES, *self._names()):
                derivative(self.function, variable)
        except ScalarError as error:
            return f"the function before the loss has no derivative that can be written: {error}"
        return None

    def _names(self) -> list[str]:
        return [f"v{number}" for number in range(len(self.vectors))]

    def read_elsewhere(self, root: bool) -> str | None:
        """Why the scores are needed all the same; the results of a whole model are made apart from its loss."""
        outputs = [ref for name, ref in self.body.outputs if name == "loss" or not root]
        ends = {ref.node for ref in (*outputs, *(ref for _, ref in self.body.taps))}
        needed = needed_for(self.body, ends, instead=self.loss.id)
        if any(node.id in needed for node in (*self.maps, self.linear)):
            return "the scores are read elsewhere too"
        return None

    # --- the op --------------------------------------------------------------------------

    def fused(self) -> Body:
        """The body with the op in place of the cross-entropy; what nothing reads any more is gone."""
        nodes = [self._op() if node.id == self.loss.id else node for node in self.body.nodes]
        ends = {ref.node for _, ref in (*self.body.outputs, *self.body.taps)}
        needed = needed_for(replace(self.body, nodes=tuple(nodes)), ends)
        idle = {node.id for node in (*self.maps, self.linear)} - needed
        return replace(self.body, nodes=tuple(node for node in nodes if node.id not in idle))

    def _op(self) -> Node:
        x, weight, *bias = self.linear.inputs
        vectors, function = self.vectors, self.function
        if not bias and len(vectors) == 1 and _is_sum(function) and self.body.type_of(vectors[0]).rank == 1:
            bias, vectors, function = vectors, [], Var(SCORES)
        attrs: dict[str, Attr] = {
            **dict(self.loss.attrs),
            "has": ("bias",) if bias else (),
            "program": None if function == Var(SCORES) else self._program(function),
        }
        inputs = (x, weight, self.loss.inputs[1], *bias, *vectors)
        return replace(self.loss, op=LINEAR_LOSS, inputs=inputs, attrs=tuple(sorted(attrs.items())))

    def _program(self, function: Scalar) -> Program:
        names = [map.attr("program").name for map in self.maps]
        return Program("fn", (SCORES, *self._names()), function, name=names[0] if len(names) == 1 else "pointwise")


def _is_vector(type: TensorType, scores: TensorType) -> bool:
    return type.rank == 0 or (type.rank == 1 and type.dims[0].size == scores.dims[-1].size)


def _is_sum(function: Scalar) -> bool:
    return isinstance(function, Op) and function.op == "add" and set(function.args) == {Var(SCORES), Var("v0")}


def needed_for(body: Body, ends: Iterable[str], instead: str = "") -> set[str]:
    """Nodes that ``ends`` are made from; of the node ``instead``, only what it reads beside the scores."""
    needed = set(ends)
    for node in reversed(body.nodes):
        if node.id in needed:
            needed.update(ref.node for ref in (node.inputs[1:] if node.id == instead else node.inputs))
    return needed
