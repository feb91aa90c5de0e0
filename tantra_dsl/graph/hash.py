"""Identity of an architecture: a hash of what the model computes and of what its weights are called."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from tantra_dsl.graph.model import Attr, Body, BodyRef, Graph, Init, InputSpec, Node, Ref
from tantra_dsl.graph.paths import bottom_up, owns_body, used_bodies, weighted_bodies
from tantra_dsl.graph.stacks import Layers, tap_ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.ir import Const, Gather, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import fold


def architecture_hash(graph: Graph) -> str:
    """SHA-256, in hex, of the function and of the weights' paths and shapes: what a checkpoint must agree with.

    The same for any body keys, node ids, names of intermediate values, order of independent equations, names of
    programs and places in files. How weights start and whether they decay takes no part.
    """
    return _Canon(graph, starts=False).digest()


def full_hash(graph: Graph) -> str:
    """As ``architecture_hash``, with each weight's start and decay as well: what training begins from."""
    return _Canon(graph, starts=True).digest()


def function_hash(graph: Graph) -> str:
    """As ``architecture_hash``, whatever the weights are called and in whatever order sums and products are taken.

    Equal hashes mean one function on the reals; rounding may differ.
    """
    return _Canon(graph, starts=False, names=False).digest()


def body_digests(graph: Graph, *, starts: bool = True, names: bool = True) -> dict[str, str]:
    """A digest of each body by key, equal for bodies of any two graphs that are the same in what the hashes tell.

    ``starts`` and ``names``: whether how weights start, and what they are called, takes part.
    """
    canon = _Canon(graph, starts, names)
    canon.digest()
    return {key: body.digest for key, body in canon.bodies.items()}


def program_digest(program: Program, *, loose: bool = False) -> str:
    """Equal for programs that say the same in whatever words; ``loose``: in whatever order sums and the like are."""
    return _sha(repr(_program(program, loose)))


@dataclass
class _Refs:
    """Tells what a ref of one body refers to, free of names: the node's number, and which of its results."""

    nodes: dict[str, Node]
    numbers: dict[str, int]
    bodies: dict[str, _BodyCanon]

    def place(self, ref: Ref) -> tuple[int, int]:
        """Node number and result; the taps of a call are ordered by what they are, not by what they are called."""
        node = self.nodes[ref.node]
        out = self.bodies[node.attr("body").key].results[ref.out] if node.op == "call" else ref.out
        return self.numbers[ref.node], out


@dataclass
class _BodyCanon:
    """One body in canonical form: its digest, the number of each node in it, and the place of each result and tap."""

    digest: str
    refs: _Refs
    results: tuple[int, ...]


@dataclass
class _Canon:
    graph: Graph
    starts: bool
    names: bool = True
    bodies: dict[str, _BodyCanon] = field(default_factory=dict)

    def digest(self) -> str:
        self.weighted = weighted_bodies(self.graph)
        for key in bottom_up(self.graph):
            self.bodies[key] = self._body(self.graph.bodies[key])
        facts = sorted(self.graph.facts)
        return _sha(repr((self.bodies[self.graph.root].digest, facts)))

    def _body(self, body: Body) -> _BodyCanon:
        """Nodes numbered in the order in which the results need them, so that neither names nor places matter."""
        nodes = {node.id: node for node in (body.nodes if self.names else self._exchanged(body))}
        order = list(_needed_order(nodes, self._roots(body)))
        numbers = {id: number for number, id in enumerate(order)}
        slots = {node.id: slot for slot, node in enumerate(body.inputs)}
        refs = _Refs(nodes, numbers, self.bodies)
        lines = [self._node(body, nodes[id], refs, slots) for id in order]
        outputs = [(name if body.key == self.graph.root else "", refs.place(ref)) for name, ref in body.outputs]
        taps = [refs.place(ref) for _, ref in body.taps]
        results = (*range(len(outputs)), *(len(outputs) + sorted(taps).index(place) for place in taps))
        return _BodyCanon(_sha(repr((lines, outputs, sorted(taps)))), refs, results)

    def _exchanged(self, body: Body) -> Iterator[Node]:
        """The nodes, with the operands of sums and products in an order that does not depend on the text."""
        slots = {node.id: slot for slot, node in enumerate(body.inputs)}
        known: dict[str, str] = {}
        for node in body.nodes:
            operands = [(known[ref.node], ref) for ref in node.inputs]
            if node.op == "map" and _symmetric(node.attr("program")):
                operands.sort(key=lambda pair: (pair[0], pair[1].out))
            told = [(name, self._told(value)) for name, value in node.attrs if name not in ("name", "path", "init")]
            read = [(digest, ref.out) for digest, ref in operands]
            known[node.id] = _sha(repr((node.op, slots.get(node.id), list(map(_type, node.types)), told, read)))
            yield replace(node, inputs=tuple(ref for _, ref in operands))

    def _told(self, value: Attr) -> object:
        if isinstance(value, tuple):
            return [self._told(item) for item in value]
        return self.bodies[value.key].digest if isinstance(value, BodyRef) else _attr(value, loose=True)

    def _roots(self, body: Body) -> Iterator[str]:
        """What a body is for: its results, then what later layers read, then weights that no result needs."""
        yield from (ref.node for _, ref in body.outputs)
        yield from (ref.node for _, ref in sorted(body.taps))
        yield from (node.id for node in body.inputs)
        yield from (node.id for node in sorted(filter(self._name, body.nodes), key=self._name))

    def _name(self, node: Node) -> str:
        """The part that the node adds to weight paths; empty without weights below it or where names do not count."""
        if not self.names:
            return ""
        if node.op == "param":
            return str(node.attr("name"))
        owned = used_bodies(node) if node.op == "stack" or owns_body(node) else ()
        return str(node.attr("name")) if self.weighted.intersection(owned) else ""

    def _node(self, body: Body, node: Node, refs: _Refs, slots: dict[str, int]) -> object:
        inputs = [refs.place(ref) for ref in node.inputs]
        if node.op == "input":
            return self._input(body, node, slots[node.id])
        if node.op == "param":
            started = (_attr(node.attr("init")), node.attr("decay")) if self.starts else ()
            return "param", self._name(node), _type(node.type), bool(node.attr("trained", True)), started
        if node.op in ("call", "instance"):
            used = self.bodies[node.attr("body").key].digest
            return node.op, self._name(node), node.attr("instance"), used, inputs
        if node.op == "stack":
            return "stack", self._name(node), self._stack(node), inputs
        if node.op == "weight" and not self.names:
            return "weight", inputs, self._weight(refs.nodes[node.inputs[0].node], node.attr("path"))
        return node.op, inputs, [(name, _attr(value, not self.names)) for name, value in sorted(node.attrs)]

    def _weight(self, holder: Node, path: str) -> object:
        """Where in the body of an instance the weight at ``path`` is, told without names."""
        if holder.op != "instance":
            return path
        places: list[int] = []
        key: str = holder.attr("body").key
        while path:
            node = next(n for n in self.graph.bodies[key].nodes if _leads_to(n, path))
            places.append(self.bodies[key].refs.numbers.get(node.id, -1))
            path = path[len(node.attr("name")) + 1 :]
            key = node.attr("body").key if path else key
        return places

    def _input(self, body: Body, node: Node, slot: int) -> object:
        """An input by its place; by its name only in the root, where data are bound to it."""
        name, spec = (node.attr("name"), node.attr("spec")) if body.key == self.graph.root else ("", None)
        return "input", slot, node.attr("kind"), name, _attr(spec), [_type(t) for t in node.types]

    def _stack(self, node: Node) -> object:
        """The pattern, with each layer's further inputs resolved to extras and to tensors of other layers."""
        layers = Layers(node)
        bindings = {key: self._bindings(node, layers, self.graph.bodies[key]) for key in used_bodies(node)}
        if node.attr("shared"):
            keyed = {key: (layers.first(key), self.bodies[key].digest, bindings[key]) for key in bindings}
        else:
            keyed = {key: (0, self.bodies[key].digest, bindings[key]) for key in bindings}
        return layers.count, bool(node.attr("shared")), [(keyed[key], count) for key, count in layers.shortest(keyed)]

    def _bindings(self, node: Node, layers: Layers, layer: Body) -> object:
        extras: tuple[str, ...] = node.attr("extras")
        bound: list[object] = []
        for parameter in layer.inputs[1:]:
            if parameter.attr("kind") == "tap":
                bound.append(("tap", parameter.attr("layer"), self._tapped(layers, parameter)))
            else:
                bound.append(("extra", extras.index(parameter.attr("name"))))
        return tuple(bound)

    def _tapped(self, layers: Layers, parameter: Node) -> tuple[int, int]:
        if parameter.attr("layer") < 0:
            return -1, 0
        key = layers.at(parameter.attr("layer"))
        ref = tap_ref(self.graph.bodies[key], parameter.attr("path"))
        assert ref is not None, f"{key} has no tap {parameter.attr('path')}"
        return self.bodies[key].refs.place(ref)


def _leads_to(node: Node, path: str) -> bool:
    """Whether a node holds the weight at ``path``, or the body that does."""
    if node.op == "param":
        return bool(node.attr("name") == path)
    return owns_body(node) and path.startswith(f"{node.attr('name')}.")


def _needed_order(nodes: dict[str, Node], roots: Iterator[str]) -> Iterator[str]:
    """Ids of the nodes that ``roots`` need, operands before what reads them, in the order of slots."""
    done: set[str] = set()
    for root in roots:
        pending = [(root, False)]
        while pending:
            id, ready = pending.pop()
            if id in done:
                continue
            if ready:
                done.add(id)
                yield id
            else:
                pending.append((id, True))
                pending.extend((ref.node, False) for ref in reversed(nodes[id].inputs))


def _type(type: TensorType) -> object:
    return type.dtype, [(dim.name, str(dim.size)) for dim in type.dims]


def _attr(value: Attr, loose: bool = False) -> object:
    """An attribute as nested lists of numbers and strings; a number is the same however it is written.

    ``loose``: programs are the same in whatever order their sums, products and the like are taken.
    """
    if isinstance(value, tuple):
        return [_attr(item, loose) for item in value]
    if isinstance(value, Program):
        return _program(value, loose)
    if isinstance(value, Init):
        return "init", value.kind, [_number(number) for number in value.values]
    if isinstance(value, InputSpec):
        return "spec", value.kind, value.limit
    assert not isinstance(value, BodyRef), "bodies are told by their content"
    return value if value is None or isinstance(value, (str, bool)) else _number(value)


def _number(value: int | float | bool) -> object:
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def _program(program: Program, loose: bool = False) -> object:
    """Coordinates (``q``, ``k``, ``s``) have fixed names; the arguments of a function count by place."""
    arguments = program.variables if program.kind == "fn" else ()
    names = {name: number for number, name in enumerate(arguments)}
    captures = [(held.learned, held.integer) for held in program.captures]
    body = fold(program.body, lambda s, parts: _scalar(s, sorted(parts) if loose and _commutes(s) else parts, names))
    return program.kind, len(arguments), captures, body


_COMMUTATIVE: Final = frozenset({"add", "mul", "and", "or", "min", "max", "eq", "ne"})


def _commutes(scalar: Scalar) -> bool:
    return isinstance(scalar, Op) and scalar.op in _COMMUTATIVE


def _symmetric(program: Program) -> bool:
    """Whether a function of two operands is the same with these exchanged."""
    if len(program.variables) != 2 or program.captures:
        return False
    exchanged = replace(program, variables=program.variables[::-1])
    return _program(program, loose=True) == _program(exchanged, loose=True)


def _scalar(scalar: Scalar, parts: list[str], names: dict[str, int]) -> str:
    """Prefix text; what is long is replaced by its digest, so that depth costs nothing."""
    if isinstance(scalar, Const):
        return repr(_number(scalar.value))
    if isinstance(scalar, Var):
        return f"v{names.get(scalar.name, scalar.name)}"
    head = scalar.op if isinstance(scalar, Op) else f"gather{scalar.capture}"
    text = f"({' '.join([head, *parts])})"
    assert isinstance(scalar, (Op, Gather))
    return text if len(text) <= 200 else _sha(text)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
