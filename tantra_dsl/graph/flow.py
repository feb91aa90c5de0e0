"""How far ahead every output of a graph looks into every input: the leak proof's walk over bodies.

Each body is read once, as a function from how far its inputs look ahead to how far its outputs do; a stack composes
those functions by repeated squaring, so that the cost follows the distinct blocks and not the layers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeVar

from tantra_dsl.graph.model import Body, BodyRef, Graph, Node, Ref
from tantra_dsl.graph.paths import bottom_up
from tantra_dsl.graph.reach import SAME, Edge, Reach, edges
from tantra_dsl.graph.types import TensorType

T = TypeVar("T")
Source = Hashable
Vector = Mapping[Source, Reach]
"""Reach of a tensor into each source that it depends on; sources that are missing do not matter to it."""

Place = tuple[str, str]
"""A node: key of its body and its id."""

_NOTHING: Vector = {}


@dataclass(frozen=True, slots=True)
class BodyFlow:
    """Reach of a body's outputs, taps and nodes into its inputs, which are numbered as in ``body.inputs``."""

    outputs: tuple[Vector, ...]
    taps: Mapping[str, Vector]
    nodes: Mapping[Ref, Vector]


@dataclass
class Flow:
    """Reach of everything in a graph.

    ``only``: where given, other places are taken not to look ahead at all, as if they were causal. ``blank``: so many
    first positions of each body's first input hold nothing of what is asked about, such as the places of an image
    before a text; ``plain`` is then the flow that does without.
    """

    graph: Graph
    only: Collection[Place] | None = None
    rules: dict[Place, list[Edge]] = field(default_factory=dict)
    bodies: dict[str, BodyFlow] = field(default_factory=dict)
    blank: int = 0
    plain: Flow | None = None
    blanks: dict[int, Flow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in bottom_up(self.graph) if self.plain is None else ():
            self.body(key)

    def body(self, key: str) -> BodyFlow:
        """The flow of the body called ``key``."""
        if key not in self.bodies:
            self.bodies[key] = self._body(self.graph.bodies[key])
        return self.bodies[key]

    @property
    def root(self) -> BodyFlow:
        """The flow of the root body: reach into the model's inputs."""
        return self.bodies[self.graph.root]

    def restricted(self, only: Collection[Place]) -> Flow:
        """The same graph with only some places looking ahead."""
        return Flow(self.graph, only, self.rules)

    def _body(self, body: Body) -> BodyFlow:
        known: dict[Ref, Vector] = {}
        types: dict[Ref, TensorType] = {}
        number = 0
        for node in body.nodes:
            if node.op == "input":
                known[Ref(node.id)] = {number: SAME} if node.attr("kind") in ("tensor", "tap") else _NOTHING
                number += 1
            else:
                for out, vector in enumerate(self._node(body, node, known, types)):
                    known[Ref(node.id, out)] = vector
            for out, type in enumerate(node.types):
                types[Ref(node.id, out)] = type
        outputs = tuple(known[ref] for _, ref in body.outputs)
        return BodyFlow(outputs, {path: known[ref] for path, ref in body.taps}, known)

    def _node(self, body: Body, node: Node, known: dict[Ref, Vector], types: dict[Ref, TensorType]) -> list[Vector]:
        operands = [known[ref] for ref in node.inputs]
        if node.op in ("param", "instance") or not any(operands):
            return [_NOTHING] * max(1, len(node.types))
        found = self._results(body, node, operands, types)
        return found if self.plain is not None else self._sharpened(body, node, operands, types, found)

    def _results(self, body: Body, node: Node, operands: list[Vector], types: dict[Ref, TensorType]) -> list[Vector]:
        if node.op == "stack":
            return [StackFlow(self.plain or self, node).result(operands)]
        if node.op == "call":
            given = operands_of_call(node, operands)
            return _called(self._fitting(given[:1]), node, given)
        found = self._fitting(operands[1:3])._edges(body, node, types)
        vector = merged(shifted(operands[i], edge) for i, edge in found)
        return [vector] * max(1, len(node.types))

    def _edges(self, body: Body, node: Node, types: dict[Ref, TensorType]) -> list[Edge]:
        place = body.key, node.id
        if place not in self.rules:
            self.rules[place] = edges(node, [types[ref] for ref in node.inputs], self.blank)
        if self.only is None or place in self.only:
            return self.rules[place]
        return [(number, Reach(edge.stride, min(edge.ahead, 0))) for number, edge in self.rules[place]]

    # --- blank positions -------------------------------------------------------------------

    def _fitting(self, operands: list[Vector]) -> Flow:
        """This flow where ``operands`` hold nothing at its blank positions, else the one that does without."""
        if self.plain is None:
            return self
        aligned = (reach.stride == 1 and reach.ahead <= 0 for vector in operands for reach in vector.values())
        return self if all(set(vector) <= {0} for vector in operands) and all(aligned) else self.plain

    def _sharpened(
        self, body: Body, node: Node, operands: list[Vector], types: dict[Ref, TensorType], found: list[Vector]
    ) -> list[Vector]:
        """Reach of a node's results, where a source begins late in a stream and nobody finds it in the places before.

        One that begins late has a reach of less than 0, in all that may be read elsewhere than at one's own position.
        """
        streams = operands_of_call(node, operands)[:1] if node.op in ("call", "stack") else operands[1:3]
        if node.op not in _MIXING or not streams:
            return found
        for source, reach in streams[0].items():
            late = reach.stride == 1 and -math.inf < reach.ahead < 0
            if late and all(vector.get(source, reach) == reach for vector in streams):
                only: list[Vector] = [{key: each for key, each in x.items() if key == source} for x in operands]
                made = self._with_blank(-math.ceil(reach.ahead))._of_blank(body, node, only, types)
                found = [_with_less(old, new, source) for old, new in zip(found, made or found, strict=True)]
        return found

    def _of_blank(
        self, body: Body, node: Node, operands: list[Vector], types: dict[Ref, TensorType]
    ) -> list[Vector] | None:
        """Reach of a node's results where its stream has blank positions; None for a stack that fills them."""
        if node.op == "call":
            return _called(self, node, operands_of_call(node, operands))
        if node.op == "stack":
            layers = StackFlow(self, node)
            return [layers.result(operands)] if layers.keep_blank() else None
        return [merged(shifted(operands[i], edge) for i, edge in self._edges(body, node, types))]

    def _with_blank(self, count: int) -> Flow:
        if count not in self.blanks:
            self.blanks[count] = Flow(self.graph, self.only, blank=count, plain=self)
        return self.blanks[count]


_MIXING = ("call", "stack", "attend", "additive_attend")
"""What may read a stream at other positions than its own, by a mask."""


def _called(flow: Flow, node: Node, given: list[Vector]) -> list[Vector]:
    return [through(vector, dict(enumerate(given))) for vector in flow.body(node.attr("body").key).outputs]


def _with_less(old: Vector, new: Vector, source: Source) -> Vector:
    """``old`` with the reach into ``source`` that ``new`` has, where that is less."""
    if source not in new:
        return {key: reach for key, reach in old.items() if key != source}
    less = source in old and new[source].stride <= old[source].stride and new[source].ahead < old[source].ahead
    return {**old, source: new[source]} if less else old


def operands_of_call(node: Node, operands: list[T]) -> list[T]:
    """What a call hands to the inputs of its body, in order; the module that holds the weights is not among them."""
    return operands[1:] if node.attr("instance") == "given" else operands


def shifted(vector: Vector, edge: Reach) -> Vector:
    """Reach through ``edge`` of a tensor with these reaches."""
    if edge == SAME:
        return vector
    return {source: edge.of(reach) for source, reach in vector.items()}


def merged(vectors: Iterable[Vector]) -> Vector:
    """Reach of what depends on all of these."""
    result: dict[Source, Reach] = {}
    for vector in vectors:
        for source, reach in vector.items():
            result[source] = result[source].join(reach) if source in result else reach
    return result


def through(vector: Vector, sources: Mapping[Source, Vector]) -> Vector:
    """Reach into the sources' own sources."""
    return merged(shifted(sources.get(source, _NOTHING), reach) for source, reach in vector.items())


# --- stacks -----------------------------------------------------------------------------------

X, START = "x", "start"
"""What goes into a layer, and what went into the stack."""


class StackFlow:
    """One stack: its layers as functions of what goes in, the extras, and the tensors tapped from earlier layers."""

    def __init__(self, flow: Flow, stack: Node) -> None:
        runs: tuple[tuple[BodyRef, int], ...] = stack.attr("runs")
        self.flow = flow
        self.stack = stack
        self.count: int = stack.attr("count")
        self.keys = [ref.key for ref, _ in runs]
        self.ends = list(accumulate(count for _, count in runs))
        self.period = self.ends[-1]
        self.extras: tuple[str, ...] = stack.attr("extras") or ()
        self.powers: dict[tuple[str | None, int], Vector] = {}

    def result(self, operands: list[Vector]) -> Vector:
        """Reach of what comes out of the last layer, given that of (x, *extras)."""
        known: dict[Source, Vector] = {X: operands[0], START: operands[0]}
        known.update(zip(self.extras, operands[1:], strict=True))
        position = 0
        for layer in self._tapped():
            known[X] = through(self._range(position, layer), known)
            self._add_taps(layer, known)
            known[X] = through(self._layer(self._key_at(layer)), known)
            position = layer + 1
        return through(self._range(position, self.count), known)

    def keep_blank(self) -> bool:
        """Whether what leaves each layer holds nothing at the first positions where nothing went in."""
        reaches = [reach for key in dict.fromkeys(self.keys) for reach in self._layer(key).values()]
        return not self._tapped() and all(reach.stride == 1 and reach.ahead <= 0 for reach in reaches)

    def _tapped(self) -> list[int]:
        """Layers of which some later layer reads a tensor, in order."""
        bodies = [self.flow.graph.bodies[key] for key in dict.fromkeys(self.keys)]
        layers = {node.attr("layer") for body in bodies for node in body.inputs if node.attr("kind") == "tap"}
        return sorted(layer for layer in layers if 0 <= layer < self.count)

    def _add_taps(self, layer: int, known: dict[Source, Vector]) -> None:
        body = self.flow.graph.bodies[self._key_at(layer)]
        for path, vector in self.flow.body(body.key).taps.items():
            known[layer, path] = through(self._renamed(body, vector), known)

    def _key_at(self, layer: int) -> str:
        return self.keys[bisect_right(self.ends, layer % self.period)]

    def _layer(self, key: str) -> Vector:
        return self._renamed(self.flow.graph.bodies[key], self.flow.body(key).outputs[0])

    def _renamed(self, body: Body, vector: Vector) -> Vector:
        """Reach into what the inputs of a layer stand for."""
        sources = layer_sources(body)
        return merged({sources[int(str(number))]: reach} for number, reach in vector.items())

    def _range(self, start: int, stop: int) -> Vector:
        """Layers ``start`` to ``stop`` as one function of what goes into the first."""
        result: Vector = {X: SAME}
        while start < stop:
            if start % self.period == 0 and stop - start >= self.period:
                turns = (stop - start) // self.period
                step, length = self._power(None, turns), turns * self.period
            else:
                run = bisect_right(self.ends, start % self.period)
                length = min(self.ends[run] - start % self.period, stop - start)
                step = self._power(self.keys[run], length)
            result, start = after(step, result), start + length
        return result

    def _power(self, key: str | None, times: int) -> Vector:
        """``times`` layers with one body, or that many turns of the whole pattern (key None), by repeated squaring."""
        if (key, times) not in self.powers:
            self.powers[key, times] = self._computed_power(key, times)
        return self.powers[key, times]

    def _computed_power(self, key: str | None, times: int) -> Vector:
        if times == 1:
            return self._layer(key) if key is not None else self._turn()
        half = self._power(key, times // 2)
        whole = after(half, half)
        return after(self._power(key, 1), whole) if times % 2 else whole

    def _turn(self) -> Vector:
        result: Vector = {X: SAME}
        for key, start, end in zip(self.keys, [0, *self.ends], self.ends, strict=False):
            result = after(self._power(key, end - start), result)
        return result


def layer_sources(body: Body) -> list[Source]:
    """For each input of a layer's body, what it is given: the stream, the stack's input, a tap, or an extra's name."""
    return [X if number == 0 else _layer_source(node) for number, node in enumerate(body.inputs)]


def _layer_source(node: Node) -> Source:
    if node.attr("kind") != "tap":
        return str(node.attr("name"))
    layer = node.attr("layer")
    return START if layer == -1 else (layer, node.attr("path"))


def after(second: Vector, first: Vector) -> Vector:
    """Two functions of the stream, one after the other; extras and taps mean the same to both."""
    passed: dict[Source, Vector] = {source: {source: SAME} for source in second}
    return through(second, {**passed, X: first})
