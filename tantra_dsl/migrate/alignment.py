"""Which tensor of the old model a tensor of the new one answers to: parts by their labels, layers by their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tantra_dsl.graph.model import Body, Graph, Node
from tantra_dsl.graph.paths import owns_body, used_bodies, weight_shape
from tantra_dsl.graph.stacks import Layers

Growth = Literal["identity", "stack"]


@dataclass(frozen=True, slots=True)
class Place:
    """A weight in a graph.

    ``twin`` is its path in the first layer that is alike, by which ``Spaces`` knows it; ``layers`` tells the stacks
    that it is in, with its layer's number in each.
    """

    path: str
    twin: str
    node: Node
    layers: tuple[tuple[str, int], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return weight_shape(self.node)


@dataclass(frozen=True, slots=True)
class Pair:
    """A weight of the new model, and the one of the old model in its place, if there is one.

    ``added`` is the path of the new layer that it is in, where the old model has no such layer.
    """

    new: Place
    old: Place | None
    added: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """A layer that the old model does not have: its path, with its dot, its body, and the layer that it copies."""

    prefix: str
    body: Body
    model: int | None


@dataclass
class Alignment:
    """Two graphs side by side. ``renames`` are labels that only changed their name."""

    before: Graph
    after: Graph
    renames: Mapping[str, str]
    pairs: list[Pair] = field(default_factory=list)
    added: list[Added] = field(default_factory=list)
    left: list[Place] = field(default_factory=list)
    """Weights of the old model that no part of the new one answers to."""

    def __post_init__(self) -> None:
        self._bodies(_At(self.before, self.before.main), _At(self.after, self.after.main))
        copied = {pair.old.path for pair in self.pairs if pair.old is not None}
        self.left = [place for place in _At(self.before, self.before.main).places() if place.path not in copied]

    def _bodies(self, old: _At, new: _At, added: str = "") -> None:
        ours, theirs = old.holders(), new.holders()
        names = self._names(ours, theirs)
        for name, node in theirs.items():
            other = ours.get(names.get(name, ""))
            if other is None or not _comparable(other, node):
                self.pairs += [Pair(place, None, added) for place in new.below(node)]
            elif node.op == "param":
                self.pairs.append(Pair(new.place(node), old.place(other), added))
            elif node.op == "stack":
                self._stacks(old, other, new, node, added)
            else:
                self._bodies(old.inside(other), new.inside(node), added)

    def _stacks(self, old: _At, ours: Node, new: _At, theirs: Node, added: str) -> None:
        homes, layers = old.homes(ours), Layers(ours)
        for index, at in new.homes(theirs).items():
            if index < layers.count:
                # Layers that shared a set of weights each get it.
                home = index if index in homes else layers.first(layers.at(index))
                self._bodies(homes[home], at, added)
                continue
            model = _model(at.body, homes, index)
            if not added:
                self.added.append(Added(at.prefix, at.body, model))
            if model is None:
                self.pairs += [Pair(place, None, at.prefix) for place in at.places()]
            else:
                self._bodies(homes[model], at, added or at.prefix)

    def _names(self, old: Mapping[str, Node], new: Mapping[str, Node]) -> dict[str, str]:
        """The old name of each new holder that has one."""
        names = {name: name for name in new if name in old}
        for name in old:
            other = self._renamed(name)
            if name not in names and other in new and other not in names:
                names[other] = name
        return names

    def _renamed(self, name: str) -> str:
        """A name with a renamed label in it: that label's own, or that of a norm beside it."""
        for old, new in self.renames.items():
            if name == old or name.startswith((f"{old}_", f"{old}.")):
                return new + name[len(old) :]
        return name


def _model(body: Body, homes: Mapping[int, _At], index: int) -> int | None:
    """The layer that a further one is made after: one turn of the whole old stack below, or the last one alike."""
    wanted = _outline(body)
    alike = [layer for layer, at in homes.items() if _outline(at.body) == wanted]
    if not alike:
        return None
    again = index % (1 + max(homes))
    return again if again in alike else alike[-1]


def _outline(body: Body) -> tuple[tuple[str, str], ...]:
    """Names and kinds of what holds weights in a body."""
    return tuple(sorted((str(n.attr("name")), n.op) for n in body.nodes if _holds(n)))


def _holds(node: Node) -> bool:
    return node.op in ("param", "stack") or owns_body(node)


def _comparable(old: Node, new: Node) -> bool:
    """Whether two holders hold the same kind of thing: tensors of one rank, stacks, or bodies."""
    if old.op == "param" and new.op == "param":
        return len(weight_shape(old)) == len(weight_shape(new))
    return "param" not in (old.op, new.op) and (old.op == "stack") == (new.op == "stack")


@dataclass(frozen=True)
class _At:
    """An instance of a body, with the prefixes of its weights' paths: its own, and that in the first layer alike."""

    graph: Graph
    body: Body
    prefix: str = ""
    twin: str = ""
    layers: tuple[tuple[str, int], ...] = ()

    def holders(self) -> dict[str, Node]:
        """Nodes that own weights, by the name that they add to a path."""
        return {node.attr("name"): node for node in self.body.nodes if _holds(node)}

    def place(self, node: Node) -> Place:
        """The weight that ``node`` makes here."""
        return Place(f"{self.prefix}{node.attr('name')}", f"{self.twin}{node.attr('name')}", node, self.layers)

    def inside(self, node: Node) -> _At:
        """The part that ``node`` owns."""
        name = node.attr("name")
        body = self.graph.body_of(node)
        return _At(self.graph, body, f"{self.prefix}{name}.", f"{self.twin}{name}.", self.layers)

    def homes(self, stack: Node) -> dict[int, _At]:
        """The layers that hold weights of their own: all of them, or the first of each kind where they are shared."""
        layers = Layers(stack)
        chosen: Sequence[int] = range(layers.count)
        if stack.attr("shared"):
            chosen = sorted(layers.first(key) for key in used_bodies(stack) if layers.first(key) < layers.count)
        return {index: self._layer(stack, layers, index) for index in chosen}

    def _layer(self, stack: Node, layers: Layers, index: int) -> _At:
        name, key = stack.attr("name"), layers.at(index)
        twin = f"{self.twin}{name}.{layers.first(key)}."
        place = (f"{self.prefix}{name}", index)
        return _At(self.graph, self.graph.bodies[key], f"{self.prefix}{name}.{index}.", twin, (*self.layers, place))

    def below(self, node: Node) -> Iterator[Place]:
        """Every weight that ``node`` owns."""
        if node.op == "param":
            yield self.place(node)
        elif node.op == "stack":
            for at in self.homes(node).values():
                yield from at.places()
        else:
            yield from self.inside(node).places()

    def places(self) -> Iterator[Place]:
        """Every weight of this instance."""
        for node in self.body.nodes:
            if _holds(node):
                yield from self.below(node)
