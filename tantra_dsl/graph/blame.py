"""Where in a model later positions are let in: the places that look ahead on a way from an input to a result."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from tantra_dsl.graph.flow import Flow, Place, StackFlow, Vector, layer_sources, operands_of_call
from tantra_dsl.graph.model import Body, BodyRef, Node, Ref, layer_counts
from tantra_dsl.graph.objectives import Objective
from tantra_dsl.graph.places import author_span
from tantra_dsl.graph.reach import later_taps, query_offset
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.facts import lookahead
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Program
from tantra_dsl.syntax.source import Span

Explanation = tuple[Literal["attention", "convolution", "over time", "shift"], str, str]
"""Kind of place, what it lets position t see, and what to do."""


_MOST_CULPRITS = 64
"""Places named of one body."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """A primitive that looks ahead: where it is, by how much, and how many other layers hold the same one.

    ``spans`` are its own place and those of the calls and blocks around it, from the inside out.
    """

    place: Place
    node: Node
    types: tuple[TensorType, ...]
    path: str
    ahead: float
    spans: tuple[Span, ...]
    others: int = 0

    @property
    def span(self) -> Span:
        """The narrowest place in the author's own text."""
        mask: Program | None = self.node.attr("mask")
        words = [mask.name] if mask is not None and mask.name else []
        return author_span(list(self.spans), [*words, self.path.rpartition(".")[2]])

    @property
    def explanation(self) -> Explanation:
        """What to tell the author."""
        return explain(self.node, list(self.types))


def culprits(flow: Flow, objective: Objective) -> list[Culprit]:
    """Primitives that look ahead and through which the logits depend on the target's input, each once."""
    search = _Search(flow)
    found: list[Culprit] = []
    prefix: list[str] = []
    outer: list[Span] = []
    sources = frozenset({objective.input})
    for body, call, results in _levels(flow, objective):
        inside = search.in_body(body, sources, results, called=bool(prefix))
        found += [_within(culprit, prefix, outer) for culprit in inside]
        if call is not None:
            vectors, arguments = flow.bodies[body.key].nodes, operands_of_call(call, list(call.inputs))
            sources = frozenset(n for n, ref in enumerate(arguments) if _depends(vectors[ref], sources))
            prefix, outer = [*prefix, str(call.attr("name"))], [call.origin, *outer]
    return list({(culprit.place, culprit.path): culprit for culprit in reversed(found)}.values())[::-1]


def _levels(flow: Flow, objective: Objective) -> list[tuple[Body, Node | None, frozenset[Ref]]]:
    """The bodies from the root to the loss, each with the call that leads on and what the logits are made from."""
    bodies = [flow.graph.main, *(flow.graph.body_of(call) for call in objective.calls)]
    levels: list[tuple[Body, Node | None, frozenset[Ref]]] = []
    results, call = frozenset({objective.logits}), None
    for body, outer in zip(reversed(bodies), [*reversed(objective.calls), None], strict=True):
        levels.append((body, call, results))
        if outer is not None:
            arguments = operands_of_call(outer, list(outer.inputs))
            needed = {node.id for node in _needed(body, results)}
            read = [number for number, node in enumerate(body.inputs) if node.id in needed]
            results, call = frozenset(arguments[number] for number in read), outer
    return levels[::-1]


class _Search:
    """Looks through bodies for places that look ahead; what a body holds is found once."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.known: dict[object, list[Culprit]] = {}

    def in_body(self, body: Body, sources: frozenset[int], results: frozenset[Ref], called: bool) -> list[Culprit]:
        """Culprits between some inputs of a body and some of its values; a called body is named by its call."""
        key = (body.key, sources, results, called)
        if key not in self.known:
            found = self._found(body, sources, results, called)
            self.known[key] = list(islice(found, _MOST_CULPRITS))
        return self.known[key]

    def _found(self, body: Body, sources: frozenset[int], results: frozenset[Ref], called: bool) -> Iterator[Culprit]:
        vectors = self.flow.bodies[body.key].nodes
        for node in _needed(body, results):
            touched = [number for number, ref in enumerate(node.inputs) if _depends(vectors[ref], sources)]
            if node.op == "stack" and touched:
                yield from self._in_stack(node, touched)
            elif node.op == "call" and touched:
                yield from self._in_call(node, touched)
            elif touched:
                yield from self._in_primitive(body, node, touched, "" if called else node.target or node.op)

    def _in_call(self, node: Node, touched: list[int]) -> Iterator[Culprit]:
        body = self.flow.graph.body_of(node)
        given = 1 if node.attr("instance") == "given" else 0
        sources = frozenset(number - given for number in touched)
        for culprit in self.in_body(body, sources, frozenset(ref for _, ref in body.outputs), called=True):
            yield _within(culprit, [str(node.attr("name"))], [node.origin])

    def _in_stack(self, node: Node, touched: list[int]) -> Iterator[Culprit]:
        """Culprits of each distinct body, named by its first layer; a tap counts as touched, as the stream may be."""
        stack = StackFlow(self.flow, node)
        clean = {name for number, name in enumerate(stack.extras, 1) if number not in touched}
        counts = layer_counts(node)
        for key, index in _first_layers(node).items():
            body = self.flow.graph.bodies[key]
            sources = frozenset(number for number, source in enumerate(layer_sources(body)) if source not in clean)
            results = frozenset(ref for _, ref in (*body.outputs, *body.taps))
            name = f"{node.attr('name')}.{index}"
            name = name if body.definition in ("", "block") else f"{name} (block {body.definition})"
            for culprit in self.in_body(body, sources, results, called=False):
                inner = _within(culprit, [name], [body.origin, node.origin])
                yield replace(inner, others=culprit.others + counts[key] - 1)

    def _in_primitive(self, body: Body, node: Node, touched: list[int], path: str) -> Iterator[Culprit]:
        edges = self.flow.rules.get((body.key, node.id), [])
        ahead = max((edge.ahead for number, edge in edges if number in touched), default=0)
        if ahead > 0:
            types = tuple(body.type_of(ref) for ref in node.inputs)
            yield Culprit((body.key, node.id), node, types, path, float(ahead), (node.origin,))


def _within(culprit: Culprit, names: list[str], spans: list[Span]) -> Culprit:
    """The culprit as seen from further out."""
    path = ".".join(part for part in (*names, culprit.path) if part)
    return replace(culprit, path=path, spans=(*culprit.spans, *spans))


def _depends(vector: Vector, sources: frozenset[int]) -> bool:
    return any(source in sources for source in vector)


def _needed(body: Body, results: frozenset[Ref]) -> list[Node]:
    """Nodes that ``results`` are made from, in order."""
    wanted = {ref.node for ref in results}
    kept = []
    for node in reversed(body.nodes):
        if node.id in wanted:
            kept.append(node)
            wanted.update(ref.node for ref in node.inputs)
    return kept[::-1]


def _first_layers(stack: Node) -> dict[str, int]:
    runs: tuple[tuple[BodyRef, int], ...] = stack.attr("runs")
    first: dict[str, int] = {}
    start = 0
    for ref, count in runs:
        if start < stack.attr("count") and count:
            first.setdefault(ref.key, start)
        start += count
    return first


# --- words ------------------------------------------------------------------------------------


def explain(node: Node, types: list[TensorType]) -> Explanation:
    """What a primitive that looks ahead lets position t see, and what to do about it."""
    if node.op in ("attend", "additive_attend"):
        return _explain_attention(node, types)
    if node.op == "conv1d":
        seen = later_taps(node, types)
        width = types[1].dims[-1].size
        reason = f"a centred convolution of width {width} lets position t see position t + {seen}"
        return "convolution", reason, "make it causal: `causal: true`"
    if node.op in ("shift", "slice", "patches"):
        return _explain_shift(node)
    return (
        "over time",
        _OVER_TIME.get(node.op, "{op} reads the whole time axis").format(
            op=node.op, kind=node.attr("kind", ""), index=node.attr("index", "")
        ),
        "let position t read positions up to t only: use a causal attention, convolution or scan instead",
    )


_OVER_TIME = {
    "pool": "the {kind} over time lets every position see all others",
    "softmax": "a softmax over time lets every position see all others",
    "normalize": "a normalisation over time lets every position see all others",
    "select": "position {index} of the sequence is handed to positions before it",
    "gather_time": "a position chosen at run time is handed to positions before it",
    "matmul": "a product over time lets every position see all others",
    "linear": "a linear map of the time axis lets every position see all others",
}


def _explain_attention(node: Node, types: list[TensorType]) -> Explanation:
    mask: Program | None = node.attr("mask")
    if mask is None:
        return "attention", "without a mask, every position sees all others", "add `mask: causal`"
    text = mask.name or format_scalar(mask.body, mask.captures)
    ahead = lookahead(mask) + query_offset(types)
    if ahead <= 0:
        reason = f"the mask `{text}` reads a field that is made from later tokens"
        return "attention", reason, "use a field of the batch"
    sees = "every later position" if math.isinf(ahead) else f"position t + {int(ahead)}"
    advice = f"add `causal and`: `mask: causal and {_operand(text)}`"
    return "attention", f"the mask `{text}` lets position t see {sees}", advice


def _operand(text: str) -> str:
    return f"({text})" if any(word in text.split() for word in ("or", "if")) else text


def _explain_shift(node: Node) -> Explanation:
    if node.op == "patches":
        size = node.attr("size")
        reason = f"a patch of {size} positions lets its first see the {size - 1} after it"
        return "shift", reason, "shift by one patch before the patches are read: `shift(x, 1)`"
    if node.op == "slice":
        reason = f"a slice from {node.attr('start')} on moves later positions forward"
        return "shift", reason, "slice from the start"
    by = node.attr("by")
    return "shift", f"a shift by {by} lets position t see position t + {-by}", f"shift to the right: `shift(x, {-by})`"
