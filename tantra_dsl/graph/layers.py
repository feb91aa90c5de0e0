"""Linear layers as a body holds them."""

from __future__ import annotations

from tantra_dsl.graph.model import Body, Node, Ref


def layer_obstacle(body: Body, node: Node) -> str | None:
    """Why a ``linear`` node cannot be one op with others: it is not a layer with weights that nothing else reads."""
    weight, *bias = (body.node(ref.node) for ref in node.inputs[1:])
    owner, _, leaf = str(weight.attr("name", "")).rpartition(".")
    if weight.op != "param" or any(each.op != "param" for each in bias):
        return "its weight is shared with another module"
    if not owner or leaf != "weight" or any(each.attr("name") != f"{owner}.bias" for each in bias):
        return "its weight is not that of a linear layer of its own"
    if not all(each.attr("trained", True) for each in (weight, *bias)):
        return "its weight is not trained"
    held = [n for n in body.nodes if n.op == "param" and str(n.attr("name")).rpartition(".")[0] == owner]
    reads = sum(other.inputs.count(ref) for other in body.nodes for ref in node.inputs[1:])
    if len(held) != len(node.inputs) - 1 or reads != len(node.inputs) - 1:
        return "its weight is read elsewhere as well"
    if body.type_of(node.inputs[1]).dims[0].size.known is None:
        return "its width is not known"
    return None


def layer_name(body: Body, node: Node) -> str:
    """Path of the linear layer that a ``linear`` node is, below its body."""
    weight = body.node(node.inputs[1].node)
    return str(weight.attr("name") or weight.attr("path") or node.id).removesuffix(".weight")


def linear_readers(body: Body) -> dict[Ref, list[Node]]:
    """For each tensor, the linear layers that read it."""
    found: dict[Ref, list[Node]] = {}
    for node in body.nodes:
        if node.op == "linear":
            found.setdefault(node.inputs[0], []).append(node)
    return found


def layers_of_one_input(body: Body) -> list[tuple[Node, ...]]:
    """Linear layers that can be one product: of one input, all with a bias or none; those of one function alone."""
    groups: list[tuple[Node, ...]] = []
    for nodes in linear_readers(body).values():
        fitting = [node for node in nodes if layer_obstacle(body, node) is None]
        by_function: dict[object, list[Node]] = {}
        for node in fitting:
            by_function.setdefault((_function(body, node), len(node.inputs)), []).append(node)
        groups += [tuple(group) for group in by_function.values() if len(group) > 1]
    return groups


def _function(body: Body, node: Node) -> str | None:
    """The elementwise function of several tensors that the function or functions behind ``node`` lead to."""
    while True:
        readers = [n for n in body.nodes if Ref(node.id) in n.inputs]
        if len(readers) != 1 or readers[0].op != "map":
            return None
        node = readers[0]
        if len(set(node.inputs)) > 1:
            return node.id
