"""One node of a graph as a box: its title and its lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tantra_dsl.draw.facts import ATTENTION, SCANS, Facts, conv_text, scan_lines, wave_text
from tantra_dsl.draw.picture import OUT, TAP, Box, Edge, Flow, Kind
from tantra_dsl.draw.trace import Trace
from tantra_dsl.draw.words import map_sign, map_text, number, rope_text, sizes_text, type_text
from tantra_dsl.graph.model import Graph, InputSpec, Node

_FEW = 4
"""Weights that are named one by one in a line."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a model a body is: the path that its weights live under, and which layers it is, if it is one.

    ``owners`` are the paths of the modules and weights that it is given from further out, by input.
    """

    path: str = ""
    layers: tuple[int, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)

    def under(self, name: str) -> str:
        """The path of what is called ``name`` here."""
        return f"{self.path}.{name}" if self.path and name else name


class Boxes:
    """The boxes of one body at its place."""

    def __init__(self, graph: Graph, facts: Facts, trace: Trace, place: Place) -> None:
        self.graph, self.facts, self.trace, self.place = graph, facts, trace, place
        self.is_root = trace.body.key == graph.root
        self._taps: dict[str, list[Node]] = {}

    def id_of(self, id: str) -> str:
        """The id of a drawn node in the flow: inputs are the flow's own, tensors of earlier layers share a box."""
        node = self.trace.nodes[id]
        if node.op != "input" or self.is_root:
            return id
        if node.attr("kind") == "tap":
            self._taps.setdefault(TAP, []).append(node)
            return TAP
        return f"in:{node.attr('name')}"

    def taps(self) -> list[Box]:
        """A box for the tensors of earlier layers, where any is read."""
        if not self._taps:
            return []
        by_path: dict[str, set[int]] = {}
        for node in self._taps[TAP]:
            by_path.setdefault(str(node.attr("path")), set()).add(node.attr("layer"))
        lines = [line for path, numbers in by_path.items() for line in self._tap_lines(path, numbers)]
        return [Box(TAP, "tap", "earlier layers", tuple(lines))]

    def _tap_lines(self, path: str, numbers: set[int]) -> list[str]:
        what = "" if path == "out" else f"{path} of "
        lines = [f"{'' if path == 'out' else what}the stack's input"] if -1 in numbers else []
        rest = sorted(numbers - {-1})
        here = self.place.layers[0] if len(self.place.layers) == 1 else None
        if here and rest == list(range(here)) and (here > 1 or self._reads_input()):
            return [*lines, f"{what}all layers before"]
        if here and rest == [here - 1]:
            return [*lines, f"{what}the layer before"]
        listed = ", ".join(map(str, rest[:6])) + (" …" if len(rest) > 6 else "")
        return [*lines, *([f"{what}layer{'s' if len(rest) > 1 else ''} {listed}"] if rest else [])]

    def _reads_input(self) -> bool:
        """Whether the stack's own input is among the tensors of earlier layers."""
        return any(node.attr("layer") == -1 for node in self._taps[TAP])

    # --- boxes ---------------------------------------------------------------------------

    def root_input(self, node: Node) -> Box:
        """What a batch holds under a name."""
        spec: InputSpec = node.attr("spec")
        limit = f", below {spec.limit:,}" if spec.limit is not None else ""
        return Box(
            node.id, "input", str(node.attr("name")), (f"{type_text(node.type)}{limit}",), str(node.attr("name"))
        )

    def box(self, node: Node) -> Box:
        """The box of a node that is no input and has nothing drawn inside."""
        if node.op == "call":
            return self._call(node)
        if node.op == "map":
            return self._map(node)
        kind, title, lines = self._primitive(node)
        held = self._held(node)
        return Box(node.id, kind, title, (*lines, *held), self.path(node), node.op)

    def title(self, node: Node) -> str:
        """``cross: attention``; only what the language calls it where the name tells nothing more."""
        definition, name = self.graph.body_of(node).definition, str(node.attr("name"))
        if name == definition or name.endswith(f"_{definition}"):
            return definition
        return f"{name}: {definition}"

    def remarks(self, node: Node) -> tuple[str, ...]:
        """What a call or a stack shares with others, and which weights from further out it reads."""
        found = []
        if node.op == "stack" and node.attr("shared"):
            found.append("one set of weights for all")
        if node.attr("instance") == "given" and self._is_shared(node):
            found.append("shared weights")
        return (*found, *self._given(node))

    def _given(self, node: Node) -> list[str]:
        weights = [n for n in self.trace.constants(node) if n.types and n.op != "input"]
        return [f"reads {self._named(n)}" for n in weights[:_FEW]]

    def _named(self, node: Node) -> str:
        return f"{' '.join(self.trace.names(node))}, {sizes_text(node.type)}"

    def _is_shared(self, node: Node) -> bool:
        """Whether the instance that a call applies is applied elsewhere, too, or belongs further out."""
        owner = node.inputs[0].node
        uses = [n for n in self.trace.body.nodes if n.op == "call" and n.inputs[:1] and n.inputs[0].node == owner]
        return len(uses) > 1 or self.trace.nodes[owner].op == "input"

    def _call(self, node: Node) -> Box:
        key = node.attr("body").key
        kind, lines = self.facts.kinds[key], self.facts.lines[key]
        body = self.graph.bodies[key]
        if kind == "norm":
            return Box(node.id, kind, body.definition, self.remarks(node), self.path(node), body.definition)
        return Box(node.id, kind, self.title(node), (*lines, *self.remarks(node)), self.path(node), body.definition)

    def path(self, node: Node) -> str:
        """Where the weights of a node live: under its name, or where the module that it is given lives."""
        if node.op == "call" and node.attr("instance") == "given":
            return self._owner(self.trace.nodes[node.inputs[0].node])
        if node.op in ("call", "stack"):
            return self.place.under(str(node.attr("name")))
        name = "".join(self._owned(node)[:1])
        return self.place.under(name.removesuffix(".weight").removesuffix(".bias"))

    def _owner(self, node: Node) -> str:
        name = str(node.attr("name"))
        return self.place.owners.get(name, name) if node.op == "input" else self.place.under(name)

    def owners(self, node: Node) -> dict[str, str]:
        """For what is drawn inside a call or a stack, the paths of what it is given."""
        if node.op == "stack":
            pairs = list(zip(map(str, node.attr("extras")), node.inputs[1:], strict=True))
        else:
            skipped = int(node.attr("instance") == "given")
            names = (str(inner.attr("name")) for inner in self.graph.body_of(node).inputs)
            pairs = list(zip(names, node.inputs[skipped:], strict=True))
        given = [(name, self.trace.nodes[ref.node]) for name, ref in pairs]
        return {name: self._owner(node) for name, node in given if node.op in ("instance", "param", "input")}

    def _owned(self, node: Node) -> list[str]:
        return [name for n in self.trace.constants(node) if n.op == "param" for name in self.trace.names(n)]

    def _map(self, node: Node) -> Box:
        arity = node.attr("arity")
        moving = frozenset(i for i, ref in enumerate(node.inputs[:arity]) if ref.node not in self.trace.constant)
        sign = map_sign(node.attr("program"), moving)
        if sign:
            return Box(node.id, "join", sign)
        names = ["" if i in moving else "·".join(self.trace.names(self.trace.nodes[ref.node]))
                 for i, ref in enumerate(node.inputs[:arity])]  # fmt: skip
        text = map_text(node.attr("program"), names)
        kind: Kind = "scale" if text.startswith("× ") else "op"
        return Box(node.id, kind, text, () if kind == "scale" else self._held(node), self.path(node), "map")

    def _held(self, node: Node) -> tuple[str, ...]:
        """Weights of an op that its title does not tell: what is tied, and learned operands of plain ops."""
        found = []
        for held in self.trace.constants(node):
            names = self.trace.names(held)
            if held.op == "weight":
                found.append(f"tied to {names[0].removesuffix('.weight')}")
            elif node.op not in ("linear", "conv1d", "expert_linear", "embedding") and names and held.types:
                found.append(f"with {', '.join(names[:_FEW])}, {sizes_text(held.type)}")
        return tuple(found)

    def in_one(self, count: int, inputs: tuple[str, ...]) -> Flow:
        """The whole body as one box: what is said of it where it has too many steps for a drawing."""
        key = self.trace.body.key
        box = Box(":all", self.facts.kinds[key], f"{count:,} steps", self.facts.lines[key][:_FEW], self.place.path)
        edges = (*(Edge(f"in:{name}", box.id) for name in inputs), Edge(box.id, OUT))
        return Flow((box,), edges, inputs)

    # --- primitives ----------------------------------------------------------------------

    def _primitive(self, node: Node) -> tuple[Kind, str, tuple[str, ...]]:
        body, op = self.trace.body, node.op
        if op in ATTENTION:
            return "mixer", "attend", tuple(self.facts.attention(body, node, apart=True))
        if op in SCANS:
            return "mixer", *_first_and_rest(list(scan_lines(node)))
        if op == "conv1d":
            return "mixer", self._name(node), (conv_text(body, node), self._widths(node))
        if op in ("linear", "expert_linear"):
            return "table" if self.facts.is_head(body, node) else "channel", self._name(node), (self._widths(node),)
        if op == "embedding":
            return "table", self._name(node), (sizes_text(body.type_of(node.inputs[1])),)
        if op == "tabulate":
            return "table", "positions", (wave_text(node),)
        if op == "normalize":
            return "norm", str(node.attr("kind")), ()
        return "op", *self._plain(node)

    def _plain(self, node: Node) -> tuple[str, tuple[str, ...]]:
        axis = node.attr("axis")
        if node.op == "select":
            place = {0: "first", -1: "last"}.get(node.attr("index"), str(node.attr("index")))
            return f"{place} position" if axis == "time" else f"{axis} {place}", ()
        if node.op == "gather_time":
            return "one position of each sequence", ()
        if node.op == "pool":
            return f"{node.attr('kind')} over {axis}", ()
        if node.op == "softmax":
            return f"softmax over {axis}", ()
        if node.op == "rope":
            return rope_text(node), ()
        if node.op == "patches":
            return f"patches of {node.attr('size')}", ()
        if node.op == "route":
            return f"route to {node.attr('top_k')} experts", ()
        return node.op.replace("_", " "), ()

    def _name(self, node: Node) -> str:
        owned = [name for name in self._owned(node) if not name.endswith("bias")]
        if owned:
            return owned[0].removesuffix(".weight")
        return str(node.target or node.op.replace("_", " "))

    def _widths(self, node: Node) -> str:
        sizes = [str(self.trace.body.type_of(node.inputs[0]).dims[-1].size), str(node.type.dims[-1].size)]
        experts = self.trace.body.type_of(node.inputs[2]).dims[0].size if node.op == "expert_linear" else None
        text = " → ".join(map(number, sizes))
        return f"{number(str(experts))} × {text}" if experts is not None else text


def _first_and_rest(lines: list[str]) -> tuple[str, tuple[str, ...]]:
    return lines[0], tuple(lines[1:])
