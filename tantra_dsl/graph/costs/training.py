"""One training step: what its backward pass keeps and computes, body by body."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from tantra_dsl.graph.costs.figures import Amount
from tantra_dsl.graph.costs.flops import Lengths, primitive_flops, shape
from tantra_dsl.graph.costs.forward import called_lengths
from tantra_dsl.graph.costs.fusion import Remade, weighted_norms
from tantra_dsl.graph.costs.saved import (
    SMALLEST_REMADE,
    Operand,
    Saves,
    packed_saves,
    remade_saves,
    saves_of,
    turned_saves,
    weighted_norm_saves,
)
from tantra_dsl.graph.costs.steps import Claim, Flow, Keeper, LayerSteps, Result, Step
from tantra_dsl.graph.linear_loss import needed_for, with_linear_losses
from tantra_dsl.graph.model import Body, Graph, Node, Ref, layer_counts
from tantra_dsl.graph.stacks import Layers
from tantra_dsl.graph.types import TensorType

Flags = tuple[Flow, ...]


@dataclass(slots=True)
class Storage:
    """Memory that one or more tensors view. ``owner`` is ``inside``, ``weight``, or the number of an input."""

    bytes: int
    owner: str | int
    keeper: Keeper | None = None

    def keep(self, keeper: Keeper) -> None:
        """Notes who keeps it; the first one counts."""
        self.keeper = self.keeper or keeper


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the body being walked."""

    storage: Storage
    flow: Flow


class Training:
    """Training steps through the bodies of a graph, each computed once per way it is entered."""

    def __init__(self, graph: Graph, lengths: Lengths, autocast: bool, dropout: float = 0.0) -> None:
        self.graph = _stepped(graph)
        self.dropout = dropout
        self.lengths = lengths
        self.autocast = autocast
        self._steps: dict[tuple[str, Flags, tuple[tuple[str, int], ...]], Step] = {}

    def root(self) -> Step:
        """The step through the whole model."""
        flags = tuple(_entering(node) for node in self.graph.main.inputs)
        return self.through(self.graph.root, flags, self.lengths)

    def through(self, key: str, flags: Flags, lengths: Lengths) -> Step:
        """The step through one call of body ``key`` whose inputs are as ``flags`` say, at these run-time lengths."""
        known = key, flags, tuple(sorted(lengths.items()))
        if known not in self._steps:
            self._steps[known] = _Walk(self, self.graph.bodies[key], flags, lengths).step()
        return self._steps[known]


def _stepped(graph: Graph) -> Graph:
    """What a training step runs: losses that are one op with their linear layers, without what only results need."""
    graph, _ = with_linear_losses(graph)
    main = graph.main
    loss = [ref for name, ref in main.outputs if name == "loss"]
    needed = needed_for(main, (ref.node for ref in loss))
    if not loss:
        return graph
    nodes = tuple(node for node in main.nodes if node.id in needed or node.op == "input")
    return replace(graph, bodies={**graph.bodies, main.key: replace(main, nodes=nodes, outputs=(("loss", loss[0]),))})


def _entering(node: Node) -> Flow:
    return Flow(4, False) if node.type.dtype == "float" else Flow(8, False)


class _Walk:
    """Walks one body, following which memory each tensor is and what is kept of it."""

    def __init__(self, training: Training, body: Body, flags: Flags, lengths: Lengths) -> None:
        self.training = training
        self.body = body
        self.flags = flags
        self.lengths = lengths
        self.values: dict[tuple[str, int], Value] = {}
        self.types: dict[str, tuple[TensorType, ...]] = {}
        self.storages: list[Storage] = []
        self.kept: list[tuple[Keeper, int]] = []
        self.shared: dict[Hashable, tuple[Keeper, int]] = {}
        self.below: dict[str, Step | LayerSteps] = {}
        self.backward = Amount()
        self.slots = 0
        self.weighted = weighted_norms(body)
        self.remade = Remade.of(body)
        self.together: dict[str, Storage] = {}

    def step(self) -> Step:
        for node in self.body.nodes:
            self.types[node.id] = node.types
            _STRUCTURE.get(node.op, _Walk._primitive)(self, node)
        results = [self.values[ref.node, ref.out] for _, ref in (*self.body.outputs, *self.body.taps)]
        given = [id(value.storage) for value in results]
        outputs = tuple(self._result(value, given.index(id(value.storage)), out) for out, value in enumerate(results))
        inside = [(s.keeper, s.bytes) for s in self.storages if s.owner == "inside" and s.keeper and id(s) not in given]
        inputs = {s.owner: s.keeper for s in self.storages if isinstance(s.owner, int) and s.keeper}
        taps = {path: self.values[ref.node, ref.out].storage.keeper is not None for path, ref in self.body.taps}
        return Step((*self.kept, *inside), inputs, outputs, taps, self.shared, self.backward, self.below)

    def _result(self, value: Value, first: int, out: int) -> Result:
        owner = value.storage.owner
        twin = first if first < out else None
        return Result(owner if isinstance(owner, int) else None, value.storage.keeper, value.flow, twin)

    def _bytes(self, type: TensorType, width: int) -> int:
        return prod(shape(type, self.lengths)) * width

    def _new(self, ref: tuple[str, int], storage: Storage, flow: Flow) -> None:
        self.storages.append(storage)
        self.values[ref] = Value(storage, flow)

    def _value(self, ref: Ref) -> Value:
        return self.values[ref.node, ref.out]

    # --- nodes ---------------------------------------------------------------------------

    def _input(self, node: Node) -> None:
        slot, flow = self.slots, self.flags[self.slots]
        self.slots += 1
        if node.attr("kind") == "module":
            return
        size = self._bytes(node.type, flow.width)
        self._new((node.id, 0), Storage(size, "weight" if node.attr("kind") == "param" else slot), flow)

    def _param(self, node: Node) -> None:
        self._new((node.id, 0), Storage(0, "weight"), Flow(4, bool(node.attr("trained", True))))

    def _instance(self, node: Node) -> None:
        """Nothing is computed."""

    def _dropout(self, node: Node) -> None:
        """At the recipe's rate where it has none itself."""
        rate = node.attr("rate")
        self._primitive(replace(node, attrs=(("rate", self.training.dropout if rate is None else rate),)))

    def _primitive(self, node: Node) -> None:
        values = [self._value(ref) for ref in node.inputs]
        types = [self.types[ref.node][ref.out] for ref in node.inputs]
        operands = [self._operand(type, value) for type, value in zip(types, values, strict=True)]
        saves = self._saves(node, operands)
        self._outputs(node, values, saves)
        for slot in saves.inputs:
            values[slot].storage.keep(Keeper(node.id))
        self._keep(node, saves.extra)
        if saves.shared is not None:
            self.shared.setdefault(saves.shared[0], (Keeper(node.id), saves.shared[1]))
        self._add_backward(node, types, values)

    def _operand(self, type: TensorType, value: Value) -> Operand:
        strided = value.storage.owner == "inside" and value.storage.bytes > self._bytes(type, value.flow.width)
        return Operand(shape(type, self.lengths), value.flow.width, value.flow.grad, strided)

    def _saves(self, node: Node, operands: list[Operand]) -> Saves:
        if node.id in self.weighted:
            return weighted_norm_saves(node, operands, self.lengths)
        if self._is_remade(self.remade.maps.get(node.id)):
            inner = [self.remade.maps.get(ref.node) == self.remade.maps[node.id] for ref in node.inputs]
            return remade_saves(operands, inner)
        if self._is_remade(self.remade.linears.get(node.id)):
            return remade_saves([], [], self.training.autocast)
        if node.id in self.remade.packed:
            first = self.remade.packed[node.id] == node.id
            return packed_saves(operands[0], first, self.training.autocast)
        if node.id in self.remade.turned:
            return turned_saves(node, operands[0])
        return saves_of(node, operands, self.lengths, self.training.autocast)

    def _is_remade(self, root: str | None) -> bool:
        """Whether the function with the value ``root`` is large enough to be computed again."""
        return root is not None and prod(shape(self.body.node(root).type, self.lengths)) >= SMALLEST_REMADE

    def _keep(self, node: Node, size: int) -> None:
        if size:
            self.kept.append((Keeper(node.id), size))

    def _outputs(self, node: Node, values: list[Value], saves: Saves) -> None:
        moving = any(value.flow.grad for value in values) and node.op != "stop_gradient"
        views = dict(saves.views)
        for out, type in enumerate(node.types):
            flow = Flow(saves.width if type.dtype == "float" else 8, moving and type.dtype == "float")
            if out in views:
                self.values[node.id, out] = Value(values[views[out]].storage, flow)
            elif node.id in self.remade.packed:
                self.values[node.id, out] = Value(self._packed_storage(self.remade.packed[node.id], flow.width), flow)
            else:
                keeper = Keeper(node.id) if out in saves.outputs else None
                self._new((node.id, out), Storage(self._bytes(type, flow.width), "inside", keeper), flow)

    def _packed_storage(self, first: str, width: int) -> Storage:
        """The memory that the results of layers of one product share: where one of them is kept, all are."""
        if first not in self.together:
            group = (node for node in self.body.nodes if self.remade.packed.get(node.id) == first)
            self.together[first] = Storage(sum(self._bytes(node.type, width) for node in group), "inside")
            self.storages.append(self.together[first])
        return self.together[first]

    def _add_backward(self, node: Node, types: list[TensorType], values: list[Value]) -> None:
        """A product costs its forward FLOPs again for each side that a gradient flows into; the rest, twice."""
        forward = primitive_flops(node, types, self.lengths).total
        moving = [value.flow.grad for value in values]
        if node.op in ("attend", "additive_attend") or node.op.endswith("_scan"):
            again = 2 * any(moving)
        else:
            again = sum(
                moving[slot] for slot in ((0, 2) if node.op == "expert_linear" else (0, 1)) if slot < len(moving)
            )
        self.backward = self.backward + forward.scaled(again)

    def _call(self, node: Node) -> None:
        refs = node.inputs[1:] if node.attr("instance") == "given" else node.inputs
        arguments = [self.values.get((ref.node, ref.out)) for ref in refs]
        flags = tuple(Flow(0, False) if value is None else value.flow for value in arguments)
        called = self.training.graph.body_of(node)
        step = self.training.through(called.key, flags, called_lengths(called, node, self.types, self.lengths))
        for slot in step.inputs:
            value = arguments[slot]
            assert value is not None
            value.storage.keep(Keeper(node.id, ("input", slot)))
        self._pass(node, step, step.shared)
        for out, result in enumerate(step.outputs):
            viewed = None if result.views is None else arguments[result.views]
            self._take(node, out, result, viewed)

    def _pass(self, node: Node, below: Step | LayerSteps, shared: Mapping[Hashable, tuple[Keeper, int]]) -> None:
        """What a call or a stack keeps and computes inside."""
        self.below[node.id] = below
        self._keep(node, below.saved)
        self.backward = self.backward + below.backward
        for key, (_, size) in shared.items():
            self.shared.setdefault(key, (Keeper(node.id, ("shared", key)), size))

    def _take(self, node: Node, out: int, result: Result, viewed: Value | None) -> None:
        """Output ``out`` of a call: memory of an argument, or memory that is this body's from here on."""
        if result.twin is not None:
            self.values[node.id, out] = Value(self.values[node.id, result.twin].storage, result.flow)
        elif viewed is not None:
            self.values[node.id, out] = Value(viewed.storage, result.flow)
        else:
            size = self._bytes(node.types[out], result.flow.width)
            keeper = Keeper(node.id, ("output", out)) if result.saved else None
            self._new((node.id, out), Storage(size, "inside", keeper), result.flow)

    # --- stacks --------------------------------------------------------------------------

    def _stack(self, node: Node) -> None:
        """Every layer keeps what it keeps; a tensor between two layers is kept where either keeps it."""
        stream, *extras = (self.values.get((ref.node, ref.out)) for ref in node.inputs)
        assert stream is not None
        layers, counts = Layers(node), layer_counts(node)
        width = max(4, stream.flow.width)
        steps = {key: self._layer(node, key, Flow(width, True), extras) for key in counts}
        below = LayerSteps(steps, counts, {key: {} for key in counts}, self._homes(node, layers, steps))
        size = self._bytes(node.type, width)
        self._between(layers, below, size)
        self._tapped(layers, below)
        for slot, value in enumerate((stream, *extras)):
            if value is not None and ("input", slot) in below.homes:
                value.storage.keep(Keeper(node.id, ("input", slot)))
        shared = {key: size for step in steps.values() for key, size in step.shared.items()}
        self._pass(node, below, shared)
        keeper = Keeper(node.id, ("output", 0)) if ("output", 0) in below.homes else None
        self._new((node.id, 0), Storage(size, "inside", keeper), Flow(width, True))

    def _layer(self, node: Node, key: str, stream: Flow, extras: list[Value | None]) -> Step:
        given = dict(zip(node.attr("extras"), extras, strict=True))
        parameters = self.training.graph.bodies[key].inputs[1:]
        values = [given.get(parameter.attr("name")) for parameter in parameters]
        flows = [
            value.flow if value is not None else Flow(4, parameter.attr("kind") == "tap")
            for parameter, value in zip(parameters, values, strict=True)
        ]
        return self.training.through(key, (stream, *flows), self.lengths)

    def _homes(self, node: Node, layers: Layers, steps: dict[str, Step]) -> dict[Claim, tuple[str, Claim]]:
        """What the stack keeps of its inputs, its output and of shared memory, by the first layer that does."""
        homes: dict[Claim, tuple[str, Claim]] = {}
        first, last = layers.at(0), layers.at(layers.count - 1)
        if 0 in steps[first].inputs:
            homes["input", 0] = first, ("input", 0)
        if steps[last].outputs[0].saved:
            homes["output", 0] = last, ("output", 0)
        for key, step in steps.items():
            names = [parameter.attr("name") for parameter in self.training.graph.bodies[key].inputs]
            for slot in step.inputs:
                if slot and names[slot] in node.attr("extras"):
                    homes.setdefault(("input", 1 + node.attr("extras").index(names[slot])), (key, ("input", slot)))
            for shared in step.shared:
                homes.setdefault(("shared", shared), (key, ("shared", shared)))
        return homes

    def _between(self, layers: Layers, below: LayerSteps, size: int) -> None:
        """What layers keep of the stream between them, of ``size`` bytes, and of what later layers can read."""
        for (before, after), count in layers.neighbours().items():
            if below.steps[before].outputs[0].saved:
                below.claim(before, ("output", 0), size * count)
            elif 0 in below.steps[after].inputs:
                below.claim(after, ("input", 0), size * count)
        for key, count in below.counts.items():
            body = self.training.graph.bodies[key]
            results = list(enumerate(below.steps[key].outputs))[len(body.outputs) :]
            for (_, ref), (out, result) in zip(body.taps, results, strict=True):
                if result.saved and result.views is None and result.twin is None:
                    below.claim(key, ("output", out), self._bytes(body.type_of(ref), 4) * count)

    def _tapped(self, layers: Layers, below: LayerSteps) -> None:
        """What a later layer keeps of an earlier one that was not kept otherwise."""
        bodies, seen = self.training.graph.bodies, set()
        for key, step in below.steps.items():
            for slot, parameter in enumerate(bodies[key].inputs):
                tap = parameter.attr("layer"), parameter.attr("path")
                if parameter.attr("kind") == "tap" and slot in step.inputs and tap[0] >= 0 and tap not in seen:
                    seen.add(tap)
                    if not self._kept_anyway(layers, below.steps, *tap):
                        below.claim(key, ("input", slot), self._bytes(parameter.type, 4))

    def _kept_anyway(self, layers: Layers, steps: Mapping[str, Step], index: int, path: str) -> bool:
        """Whether layer ``index`` keeps its tap, or either side its output."""
        key = layers.at(index)
        if path in steps[key].taps:
            return steps[key].taps[path]
        return steps[key].outputs[0].saved or 0 in steps[layers.at(index + 1)].inputs


_STRUCTURE: Final[dict[str, Callable[[_Walk, Node], None]]] = {
    "input": _Walk._input,
    "param": _Walk._param,
    "instance": _Walk._instance,
    "weight": _Walk._param,
    "dropout": _Walk._dropout,
    "call": _Walk._call,
    "stack": _Walk._stack,
}
