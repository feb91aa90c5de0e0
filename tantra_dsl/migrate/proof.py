"""Whether the new model, with the weights that a plan gives it, computes what the old one computes.

Both graphs are walked side by side from their results. For each pair of values the walk knows where the old one's
places are in the new one (``Likeness``); what is in new places is unknown, so that a sum over an axis with new places
needs zeros in the weight. Where the walk cannot show that a value is carried over it says why and goes on as if it
were, so that all reasons are told. What it shows holds on the reals; ``rounding`` lists what changes the rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

from tantra_dsl.graph.inline import inlined
from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.stacks import Layers, tap_ref
from tantra_dsl.migrate.findings import Pick, Place, Proof, Reason, named, numbered, tapped
from tantra_dsl.migrate.likeness import Differs, Known, Likeness, Step, unlike
from tantra_dsl.migrate.operations import changed, compared, exchangeable
from tantra_dsl.migrate.planning import Plan
from tantra_dsl.migrate.rules import Carried, Started, Zeros
from tantra_dsl.migrate.vanish import one_more, zeros_for_identity


def prove(before: Graph, after: Graph, plan: Plan, dropped: bool) -> Proof:
    """Compares the two models under ``plan``; ``dropped``: biases that are left out may be other than zero."""
    walk = _Walk(before, after, plan, dropped)
    walk.root()
    walk.found.reasons = list(dict.fromkeys(walk.found.reasons))
    walk.found.rounding = list(dict.fromkeys(walk.found.rounding))
    return walk.found


class _Unfold(Exception):
    """One model makes a part of what the other writes out: the call on this side is to be written out, too."""

    def __init__(self, side: int, call: Node) -> None:
        super().__init__()
        self.side, self.call = side, call


class _Walk:
    """Two models under a plan, and what was found so far."""

    def __init__(self, before: Graph, after: Graph, plan: Plan, dropped: bool) -> None:
        self.before, self.after, self.plan = before, after, plan
        self.found = Proof()
        self.rules = plan.rules
        self.gone = {loss.old.path for loss in plan.losses if loss.unless_zero and not dropped}
        """Biases that are left out and were zero."""

    def root(self) -> None:
        """Compares the results of both models by name."""
        at = _Bodies(self, self.before.main, self.after.main, Place(), Place(), {})
        for node in self.before.main.inputs:
            for other in self.after.main.inputs:
                if node.attr("name") == other.attr("name") and node.attr("spec").kind == other.attr("spec").kind:
                    at.given[node.id, other.id] = Likeness((None,) * node.type.rank)
        outputs = dict(self.before.main.outputs), dict(self.after.main.outputs)
        for name in dict.fromkeys((*outputs[0], *outputs[1])):
            if name in outputs[0] and name in outputs[1]:
                self._result(at, name)
            else:
                at.tell(f"only one model has the result `{name}`")

    def _result(self, at: _Bodies, name: str) -> None:
        made = at.result(*[partial(named, name)] * 2)
        axis = next((axis for axis in made.axes if axis is not None), None) if made is not None else None
        if made is not None and not made.is_unscaled:
            at.tell(f"`{name}` is {made.scale:.6g} times what it was")
        if axis is not None:
            at.tell(f"`{name}` has {axis.size:,} entries for each position, and had {axis.old:,}")

    def weight(self, old: str, new: str) -> Likeness | str:
        """How a weight of the new model holds one of the old, or why it does not."""
        rule = self.rules.get(new)
        if isinstance(rule, Carried) and rule.source == old:
            axes = tuple(None if axis.is_same else axis for axis in rule.axes)
            zeros = frozenset(number for number, fill in enumerate(rule.fills) if fill == "zero")
            pairs = enumerate(zip(rule.axes, rule.fills, strict=True))
            shares = frozenset(number for number, (axis, fill) in pairs if fill == "share" and axis.times > 1)
            means = frozenset(number for number, fill in enumerate(rule.fills) if fill == "mean")
            last = "zero" if len(axes) - 1 in zeros else "mean" if len(axes) - 1 in means else None
            return Likeness(axes, None, zeros, means, shares, rule.shift, rule.scale, last)  # type: ignore[arg-type]
        if isinstance(rule, Started):
            return "its weights are started anew"
        return "its weights are zero" if isinstance(rule, Zeros) else Differs("other weights are read")


@dataclass
class _Bodies:
    """Instances of two bodies, and what is known of pairs of their inputs by their ids."""

    walk: _Walk
    old: Body
    new: Body
    old_at: Place
    new_at: Place
    given: dict[tuple[str, str], Known]
    known: dict[tuple[Ref, Ref], Known] = field(default_factory=dict)
    called: dict[tuple[str, str], _Bodies] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {n.id: n for n in self.old.nodes}, {n.id: n for n in self.new.nodes}
        self.folded: set[tuple[int, str]] = set()

    def result(self, old: Pick, new: Pick) -> Known:
        """How a result of the new body holds one of the old."""
        while True:
            try:
                return self.value(old(self.old), new(self.new))
            except _Unfold as asked:
                self._unfold(asked.side, asked.call)

    def _unfold(self, side: int, call: Node) -> None:
        graph, body = (self.walk.after, self.new) if side else (self.walk.before, self.old)
        written = inlined(graph, body, call)
        if written is None:
            self.folded.add((side, call.id))
            return
        self.old, self.new = (self.old, written) if side else (written, self.new)
        self.nodes = {n.id: n for n in self.old.nodes}, {n.id: n for n in self.new.nodes}
        self.known.clear()

    def tell(self, why: str) -> None:
        """Note a reason."""
        reason = Reason(self.new_at.part.rstrip("."), self.new_at.layer, why, isinstance(why, Differs))
        self.walk.found.reasons.append(reason)

    def value(self, old: Ref, new: Ref) -> Known:
        """How ``new`` holds ``old``: operands first, without recursion inside a body."""
        pending = [(old, new)]
        while pending:
            pair = pending[-1]
            missing = [] if pair in self.known else [p for p in self._operands(*pair) if p not in self.known]
            if not missing:
                pending.pop()
                if pair not in self.known:
                    self.known[pair] = self._step(*pair)
            pending += missing[::-1]
        return self.known[old, new]

    def _operands(self, old: Ref, new: Ref) -> list[tuple[Ref, Ref]]:
        a, b = self.nodes[0][old.node], self.nodes[1][new.node]
        if a.op == "param" and self._stored(1, b):
            return [(old, b.inputs[0])]
        if b.op == "param" and self._stored(0, a):
            return [(a.inputs[0], new)]
        if a.op == b.op == "map" and self._exchanged(a, b):
            return [(a.inputs[1], b.inputs[0]), (a.inputs[0], b.inputs[1])]
        return list(zip(a.inputs, b.inputs, strict=False)) if a.op == b.op else []

    def _exchanged(self, a: Node, b: Node) -> bool:
        """Whether a sum or the like has its operands the other way round: by what they are and are called."""
        if not (len(a.inputs) == len(b.inputs) == 2 and exchangeable(b.attr("program"))):
            return False
        kinds = [
            [_kind(nodes[ref.node]) for ref in node.inputs] for nodes, node in zip(self.nodes, (a, b), strict=True)
        ]
        return kinds[0] != kinds[1] and kinds[0] == kinds[1][::-1]

    def _stored(self, side: int, node: Node) -> bool:
        """Whether a node is a weight plus one, as norms have it whose weight is stored minus one."""
        return node.op == "map" and one_more(node.attr("program")) and (
            self.nodes[side][node.inputs[0].node].op == "param"
        )  # fmt: skip

    def _step(self, old: Ref, new: Ref) -> Known:
        found = self._found(old, new)
        if isinstance(found, Likeness):
            return found
        if isinstance(found, str):
            self.tell(found)
        return self._as_if_same(old, new)

    def _as_if_same(self, old: Ref, new: Ref) -> Known:
        """Equal values, where their shapes allow that: the reason why they are not has been told."""
        types = [self.nodes[side][ref.node].types for side, ref in enumerate((old, new))]
        if not all(types):  # instances have none
            return None
        sizes = [[dim.size.known for dim in held[ref.out].dims] for held, ref in zip(types, (old, new), strict=True)]
        return Likeness((None,) * len(sizes[1])) if sizes[0] == sizes[1] else None

    def _found(self, old: Ref, new: Ref) -> Known | str:
        a, b = self.nodes[0][old.node], self.nodes[1][new.node]
        if a.op != b.op and {a.op, b.op} == _WEIGHTS:
            return self._held_anywhere(a, b)
        if {a.op, b.op} == {"param", "map"}:
            return self._unshifted(a, b, self._operands(old, new))
        if (a.op == "call") != (b.op == "call"):
            side, call = (0, a) if a.op == "call" else (1, b)
            if (side, call.id) not in self.folded and call.attr("instance") == "own":
                raise _Unfold(side, call)
        if a.op != b.op or old.out != new.out:
            return unlike(a, b)
        if a.op in _STRUCTURE:
            return getattr(self, f"_{a.op}")(a, b, new.out)  # type: ignore[no-any-return]
        return self._primitive(a, b, self._operands(old, new))

    def _primitive(self, a: Node, b: Node, pairs: list[tuple[Ref, Ref]]) -> Known | str:
        operands = [self.known[pair] for pair in pairs]
        if pairs and pairs[0][0] != a.inputs[0]:
            self.walk.found.rounding.append("sums and products are taken in another order")
        held = [operand for operand in operands if operand is not None]
        step = Step(a, b, self.old, self.new, held, self._extra_bias(a, b))
        why = changed(step)
        if why:
            self.tell(Differs(why))
        found = compared(step) if len(held) == len(operands) else None
        self.walk.found.rounding += step.rounding
        for reason in step.reasons:
            self.tell(reason)
        return found

    def _extra_bias(self, a: Node, b: Node) -> bool:
        """Whether a bias that only one of two linear layers has is zero."""
        has = ["bias" in (node.attr("has") or ()) for node in (a, b)]
        if has[0] == has[1]:
            return True
        side, node, at = (0, a, self.old_at) if has[0] else (1, b, self.new_at)
        bias = self.nodes[side][node.inputs[-1].node]
        path = f"{at.prefix}{bias.attr('name')}"
        is_zero = path in self.walk.gone if has[0] else isinstance(self.walk.rules.get(path), Zeros)
        return bias.op == "param" and is_zero

    # --- structure -----------------------------------------------------------------------

    def _unshifted(self, a: Node, b: Node, operands: list[tuple[Ref, Ref]]) -> Known | str:
        if not operands:
            return unlike(a, b)
        weight = self.known[operands[0]]
        if weight is None:
            return None
        if weight.shares:
            return "channels that are repeated share a number"
        if weight.shift != (-1 if a.op == "param" else weight.scale):
            return "a weight is stored otherwise"
        self.walk.found.rounding.append("weights of norms are stored minus one in one model")
        return Likeness(weight.axes, scale=weight.scale)

    def _input(self, a: Node, b: Node, out: int) -> Known | str:
        if (a.id, b.id) in self.given:
            return self.given[a.id, b.id]
        return Differs(f"`{b.attr('name')}` is read where `{a.attr('name')}` was")

    def _param(self, a: Node, b: Node, out: int) -> Known | str:
        return self._held(self.old_at.prefix + a.attr("name"), self.new_at.prefix + b.attr("name"))

    def _held_anywhere(self, a: Node, b: Node) -> Known | str:
        """A weight that only one model shares with another part: a head that is the table of tokens, or was."""
        paths = self._path(0, a, self.old_at), self._path(1, b, self.new_at)
        return unlike(a, b) if None in paths else self._held(paths[0] or "", paths[1] or "")

    def _path(self, side: int, node: Node, at: Place) -> str | None:
        if node.op == "param":
            return f"{at.prefix}{node.attr('name')}"
        holder = self.nodes[side][node.inputs[0].node]
        if holder.op == "instance":
            return f"{at.prefix}{holder.attr('name')}.{node.attr('path')}"
        return None

    def _held(self, old: str, new: str) -> Known | str:
        found = self.walk.weight(old, new)
        if isinstance(found, Differs | Likeness):
            return found
        return f"{found} ({new.rpartition('.')[0].rpartition('.')[2]})"

    def _instance(self, a: Node, b: Node, out: int) -> Known | str:
        at = self.old_at.inside(a.attr("name")), self.new_at.inside(b.attr("name"))
        return Likeness((), modules=(at[0].prefix, at[1].prefix))

    def _weight(self, a: Node, b: Node, out: int) -> Known | str:
        module = self.known[a.inputs[0], b.inputs[0]]
        if module is None or module.modules is None:
            return None
        return self._held(module.modules[0] + a.attr("path"), module.modules[1] + b.attr("path"))

    def _call(self, a: Node, b: Node, out: int) -> Known | str:
        if a.attr("instance") != b.attr("instance"):
            return Differs("a part has weights of its own in one model alone")
        if (a.id, b.id) not in self.called:
            self.called[a.id, b.id] = self._inside(a, b)
        inner = self.called[a.id, b.id]
        if out < min(len(inner.old.outputs), len(inner.new.outputs)):
            return inner.result(partial(numbered, out), partial(numbered, out))
        return Differs("other results of a part are read")

    def _inside(self, a: Node, b: Node) -> _Bodies:
        bodies = self.walk.before.body_of(a), self.walk.after.body_of(b)
        places = self.old_at.inside(a.attr("name")), self.new_at.inside(b.attr("name"))
        values = [self.known[pair] for pair in zip(a.inputs, b.inputs, strict=False)]
        if a.attr("instance") == "given":
            module, *values = values
            if module is not None and module.modules is not None:
                places = Place(module.modules[0], places[0].part), Place(module.modules[1], places[1].part)
        ids = [(x.id, y.id) for x, y in zip(bodies[0].inputs, bodies[1].inputs, strict=False)]
        return _Bodies(self.walk, *bodies, *places, dict(zip(ids, values, strict=False)))

    def _stack(self, a: Node, b: Node, out: int) -> Known | str:
        return _Stacks(self, a, b).stream()


def _kind(node: Node) -> tuple[str, str]:
    return node.op, str(node.attr("name", ""))


def _layers(count: int, kind: str = "") -> str:
    return f"one {kind}layer is" if count == 1 else f"{count} {kind}layers are"


_WEIGHTS = frozenset({"param", "weight"})
_STRUCTURE = frozenset({"input", "param", "instance", "weight", "call", "stack"})


class _Stacks:
    """Two stacks, layer by layer."""

    def __init__(self, at: _Bodies, old: Node, new: Node) -> None:
        self.at, self.nodes = at, (old, new)
        self.layers = Layers(old), Layers(new)
        self.start = at.known[old.inputs[0], new.inputs[0]]
        self.tapped: dict[tuple[int, str], Known] = {}

    def stream(self) -> Known | str:
        """How the streams behind the last layers are related."""
        counts = self.layers[0].count, self.layers[1].count
        stream = self.start
        for index in range(min(counts)):
            stream = self._layer(index, stream)
        if counts[1] < counts[0]:
            return f"{_layers(counts[0] - counts[1])} left out"
        further = [index for index in range(counts[0], counts[1]) if not self._passes_on(index)]
        if further:
            return f"{_layers(len(further), 'further ')} no identity"
        return stream

    def _passes_on(self, index: int) -> bool:
        """Whether a further layer gives back what it is given, by the weights that the plan sets to zero."""
        zeros = zeros_for_identity(self.at.walk.after, self._body(1, index), self._place(1, index).prefix)
        rules = self.at.walk.rules
        return zeros is not None and all(isinstance(rules.get(path), Zeros) for path in zeros)

    def _layer(self, index: int, stream: Known) -> Known:
        bodies = self._body(0, index), self._body(1, index)
        inner = _Bodies(self.at.walk, *bodies, self._place(0, index), self._place(1, index), {})
        inputs = bodies[0].inputs, bodies[1].inputs
        inner.given[inputs[0][0].id, inputs[1][0].id] = stream
        inner.given |= {(x.id, y.id): value for x, y, value in self._further(inputs[0][1:], inputs[1][1:])}
        for path in {name for name, _ in (*bodies[1].taps, *bodies[1].outputs)}:
            if (index, path) in self._taps and tap_ref(bodies[0], path) is not None:
                self.tapped[index, path] = inner.result(partial(tapped, path), partial(tapped, path))
        return inner.result(partial(numbered, 0), partial(numbered, 0))

    @cached_property
    def _taps(self) -> set[tuple[int, str]]:
        """Layers and paths of the tensors that later layers read."""
        bodies = {key: self.at.walk.after.bodies[key] for key, _ in self.layers[1].runs()}
        return {(item.attr("layer"), item.attr("path")) for body in bodies.values() for item in body.inputs[1:]}

    def _body(self, side: int, index: int) -> Body:
        graph = self.at.walk.after if side else self.at.walk.before
        return graph.bodies[self.layers[side].at(index)]

    def _place(self, side: int, index: int) -> Place:
        node, layers = self.nodes[side], self.layers[side]
        first = layers.first(layers.at(index)) if node.attr("shared") else index
        return (self.at.new_at if side else self.at.old_at).at_layer(node.attr("name"), index, first)

    def _further(self, old: tuple[Node, ...], new: tuple[Node, ...]) -> Iterator[tuple[Node, Node, Known]]:
        """Extras by their names and taps by their layers, as pairs of inputs."""
        for x in old:
            for y in new:
                if x.attr("kind") == y.attr("kind") == "tap":
                    if (x.attr("layer"), x.attr("path")) == (y.attr("layer"), y.attr("path")):
                        yield x, y, self._tap(y)
                elif x.attr("kind") == y.attr("kind") and x.attr("name") == y.attr("name"):
                    yield x, y, self._extra(x, y)

    def _tap(self, node: Node) -> Known:
        return self.start if node.attr("layer") < 0 else self.tapped.get((node.attr("layer"), node.attr("path")))

    def _extra(self, x: Node, y: Node) -> Known:
        refs = [
            dict(zip(node.attr("extras") or (), node.inputs[1:], strict=True))[item.attr("name")]
            for node, item in zip(self.nodes, (x, y), strict=True)
        ]
        return self.at.value(refs[0], refs[1])
