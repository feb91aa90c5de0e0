"""Normalisation with its weights in one op."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from tantra_compiler.emit.builtins import same_program
from tantra_compiler.passes import ops
from tantra_compiler.passes.base import Decision, each_body
from tantra_compiler.passes.places import places
from tantra_dsl.graph.model import Body, Graph, Node, Ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import substitute

_ = ops
_N, _W, _B = Var("n"), Var("w"), Var("b")
_SCALE: Final[Scalar] = Op("mul", (_N, _W))
_SCALE_ONE_PLUS: Final[Scalar] = Op("mul", (_N, Op("add", (Const(1), _W))))
_SHIFT: Final[Scalar] = Op("add", (_N, _B))
_SCALE_SHIFT: Final[Scalar] = Op("add", (_SCALE, _B))
_ONE_PLUS: Final = Program("fn", ("w",), Op("add", (Const(1), _W)), name="1 + w")


@dataclass(frozen=True)
class FuseNorms:
    """Turns ``normalize`` followed by its weight (and bias) into ``layer_norm`` or ``rms_norm``."""

    name: ClassVar[str] = "fuse_norms"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with fused norms."""
        return each_body(graph, _fuse_body)

    def decisions(self, graph: Graph) -> tuple[Decision, ...]:
        """What becomes of every norm of ``graph``."""
        paths = places(graph)
        return tuple(
            Decision(path or node.id, "normalize", *_choice(body, node))
            for key, body in graph.bodies.items()
            for node in body.nodes
            if node.op == "normalize"
            for path in paths[key]
        )


def _choice(body: Body, norm: Node) -> tuple[str, str]:
    found = _Found.at(body, norm)
    if found is not None:
        return found.op, "one op with its weight" + (" and bias" if found.bias is not None else "")
    return norm.op, _obstacle(body, norm)


def _obstacle(body: Body, norm: Node) -> str:
    """Why a norm stays apart from what follows it."""
    if norm.attr("kind") == "l2":
        return "an l2 norm has no op with a weight"
    if norm.attr("groups", 1) != 1:
        return f"it is taken in {norm.attr('groups')} groups"
    if _only_reader(body, norm) is None:
        return "what it gives is not read by one elementwise function alone"
    return "the function that reads it does not scale it by a vector of its width"


def _fuse_body(body: Body) -> Body:
    for node in body.nodes:
        found = _Found.at(body, node)
        if found is not None:
            return _fuse_body(found.applied())
    return body


@dataclass
class _Found:
    """A ``normalize`` node, the maps behind it, its weight and its bias."""

    body: Body
    norm: Node
    maps: tuple[Node, ...]
    weight: Ref
    bias: Ref | None
    one_plus: bool

    @staticmethod
    def at(body: Body, norm: Node) -> _Found | None:
        if norm.op != "normalize" or norm.attr("kind") == "l2" or norm.attr("groups", 1) != 1:
            return None
        scale = _only_reader(body, norm)
        if scale is None:
            return None
        for form in (_SCALE, _SCALE_ONE_PLUS, _SCALE_SHIFT):
            operands = _matched(body, scale, norm, form)
            if operands is not None and (form != _SCALE_SHIFT or norm.attr("kind") == "layernorm"):
                found = _Found(body, norm, (scale,), operands["w"], operands.get("b"), form == _SCALE_ONE_PLUS)
                return found._with_shift()
        return None

    def _with_shift(self) -> _Found:
        """With the bias of the next map, where a layernorm has one."""
        shift = _only_reader(self.body, self.maps[0])
        if self.bias is None and shift is not None and self.norm.attr("kind") == "layernorm":
            operands = _matched(self.body, shift, self.maps[0], _SHIFT)
            if operands is not None:
                return replace(self, maps=(*self.maps, shift), bias=operands["b"])
        return self

    def applied(self) -> Body:
        """The body with the fused op in place of the last map."""
        last = self.maps[-1]
        gone = {self.norm.id, *(node.id for node in self.maps[:-1])}
        nodes: list[Node] = []
        for node in self.body.nodes:
            if node.id == last.id:
                nodes += self._fused(last)
            elif node.id not in gone:
                nodes.append(node)
        return replace(self.body, nodes=tuple(nodes))

    @property
    def op(self) -> str:
        """The op that takes their place."""
        return "layer_norm" if self.norm.attr("kind") == "layernorm" else "rms_norm"

    def _fused(self, last: Node) -> list[Node]:
        made, weight = [], self.weight
        if self.one_plus:
            attrs = (("arity", 1), ("program", _ONE_PLUS))
            types = (self.body.type_of(weight),)
            plus = replace(last, id=f"{last.id}_weight", inputs=(weight,), types=types, attrs=attrs, target=None)
            made.append(plus)
            weight = Ref(plus.id)
        inputs = (self.norm.inputs[0], weight, *([] if self.bias is None else [self.bias]))
        has = () if self.bias is None else ("bias",)
        settings = (("eps", self.norm.attr("eps")), ("has", has))
        fused = replace(
            last, op=self.op, inputs=inputs, attrs=settings, types=(self.norm.type,), origin=self.norm.origin
        )
        return [*made, fused]


def _only_reader(body: Body, node: Node) -> Node | None:
    """The map that alone reads ``node``, once."""
    ref = Ref(node.id)
    readers = [n for n in body.nodes for other in n.inputs if other == ref]
    ends = [r for _, r in (*body.outputs, *body.taps) if r == ref]
    return readers[0] if len(readers) == 1 and not ends and readers[0].op == "map" else None


def _matched(body: Body, node: Node, norm: Node, form: Scalar) -> dict[str, Ref] | None:
    """Which operand of ``node`` plays which part of ``form``, where it computes that of ``norm`` and vectors."""
    program: Program = node.attr("program")
    if program.captures:
        return None
    for roles in _roles(body, node, norm, form):
        variables = {variable: Var(role) for variable, role in zip(program.variables, roles, strict=True)}
        if same_program(substitute(program.body, variables), form):
            return {role: ref for role, ref in zip(roles, node.inputs, strict=True) if role != "n"}
    return None


def _roles(body: Body, node: Node, norm: Node, form: Scalar) -> Iterator[tuple[str, ...]]:
    """Ways to give the operands of ``node`` the parts of ``form``; all but the norm must be vectors of its width."""
    others = [number for number, ref in enumerate(node.inputs) if ref != Ref(norm.id)]
    if not all(_is_vector(body.type_of(node.inputs[number]), norm.type) for number in others):
        return
    parts = {_SCALE: "w", _SCALE_ONE_PLUS: "w", _SHIFT: "b", _SCALE_SHIFT: "wb"}[form]
    if len(others) != len(parts):
        return
    for order in (parts, parts[::-1]) if len(parts) == 2 else (parts,):
        names = dict(zip(others, order, strict=True))
        yield tuple(names.get(number, "n") for number in range(len(node.inputs)))


def _is_vector(type: TensorType, like: TensorType) -> bool:
    return type.rank == 1 and type.dims[0].size == like.dims[-1].size
