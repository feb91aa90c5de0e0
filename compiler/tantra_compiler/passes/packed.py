"""Linear layers that read one tensor, as one product."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from tantra_compiler.passes import ops
from tantra_compiler.passes.base import Decision, each_body
from tantra_compiler.passes.places import places
from tantra_dsl.graph.layers import layer_name, layer_obstacle, layers_of_one_input, linear_readers
from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.types import Dim, Size, TensorType

_ = ops
Group = tuple[Node, ...]


@dataclass(frozen=True)
class PackLinears:
    """Makes linear layers of one body that read the same tensor one ``packed_linear``, followed by its ``parts``.

    Their weights stay parameters of their own. Layers that one elementwise function reads, such as gate and up, are
    packed for themselves.
    """

    name: ClassVar[str] = "pack_linears"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with packed layers."""
        return each_body(graph, _packed)

    def decisions(self, graph: Graph) -> tuple[Decision, ...]:
        """What becomes of linear layers that read what others read."""
        paths = places(graph)
        return tuple(
            Decision(f"{path}.{'/'.join(layer_name(body, node) for node in group)}".strip("."), "linear", *choice)
            for key, body in graph.bodies.items()
            for group, choice in _choices(body)
            for path in paths[key]
        )


def _choices(body: Body) -> Iterator[tuple[Group, tuple[str, str]]]:
    for group in layers_of_one_input(body):
        yield (
            group,
            ("packed_linear", f"{len(group)} layers of one input in one product; their weights lie side by side"),
        )
    packed = {node.id for group in layers_of_one_input(body) for node in group}
    for nodes in linear_readers(body).values():
        for node in nodes:
            if len(nodes) > 1 and node.id not in packed:
                yield (
                    (node,),
                    ("linear", layer_obstacle(body, node) or "no other layer that reads its input can join it"),
                )


def _packed(body: Body) -> Body:
    for group in layers_of_one_input(body):
        body = _with_group(body, group)
    return body


def _with_group(body: Body, group: Group) -> Body:
    """``body`` with the packed layers in the place of the first of ``group``, their weights before it."""
    packed, parts = _nodes(body, group)
    weights = {ref.node for node in group for ref in node.inputs[1:]}
    held = [node.id for node in body.nodes if node.id in weights]
    outs = {Ref(node.id): Ref(parts.id, out) for out, node in enumerate(group)}
    nodes: list[Node] = []
    for node in body.nodes:
        if node.id == group[0].id:
            nodes += [*(body.node(id) for id in held if body.node(id) not in nodes), packed, parts]
        elif Ref(node.id) not in outs and (node.id not in held or packed not in nodes):
            nodes.append(replace(node, inputs=tuple(outs.get(ref, ref) for ref in node.inputs)))
    outputs, taps = (tuple((name, outs.get(ref, ref)) for name, ref in refs) for refs in (body.outputs, body.taps))
    return replace(body, nodes=tuple(nodes), outputs=outputs, taps=taps)


def _nodes(body: Body, group: Group) -> tuple[Node, Node]:
    first = group[0]
    weights, biases = (tuple(node.inputs[slot] for node in group if slot < len(node.inputs)) for slot in (1, 2))
    *leading, _ = first.type.dims
    dims = [node.type.dims[-1] for node in group]
    sizes = tuple(dim.size.known or 0 for dim in dims)
    total = TensorType((*leading, Dim("packed", Size.of(sum(sizes)))), first.type.dtype)
    targets = [node.target or layer_name(body, node).rpartition(".")[2] for node in group]
    packed = replace(
        first,
        id=f"{first.id}_packed",
        op="packed_linear",
        inputs=(first.inputs[0], *weights, *biases),
        attrs=(("count", len(group)),),
        types=(total,),
        equation=None,
        target=None,
    )
    parts = replace(
        first,
        id=f"{first.id}_parts",
        op="parts",
        inputs=(Ref(packed.id),),
        attrs=(("names", tuple(dim.name for dim in dims)), ("sizes", sizes)),
        types=tuple(node.type for node in group),
        equation=None,
        target=", ".join(targets),
    )
    return packed, parts
