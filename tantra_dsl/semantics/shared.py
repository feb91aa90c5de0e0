"""``share``: one set of weights that several places use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tantra_dsl.semantics.bodies as bodies
import tantra_dsl.semantics.calls as calls
import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.references as references
from tantra_dsl.diagnostics.semantics import ShapeMismatch, WrongType
from tantra_dsl.graph.model import BodyRef
from tantra_dsl.graph.types import TensorType
from tantra_dsl.semantics.binding import bind, input_names, require
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import POISON, Bound, Function, Instance, Sum, Tensor, Value, describe
from tantra_dsl.syntax import tree


class SharedThunk(Thunk):
    """A ``share`` member: evaluates to an instance whose weights live in the frame that declares it."""

    whole = True
    __slots__ = ("name",)

    def __init__(self, member: tree.Share, scope: Scope, frame: Frame) -> None:
        super().__init__(member.value, scope, frame)
        self.name = member.name

    def value(self, evaluate: Callable[[tree.Expr, Scope, Frame], Any], cycle: Callable[[], Any]) -> Any:
        """The instance; what is shared must be a module, block, score or a weight."""
        if self.known:
            return super().value(evaluate, cycle)
        owner = self.frame
        assert owner is not None and self.expr is not None
        owner.sites.setdefault(id(self.expr), self.name)
        value = super().value(evaluate, cycle)
        if isinstance(value, Tensor) and isinstance(self.expr, tree.Name) and self.scope is not None:
            value = references.beyond_tensors(self.expr.id, self.scope, value)
        if isinstance(value, Function | Sum):
            value = Instance(self.name, value, owner, self.span)
        elif not isinstance(value, Tensor) and value is not POISON:
            value = owner.session.report(
                WrongType(span=self.span, wanted="something with weights", got=describe(value), where="`share`")
            )
        self._value = value
        return value


def call(instance: Instance, arguments: tuple[Bound, ...], expr: tree.Expr, frame: Frame) -> Value:
    """Call a shared instance; it is built at its first call, in the body that declares it."""
    made = _elaborate(instance, arguments, expr, frame)
    if made is None or made.spoiled:
        return POISON
    if instance.body is None:
        _build(instance, made, frame)
    elif not _same_weights(instance, made):
        reason = "its weights would have other shapes here than at its first use"
        return frame.session.report(ShapeMismatch(span=expr.span, op=f"shared {instance.name}", reason=reason))
    assert instance.ref is not None and instance.body is not None
    module = Tensor(instance.ref, instance.owner)
    types = tuple(result.type for result in made.results)
    inputs = [module, *made.passed, *made.frame.outer]
    return frame.add(
        "call",
        inputs,
        expr.span,
        types=types,
        id=instance.name,
        body=BodyRef(instance.body),
        name=instance.name,
        instance="given",
    )


def _elaborate(instance: Instance, arguments: tuple[Bound, ...], expr: tree.Expr, frame: Frame) -> bodies.Made | None:
    function = instance.function
    if isinstance(function, Sum) or function.definition is None:
        return _elaborate_plain(instance, function, arguments, expr, frame)
    names = input_names(function.definition)
    given = tuple(
        Bound(a.thunk, names[n] if a.name is None and not a.hyper and n < len(names) else a.name, a.hyper, a.span)
        for n, a in enumerate(arguments)
    )
    binding = bind(function, (*function.arguments, *given), frame, expr.span)
    if not require(binding, function, frame, expr.span) or binding.spoiled:
        return None
    return bodies.elaborate(function, binding, frame, instance.name, expr.span)


def _elaborate_plain(
    instance: Instance, function: Sum | Function, arguments: tuple[Bound, ...], expr: tree.Expr, frame: Frame
) -> bodies.Made | None:
    """A shared sum of modules, such as a model's ``embed``, or a shared primitive is a body that applies it."""
    tensors = [references.tensor(evaluate.force(a.thunk, frame), frame, a.span) for a in arguments]
    if any(tensor is POISON for tensor in tensors):
        return None
    child = Frame(frame.session, instance.name, frame, instance.name, instance.span)
    child.call_site = expr.span
    child.dim = frame.dim
    child.begin()
    inner = [Tensor(child.builder.input(child.builder.free_id("x"), tensor.type), child) for tensor in tensors]
    value = calls.call(function, tuple(Bound(Thunk.of(t), None, False, expr.span) for t in inner), expr, child)
    if not isinstance(value, Tensor) and value is not POISON:
        where = f"shared {instance.name}"
        frame.session.report(WrongType(span=expr.span, wanted="one tensor", got=describe(value), where=where))
        return None
    return bodies.Made(child, tensors, (value,), ("out",))


def _build(instance: Instance, made: bodies.Made, frame: Frame) -> None:
    instance.body = bodies.finish(made, frame)
    owner = instance.owner
    owner.claim(instance.name, instance.span)
    ref = owner.builder.add(
        "instance",
        (),
        id=instance.name,
        types=(),
        origin=instance.span,
        body=BodyRef(instance.body),
        name=instance.name,
    )
    instance.ref = ref[0]


def _same_weights(instance: Instance, made: bodies.Made) -> bool:
    assert instance.body is not None
    first = instance.owner.session.bodies[instance.body]
    here = [(n.attr("name"), n.types) for n in made.frame.builder.nodes.values() if n.op == "param"]
    return here == [(n.attr("name"), n.types) for n in first.nodes if n.op == "param"]


def weight(instance: Instance, path: tuple[str, ...], frame: Frame, span: Any) -> Value:
    """The weight at ``path`` of a shared instance, as a tensor of its owner's body."""
    if instance.body is None:
        return None
    body = instance.owner.session.bodies[instance.body]
    function = instance.function
    if isinstance(function, Function) and path and path[0] == function.name and path[0] not in _parts(instance):
        path = path[1:]
    wanted = ".".join(path)
    for node_path, type in _weights(instance, body.key, ""):
        if node_path == wanted:
            return _reference(instance, wanted, type)
    return None


def weight_names(instance: Instance) -> tuple[str, ...]:
    """Paths of the weights of a shared instance; none before its first use."""
    if instance.body is None:
        return ()
    return tuple(path for path, _ in _weights(instance, instance.body, ""))


def _parts(instance: Instance) -> set[str]:
    assert instance.body is not None
    return {path.split(".")[0] for path, _ in _weights(instance, instance.body, "")}


def _weights(instance: Instance, key: str, prefix: str) -> list[tuple[str, TensorType]]:
    found = []
    bodies_of = instance.owner.session.bodies
    for node in bodies_of[key].nodes:
        if node.op == "param":
            found.append((prefix + node.attr("name"), node.type))
        elif node.op == "call" and node.attr("instance") == "own":
            found.extend(_weights(instance, node.attr("body").key, f"{prefix}{node.attr('name')}."))
    return found


def _reference(instance: Instance, path: str, type: TensorType) -> Tensor:
    """A node of the owner that stands for a weight of the shared instance."""
    if path not in instance.attributes:
        assert instance.ref is not None
        ref = instance.owner.builder.add(
            "weight",
            (instance.ref,),
            id=f"{instance.name}_{path.replace('.', '_')}",
            types=(type,),
            origin=instance.span,
            path=path,
        )
        instance.attributes[path] = Tensor(ref[0], instance.owner)
    tensor: Tensor = instance.attributes[path]
    return tensor
