"""Which tensors of a checkpoint load into another model, by patterns over layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tantra_dsl.diff.which import which
from tantra_dsl.graph.model import Body, Graph, Init, Node
from tantra_dsl.graph.paths import owns_body, used_bodies, weight_shape
from tantra_dsl.graph.stacks import Layers

Fate = Literal["loads", "renamed", "reshaped", "new", "dropped"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """Tensors of one name in a set of layers: what becomes of them, and their shapes in both models.

    ``path`` is the new name (the old one where they are dropped), ``old_path`` the old one where it differs; ``how``
    tells what a reshaped one has to undergo; ``count`` is how many tensors they are.
    """

    fate: Fate
    path: str
    old: tuple[int, ...] | None
    new: tuple[int, ...] | None
    how: str = ""
    old_path: str = ""
    count: int = 1

    def under(self, name: str) -> Tensor:
        """These tensors in a part called ``name``."""
        return replace(self, path=_joined(name, self.path), old_path=self.old_path and _joined(name, self.old_path))

    @property
    def numbers(self) -> int:
        """How many numbers they hold, in the new model unless they are dropped."""
        shape = self.new if self.new is not None else self.old
        assert shape is not None
        return math.prod(shape) * self.count


def _joined(name: str, path: str) -> str:
    return f"{name}{path}" if path.startswith("[") else f"{name}.{path}"


def weights(before: Graph, after: Graph, renames: Mapping[str, str] | None = None) -> list[Tensor]:
    """What becomes of every weight; ``renames`` are labels that only changed their name."""
    return list(_Weights(before, after, dict(renames or {})).bodies(before.main, after.main))


@dataclass
class _Weights:
    before: Graph
    after: Graph
    renames: dict[str, str]
    known: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)

    def bodies(self, old: Body, new: Body) -> Iterator[Tensor]:
        """Tensors of two bodies that stand at one place."""
        holders = _holders(old), _holders(new)
        pairs = self._pairs(holders[0], holders[1])
        for name, node in holders[1].items():
            yield from self._pair(pairs.get(name, ""), holders[0].get(pairs.get(name, "")), name, node)
        for name, node in holders[0].items():
            if name not in pairs.values():
                yield from _alone(self.before, node, name, "dropped")

    def _pairs(self, old: dict[str, Node], new: dict[str, Node]) -> dict[str, str]:
        """The old name of each new holder that has one."""
        pairs = {name: name for name in new if name in old}
        for name in old:
            if name not in pairs:
                other = self._renamed(name)
                if other in new and other not in pairs:
                    pairs[other] = name
        return pairs

    def _renamed(self, name: str) -> str:
        """A name with a renamed label in it: that label's own, or that of a norm beside it."""
        for old, new in self.renames.items():
            if name == old or name.startswith((f"{old}_", f"{old}.")):
                return new + name[len(old) :]
        return name

    def _pair(self, old_name: str, old: Node | None, name: str, new: Node) -> Iterator[Tensor]:
        if old is None or not _comparable(old, new):
            if old is not None:
                yield from _alone(self.before, old, old_name, "dropped")
            yield from _alone(self.after, new, name, "new")
        elif new.op == "param":
            yield self._param(old_name, old, name, new)
        elif new.op == "stack":
            yield from (_moved(t, old_name, name) for t in self._stack(old, new))
        else:
            inner = self._known(self.before.body_of(old), self.after.body_of(new))
            yield from (_moved(tensor, old_name, name) for tensor in inner)

    def _known(self, old: Body, new: Body) -> list[Tensor]:
        if (old.key, new.key) not in self.known:
            self.known[old.key, new.key] = list(self.bodies(old, new))
        return self.known[old.key, new.key]

    def _param(self, old_name: str, old: Node, name: str, new: Node) -> Tensor:
        shapes = weight_shape(old), weight_shape(new)
        changes = _shape_changes(*shapes, new) + _start_changes(old, new)
        heads = _heads_changes(self.before, self.after, old, new)
        fate: Fate = "reshaped" if changes else "loads" if old_name == name else "renamed"
        return Tensor(fate, name, *shapes, ", ".join(changes + heads), "" if old_name == name else old_name)

    def _stack(self, old: Node, new: Node) -> list[Tensor]:
        """Tensors of layers, those of one name and fate in a pattern of layers together."""
        sides = _homes(old), _homes(new)
        found: dict[Tensor, list[int]] = {}
        for (a, b), chosen in _places(*sides).items():
            for tensor in self._layer(a, b):
                found.setdefault(tensor, []).extend(chosen)
        count = 1 + max(max(side) for side in sides)
        return [_in_layers(tensor, layers, count) for tensor, layers in found.items()]

    def _layer(self, old: str, new: str) -> list[Tensor]:
        """Tensors of a layer with body ``old`` in the one model and ``new`` in the other; empty where it has none."""
        if not old:
            return self._lone(self.after, new, "new")
        if not new:
            return self._lone(self.before, old, "dropped")
        return self._known(self.before.bodies[old], self.after.bodies[new])

    def _lone(self, graph: Graph, key: str, fate: Fate) -> list[Tensor]:
        if (key, fate) not in self.known:
            self.known[key, fate] = list(_all(graph, graph.bodies[key], fate))
        return self.known[key, fate]


def _comparable(old: Node, new: Node) -> bool:
    """Whether two holders hold the same kind of thing: matrices of one rank, stacks, or bodies."""
    if old.op == "param" and new.op == "param":
        return len(weight_shape(old)) == len(weight_shape(new))
    return "param" not in (old.op, new.op) and (old.op == "stack") == (new.op == "stack")


def _homes(stack: Node) -> dict[int, str]:
    """The layers that hold weights of their own, with their bodies: all of them, or the first of each kind."""
    layers = Layers(stack)
    if stack.attr("shared"):
        return {layers.first(key): key for key in used_bodies(stack)}
    return {index: layers.at(index) for index in range(layers.count)}


def _places(old: dict[int, str], new: dict[int, str]) -> dict[tuple[str, str], list[int]]:
    """The layers by the bodies that they have in both models; an empty one where a model has no such layer."""
    found: dict[tuple[str, str], list[int]] = {}
    for index in sorted(old.keys() | new.keys()):
        found.setdefault((old.get(index, ""), new.get(index, "")), []).append(index)
    return found


def _holders(body: Body) -> dict[str, Node]:
    """Nodes that own weights, by the name that they add to a path."""
    return {n.attr("name"): n for n in body.nodes if n.op in ("param", "stack") or owns_body(n)}


def _alone(graph: Graph, node: Node, name: str, fate: Fate) -> Iterator[Tensor]:
    """The tensors of something that the other model does not have."""
    if node.op == "param":
        shape = weight_shape(node)
        yield Tensor(fate, name, shape if fate == "dropped" else None, shape if fate == "new" else None)
    elif node.op == "stack":
        homes = _homes(node)
        found: dict[Tensor, list[int]] = {}
        for (key, _), chosen in _places(homes, {}).items():
            for tensor in _all(graph, graph.bodies[key], fate):
                found.setdefault(tensor, []).extend(chosen)
        for tensor, layers in found.items():
            yield _in_layers(tensor, layers, 1 + max(homes)).under(name)
    else:
        yield from (tensor.under(name) for tensor in _all(graph, graph.body_of(node), fate))


def _all(graph: Graph, body: Body, fate: Fate) -> Iterator[Tensor]:
    for name, node in _holders(body).items():
        yield from _alone(graph, node, name, fate)


def _moved(tensor: Tensor, old_name: str, name: str) -> Tensor:
    """A tensor of a part that may have another name than before."""
    if old_name == name:
        return tensor.under(name)
    before = tensor.old_path or tensor.path
    if tensor.fate in ("new", "dropped"):
        return tensor.under(name if tensor.fate == "new" else old_name)
    fate: Fate = "renamed" if tensor.fate == "loads" else tensor.fate
    return replace(tensor, fate=fate, path=_joined(name, tensor.path), old_path=_joined(old_name, before))


def _in_layers(tensor: Tensor, layers: list[int], count: int) -> Tensor:
    chosen = which(layers, count)
    mark = f"[{chosen}]" if chosen else "*"
    return replace(tensor.under(mark), count=tensor.count * len(layers))


# --- how a tensor changes --------------------------------------------------------------


def _shape_changes(old: tuple[int, ...], new: tuple[int, ...], node: Node) -> list[str]:
    """What a tensor must undergo to have the new shape."""
    return [f"{name} {a:,} -> {b:,}" for name, a, b in zip(_axes(node, len(new)), old, new, strict=True) if a != b]


def _start_changes(old: Node, new: Node) -> list[str]:
    """A norm's weight that one model stores minus one, and the other as it is."""
    starts = old.attr("init"), new.attr("init")
    if not old.attr("name").endswith("weight"):
        return []
    if starts == (_ONE, _ZERO):
        return ["minus 1, which the new model adds"]
    return ["plus 1, which the new model does not add"] if starts == (_ZERO, _ONE) else []


_ONE, _ZERO = Init("constant", (1.0,)), Init("constant", (0.0,))


def _heads_changes(before: Graph, after: Graph, old: Node, new: Node) -> list[str]:
    heads = _heads(before, old), _heads(after, new)
    if heads[0] is None or heads[1] is None or heads[0] == heads[1]:
        return []
    return [f"{heads[0][0]} heads of {heads[0][1]} -> {heads[1][0]} of {heads[1][1]}"]


def _axes(node: Node, rank: int) -> list[str]:
    """Words for the axes of a weight: rows and columns of a matrix."""
    plain = {1: ["entries"], 2: ["rows", "columns"], 3: ["experts", "rows", "columns"]}
    if rank == 3 and node.type.dims[0].name != "experts":
        return [f"axis {axis}" for axis in range(rank)]
    return plain.get(rank, [f"axis {axis}" for axis in range(rank)])


def _heads(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Number and width of the heads that the product with a weight is cut into."""
    body = next(b for b in graph.bodies.values() if any(n is node for n in b.nodes))
    products = {n.id for n in body.nodes if n.op == "linear" and any(r.node == node.id for r in n.inputs[1:])}
    for user in body.nodes:
        if user.op == "split_heads" and user.inputs[0].node in products:
            dims = user.type.dims[-2:]
            sizes = [dim.size.known for dim in dims]
            if None not in sizes:
                return sizes[0] or 0, sizes[1] or 0
    return None
