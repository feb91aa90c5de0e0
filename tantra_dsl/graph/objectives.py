"""The losses of a model, wherever they stand, with the input that each target comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from tantra_dsl.graph.flow import Flow, Vector, operands_of_call, through
from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.paths import bottom_up
from tantra_dsl.graph.places import author_span
from tantra_dsl.graph.reach import SAME, Reach
from tantra_dsl.graph.types import Size
from tantra_dsl.syntax.source import NOWHERE, Span

LOSSES = frozenset({"cross_entropy", "mean_squared_error"})

_MOST_OBJECTIVES = 1000
"""No model has so many; bodies that call each other twice over and over would have without end."""

Origin = tuple[int, int]
"""Number of a root input, and how many positions ahead of its own place it is read."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss whose target at t is exactly ``input[t + offset]``; ``calls`` lead from the root to its body."""

    calls: tuple[Node, ...]
    body: Body
    loss: Node
    input: int
    name: str
    offset: int
    model: Span = NOWHERE

    @property
    def logits(self) -> Ref:
        """What the loss judges."""
        return self.loss.inputs[0]

    @property
    def span(self) -> Span:
        """Its place: the loss, or where the author asks for it."""
        around = [*(call.origin for call in reversed(self.calls)), self.model]
        return author_span([self.loss.origin, *around], ["objective"])

    def seen(self, flow: Flow) -> bool:
        """Whether the logits of some position may depend on that position's own target."""
        reach = self.reach(flow)
        if reach is None:
            return False
        if time_of(self.body, self.logits) is None or reach.stride > 1:
            return True
        first = max(0, -self.offset)
        return reach.ahead + reach.stride * first >= first + self.offset

    def reach(self, flow: Flow) -> Reach | None:
        """How far the logits look into the input, or None where they do not depend on it."""
        known: dict[object, Vector] = {number: {number: SAME} for number in range(len(flow.graph.main.inputs))}
        body = flow.graph.main
        for call in self.calls:
            vectors = flow.bodies[body.key].nodes
            operands = operands_of_call(call, [through(vectors[ref], known) for ref in call.inputs])
            known, body = dict(enumerate(operands)), flow.graph.body_of(call)
        return through(flow.bodies[body.key].nodes[self.logits], known).get(self.input)


def time_of(body: Body, ref: Ref) -> Size | None:
    """Length of the time axis of a value, or None where it has none."""
    type = body.type_of(ref)
    axis = type.axis("time")
    return None if axis is None else type.dims[axis].size


def objectives(graph: Graph) -> Iterator[Objective]:
    """Losses whose target is a root input, shifted along time or not."""
    origins: list[Origin | None] = [(number, 0) for number in range(len(graph.main.inputs))]
    yield from islice(_Search(graph).losses(graph.main, origins, ()), _MOST_OBJECTIVES)


class _Search:
    """Follows calls down to the losses, with the origins of what each body is given."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.with_loss: set[str] = set()
        for key in bottom_up(graph):
            called = (node.attr("body").key for node in graph.bodies[key].nodes if node.op == "call")
            own = any(node.op in LOSSES for node in graph.bodies[key].nodes)
            if own or any(inner in self.with_loss for inner in called):
                self.with_loss.add(key)

    def losses(self, body: Body, given: list[Origin | None], calls: tuple[Node, ...]) -> Iterator[Objective]:
        """Objectives of ``body`` and of what it calls."""
        for node in body.nodes:
            if node.op in LOSSES:
                yield from self._objective(node, body, given, calls)
            elif node.op == "call" and node.attr("body").key in self.with_loss:
                inner = [self.origin(body, ref, given) for ref in _arguments(node)]
                yield from self.losses(self.graph.body_of(node), inner, (*calls, node))

    def _objective(
        self, loss: Node, body: Body, given: list[Origin | None], calls: tuple[Node, ...]
    ) -> Iterator[Objective]:
        origin = self.origin(body, loss.inputs[1], given)
        # Rebuilding one's own input is a regression's right; predicting the next value is not helped by seeing it.
        if origin is None or (loss.op == "mean_squared_error" and origin[1] < 1):
            return
        name = self.graph.main.inputs[origin[0]].attr("name")
        yield Objective(calls, body, loss, origin[0], name, origin[1], self.graph.main.origin)

    def origin(self, body: Body, ref: Ref, given: list[Origin | None]) -> Origin | None:
        """The root input that a value is, moved along time; None for anything computed."""
        offset = 0
        while True:
            node = body.node(ref.node)
            moved = _offset(node)
            if moved is None:
                break
            offset, ref = offset + moved, node.inputs[0]
        if node.op == "input":
            found = given[body.inputs.index(node)]
        elif node.op == "call":
            inner = self.graph.body_of(node)
            passed = [self.origin(body, argument, given) for argument in _arguments(node)]
            found = self.origin(inner, inner.outputs[ref.out][1], passed)
        else:
            return None
        return None if found is None else (found[0], found[1] + offset)


def _arguments(call: Node) -> tuple[Ref, ...]:
    return tuple(operands_of_call(call, list(call.inputs)))


def _offset(node: Node) -> int | None:
    """By how much an op that only moves its operand along time moves it; None for other ops."""
    if node.op == "shift":
        return -int(node.attr("by"))
    if node.op == "slice" and node.attr("axis") == "time":
        start = int(node.attr("start") or 0)
        return start if start >= 0 else None
    return 0 if node.op == "stop_gradient" else None
