"""Layers one after another: patterns, their elaboration, and references between layers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby

import tantra_dsl.semantics.bodies as bodies
import tantra_dsl.semantics.calls as calls
import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.references as references
from tantra_dsl.diagnostics.semantics import (
    BadArithmetic,
    SharedLayersDiffer,
    StreamChanged,
    TooLarge,
    UnknownPath,
    WrongType,
)
from tantra_dsl.graph.model import Body, BodyRef, Ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.semantics.binding import bind, input_names, require
from tantra_dsl.semantics.frame import Frame, Session
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import (
    POISON,
    Bound,
    Function,
    LayerPath,
    Stack,
    StackName,
    Tensor,
    Value,
    describe,
    is_callable,
)  # fmt: skip
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Span

MAX_LAYERS = 10_000


# --- stacks as values ------------------------------------------------------------------


def pattern(values: list[Value], span: Span, frame: Frame) -> Value:
    """``(a, b * 3)``: blocks in order."""
    parts = [value if isinstance(value, Stack) else Stack(((value, 1),), 1) for value in values]
    total = sum(part.total for part in parts)
    if total > MAX_LAYERS:
        return frame.session.report(_too_many(total, span))
    if len({part.shared for part in parts}) > 1:
        advice = "declare what is shared with `share name: ...` in the model, and call it in a block of its own"
        wanted, got = "all blocks shared or none", "some shared"
        return frame.session.report(
            WrongType(span=span, wanted=wanted, got=got, where="a pattern of layers", advice=advice)
        )
    return Stack(tuple(run for part in parts for run in _spelled(part)), total, parts[0].shared, span)


def _too_many(layers: int, span: Span) -> TooLarge:
    return TooLarge(span=span, what=f"{layers:,} layers are too many", limit=f"{MAX_LAYERS:,}")


def share(value: Value, span: Span, frame: Frame) -> Value:
    """``share block``: layers of this block have one set of weights."""
    if is_callable(value):
        return Stack(((value, 1),), 1, True, span)
    if isinstance(value, Stack):
        return replace(value, shared=True)
    return frame.session.report(WrongType(span=span, wanted="a block", got=describe(value), where="`share`"))


def _count(value: Value, span: Span, frame: Frame) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        frame.session.report(
            WrongType(span=span, wanted="a positive whole number", got=describe(value), where="the number of layers")
        )
        return None
    if value > MAX_LAYERS:
        frame.session.report(_too_many(value, span))
        return None
    return value


def repeat(left: Value, right: Value, expr: tree.Binary, frame: Frame) -> Value:
    """``34 of (local * 5, global)``: the pattern, cycled to so many layers."""
    if not (is_callable(right) or isinstance(right, Stack)):
        advice = "write `12 of block { ... }` or `12 of (a, b)`"
        return frame.session.report(
            WrongType(span=expr.right.span, wanted="a block", got=describe(right), where="`of`", advice=advice)
        )
    total = _count(left, expr.left.span, frame)
    if total is None:
        return POISON
    runs = right.pattern if isinstance(right, Stack) else ((right, 1),)
    return Stack(runs, total, isinstance(right, Stack) and right.shared, expr.span)


def times(left: Value, right: Value, expr: tree.Binary, frame: Frame) -> Value:
    """``block * 6`` or ``(a, b) * 3``."""
    times = _count(right, expr.right.span, frame)
    if times is None:
        return POISON
    if not isinstance(left, Stack):
        return Stack(((left, times),), times, False, expr.span)
    if left.total * times > MAX_LAYERS:
        return frame.session.report(_too_many(left.total * times, expr.span))
    if len(left.pattern) == 1:
        return replace(left, pattern=((left.pattern[0][0], left.total * times),), total=left.total * times)
    whole = _spelled(left)
    return Stack(tuple(whole), left.total * times, left.shared, expr.span)


def _spelled(stack: Stack) -> list[tuple[Value, int]]:
    """The pattern cut or cycled to exactly the stack's length."""
    runs: list[tuple[Value, int]] = []
    left = stack.total
    while left > 0:
        for value, count in stack.pattern:
            if left > 0:
                runs.append((value, min(count, left)))
                left -= min(count, left)
    return runs


def pipe(left: Value, expr: tree.Binary, scope: Scope, frame: Frame) -> Value:
    """``x |> layers``: the tensor through a module or a stack."""
    right = evaluate.evaluate(expr.right, scope, frame)
    if left is POISON or right is POISON:
        return POISON
    x = references.tensor(left, frame, expr.left.span)
    if x is POISON:
        return POISON
    name = frame.site(expr, "layers")
    if isinstance(right, Stack):
        return apply(x, right, name, expr, frame)
    if is_callable(right):
        return calls.call_with(right, [x], expr, frame, name if name != "layers" else None)
    wanted = "a module or a stack of layers"
    return frame.session.report(WrongType(span=expr.right.span, wanted=wanted, got=describe(right), where="`|>`"))


# --- elaborating a stack ---------------------------------------------------------------


@dataclass(eq=False)
class Building:
    """A stack under construction."""

    name: str
    frame: Frame
    x: Tensor
    stack: Stack
    keys: list[str] = field(default_factory=list)
    extras: dict[tuple[int, Ref], tuple[str, Tensor]] = field(default_factory=dict)
    index_read: bool = False
    layers: dict[str, Frame] = field(default_factory=dict)
    """A frame that each distinct layer was made in, by the key of its body."""

    def extra_name(self, tensor: Tensor, wanted: str) -> str:
        """Name under which a tensor from outside is passed to the layers."""
        key = (id(tensor.frame), tensor.ref)
        if key not in self.extras:
            used = {name for name, _ in self.extras.values()} | {"x"}
            name, number = wanted, 2
            while name in used:
                name, number = f"{wanted}_{number}", number + 1
            self.extras[key] = (name, tensor)
        return self.extras[key][0]

    def note_index(self) -> None:
        """A layer asked for its number: layers of one block may differ."""
        self.index_read = True

    def tap(self, path: LayerPath, frame: Frame, span: Span) -> Value:
        """The tensor (or the tensors, stacked) that a reference into this stack means."""
        self.note_index()
        layer_frame = _layer_frame(frame, self)
        if layer_frame is None:
            return frame.session.report(UnknownPath(span=span, path=self.name, missing="a layer from here"))
        tensors = [self._tap_one(index, path, layer_frame, span) for index in path.layers]
        if any(tensor is POISON for tensor in tensors):
            return POISON
        if not path.many:
            return tensors[0]
        return frame.add("stack_depth", tensors, span, "these layers")

    def _tap_one(self, index: int, path: LayerPath, frame: Frame, span: Span) -> Value:
        layer = index - 1 if path.outputs else index
        text = f"{'outputs' if path.outputs else self.name}[{index}]" + "".join(f".{part}" for part in path.path)
        if path.outputs and layer == len(self.keys) - 1:
            return Tensor(Ref(next(iter(frame.builder.nodes))), frame)
        if not -1 <= layer < len(self.keys) or (layer == -1 and not path.outputs):
            reason = f"{text} is not there yet: layer {len(self.keys)} can read layers 0 to {len(self.keys) - 1}"
            return frame.session.report(BadArithmetic(span=span, reason=reason))
        steps = path.path or ("out",)
        if not path.path or (steps == ("out",) and "out" not in frame.session.variables.get(self.keys[layer], {})):
            type: TensorType | None = self.x.type
            tap = "out"
        else:
            tap = "out_value" if steps == ("out",) else ".".join(steps)
            type = tap_type(frame.session, self.keys[layer], steps, tap)
        if type is None:
            known = tuple(sorted(frame.session.variables.get(self.keys[layer], {})))
            return frame.session.report(UnknownPath(span=span, path=text, missing=steps[-1], candidates=known))
        id = f"{self.name}_{layer}_{tap.replace('.', '_')}" if layer >= 0 else f"{self.name}_input"
        if id in frame.builder.nodes:
            return Tensor(Ref(id), frame)
        frame.step(span, 4)
        return Tensor(frame.builder.input(id, type, "tap", layer=layer, path=tap), frame)


def _layer_frame(frame: Frame, building: Building) -> Frame | None:
    current: Frame | None = frame
    while current is not None:
        if current.layer is not None and current.layer.stack is building:
            return current
        current = current.parent
    return None


@dataclass(frozen=True, eq=False)
class Layer:
    """Marks the frame of one layer."""

    stack: Building
    index: int
    frame: Frame


def apply(x: Tensor, stack: Stack, name: str, expr: tree.Expr, frame: Frame) -> Value:
    """Elaborate the layers of a stack on the stream ``x``; equal layers are elaborated once."""
    building = Building(name, frame, x, stack)
    frame.session.stacks[name] = building
    frame.stacks.append(building)
    memo: dict[int, str] = {}
    spoiled = False
    flat = [(slot, value) for slot, (value, count) in enumerate(_spelled(stack)) for _ in range(count)]
    period = len(stack.pattern)
    for index, (slot, value) in enumerate(flat):
        slot %= period
        key = memo.get(slot)
        if key is None:
            building.index_read = False
            key = _layer(building, value, index, expr.span)
            if key is None:
                spoiled, key = True, ""
            if not building.index_read or key == "":
                memo[slot] = key
        building.keys.append(key)
    if spoiled:
        return POISON
    return _place(building, x, stack, memo, expr, frame)


def _place(building: Building, x: Tensor, stack: Stack, memo: dict[int, str], expr: tree.Expr, frame: Frame) -> Value:
    frame.claim(building.name, expr.span)
    if stack.shared and len(set(building.keys)) > len({id(value) for value, _ in stack.pattern}):
        return frame.session.report(SharedLayersDiffer(span=expr.span, name=building.name))
    extras = list(building.extras.values())
    names = tuple(name for name, _ in extras)
    if len(memo) == len(stack.pattern):
        listed = [(memo[slot], count) for slot, (_, count) in enumerate(stack.pattern)]
    else:
        listed = [(key, len(list(group))) for key, group in groupby(building.keys)]
    runs = tuple((BodyRef(key), count) for key, count in listed)
    inputs = [x, *(tensor for _, tensor in extras)]
    return frame.add(
        "stack", inputs, expr.span, types=(x.type,), id=building.name, name=building.name, runs=runs,
        count=stack.total, shared=stack.shared, extras=names,
    )  # fmt: skip


def _layer(building: Building, callee: Value, index: int, span: Span) -> str | None:
    """Body key of layer ``index``; None where it could not be elaborated."""
    frame = building.frame
    session = frame.session
    if not isinstance(callee, Function) or callee.definition is None or callee.kind not in ("block", "module"):
        wanted = "a block or a module"
        session.report(WrongType(span=span, wanted=wanted, got=describe(callee), where="a layer"))
        return None
    around = Scope(callee.scope)
    _bind_layer_names(around, building, index)
    arguments = tuple(_rebound(argument, building, index) for argument in callee.arguments)
    function = replace(callee, scope=around, arguments=arguments)
    names = input_names(function.definition)  # type: ignore[arg-type]
    if not names:
        session.report(
            WrongType(span=span, wanted="a block that takes a stream", got=describe(callee), where="a layer")
        )
        return None
    stream = Bound(Thunk.of(building.x), names[0], False, span)
    made = _elaborate_layer(building, function, stream, index, span)
    if made is None or made.spoiled:
        return None
    return _finish_layer(building, made, callee, session, span)


def _elaborate_layer(
    building: Building, function: Function, stream: Bound, index: int, span: Span
) -> bodies.Made | None:
    frame = building.frame
    binding = bind(function, (stream, *function.arguments), frame, span)
    if not require(binding, function, frame, span) or binding.spoiled:
        return None
    # Only the stream is an input; tensors given to the block are passed through the stack as extras.
    extras = {name: thunk for name, thunk in binding.inputs.items() if thunk is not stream.thunk}
    binding.inputs = {name: thunk for name, thunk in binding.inputs.items() if name not in extras}
    return bodies.elaborate(
        function, binding, frame, f"{building.name}.{index}", span, layer=(building, index), extras=extras
    )


def _finish_layer(building: Building, made: bodies.Made, callee: Function, session: Session, span: Span) -> str | None:
    if len(made.results) != 1 or not _same_type(made.results[0].type, building.x.type):
        given = " and ".join(str(result.type) for result in made.results)
        layer = f"{callee.kind} {callee.name}"
        session.report(StreamChanged(span=span, layer=layer, taken=str(building.x.type), given=given))
        return None
    key = bodies.finish(made, building.frame)
    building.layers.setdefault(key, made.frame)
    return key


def _same_type(a: TensorType, b: TensorType) -> bool:
    return a.dtype == b.dtype and [dim.size for dim in a.dims] == [dim.size for dim in b.dims]


def _bind_layer_names(scope: Scope, building: Building, index: int) -> None:
    i = Thunk.of(index)
    i.on_read = building.note_index
    scope.bind("i", i)
    scope.bind_value("layer_count", building.stack.total)
    scope.bind_value(building.name, StackName(building, False))
    scope.bind_value("layers", StackName(building, False))
    scope.bind_value("outputs", StackName(building, True))


def _rebound(argument: Bound, building: Building, index: int) -> Bound:
    """An argument given where the block is used may depend on the layer, too."""
    thunk = argument.thunk
    if thunk.expr is None or thunk.scope is None or thunk.known:
        return argument
    scope = Scope(thunk.scope)
    _bind_layer_names(scope, building, index)
    again = Thunk(thunk.expr, scope, thunk.frame)
    again.on_read = thunk.touch
    return replace(argument, thunk=again)


# --- references between layers ---------------------------------------------------------


def tap_type(session: Session, key: str, path: tuple[str, ...], tap: str = "") -> TensorType | None:
    """Type of the tensor at ``path`` in a body, or None; notes that the body must export it (as ``tap``).

    A variable called ``out`` is exported under another name, for ``out`` is what the body gives back.
    """
    body = session.bodies[key]
    ref = session.variables.get(key, {}).get(path[0])
    if len(path) == 1:
        ref = ref or _call_of(body, path[0])
        if ref is None:
            return None
        session.exports.setdefault(key, {})[tap or path[0]] = ref
        return body.type_of(ref)
    call = _call_of(body, path[0])
    if call is None:
        return None
    type = tap_type(session, body.node(call.node).attr("body").key, path[1:])
    if type is not None:
        session.exports.setdefault(key, {})[".".join(path)] = Ref(call.node, -1)
    return type


def _call_of(body: Body, name: str) -> Ref | None:
    for node in body.nodes:
        if node.op == "call" and node.attr("name") == name:
            return Ref(node.id)
    return None


def body_key(frame: Frame, session: Session) -> str:
    """A readable key for a body: its definition's name, with the caller's before it where that is taken."""
    name = frame.name
    if name not in session.bodies or frame.parent is None:
        return name
    return f"{frame.parent.name}_{name}"
