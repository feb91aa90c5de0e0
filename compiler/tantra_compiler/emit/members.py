"""What a module owns: its weights as torch layers where they are exactly that, its parts, its stacks."""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from dataclasses import dataclass, field

from tantra_compiler.emit.expr import number, quoted
from tantra_compiler.emit.names import MODULE_ATTRIBUTES
from tantra_dsl.graph.model import Body, Node, Ref
from tantra_dsl.graph.paths import weight_shape

_CALLED = ("linear", "embedding", "layer_norm")
"""Ops that are written as a call of the layer that holds their weights."""


@dataclass(frozen=True)
class Layer:
    """A torch layer that holds the weights below ``path``; ``constructor`` makes it."""

    path: str
    constructor: str


@dataclass
class Weights:
    """The weights of one body: which torch layers hold them, and which stand alone."""

    body: Body
    layers: dict[str, Layer] = field(default_factory=dict)
    alone: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        groups: dict[str, dict[str, Node]] = {}
        for node in self.body.nodes:
            if node.op == "param":
                prefix, _, leaf = node.attr("name").rpartition(".")
                groups.setdefault(prefix, {})[leaf] = node
        for prefix, group in groups.items():
            layer = self._layer(prefix, group) if prefix else None
            if layer is not None:
                self.layers[prefix] = layer
            else:
                self.alone.update({node.attr("name"): node for node in group.values()})

    def _layer(self, prefix: str, group: dict[str, Node]) -> Layer | None:
        trained = all(node.attr("trained", True) for node in group.values())
        if not set(group) <= {"weight", "bias"} or "weight" not in group or not trained:
            return None
        refs = tuple(Ref(group[leaf].id) for leaf in ("weight", "bias") if leaf in group)
        for node in self.body.nodes:
            if refs in layers_in(node) and (constructor := layer_constructor(node, group["weight"], len(refs) == 2)):
                return Layer(prefix, constructor)
        return None

    def layer_of(self, node: Node) -> Layer | None:
        """The torch layer that ``node`` is a call of, if it is one."""
        for prefix, layer in self.layers.items():
            leaves = [n.attr("name").rpartition(".") for n in map(self._param, node.inputs[1:]) if n is not None]
            mine = [leaf for owner, _, leaf in leaves if owner == prefix]
            whole = [n for n in self.body.nodes if n.op == "param" and n.attr("name").rpartition(".")[0] == prefix]
            weight = next((n for n in whole if n.attr("name").endswith("weight")), None)
            if weight is None or len(mine) != len(whole) or len(mine) != len(node.inputs) - 1:
                continue
            if node.op in _CALLED and layer_constructor(node, weight, len(mine) == 2) == layer.constructor:
                return layer
        return None

    def _param(self, ref: Ref) -> Node | None:
        node = self.body.node(ref.node)
        return node if node.op == "param" else None


def layers_in(node: Node) -> list[tuple[Ref, ...]]:
    """Weight, or weight and bias, of each layer that ``node`` may be one of or is made of."""
    if node.op == "packed_linear":
        given, count = node.inputs[1:], node.attr("count")
        return list(zip(*(given[start : start + count] for start in range(0, len(given), count)), strict=True))
    if node.op == "mapped_linear":
        return [node.inputs[: 1 + len(node.attr("has"))]]
    return [node.inputs[1:]]


def layer_constructor(node: Node, weight: Node, biased: bool) -> str | None:
    """How torch makes the layer that ``node`` computes with its weights, or None where it has no such layer."""
    shape = weight_shape(weight)
    if node.op in ("linear", "packed_linear", "mapped_linear"):
        return f"Linear({shape[1]}, {shape[0]}{'' if biased else ', bias=False'})"
    if node.op == "embedding":
        return f"nn.Embedding({shape[0]}, {shape[1]})"
    if node.op == "layer_norm":
        kind = "LayerNorm" if node.attr("narrow") else "nn.LayerNorm"
        return f"{kind}({shape[0]}, eps={number(node.attr('eps'))}{'' if biased else ', bias=False'})"
    return None


def packed_layers(body: Body) -> Iterator[tuple[str, ...]]:
    """Paths of the linear layers that are packed into one product, group by group."""
    for node in body.nodes:
        if node.op == "packed_linear":
            names = (body.node(ref.node).attr("name") for ref in node.inputs[1 : 1 + node.attr("count")])
            yield tuple(name.removesuffix(".weight") for name in names)


def whole_layer(body: Body) -> str | None:
    """Constructor of the torch layer that ``body`` is, in weights and in what it computes; None where it is none."""
    work = [node for node in body.nodes if node.op not in ("input", "param")]
    weights = [node for node in body.nodes if node.op == "param"]
    inputs = body.inputs
    if len(work) != 1 or len(inputs) != 1 or inputs[0].attr("kind") != "tensor" or body.taps:
        return None
    names = tuple(node.attr("name") for node in weights)
    expected = (Ref(inputs[0].id), *(Ref(node.id) for node in weights))
    if names not in (("weight",), ("weight", "bias")) or work[0].inputs != expected:
        return None
    if not all(node.attr("trained", True) for node in weights):
        return None
    if [ref for _, ref in body.outputs] != [Ref(work[0].id)]:
        return None
    return layer_constructor(work[0], weights[0], len(weights) == 2)


def member(base: str, path: str) -> str:
    """Expression for what lies at the dotted ``path`` below ``base``."""
    for part in path.split("."):
        base = f"{base}.{part}" if reachable(part) else f"child({base}, {quoted(part)})"
    return base


def reachable(name: str) -> bool:
    """Whether ``name`` works as an attribute of a module."""
    return name.isidentifier() and not keyword.iskeyword(name) and name not in MODULE_ATTRIBUTES


def holders(paths: list[str]) -> Iterator[str]:
    """Paths that exist only to hold others: proper prefixes of ``paths`` that are not paths themselves."""
    seen: set[str] = set(paths)
    for path in paths:
        parts = path.split(".")
        for cut in range(1, len(parts)):
            prefix = ".".join(parts[:cut])
            if prefix not in seen:
                seen.add(prefix)
                yield prefix
