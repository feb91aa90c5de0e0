"""The objective of a model: everything that only the loss reads, as one box."""

from __future__ import annotations

from dataclasses import replace

from tantra_dsl.draw.boxes import Boxes
from tantra_dsl.draw.picture import GOAL, OUT, Box, Edge, Flow, Frame
from tantra_dsl.draw.trace import Trace
from tantra_dsl.draw.words import number
from tantra_dsl.graph.model import Node, Ref

_LOSSES = {"cross_entropy": "cross-entropy", "mean_squared_error": "mean squared error", "balance_loss": "balance loss"}
_HOLDS_WEIGHTS = frozenset({"linear", "conv1d", "expert_linear", "embedding"})


def with_objective(flow: Flow, trace: Trace, boxes: Boxes) -> Flow:
    """``flow`` with one box for what only the loss reads, and without inputs that nothing drawn reads."""
    outputs = dict(trace.body.outputs)
    loss = outputs.get("loss")
    if loss is None:
        return flow
    goal = _goal(flow, trace, [ref for name, ref in outputs.items() if name != "loss"], loss)
    read = [edge for edge in flow.edges if edge.source not in goal and edge.target in goal]
    others = [edge for edge in flow.edges if edge.source not in goal and edge.target not in goal]
    inputs = {item.id for item in flow.items if isinstance(item, Box) and item.kind == "input"}
    busy = {edge.source for edge in others if edge.target != OUT}
    ends = [edge for edge in read if edge.source not in inputs or edge.source not in busy]
    edges = (*(e for e in others if e.target != OUT), *(Edge(e.source, GOAL) for e in ends))
    items = tuple(item for item in flow.items if item.id not in goal)
    return replace(flow, items=(*items, _box(trace, goal, loss)), edges=tuple(dict.fromkeys(edges)))


def _goal(flow: Flow, trace: Trace, others: list[Ref], loss: Ref) -> frozenset[str]:
    """Ids of the drawn steps that only the loss reads and nothing with weights comes after."""
    drawn = {item.id for item in flow.items}
    kept = _reached(trace, [ref.node for ref in others])
    kept |= _reached(trace, [item.id for item in flow.items if _has_weights(trace, item)])
    inputs = {node.id for node in trace.body.inputs}
    return frozenset((_reached(trace, [loss.node]) - kept - inputs) & drawn)


def _has_weights(trace: Trace, item: Box | Frame) -> bool:
    node = trace.nodes.get(item.id)
    return node is not None and (node.op in ("call", "stack") or node.op in _HOLDS_WEIGHTS)


def _reached(trace: Trace, starts: list[str]) -> set[str]:
    """Everything that ``starts`` depend on, they themselves among it."""
    found: set[str] = set()
    left = list(starts)
    while left:
        id = left.pop()
        if id not in found:
            found.add(id)
            left += [ref.node for _, ref in trace.operands(trace.nodes[id])]
    return found


def _box(trace: Trace, goal: frozenset[str], loss: Ref) -> Box:
    everything = _reached(trace, [loss.node])
    nodes = [node for node in trace.body.nodes if node.id in everything]
    losses = [node for node in nodes if node.op in _LOSSES]
    names = list(dict.fromkeys(_LOSSES[node.op] for node in losses))
    lines = dict.fromkeys(line for node in losses for line in _lines(trace, node))
    held = [name for node in nodes if node.id in goal or node.op == "similarity"
            for other in trace.constants(node) for name in trace.names(other)]  # fmt: skip
    learned = [f"with {', '.join(dict.fromkeys(held))}"] if held else []
    return Box(GOAL, "objective", " + ".join(names) or "loss", (*lines, *learned), "objective")


def _lines(trace: Trace, node: Node) -> list[str]:
    lines = [] if len(node.inputs) < 2 else _target(trace, node.inputs[1])
    if node.attr("label_smoothing"):
        lines.append(f"label smoothing {node.attr('label_smoothing'):g}")
    if node.attr("z_loss"):
        lines.append(f"z-loss {node.attr('z_loss'):g}")
    return lines


def _target(trace: Trace, ref: Ref) -> list[str]:
    """What a loss compares with: ``each position with the next of tokens``."""
    node = trace.nodes[ref.node]
    if node.op == "indices":
        return ["each pair of the batch against all others"]
    by = 0
    while node.op == "shift":
        by += node.attr("by")
        node = trace.nodes[node.inputs[0].node]
    if node.op != "input":
        return []
    name = str(node.attr("name"))
    if by == -1:
        return [f"each position predicts the next of {name}"]
    return [f"against {name}" + (f", {number(str(-by))} ahead" if by else "")]
