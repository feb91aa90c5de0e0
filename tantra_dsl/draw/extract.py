"""From a graph to a picture: what is drawn of it, each distinct layer once.

Nothing here knows a component by its name: a residual stream is a sum whose one operand is reached around the other, a
norm is a body that normalises, a module is taken apart where it holds a stack or such a stream itself.
"""

from __future__ import annotations

from dataclasses import replace

from tantra_dsl.draw.boxes import Boxes, Place
from tantra_dsl.draw.facts import Facts
from tantra_dsl.draw.goal import with_objective
from tantra_dsl.draw.layers import Kinds, layer_kinds, stack_title
from tantra_dsl.draw.picture import OUT, Box, Edge, Flow, Frame, Picture
from tantra_dsl.draw.tidy import tidied
from tantra_dsl.draw.trace import Trace, Values
from tantra_dsl.draw.words import number
from tantra_dsl.graph.model import Body, Graph, Node
from tantra_dsl.graph.paths import bottom_up

_DEEPEST = 6
"""Modules within modules that are taken apart; those further in are boxes."""
_MOST = 400
"""Steps of one body that are drawn one by one; a body of more is one box."""


def picture(graph: Graph) -> Picture:
    """The picture of a model; costs what its distinct bodies cost."""
    extraction = _Extraction(graph)
    flow = extraction.flow(graph.main, Place(), 0)
    facts = [f"{name} {number(str(value))}" for name, value in graph.facts]
    return Picture(graph.name, ", ".join(facts), flow)


class _Extraction:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.facts = Facts(graph)
        self.values = Values(graph)
        self.composite = self._composites()

    def _composites(self) -> frozenset[str]:
        """Keys of the bodies that are drawn with what is inside: those with stacks, or with streams around modules."""
        found: set[str] = set()
        for key in bottom_up(self.graph):
            body = self.graph.bodies[key]
            inside = any(node.op == "call" and node.attr("body").key in found for node in body.nodes)
            if inside or any(node.op == "stack" for node in body.nodes) or self._has_stream(body):
                found.add(key)
        return frozenset(found)

    def _has_stream(self, body: Body) -> bool:
        """Whether a sum has an operand that is reached around a module with weights."""
        trace = Trace(self.values, body)
        before: dict[str, int] = {}  # sets of nodes as bits
        around: dict[str, int] = {}
        bit = {node.id: 1 << place for place, node in enumerate(body.nodes)}
        for node in body.nodes:
            if node.id not in trace.live:
                continue
            sources = trace.sources_of(node)
            before[node.id] = _union([*(bit[id] for id in sources), *(before.get(id, 0) for id in sources)])
            around[node.id] = _union([around.get(id, 0) for id in sources])
            if node.op == "call" and self.facts.kinds[node.attr("body").key] in ("mixer", "channel"):
                around[node.id] |= before[node.id]
            elif node.op == "map" and around[node.id] & _union([bit[id] for id in sources]):
                return True
        return False

    # --- flows ---------------------------------------------------------------------------

    def flow(self, body: Body, place: Place, depth: int) -> Flow:
        """What is drawn of a body that is at ``place``."""
        trace = Trace(self.values, body)
        boxes = Boxes(self.graph, self.facts, trace, place)
        items: list[Box | Frame] = []
        edges: list[Edge] = []
        for node in body.nodes:
            if node.id in trace.live and trace.is_drawn(node):
                item = self._item(trace, boxes, node, depth)
                if item is not None:
                    items.append(item)
                edges += _edges(trace, boxes, node, item)
        edges += [Edge(boxes.id_of(id), OUT) for _, ref in body.outputs for id in trace.sources(ref)]
        items += boxes.taps()
        inputs = tuple(str(n.attr("name")) for n in body.inputs if body.key != self.graph.root and _is_stream(n))
        if len(items) > _MOST:
            return boxes.in_one(len(items), inputs)
        found = Flow(tuple(items), tuple(edges), inputs)
        return tidied(with_objective(found, trace, boxes) if body.key == self.graph.root else found)

    def _item(self, trace: Trace, boxes: Boxes, node: Node, depth: int) -> Box | Frame | None:
        if node.op == "stack":
            return self._stack(boxes, node, depth)
        if node.op == "call" and node.attr("body").key in self.composite and depth < _DEEPEST:
            return self._module(boxes, node, depth)
        if node.op == "input":
            return boxes.root_input(node) if trace.body.key == self.graph.root else None
        return boxes.box(node)

    def _module(self, boxes: Boxes, node: Node, depth: int) -> Frame:
        body = self.graph.body_of(node)
        inner = Place(boxes.path(node), owners=boxes.owners(node))
        flow = self.flow(body, inner, depth + 1)
        return Frame(node.id, boxes.title(node), flow, boxes.remarks(node), inner.path, body.definition)

    def _stack(self, boxes: Boxes, node: Node, depth: int) -> Frame:
        name, owners = boxes.path(node), boxes.owners(node)

        def drawn(key: str, layers: tuple[int, ...]) -> Flow:
            return self.flow(self.graph.bodies[key], Place(name, layers, owners), depth + 1)

        kinds = layer_kinds(node, self._named, drawn)
        names = [self._named(key) for key in kinds.keys]
        remarks = boxes.remarks(node)
        if len(names) == 1:
            (layer,) = self._layer_frames(kinds, names, name)
            title = f"{kinds.total:,} × {names[0]}"
            return replace(layer, id=node.id, title=title, lines=remarks)
        flow = _chain(self._layer_frames(kinds, names, name))
        told = stack_title(kinds, names)
        return Frame(node.id, told[0], flow, (*told[1:], *remarks), name, "", 1)

    def _named(self, key: str) -> str:
        return self.graph.bodies[key].definition

    def _layer_frames(self, kinds: Kinds, names: list[str], path: str) -> list[Frame]:
        found = []
        for index, (kind, name) in enumerate(zip(kinds.found, names, strict=True)):
            said = f"{kind.count:,} × {name}" if kind.count > 1 else name
            lines = (kind.remark,) if kind.remark else ()
            found.append(Frame(f"kind{index}", said, kind.flow, lines, path, name, kind.count, kind.layers))
        return found


def _union(sets: list[int]) -> int:
    found = 0
    for bits in sets:
        found |= bits
    return found


def _is_stream(node: Node) -> bool:
    return str(node.attr("kind")) == "tensor"


def _edges(trace: Trace, boxes: Boxes, node: Node, item: Box | Frame | None) -> list[Edge]:
    """The edges that end at a node; a frame has a port for each input besides its first."""
    if item is None:
        return []
    found = []
    first = item.flow.inputs[:1] if isinstance(item, Frame) else ()
    for name, ref in trace.operands(node):
        port = name if isinstance(item, Frame) and name not in first and not _is_main(node, name) else ""
        found += [Edge(boxes.id_of(id), item.id, port) for id in trace.sources(ref)]
    return found


def _is_main(node: Node, name: str) -> bool:
    return node.op == "stack" and name == "x"


def _chain(frames: list[Frame]) -> Flow:
    """Kinds of layers one after another; what they read besides the stream comes in from outside for each."""
    extras = list(dict.fromkeys(name for frame in frames for name in frame.flow.inputs[1:]))
    edges = [Edge(a, b) for a, b in zip(["in:x", *(f.id for f in frames)], [*(f.id for f in frames), OUT], strict=True)]
    edges += [Edge(f"in:{name}", frame.id, name) for frame in frames for name in frame.flow.inputs[1:]]
    return Flow(tuple(frames), tuple(edges), ("x", *extras))
