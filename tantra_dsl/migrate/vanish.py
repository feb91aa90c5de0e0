"""Which weights of a layer have to be zero for it to give back what it was given.

The search goes from the layer's result to its weights: a sum gives back the stream where the other operand is zero, a
linear layer gives zero where its weight is zero, and so on. What it finds is therefore also the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.scalars import arithmetic
from tantra_dsl.scalars.ir import Const, Gather, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import fold

Found = frozenset[str] | None
"""Paths of the weights to set to zero, or None where no weights do it."""

_NOTHING: frozenset[str] = frozenset()
_KEEP_ZERO = frozenset({
    "split", "split_heads", "merge_heads", "repeat_heads", "shift", "select", "slice", "gather_time", "pool", "dropout",
    "stop_gradient", "transpose", "normalize", "rope", "expand_time", "patches", "unpatch", "combine_experts",
})  # fmt: skip
"""Operations that are zero where their first operand is."""
_WEIGHTED = {"linear": 1, "conv1d": 1, "expert_linear": 2}
"""Operations that are zero where a weight is: its place among the operands. A bias comes after it."""
_MOST_OPERANDS = 4


def zeros_for_identity(graph: Graph, layer: Body, prefix: str) -> Found:
    """Paths of weights of ``layer``, an instance at ``prefix``, that make it give back its first input when zero."""
    stream = layer.inputs[0]
    at = _At(graph, layer, prefix, {})
    return at.stream(layer.outputs[0][1], stream.id)


@dataclass
class _At:
    """An instance of a body; ``given`` makes an input zero by weights further out."""

    graph: Graph
    body: Body
    prefix: str
    given: Mapping[str, Callable[[], Found]]
    nodes: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {node.id: node for node in self.body.nodes}

    def stream(self, ref: Ref, stream: str) -> Found:
        """Weights that make ``ref`` equal to the input called ``stream``."""
        node = self.nodes[ref.node]
        if node.op == "input":
            return _NOTHING if node.id == stream else None
        if node.op == "map":
            return self._stream_of_map(node, stream)
        if node.op == "call" and node.attr("instance") == "own" and ref.out < len(self.graph.body_of(node).outputs):
            return self._stream_of_call(node, ref.out, stream)
        return None

    def _stream_of_map(self, node: Node, stream: str) -> Found:
        program = node.attr("program")
        for chosen in self._choices(node):
            name = _value(program, chosen)
            if isinstance(name, str):
                kept = node.inputs[program.variables.index(name)]
                found = _both(self.stream(kept, stream), self._all(node.inputs[i] for i in chosen))
                if found is not None:
                    return found
        return None

    def _stream_of_call(self, node: Node, out: int, stream: str) -> Found:
        inner = self._inside(node)
        for item, ref in zip(inner.body.inputs, node.inputs, strict=True):
            outer = self.stream(ref, stream)
            if outer == _NOTHING:
                found = inner.stream(inner.body.outputs[out][1], item.id)
                if found is not None:
                    return found
        return None

    def zero(self, ref: Ref) -> Found:
        """Weights that make ``ref`` zero everywhere."""
        node = self.nodes[ref.node]
        if node.op == "input":
            return self.given[node.id]() if node.id in self.given else None
        if node.op == "param":
            return frozenset({f"{self.prefix}{node.attr('name')}"}) if node.attr("trained", True) else None
        if node.op in _WEIGHTED:
            return self._zero_of_product(node)
        if node.op == "map":
            return self._zero_of_map(node)
        if node.op == "attend":
            return self.zero(node.inputs[2])
        if node.op in ("concat", "stack_depth"):
            return self._all(node.inputs)
        if node.op == "call" and node.attr("instance") == "own" and ref.out < len(self.graph.body_of(node).outputs):
            inner = self._inside(node)
            return inner.zero(inner.body.outputs[ref.out][1])
        keeps = node.op in _KEEP_ZERO and not (node.op == "shift" and node.attr("fill"))
        return self.zero(node.inputs[0]) if keeps else None

    def _zero_of_product(self, node: Node) -> Found:
        """By the weight where it is one of this part; else by what goes in."""
        place = _WEIGHTED[node.op]
        weight = self.nodes[node.inputs[place].node]
        first = self.zero(node.inputs[place]) if weight.op == "param" else self.zero(node.inputs[0])
        return _both(first, self._all(node.inputs[place + 1 :]))

    def _zero_of_map(self, node: Node) -> Found:
        for chosen in self._choices(node):
            if chosen and _is_zero(_value(node.attr("program"), chosen)):
                found = self._all(node.inputs[i] for i in sorted(chosen))
                if found is not None:
                    return found
        return None

    def _choices(self, node: Node) -> list[frozenset[int]]:
        """Sets of operands that might be zero, small ones first; weights after what is computed."""
        places = sorted(range(node.attr("arity")), key=lambda i: self.nodes[node.inputs[i].node].op == "param")
        sizes = range(len(places) + 1 if len(places) <= _MOST_OPERANDS else 0)
        return [frozenset(chosen) for size in sizes for chosen in combinations(places, size)]

    def _all(self, refs: Iterable[Ref]) -> Found:
        found: Found = _NOTHING
        for ref in refs:
            found = _both(found, self.zero(ref))
            if found is None:
                return None
        return found

    def _inside(self, node: Node) -> _At:
        body = self.graph.body_of(node)
        given = {item.id: (lambda ref=ref: self.zero(ref)) for item, ref in zip(body.inputs, node.inputs, strict=True)}
        return _At(self.graph, body, f"{self.prefix}{node.attr('name')}.", given)


def _both(a: Found, b: Found) -> Found:
    return None if a is None or b is None else a | b


# --- programs with zero operands -------------------------------------------------------------

Known = int | float | bool | str | None
"""A number, the name of the only variable that is left, or None where neither is known."""


def _value(program: Program, zeros: frozenset[int]) -> Known:
    """What an elementwise program gives where these of its operands are zero."""
    names = {program.variables[place] for place in zeros}
    return fold(program.body, lambda scalar, parts: _step(scalar, parts, names))


def _step(scalar: Scalar, parts: list[Known], zeros: set[str]) -> Known:
    if isinstance(scalar, Const):
        return scalar.value
    if isinstance(scalar, Var):
        return 0 if scalar.name in zeros else scalar.name
    if isinstance(scalar, Gather):
        return None
    if all(part is not None and not isinstance(part, str) for part in parts):
        return _computed(scalar.op, parts)
    return _partly(scalar.op, parts)


def _computed(op: str, parts: list[Known]) -> Known:
    try:
        return arithmetic.apply(op, [part for part in parts if part is not None and not isinstance(part, str)])
    except (arithmetic.ArithmeticFault, KeyError, TypeError):
        return None


def _partly(op: str, parts: list[Known]) -> Known:
    """Where something is not known: zero times anything is zero, and zero more than something is that."""
    if op == "mul":
        return 0 if any(map(_is_zero, parts)) else _only(part for part in parts if not _is_number(part, 1))
    if op == "add":
        return _only(part for part in parts if not _is_zero(part))
    if op == "sub":
        return parts[0] if _is_zero(parts[1]) else None
    if op == "div":
        return 0 if _is_zero(parts[0]) else parts[0] if _is_number(parts[1], 1) else None
    if op == "where" and isinstance(parts[0], bool):
        return parts[1] if parts[0] else parts[2]
    return None


def _only(parts: Iterable[Known]) -> Known:
    left = list(parts)
    return left[0] if len(left) == 1 else None


def _is_zero(value: Known) -> bool:
    return _is_number(value, 0)


def _is_number(value: Known, number: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == number


def vanishes(program: Program, zeros: frozenset[int]) -> bool:
    """Whether an elementwise program gives zero where these of its operands are zero."""
    return _is_zero(_value(program, zeros))


def one_more(program: Program) -> bool:
    """Whether a program of one operand adds one to it."""
    body = program.body
    if len(program.variables) != 1 or not isinstance(body, Op) or body.op != "add" or len(body.args) != 2:
        return False
    return any(isinstance(part, Const) and _is_number(part.value, 1) for part in body.args) and any(
        isinstance(part, Var) for part in body.args
    )
