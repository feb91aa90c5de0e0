"""A residual add and the norm behind it in one op."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from tantra_compiler.emit.builtins import same_program
from tantra_compiler.passes import ops
from tantra_compiler.passes.base import Decision
from tantra_compiler.passes.places import places
from tantra_dsl.graph.inline import without_unused
from tantra_dsl.graph.linear_loss import needed_for
from tantra_dsl.graph.model import Attr, Body, Graph, Node, Ref
from tantra_dsl.scalars.ir import Op, Program, Scalar, Var

_ = ops
_SUM: Final[Scalar] = Op("add", (Var("x"), Var("y")))
_KINDS: Final = {"layer_norm": "layernorm", "rms_norm": "rms"}


@dataclass(frozen=True)
class FuseAddNorm:
    """Turns a sum of two tensors and a norm of it into ``add_norm``, which gives both.

    A norm that is a module of its own stays one: the op reads its weights. Others may read the sum as well.
    """

    name: ClassVar[str] = "fuse_add_norm"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with fused norms."""
        bodies = {key: _fused_body(graph, body) for key, body in graph.bodies.items()}
        if all(bodies[key] is body for key, body in graph.bodies.items()):
            return graph
        return without_unused(replace(graph, bodies=bodies))

    def decisions(self, graph: Graph) -> tuple[Decision, ...]:
        """What becomes of every norm of ``graph``."""
        paths, apart = places(graph), norm_bodies(graph)
        return tuple(
            Decision(norm_path(path, norm), "normalize", *_choice(graph, body, norm))
            for key, body in graph.bodies.items()
            if key not in apart
            for norm in norms_of(graph, body)
            for path in paths[key]
        )


def norm_path(path: str, norm: Norm) -> str:
    """The path of a norm in a body at ``path``: its module's, or its own name."""
    return f"{path}.{norm.node.attr('name') or norm.node.id}".strip(".")


def _choice(graph: Graph, body: Body, norm: Norm) -> tuple[str, str]:
    reason = norm.obstacle(body)
    if reason is None and _first(graph, body, norm.x).node.id != norm.node.id:
        reason = "another norm reads the same sum and takes it"
    return (norm.op, reason) if reason is not None else (ops.ADD_NORM, "one op with the add before it")


# --- norms ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Norm:
    """A norm in a body: ``node`` is the op, or the call of a body that is nothing else; ``x`` is what it norms.

    ``inner`` is that body. ``operands`` are weight and bias, in the body that has the op itself.
    """

    node: Node
    x: Ref
    op: str
    kind: str
    eps: float
    operands: tuple[Ref, ...]
    inner: Body | None = None

    def obstacle(self, body: Body) -> str | None:
        """Why it cannot take in the add before it; None where it can."""
        total = body.node(self.x.node)
        if total.op == "input":
            return "what it norms is made outside of its block"
        if total.op != "map":
            return f"it norms what {total.op} gives, not a sum"
        program: Program = total.attr("program")
        if program.captures or len(program.variables) != 2 or not _is_sum(program):
            return f"it norms {program.name or 'a function'}, not the sum of two tensors"
        if len(total.inputs) != 2 or any(body.type_of(ref) != total.type for ref in total.inputs):
            return "the two tensors of the sum differ in shape"
        if self.inner is None and total.id in needed_for(body, [ref.node for ref in self.operands]):
            return "its weight is made from the sum"
        return None


def _is_sum(program: Program) -> bool:
    x, y = program.variables
    return same_program(program.body, Op("add", (Var(x), Var(y))))


def norms_of(graph: Graph, body: Body) -> Iterable[Norm]:
    """Norms of ``body`` that could be fused with what is before them."""
    for node in body.nodes:
        norm = _as_norm(node)
        if norm is not None:
            yield norm
        elif node.op == "call" and (inner := _norm_body(graph.body_of(node))) is not None:
            norm = inner[1]
            yield replace(norm, node=node, x=node.inputs[-1], inner=inner[0])


def _as_norm(node: Node) -> Norm | None:
    if node.op in _KINDS:
        return Norm(node, node.inputs[0], node.op, _KINDS[node.op], node.attr("eps"), node.inputs[1:])
    if node.op == "normalize" and node.attr("kind") != "l2" and node.attr("groups", 1) == 1:
        return Norm(node, node.inputs[0], node.op, node.attr("kind"), node.attr("eps"), ())
    return None


def _norm_body(body: Body) -> tuple[Body, Norm] | None:
    """``body`` and its norm, where it computes nothing else."""
    if len(body.inputs) != 1 or body.inputs[0].attr("kind") != "tensor" or body.taps or len(body.outputs) != 1:
        return None
    norms = [norm for norm in map(_as_norm, body.nodes) if norm is not None]
    (_, result), work = body.outputs[0], [node for node in body.nodes if node.op not in ("input", "param")]
    if len(norms) != 1 or result != Ref(norms[0].node.id) or norms[0].x != Ref(body.inputs[0].id):
        return None
    others = [node for node in work if node.id != result.node]
    return (body, norms[0]) if all(_is_of_weights(body, node) for node in others) else None


def _is_of_weights(body: Body, node: Node) -> bool:
    """Whether ``node`` makes the weight of a norm from weights alone, as ``1 + weight``."""
    return node.op == "map" and all(body.node(ref.node).op in ("param", "map") for ref in node.inputs)


def norm_bodies(graph: Graph) -> set[str]:
    """Keys of the bodies that are nothing but a norm; they are looked at where they are called."""
    return {key for key, body in graph.bodies.items() if key != graph.root and _norm_body(body) is not None}


def _first(graph: Graph, body: Body, total: Ref) -> Norm:
    """The first of the norms that could take in the sum ``total``."""
    return next(norm for norm in norms_of(graph, body) if norm.x == total and norm.obstacle(body) is None)


# --- the change ----------------------------------------------------------------------------


def _fused_body(graph: Graph, body: Body) -> Body:
    while (norm := next((n for n in norms_of(graph, body) if n.obstacle(body) is None), None)) is not None:
        body = _Fusion(body, norm).body()
    return body


@dataclass
class _Fusion:
    """The op in the place of the add that ``norm`` reads; what makes its weights comes before it."""

    outer: Body
    norm: Norm
    taken: set[str] = field(init=False)
    total: Node = field(init=False)

    def __post_init__(self) -> None:
        self.taken = {node.id for node in self.outer.nodes}
        self.total = self.outer.node(self.norm.x.node)

    def body(self) -> Body:
        """The body with the op."""
        before, operands = self._weights()
        fused = self._op(operands)
        moved = {node.id for node in before}
        nodes: list[Node] = []
        for node in self.outer.nodes:
            if node.id == self.total.id:
                nodes += [*before, fused]
            elif node.id != self.norm.node.id and node.id not in moved:
                nodes.append(node)
        instead = {Ref(self.norm.node.id): Ref(fused.id, 1)}
        nodes = [replace(node, inputs=through(node.inputs, instead)) for node in nodes]
        ends = (
            tuple((name, instead.get(ref, ref)) for name, ref in refs) for refs in (self.outer.outputs, self.outer.taps)
        )
        outputs, taps = ends
        return replace(self.outer, nodes=tuple(nodes), outputs=outputs, taps=taps)

    def _op(self, operands: tuple[Ref, ...]) -> Node:
        attrs: dict[str, Attr] = {
            "eps": self.norm.eps,
            "has": ("weight", "bias")[: len(operands)],
            "kind": self.norm.kind,
        }
        target = f"{self.total.target or 'total'}, {self.norm.node.target or 'normal'}"
        return replace(
            self.total,
            op=ops.ADD_NORM,
            inputs=(*self.total.inputs, *operands),
            attrs=tuple(sorted(attrs.items())),
            types=(self.total.type, self.norm.node.type),
            target=target,
        )

    def _weights(self) -> tuple[list[Node], tuple[Ref, ...]]:
        """Nodes that give weight and bias, and what they give."""
        if self.norm.inner is None:
            return self._own_weights(), self.norm.operands
        if not self.norm.operands:
            return [], ()
        return self._read_weights(self.norm.inner)

    def _own_weights(self) -> list[Node]:
        """What makes the weights and comes after the add."""
        place = self.outer.nodes.index(self.total)
        needed, found = {ref.node for ref in self.norm.operands}, list[Node]()
        for node in reversed(self.outer.nodes[place + 1 :]):
            if node.id in needed:
                needed.update(ref.node for ref in node.inputs)
                found.insert(0, self._placed(node, node.id))
        return found

    def _read_weights(self, inner: Body) -> tuple[list[Node], tuple[Ref, ...]]:
        """The weights of a norm that is a module, read from there, and the ops that work on them alone."""
        call, made, refs = self.norm.node, list[Node](), dict[Ref, Ref]()
        module = call.inputs[0]
        if call.attr("instance") == "own":
            attrs = tuple((name, value) for name, value in call.attrs if name in ("body", "name"))
            instance = Node(self._free(f"{call.id}_module"), "instance", (), attrs, (), origin=call.origin)
            made, module = [instance], Ref(instance.id)
        for node in inner.nodes:
            if node.op == "param":
                read = replace(node, op="weight", inputs=(module,), attrs=(("path", node.attr("name")),))
                moved = self._placed(read, self._free(f"{call.id}_{node.id}"))
            elif node.op == "map":
                moved = self._placed(node, self._free(f"{call.id}_{node.id}"))
                moved = replace(moved, inputs=through(node.inputs, refs))
            else:
                continue
            made.append(moved)
            refs[Ref(node.id)] = Ref(moved.id)
        return made, through(self.norm.operands, refs)

    def _placed(self, node: Node, id: str) -> Node:
        """``node`` as a part of the add's equation."""
        return replace(node, id=id, equation=None if node.op in ("param", "weight") else self.total.equation)

    def _free(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self.taken:
            name, number = f"{wanted}_{number}", number + 1
        self.taken.add(name)
        return name


def through(refs: tuple[Ref, ...], instead: Mapping[Ref, Ref]) -> tuple[Ref, ...]:
    """``refs`` with those in ``instead`` replaced."""
    return tuple(instead.get(ref, ref) for ref in refs)
