"""The invariants of a graph, checked after every step that makes one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tantra_dsl.graph.lengths import Binding, bind, bound_type
from tantra_dsl.graph.model import Body, BodyRef, Graph, InputSpec, Node, Ref
from tantra_dsl.graph.ops import OPS, STRUCTURE
from tantra_dsl.graph.paths import bottom_up, owns_body, type_of_weight, used_bodies, weighted_bodies
from tantra_dsl.graph.rules import ShapeError, infer
from tantra_dsl.graph.stacks import Layers, tap_ref
from tantra_dsl.graph.types import TensorType

INPUT_KINDS = frozenset({"tensor", "param", "module", "tap"})


class InvalidGraph(AssertionError):
    """A step made a graph that breaks an invariant; ``problems`` holds every one found. Never an author's mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def verify(graph: Graph) -> None:
    """Raise InvalidGraph unless every invariant holds; costs what the distinct bodies cost."""
    problems = list(_check_structure(graph))
    if not problems:
        weighted = weighted_bodies(graph)
        for body in graph.bodies.values():
            problems += _BodyCheck(graph, body, weighted).problems
    if problems:
        raise InvalidGraph(problems)


def _check_structure(graph: Graph) -> Iterator[str]:
    """Bodies that do not exist, cycles, and bodies out of reach: with these, nothing else can be looked at."""
    missing = False
    if graph.root not in graph.bodies:
        yield f"the root {graph.root} is not a body"
        return
    for key, body in graph.bodies.items():
        if key != body.key:
            yield f"the body {body.key} is filed under {key}"
        for node in body.nodes:
            for used in used_bodies(node):
                if used not in graph.bodies:
                    missing = True
                    yield f"{key}.{node.id}: there is no body {used}"
    if missing:
        return
    try:
        reached = set(bottom_up(graph))
    except ValueError as cycle:
        yield str(cycle)
        return
    yield from (f"the body {key} is not reachable from the root" for key in graph.bodies if key not in reached)


@dataclass
class _BodyCheck:
    """Walks one body; ``seen`` holds the nodes so far, so that a ref to a later one is not found."""

    graph: Graph
    body: Body
    weighted: frozenset[str]
    seen: dict[str, Node] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for node in self.body.nodes:
            self._node(node)
            self.seen[node.id] = node
        self._ends()
        self._weight_names()
        self._equation_order()

    def _say(self, node: Node | None, text: str) -> None:
        where = self.body.key if node is None else f"{self.body.key}.{node.id}"
        self.problems.append(f"{where}: {text}")

    def _resolves(self, ref: Ref, node: Node | None, what: str) -> bool:
        source = self.seen.get(ref.node)
        if source is None:
            self._say(node, f"{what} refers to {ref.node}, which is not defined before it")
        elif not 0 <= ref.out < max(1, len(source.types)):
            self._say(node, f"{what} refers to output {ref.out} of {ref.node}, which has {len(source.types)}")
        else:
            return True
        return False

    def _type(self, ref: Ref) -> TensorType | None:
        """Type of ``ref``; None for a module."""
        types = self.seen[ref.node].types
        return types[ref.out] if types else None

    def _node(self, node: Node) -> None:
        if node.id in self.seen:
            self._say(node, "the id is used twice")
        names = [name for name, _ in node.attrs]
        if len(set(names)) < len(names):
            self._say(node, "an attribute is set twice")
        resolved = [self._resolves(ref, node, f"input {slot}") for slot, ref in enumerate(node.inputs)]
        if not all(resolved):
            return
        if node.op in STRUCTURE:
            getattr(self, f"_check_{node.op}")(node)
        elif node.op in OPS:
            self._check_primitive(node)
        else:
            self._say(node, f"there is no op {node.op}")

    def _check_primitive(self, node: Node) -> None:
        types = [self._type(ref) for ref in node.inputs]
        operands = [t for t in types if t is not None]
        if len(operands) < len(types):
            self._say(node, "a primitive reads a module")
            return
        try:
            expected = infer(node.op, operands, dict(node.attrs))
        except (ShapeError, KeyError, IndexError) as error:
            self._say(node, f"{node.op} does not accept its operands: {error}")
            return
        self._same_types(node, expected)

    def _same_types(self, node: Node, expected: Sequence[TensorType | None]) -> None:
        if list(node.types) != list(expected):
            self._say(node, f"has type {_listed(node.types)}, but {node.op} makes {_listed(expected)}")

    def _check_input(self, node: Node) -> None:
        kind = node.attr("kind")
        if kind not in INPUT_KINDS:
            self._say(node, f"there is no input kind {kind}")
        if node.inputs:
            self._say(node, "an input reads nothing")
        if len(node.types) != (kind != "module"):
            self._say(node, f"a {kind} input has {len(node.types)} types")
        described = kind == "tensor" and isinstance(node.attr("spec"), InputSpec)
        if self.body.key == self.graph.root and not described:
            self._say(node, "an input of the model needs kind tensor and a spec")

    def _check_param(self, node: Node) -> None:
        if node.inputs or len(node.types) != 1:
            self._say(node, "a weight reads nothing and has one type")
        elif any(dim.size.known is None for dim in node.type.dims):
            self._say(node, f"the weight's shape {node.type} depends on the input")

    def _check_instance(self, node: Node) -> None:
        if node.inputs or node.types:
            self._say(node, "an instance reads nothing and has no type")

    def _check_weight(self, node: Node) -> None:
        if len(node.inputs) != 1 or not self._is_module(node.inputs[0]):
            self._say(node, "a weight of an instance reads one module")
            return
        module = self.seen[node.inputs[0].node]
        path = node.attr("path")
        if module.op == "instance" and node.types != (type_of_weight(self.graph, self.graph.body_of(module), path),):
            self._say(node, f"{module.id} has no weight {path} of type {_listed(node.types)}")

    def _check_call(self, node: Node) -> None:
        arguments = node.inputs
        if node.attr("instance") == "given":
            if not arguments or not self._is_module(arguments[0]):
                self._say(node, "the first input is not a module")
                return
            self._same_instance(node, self.seen[arguments[0].node])
            arguments = arguments[1:]
        elif node.attr("instance") != "own":
            self._say(node, f"there is no instance kind {node.attr('instance')}")
        body = self.graph.body_of(node)
        if len(arguments) != len(body.inputs):
            self._say(node, f"gives {len(arguments)} arguments to {body.key}, which has {len(body.inputs)} inputs")
            return
        binding = self._binding(body, arguments)
        for ref, parameter in zip(arguments, body.inputs, strict=True):
            self._argument(node, ref, parameter, binding)
        made = _result_types(body, body.outputs + body.taps)
        self._same_types(node, [t and bound_type(t, binding) for t in made])

    def _binding(self, body: Body, arguments: tuple[Ref, ...]) -> Binding:
        """Run-time lengths of a called body, in those of this one."""
        types = ((parameter.types, self._type(ref)) for ref, parameter in zip(arguments, body.inputs, strict=True))
        return bind((own[0], given) for own, given in types if own and given is not None)

    def _same_instance(self, node: Node, module: Node) -> None:
        """The module's own body, where it is known here, must be the one that is called."""
        if module.op == "instance" and module.attr("body") != node.attr("body"):
            self._say(node, f"calls {node.attr('body').key}, but {module.id} is {module.attr('body').key}")

    def _is_module(self, ref: Ref) -> bool:
        source = self.seen[ref.node]
        return source.op == "instance" or (source.op == "input" and source.attr("kind") == "module")

    def _argument(self, node: Node, ref: Ref, parameter: Node, binding: Binding | None = None) -> None:
        name, kind = parameter.attr("name"), parameter.attr("kind")
        if kind == "module":
            if not self._is_module(ref):
                self._say(node, f"input {name} needs a module, but {ref.node} is a tensor")
        elif kind == "tap":
            self._say(node, f"input {name} is a tap, which only a stack can give")
        elif self._type(ref) != bound_type(parameter.type, binding or {}):
            self._say(node, f"input {name} is {parameter.type}, but {ref.node} is {self._type(ref)}")

    def _check_stack(self, node: Node) -> None:
        runs: tuple[tuple[BodyRef, int], ...] = node.attr("runs")
        if not node.inputs or any(count < 1 for _, count in runs) or node.attr("count") < 1 or not runs:
            self._say(node, "a stack needs a stream and at least one layer")
            return
        extras: tuple[str, ...] = node.attr("extras")
        if len(extras) != len(node.inputs) - 1:
            self._say(node, f"names {len(extras)} extras, but has {len(node.inputs) - 1}")
            return
        stream = self._type(node.inputs[0])
        if node.types != (stream,):
            self._say(node, f"has type {_listed(node.types)}, but its stream is {stream}")
        given = dict(zip(extras, node.inputs[1:], strict=True))
        layers = Layers(node)
        for key in used_bodies(node):
            self._layer(node, self.graph.bodies[key], stream)
            self._layer_inputs(node, layers, self.graph.bodies[key], given)

    def _layer(self, node: Node, layer: Body, stream: TensorType | None) -> None:
        first = next(iter(layer.inputs), None)
        if first is None or first.attr("kind") != "tensor" or first.types != (stream,):
            self._say(node, f"the first input of layer {layer.key} is not the stream {stream}")
        if _result_types(layer, layer.outputs) != [stream]:
            made = _listed(_result_types(layer, layer.outputs))
            self._say(node, f"layer {layer.key} makes {made}, but the stream is {stream}")

    def _layer_inputs(self, node: Node, layers: Layers, layer: Body, given: dict[str, Ref]) -> None:
        for parameter in layer.inputs[1:]:
            if parameter.attr("kind") == "tap":
                self._tap(node, layers, layer, parameter)
            elif parameter.attr("name") not in given:
                self._say(node, f"layer {layer.key} reads {parameter.attr('name')}, which is no extra of the stack")
            else:
                self._argument(node, given[parameter.attr("name")], parameter)

    def _tap(self, node: Node, layers: Layers, layer: Body, parameter: Node) -> None:
        index, path = parameter.attr("layer"), parameter.attr("path")
        what = f"layer {layer.key} taps {path} of layer {index}"
        if not -1 <= index < layers.first(layer.key):
            self._say(node, f"{what}, which is not before it")
        elif index == -1:
            if self._type(node.inputs[0]) != parameter.type:
                self._say(node, f"{what} as {parameter.type}, but it is {self._type(node.inputs[0])}")
        else:
            earlier = self.graph.bodies[layers.at(index)]
            tapped = tap_ref(earlier, path)
            if tapped is None:
                self._say(node, f"{what}, which has no such tap")
            elif _result_types(earlier, ((path, tapped),)) != [parameter.type]:
                self._say(node, f"{what} as another type than {parameter.type}")

    def _ends(self) -> None:
        for kind, refs in (("output", self.body.outputs), ("tap", self.body.taps)):
            if len({name for name, _ in refs}) < len(refs):
                self._say(None, f"two {kind}s have one name")
            for name, ref in refs:
                self._resolves(ref, None, f"{kind} {name}")

    def _weight_names(self) -> None:
        holders: dict[str, Node] = {}
        for node in self.body.nodes:
            if self._names_weights(node):
                name = node.attr("name")
                if name in holders:
                    self._say(node, f"two weights or instances are called {name}")
                holders[name] = node
        for name in holders:
            parts = name.split(".")
            for cut in range(1, len(parts)):
                self._below(name, holders.get(".".join(parts[:cut])), parts[cut])

    def _below(self, name: str, holder: Node | None, part: str) -> None:
        """``name`` lies at ``part`` below ``holder``: an error where ``holder`` has weights there itself."""
        if holder is None:
            return
        inner = self.graph.body_of(holder).nodes if owns_body(holder) else ()
        taken = any(self._names_weights(node) and node.attr("name").split(".")[0] == part for node in inner)
        if holder.op == "param" or taken or (holder.op == "stack" and part.isdigit()):
            self._say(holder, f"its weights and {name} share a path")

    def _names_weights(self, node: Node) -> bool:
        if owns_body(node):
            return node.attr("body").key in self.weighted
        return node.op in ("param", "stack")

    def _equation_order(self) -> None:
        highest = -1
        for node in self.body.nodes:
            if node.equation is not None and node.equation < highest:
                self._say(node, f"belongs to equation {node.equation}, but comes after equation {highest}")
            highest = max(highest, -1 if node.equation is None else node.equation)


def _result_types(body: Body, results: tuple[tuple[str, Ref], ...]) -> list[TensorType | None]:
    """Types of results of a body; None for one that does not resolve, which is told where the body is checked."""
    types = {node.id: node.types for node in body.nodes}
    found: list[TensorType | None] = []
    for _, ref in results:
        outs = types.get(ref.node, ())
        found.append(outs[ref.out] if ref.out < len(outs) else None)
    return found


def _listed(types: Sequence[TensorType | None]) -> str:
    return ", ".join(map(str, types)) or "nothing"
