"""What each axis of a weight is: channels that travel together through a graph, and what is done to them on the way.

Two axes are of one space where one must have as many places as the other: the rows of the matrix that makes hidden
units and the columns of the one that reads them. The idea is that of dependency graphs for structured pruning (Fang et
al. 2023), here for growing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.paths import used_bodies
from tantra_dsl.graph.stacks import Layers
from tantra_dsl.graph.types import TensorType
from tantra_dsl.migrate.tables import first_capture, head_columns
from tantra_dsl.migrate.vanish import one_more
from tantra_dsl.scalars.ir import Op, Var

IDS, POSITIONS, SCORES = "ids", "positions", "scores"
NORMALISED, CENTRED = "normalised over", "centred"
"""What norms over a whole axis do to it: divide by a mean square, and subtract the mean before that."""


class Space:
    """A set of channels. ``marks`` tell what is done to it; ``heads`` are its heads and their channels, if it has any.

    For heads of queries, ``keys`` are the heads that they read; for heads of keys, ``queries`` the other way round.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.marks: set[str] = set()
        self._parent: Space | None = None
        self._heads: tuple[Space, Space] | None = None
        self._keys: Space | None = None
        self._queries: Space | None = None

    @property
    def root(self) -> Space:
        """The space that this one has become part of."""
        space = self
        while space._parent is not None:
            space = space._parent
        return space

    @property
    def heads(self) -> tuple[Space, Space] | None:
        """Heads and channels of each."""
        found = self.root._heads
        return None if found is None else (found[0].root, found[1].root)

    @property
    def keys(self) -> Space | None:
        """Heads that these heads of queries read."""
        return None if self.root._keys is None else self.root._keys.root

    @property
    def queries(self) -> Space | None:
        """Heads that read these heads of keys."""
        return None if self.root._queries is None else self.root._queries.root

    def mark(self, *marks: str) -> None:
        """Note what is done to the space."""
        self.root.marks.update(marks)

    def join(self, other: Space) -> None:
        """Make two spaces one, and their heads with them."""
        a, b = self.root, other.root
        if a is b:
            return
        b._parent = a
        a.marks |= b.marks
        for mine, theirs in zip(a._heads or (), b._heads or (), strict=False):
            mine.join(theirs)
        a._heads, a._keys, a._queries = a._heads or b._heads, a._keys or b._keys, a._queries or b._queries

    def cut(self, heads: Space, width: Space) -> None:
        """Say that the channels are ``heads`` of ``width`` each."""
        known = self.heads
        if known is None:
            self.root._heads = (heads, width)
        else:
            known[0].join(heads)
            known[1].join(width)

    def read(self, keys: Space) -> None:
        """Say that these heads of queries read ``keys``."""
        self.root._keys, keys.root._queries = keys, self


@dataclass(frozen=True)
class Value:
    """A tensor's axes; ``weight`` is its path where it is one, and ``module`` the prefix of an instance.

    ``is_normal``: it is what a norm gives, with the weights ``gains`` of the norm applied to it.
    """

    axes: tuple[Space, ...] = ()
    weight: str = ""
    module: str = ""
    is_position: bool = False
    is_normal: bool = False
    gains: tuple[str, ...] = ()


@dataclass
class Spaces:
    """The spaces of every weight of a graph; layers with one body are looked at once, as the first of them."""

    graph: Graph
    axes: dict[str, tuple[Space, ...]] = field(default_factory=dict)
    reads: set[tuple[str, int]] = field(default_factory=set)
    """Axes of weights along which a sum is taken."""

    tables: set[str] = field(default_factory=set)
    """Weights whose rows are looked up."""
    gains: dict[str, bool] = field(default_factory=dict)
    """Weights of norms: whether they multiply (else they are added)."""
    fed: dict[str, set[str]] = field(default_factory=dict)
    """For each weight of a norm the weights that the norm's result goes into; empty names for other readers."""

    def __post_init__(self) -> None:
        outputs, _ = self._body(self.graph.main, "", [])
        for value in outputs:
            if len(value.axes) > 1:
                value.axes[-1].mark(SCORES)

    def is_summed(self, path: str, axis: int) -> bool:
        """Whether new places of a weight's axis must be zero for the old ones to give what they gave."""
        return (path, axis) in self.reads

    def use(self, path: str) -> frozenset[str]:
        """Whether a matrix is a table of ids or of positions, or gives the scores; empty for any other weight."""
        axes = self.axes.get(path, ())
        if len(axes) != 2 or not axes[0].root.marks:
            return frozenset()
        marks = axes[0].root.marks & {IDS, POSITIONS, SCORES}
        return frozenset(marks)

    # --- walking -------------------------------------------------------------------------

    def _body(self, body: Body, prefix: str, given: Sequence[Value]) -> tuple[list[Value], dict[str, Value]]:
        """Outputs and taps of an instance of ``body``; inputs that nothing is given for are spaces of their own."""
        known: dict[Ref, Value] = {}
        waiting = list(given)
        for node in body.nodes:
            values = [waiting.pop(0)] if node.op == "input" and waiting else self._node(node, prefix, known)
            known.update({Ref(node.id, out): value for out, value in enumerate(values)})
        return [known[ref] for _, ref in body.outputs], {path: known[ref] for path, ref in body.taps}

    def _node(self, node: Node, prefix: str, known: dict[Ref, Value]) -> list[Value]:
        inputs = [known[ref] for ref in node.inputs]
        if node.op not in _PASSING:
            self._feed(inputs, "")
        if node.op == "param":
            return [self._weight(f"{prefix}{node.attr('name')}", node.type)]
        if node.op == "instance":
            return [Value(module=f"{prefix}{node.attr('name')}.")]
        if node.op == "weight":
            return [self._weight(f"{inputs[0].module}{node.attr('path')}", node.type)]
        if node.op == "call":
            return self._call(node, prefix, inputs)
        if node.op == "stack":
            return [self._stack(node, prefix, inputs)]
        rule = _RULES.get(node.op)
        return self._other(node, inputs) if rule is None else rule(self, node, inputs)

    def _feed(self, values: Sequence[Value], weight: str) -> None:
        for value in values:
            for gain in value.gains:
                self.fed.setdefault(gain, set()).add(weight)

    def _weight(self, path: str, type: TensorType) -> Value:
        if path not in self.axes:
            self.axes[path] = _fresh(type)
        return Value(self.axes[path], path)

    def _call(self, node: Node, prefix: str, inputs: list[Value]) -> list[Value]:
        shared = node.attr("instance") == "given"
        at = inputs[0].module if shared else f"{prefix}{node.attr('name')}."
        outputs, taps = self._body(self.graph.body_of(node), at, inputs[1:] if shared else inputs)
        return [*outputs, *taps.values()]

    def _stack(self, node: Node, prefix: str, inputs: list[Value]) -> Value:
        """Every layer gives back the stream that it was given; tensors that layers tap are those of the first alike."""
        layers, stream = Layers(node), inputs[0]
        extras = dict(zip(node.attr("extras") or (), inputs[1:], strict=True))
        tapped: dict[str, dict[str, Value]] = {}
        for key in used_bodies(node):
            body = self.graph.bodies[key]
            given = [stream, *(self._given(item, layers, extras, tapped, stream) for item in body.inputs[1:])]
            outputs, taps = self._body(body, f"{prefix}{node.attr('name')}.{layers.first(key)}.", given)
            tapped[key] = {**dict(zip((name for name, _ in body.outputs), outputs, strict=True)), **taps}
            _join_all(stream.axes, outputs[0].axes)
        return stream

    def _given(self, item: Node, layers: Layers, extras: dict[str, Value], tapped: dict[str, dict[str, Value]],
               stream: Value) -> Value:  # fmt: skip
        if item.attr("kind") != "tap":
            return extras.get(item.attr("name"), Value(_fresh(item.type)))
        if item.attr("layer") < 0:
            return stream
        found = tapped.get(layers.at(item.attr("layer")), {}).get(item.attr("path"))
        return found if found is not None else Value(_fresh(item.type))

    # --- operations ----------------------------------------------------------------------

    def _other(self, node: Node, inputs: list[Value]) -> list[Value]:
        """An operation that is not known to keep channels apart."""
        for value in inputs:
            for space in value.axes:
                space.mark(f"read by {node.op}")
        made = [Value(_fresh(type)) for type in node.types]
        for value in made:
            for space in value.axes:
                space.mark(f"made by {node.op}")
        return made

    def _linear(self, node: Node, inputs: list[Value]) -> list[Value]:
        x, weight = inputs[0], inputs[1]
        self._feed([x], weight.weight)
        x.axes[-1].join(weight.axes[1])
        self.reads.add((weight.weight, 1))
        for bias in inputs[2:]:
            bias.axes[0].join(weight.axes[0])
        return [Value((*x.axes[:-1], weight.axes[0]))]

    def _expert_linear(self, node: Node, inputs: list[Value]) -> list[Value]:
        x, chosen, weight = inputs[:3]
        x.axes[-1].join(weight.axes[2])
        self.reads.add((weight.weight, 2))
        weight.axes[0].mark("chosen among")
        for bias in inputs[3:]:
            bias.axes[0].join(weight.axes[0])
            bias.axes[1].join(weight.axes[1])
        return [Value((*chosen.axes, weight.axes[1]))]

    def _combine_experts(self, node: Node, inputs: list[Value]) -> list[Value]:
        axes = inputs[0].axes
        return [Value((*axes[:2], axes[-1]))]

    def _embedding(self, node: Node, inputs: list[Value]) -> list[Value]:
        ids, weight = inputs
        self.tables.add(weight.weight)
        weight.axes[0].mark(POSITIONS if ids.is_position else IDS)
        return [Value((*ids.axes, weight.axes[1]))]

    def _positions(self, node: Node, inputs: list[Value]) -> list[Value]:
        return [Value(_fresh(node.type), is_position=True)]

    def _map(self, node: Node, inputs: list[Value]) -> list[Value]:
        """Operands broadcast from the right; what is not broadcast is one space."""
        made = list(_fresh(node.type))
        for value in inputs[: node.attr("arity")]:
            for place, space in enumerate(reversed(value.axes), start=1):
                if space.size == made[-place].size:
                    made[-place].join(space)
        if len(inputs) == 1 and one_more(node.attr("program")):
            return [Value(tuple(made), inputs[0].weight)]
        return [self._gained(node, inputs, tuple(made))]

    def _gained(self, node: Node, inputs: list[Value], axes: tuple[Space, ...]) -> Value:
        """A norm's result times a weight of its, or plus one; anything else is a value like any other."""
        body = node.attr("program").body
        others = [value for value in inputs if not value.is_normal]
        is_plain = isinstance(body, Op) and body.op in ("mul", "add") and all(isinstance(p, Var) for p in body.args)
        if len(inputs) != 2 or len(others) != 1 or len(others[0].axes) != 1 or not others[0].weight or not is_plain:
            self._feed(inputs, "")
            return Value(axes)
        (normal,) = (value for value in inputs if value.is_normal)
        self.gains[others[0].weight] = body.op == "mul"
        return Value(axes, is_normal=True, gains=(*normal.gains, others[0].weight))

    def _same(self, node: Node, inputs: list[Value]) -> list[Value]:
        return [Value(inputs[0].axes)]

    def _normalize(self, node: Node, inputs: list[Value]) -> list[Value]:
        inputs[0].axes[-1].mark(*_norm_marks(node))
        return [Value(inputs[0].axes, is_normal=True)]

    def _rope(self, node: Node, inputs: list[Value]) -> list[Value]:
        inputs[0].axes[-1].mark("turned by positions")
        return [Value(inputs[0].axes)]

    def _split_heads(self, node: Node, inputs: list[Value]) -> list[Value]:
        *leading, channels = inputs[0].axes
        heads, width = _fresh(node.type)[-2:]
        channels.cut(heads, width)
        return [Value((*leading, heads, width))]

    def _merge_heads(self, node: Node, inputs: list[Value]) -> list[Value]:
        *leading, heads, width = inputs[0].axes
        channels = _fresh(node.type)[-1]
        channels.cut(heads, width)
        return [Value((*leading, channels))]

    def _attend(self, node: Node, inputs: list[Value]) -> list[Value]:
        q, k, v = inputs[:3]
        k.axes[2].join(v.axes[2])
        q.axes[3].join(k.axes[3])
        k.axes[3].mark("compared by attention")
        q.axes[2].read(k.axes[2])
        if "sink" in (node.attr("has") or ()):
            inputs[3].axes[0].join(q.axes[2])
        for number, by_head in enumerate(head_columns(node), start=first_capture(node)):
            for axis, space in enumerate(inputs[number].axes):
                if axis == by_head:
                    space.join(q.axes[2])
                else:
                    space.mark("looked up by attention")
        return [Value((*q.axes[:3], v.axes[3]))]

    def _cross_entropy(self, node: Node, inputs: list[Value]) -> list[Value]:
        inputs[0].axes[-1].mark(SCORES)
        return [Value(())]


def _norm_marks(node: Node) -> tuple[str, ...]:
    if node.attr("groups", 1) != 1:
        return ("normalised over in groups",)
    kinds = {"rms": (NORMALISED,), "layernorm": (NORMALISED, CENTRED)}
    return kinds.get(node.attr("kind"), ("brought to length one",))


def _fresh(type: TensorType) -> tuple[Space, ...]:
    return tuple(Space(dim.size.known) for dim in type.dims)


def _join_all(ours: Sequence[Space], theirs: Sequence[Space]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        a.join(b)


_PASSING = frozenset({"linear", "map", "call", "stack"})
"""Operations that tell themselves where what they read goes."""
_RULES: dict[str, Callable[[Spaces, Node, list[Value]], list[Value]]] = {
    "linear": Spaces._linear, "expert_linear": Spaces._expert_linear, "combine_experts": Spaces._combine_experts,
    "embedding": Spaces._embedding, "positions": Spaces._positions, "map": Spaces._map, "dropout": Spaces._same,
    "stop_gradient": Spaces._same, "shift": Spaces._same, "normalize": Spaces._normalize, "rope": Spaces._rope,
    "split_heads": Spaces._split_heads, "merge_heads": Spaces._merge_heads, "attend": Spaces._attend,
    "cross_entropy": Spaces._cross_entropy,
}  # fmt: skip
