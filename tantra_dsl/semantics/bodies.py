"""Turning a definition and its arguments into a body of the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import tantra_dsl.semantics.calls as calls
import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.extend as extend
import tantra_dsl.semantics.inline as inline
import tantra_dsl.semantics.naming as naming
import tantra_dsl.semantics.programs as programs
import tantra_dsl.semantics.references as references
import tantra_dsl.semantics.shared as shared
import tantra_dsl.semantics.stacks as stacks
from tantra_dsl.diagnostics.semantics import ExpectationFailed, Misplaced, MissingKey, NameClash, UnknownKey, WrongType
from tantra_dsl.graph.model import BodyRef
from tantra_dsl.semantics.binding import Binding, bind, input_names, is_sublayer_form, parameters, require
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import POISON, Function, Symbol, Tensor, Value, describe, is_callable, plain
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Span


@dataclass(frozen=True, slots=True, eq=False)
class Sublayer:
    """What a wiring calls ``f``: the sublayer, its label, and where its author wrote it."""

    callee: Value
    label: str
    expr: tree.Expr


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """What a wiring declared as ``f: all`` calls ``f``: the sum of a block's sublayers, each on the same input."""

    parts: tuple[Sublayer, ...]


@dataclass
class Made:
    """A body that has been elaborated: its frame, what was passed to its inputs, and its results."""

    frame: Frame
    passed: list[Tensor]
    results: tuple[Value, ...]
    names: tuple[str, ...]

    @property
    def spoiled(self) -> bool:
        """Whether some result could not be computed."""
        return any(not isinstance(result, Tensor) for result in self.results)


def apply(function: Function, expr: tree.Expr, frame: Frame, label: str | None) -> Value:
    """Apply a module, block or wiring; without its first tensor input it stays a partial application."""
    definition = function.definition
    assert definition is not None
    if definition.kind == "wiring":
        return function
    several = _applied_to_each(function, expr, frame)
    if several is not None:
        return several
    binding = bind(function, function.arguments, frame, expr.span)
    inputs = input_names(definition)
    if binding.poisoned:
        _examine(binding, parameters(definition), frame)
        return POISON
    if not inputs or inputs[0] not in binding.inputs or _awaits_stream(function, binding):
        return function
    if not require(binding, function, frame, expr.span):
        return POISON
    name = label or frame.site(expr, function.name)
    if binding.spoiled:
        # What else is wrong inside is told all the same.
        with frame.session.guess():
            elaborate(function, binding, frame, name, expr.span)
        _examine(binding, parameters(definition), frame)
        return POISON
    made = elaborate(function, binding, frame, name, expr.span)
    if made is None or made.spoiled:
        _examine(binding, parameters(definition), frame)
        return POISON
    return place(made, name, expr.span, frame)


def _awaits_stream(function: Function, binding: Binding) -> bool:
    """Whether a block was given tensors, but too few: ``layer(memory)`` still waits for what flows through it."""
    definition = function.definition
    assert definition is not None
    if definition.kind != "block" or any(a.name == input_names(definition)[0] for a in function.arguments):
        return False
    needed = {p.name for p in definition.inputs or () if p.default is None}
    return not binding.spoiled and not needed <= binding.inputs.keys()


def _examine(binding: Binding, declared: Mapping[str, tree.Parameter], frame: Frame) -> None:
    """Tell the mistakes in settings that were not reached because something before them was wrong."""
    with frame.session.guess():
        for name, thunk in binding.params.items():
            choices = declared[name].choices
            if thunk.read or thunk.known:
                continue
            if choices in (("mask",), ("score",)):
                programs.resolve(thunk, "mask" if choices == ("mask",) else "score", frame, 1)
            elif choices and choices != ("fn",):
                evaluate.force(thunk, frame)


def _applied_to_each(function: Function, expr: tree.Expr, frame: Frame) -> tuple[Value, ...] | None:
    """A module of one tensor that is given several is applied to each: ``position(q, k)``."""
    assert function.definition is not None
    if len(input_names(function.definition)) != 1:
        return None
    positional = [a for a in function.arguments if a.name is None and not a.hyper]
    if len(positional) < 2:
        return None
    tensors = [a for a in positional if references.is_tensor(evaluate.force(a.thunk, frame))]
    if len(tensors) < 2:
        return None
    alone = replace(function, arguments=tuple(a for a in function.arguments if a not in tensors))
    return tuple(calls.call(alone, (tensor,), expr, frame) for tensor in tensors)


def elaborate(
    function: Function, binding: Binding, frame: Frame, label: str, span: Span, *,
    layer: tuple[stacks.Building, int] | None = None, extras: Mapping[str, Thunk] = MappingProxyType({}),
) -> Made | None:  # fmt: skip
    """Elaborate a definition in a frame of its own, called from ``frame``.

    ``layer`` marks the body of a stack's layer; ``extras`` are inputs that come from further out instead of the caller.
    """
    definition = function.definition
    assert definition is not None and function.scope is not None
    for delta in binding.deltas:
        changed = extend.override_definition(definition, delta, frame)
        if changed is None:
            return None
        definition = changed
    child = Frame(frame.session, function.name, frame, label, definition.span)
    child.call_site = span
    child.given = {**binding.params, **binding.inputs}
    scope = Scope(function.scope, function.name)
    child.definition, child.params = definition, scope
    if layer is not None:
        child.layer = stacks.Layer(layer[0], layer[1], child)
    passed = _bind_inputs(definition, binding, child, scope, frame, extras)
    if passed is None:
        return None
    child.dim = _width(passed, frame)
    if child.dim is not None and "dim" not in parameters(definition):
        scope.bind("dim", child.dim)
    bind_params(definition, binding, child, scope)
    # Variables get a level of their own, so that a default written `memory = x` means the x that was passed.
    child.scope = Scope(scope, function.name)
    results, names = run_body(definition, child.scope, child)
    return Made(child, passed, results, names)


def _bind_inputs(
    definition: tree.Definition, binding: Binding, child: Frame, scope: Scope, frame: Frame, extras: Mapping[str, Thunk]
) -> list[Tensor] | None:
    passed: list[Tensor] = []
    defaults = {parameter.name: parameter.default for parameter in definition.inputs or ()}
    for name in input_names(definition):
        thunk = binding.inputs.get(name)
        if name in extras:
            scope.bind(name, extras[name])
            continue
        if thunk is None:
            default = defaults.get(name)
            if default is None and binding.spoiled:
                return None
            if default is None:
                owner = f"{definition.kind} {definition.name or ''}".strip()
                frame.session.report(
                    MissingKey(span=child.call_site, owner=owner, missing=(name,), defined_at=definition.name_span)
                )
                return None
            scope.bind(name, Thunk(default, scope, child))
            continue
        value = evaluate.force(thunk, frame)
        tensor = (
            references.tensor(value, frame, thunk.span if thunk.expr else child.call_site)
            if value is not None
            else None
        )
        if tensor is POISON:
            return None
        if tensor is None:
            scope.bind_value(name, None)
            continue
        passed.append(tensor)
        scope.bind_value(name, Tensor(child.builder.input(name, tensor.type), child))
    return passed


def bind_params(definition: tree.Definition, binding: Binding, child: Frame, scope: Scope) -> None:
    """Bind hyper-parameters to what was given, or to their defaults."""
    for name, parameter in parameters(definition).items():
        given = binding.params.get(name)
        if given is not None:
            scope.bind(name, given)
        elif parameter.default is not None:
            # A default that names the parameter itself means the same name further out: `init = init`.
            outer = scope.parent if _is_name(parameter.default, name) else scope
            assert outer is not None
            scope.bind(name, Thunk(parameter.default, outer, child))
        for choice in parameter.choices if len(parameter.choices) > 1 else ():
            if choice not in ("none", "true", "false"):
                scope.fallbacks.setdefault(choice, Thunk.of(Symbol(choice)))


def _is_name(expr: tree.Expr, name: str) -> bool:
    return isinstance(expr, tree.Name) and expr.id == name


def _width(passed: list[Tensor], frame: Frame) -> Thunk | None:
    """``dim``: the width of the first tensor, or the caller's where that holds ids or an image."""
    if passed and passed[0].type.dtype == "float" and passed[0].type.rank and passed[0].type.axis("height") is None:
        known = passed[0].type.dims[-1].size.known
        if known is not None:
            return Thunk.of(known)
    return frame.dim


# --- members ---------------------------------------------------------------------------


def run_body(definition: tree.Definition, scope: Scope, frame: Frame) -> tuple[tuple[Value, ...], tuple[str, ...]]:
    """Elaborate what a definition says; gives its results and their names."""
    if not isinstance(definition.body, tree.Body):
        return run_return((definition.body,), scope, frame)
    if definition.kind == "block" and is_sublayer_form(definition):
        return (run_sublayers(definition, scope, frame),), ("out",)
    return run_statements(definition, scope, frame)


def run_return(
    exprs: tuple[tree.Expr, ...], scope: Scope, frame: Frame, prefix: str = ""
) -> tuple[tuple[Value, ...], tuple[str, ...]]:
    """Evaluate what is returned, as one equation."""
    frame.begin()
    frame.sites.update(naming.assign(exprs, (), scope, frame.taken, prefix))
    values: list[Value] = []
    for expr in exprs:
        for value in calls.results(evaluate.evaluate(expr, scope, frame)):
            values.append(_as_result(value, expr, frame))
    names = tuple(expr.id if isinstance(expr, tree.Name) else f"out_{n}" for n, expr in enumerate(exprs))
    if len(values) == 1:
        names = ("out",)
    elif len(names) != len(values):
        names = tuple(f"out_{n}" for n in range(len(values)))
    return tuple(values), names


def _as_result(value: Value, expr: tree.Expr, frame: Frame) -> Value:
    if value is POISON:
        return POISON
    return references.tensor(value, frame, expr.span)


def run_statements(
    definition: tree.Definition, scope: Scope, frame: Frame, prefix: str = ""
) -> tuple[tuple[Value, ...], tuple[str, ...]]:
    """Elaborate equations in order."""
    assert isinstance(definition.body, tree.Body)
    bind_members(definition.body.members, scope, frame)
    assigned: dict[str, tuple[Span, Thunk]] = {}
    result: tuple[tuple[Value, ...], tuple[str, ...]] | None = None
    for member in definition.body.members:
        if isinstance(member, tree.Assign):
            run_assign(member, scope, frame, assigned, prefix)
        elif isinstance(member, tree.Return):
            result = run_return(member.values, scope, frame, prefix)
        elif isinstance(member, tree.Expect):
            if not run_expect(member, scope, frame):
                return (POISON,), ("out",)
        elif not isinstance(member, tree.Let | tree.Share | tree.Definition):
            what = f"`{member.path}: ...`" if isinstance(member, tree.Entry) else "this"
            advice = "in equations, assign with `=` and end with `return`"
            frame.session.report(
                Misplaced(
                    span=member.span, what=what, where=f"the equations of {definition.kind} {frame.name}", advice=advice
                )
            )
    report_unused(assigned, frame)
    if result is None:
        frame.session.report(
            MissingKey(span=definition.span, owner=f"{definition.kind} {frame.name}", missing=("return",))
        )
        return (POISON,), ("out",)
    return result


def report_unused(assigned: dict[str, tuple[Span, Thunk]], frame: Frame) -> None:
    """Note the equations, so that one which nothing reads in any layer is reported."""
    for name, (span, thunk) in assigned.items():
        frame.session.explicit.append((thunk, f"the equation `{name} = ...`", name, span))


def bind_members(members: tuple[tree.Member, ...], scope: Scope, frame: Frame) -> None:
    """Bind lets, shares and inner definitions, which may refer to each other in any order."""
    for member in members:
        if isinstance(member, tree.Let):
            thunk = Thunk(member.value, scope, frame)
            scope.bind(member.name, thunk)
            frame.session.explicit.append((thunk, f"`let {member.name}`", member.name, member.span))
        elif isinstance(member, tree.Share):
            thunk = shared.SharedThunk(member, scope, frame)
            scope.bind(member.name, thunk)
            frame.session.explicit.append((thunk, f"`share {member.name}`", member.name, member.span))
    extend.bind_definitions(members, scope, frame)


def run_assign(
    member: tree.Assign, scope: Scope, frame: Frame, assigned: dict[str, tuple[Span, Thunk]], prefix: str = ""
) -> None:
    """Elaborate ``a, b = expression`` as one equation."""
    frame.begin()
    frame.sites.update(naming.assign((member.value,), member.targets, scope, frame.taken, prefix))
    value = evaluate.evaluate(member.value, scope, frame)
    values = tuple(_tensor_if_path(item, member, frame) for item in calls.results(value))
    if len(values) != len(member.targets) and value is not POISON:
        wanted = f"{len(member.targets)} values"
        got = describe(value) if len(values) == 1 else f"{len(values)}"
        frame.session.report(WrongType(span=member.span, wanted=wanted, got=got, where="this equation"))
        values = (POISON,) * len(member.targets)
    elif value is POISON:
        values = (POISON,) * len(member.targets)
    named = name_targets(member.targets, values, frame)
    for name, item in zip(member.targets, named, strict=True):
        thunk = Thunk.of(item)
        # A variable assigned again replaces one that must have been read by then.
        if name in assigned:
            frame.session.explicit.append((assigned[name][1], f"the equation `{name} = ...`", name, assigned[name][0]))
        assigned[name] = (member.span, thunk)
        frame.written[name] = member.span
        scope.bind(name, thunk)
        if isinstance(item, Tensor):
            frame.variables[name] = item


def _tensor_if_path(value: Value, member: tree.Assign, frame: Frame) -> Value:
    """A variable assigned from another layer is a tensor of this one, which later layers may read in turn."""
    return references.tensor(value, frame, member.value.span) if references.is_tensor(value) else value


def name_targets(targets: tuple[str, ...], values: tuple[Value, ...], frame: Frame) -> tuple[Value, ...]:
    """Write the variable's name on the node that this equation made for it."""
    by_node: dict[str, list[str]] = {}
    for name, value in zip(targets, values, strict=True):
        if isinstance(value, Tensor) and value.frame is frame:
            by_node.setdefault(value.ref.node, []).append(name)
    for id, names in by_node.items():
        node = frame.builder.nodes[id]
        fresh = node.equation == frame.equation and node.op not in ("input", "param") and node.target is None
        if fresh and len(names) == max(1, len(node.types)):
            frame.builder.nodes[id] = replace(node, target=", ".join(names))
    return values


def run_expect(member: tree.Expect, scope: Scope, frame: Frame) -> bool:
    """Check what a definition demands of its parameters; False where that is not met."""
    value = evaluate.evaluate(member.condition, scope, frame)
    if value is POISON or value is True:
        return value is True
    names = sorted(set(_names(member.condition)))
    actual = tuple((name, plain(v)) for name in names if (v := _known_number(name, scope, frame)) is not None)
    text = member.condition.span.source.text[member.condition.span.start : member.condition.span.end]
    frame.session.report(
        ExpectationFailed(span=frame.user_span(member.span), text=f"`{text}`{frame.where()}", actual=actual)
    )
    return False


def _names(expr: tree.Expr) -> list[str]:
    if isinstance(expr, tree.Name):
        return [expr.id]
    if isinstance(expr, tree.Binary):
        return [*_names(expr.left), *_names(expr.right)]
    if isinstance(expr, tree.Unary):
        return _names(expr.operand)
    return []


def _known_number(name: str, scope: Scope, frame: Frame) -> Value:
    thunk = evaluate.find(name, scope, frame)
    value = evaluate.force(thunk, frame) if thunk else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


# --- sublayers -------------------------------------------------------------------------


def run_sublayers(definition: tree.Definition, scope: Scope, frame: Frame) -> Value:
    """The usual block: each sublayer in order, wrapped by the block's wiring."""
    assert isinstance(definition.body, tree.Body)
    members = definition.body.members
    bind_members(members, scope, frame)
    wiring = next((m for m in members if isinstance(m, tree.Entry) and m.path == "wiring"), None)
    wiring_thunk = Thunk(wiring.value, scope, frame) if wiring else Thunk.of(None)
    if wiring:
        frame.session.explicit.append((wiring_thunk, "`wiring`", "block", wiring.span))
    thunk = scope.find("x")
    assert thunk is not None
    x = evaluate.force(thunk, frame)
    sublayers = list(_sublayers(members, scope, frame))
    how = evaluate.force(wiring_thunk, frame)
    if _takes_all(how):
        parts = tuple(
            Sublayer(evaluate.evaluate(expr, frame.scope, frame), label, expr) for label, expr, _ in sublayers
        )
        result = POISON if any(part.callee is POISON for part in parts) else wire_all(how, Together(parts), x, frame)
        return x if result is POISON else result
    for label, expr, member in sublayers:
        x = _run_sublayer(label, expr, member, wiring_thunk, x, frame)
        scope.bind_value("x", x)
    return x


def _takes_all(wiring: Value) -> bool:
    """Whether a wiring is declared to take all sublayers of a block at once: ``wiring parallel(f: all, x)``."""
    if not isinstance(wiring, Function) or wiring.kind != "wiring" or wiring.definition is None:
        return False
    inputs = wiring.definition.inputs or ()
    return bool(inputs) and inputs[0].choices == ("all",)


def _sublayers(
    members: tuple[tree.Member, ...], scope: Scope, frame: Frame
) -> Iterator[tuple[str, tree.Expr, tree.Member]]:
    """The sublayers of a block with their labels, each label once."""
    seen: set[str] = set()
    for member in members:
        labelled = _labelled(member, scope, frame)
        if labelled is None:
            continue
        if labelled[0] in seen:
            where, advice = frame.path or frame.name, f"label one of them: `second: {labelled[0]} {{ ... }}`"
            frame.session.report(NameClash(span=member.span, name=labelled[0], where=where, advice=advice))
            continue
        seen.add(labelled[0])
        yield *labelled, member


def _labelled(member: tree.Member, scope: Scope, frame: Frame) -> tuple[str, tree.Expr] | None:
    if isinstance(member, tree.Entry) and member.path != "wiring":
        return member.path, member.value
    if isinstance(member, tree.Item):
        return _label(member.value), member.value
    if isinstance(member, tree.Let | tree.Share | tree.Definition | tree.Entry):
        return None
    if isinstance(member, tree.Expect):
        run_expect(member, scope, frame)
        return None
    frame.session.report(Misplaced(span=member.span, what="this", where=f"block {frame.name}"))
    return None


def _label(expr: tree.Expr) -> str:
    if isinstance(expr, tree.Call):
        return _label(expr.callee)
    return expr.id if isinstance(expr, tree.Name) else "sublayer"


def _run_sublayer(label: str, expr: tree.Expr, member: tree.Member, wiring: Thunk, x: Value, frame: Frame) -> Value:
    callee = evaluate.evaluate(expr, frame.scope, frame)
    if callee is POISON:
        evaluate.force(wiring, frame)
        return x
    if callee is not None and not is_callable(callee):
        known = ("wiring", "let", "share")
        if isinstance(member, tree.Entry):
            frame.session.report(UnknownKey(span=member.span, key=label, owner=f"block {frame.name}", candidates=known))
        else:
            frame.session.report(WrongType(span=expr.span, wanted="a sublayer", got=describe(callee)))
        return x
    how = evaluate.force(wiring, frame)
    if isinstance(how, Function) and wiring.expr is not None:
        how = replace(how, span=wiring.span)
    result = wire(how, Sublayer(callee, label, expr), x, expr, frame)
    if result is not POISON:
        return result
    if label not in frame.taken:
        # Where the wiring is at fault, the sublayer's own mistakes are told all the same.
        calls.call_with(callee, [x], expr, frame, label)
    return x


def wire(wiring: Value, sublayer: Sublayer, x: Value, expr: tree.Expr, frame: Frame) -> Value:
    """One sublayer on the stream, as the wiring says: ``x + f(norm(x))``."""
    if wiring is POISON:
        return POISON
    frame.sublayers.append((sublayer, wiring))
    if wiring is None:
        frame.begin()
        value = calls.call_with(sublayer.callee, [x], expr, frame, sublayer.label)
        return name_targets(("x",), calls.results(value)[:1], frame)[0]
    if not isinstance(wiring, Function) or wiring.kind != "wiring":
        return frame.session.report(
            WrongType(span=expr.span, wanted="a wiring such as pre(layernorm)", got=describe(wiring), where="`wiring`")
        )
    return _run_wiring(wiring, sublayer, x, expr, frame)


def wire_all(wiring: Function, sublayers: Together, x: Value, frame: Frame) -> Value:
    """All sublayers on the stream at once: ``x + f(norm(x))`` with their sum for ``f``."""
    if not sublayers.parts:
        return x
    frame.sublayers += [(part, wiring) for part in sublayers.parts]
    return _run_wiring(wiring, sublayers, x, sublayers.parts[0].expr, frame)


def _run_wiring(wiring: Function, sublayer: Sublayer | Together, x: Value, expr: tree.Expr, frame: Frame) -> Value:
    definition = wiring.definition
    assert definition is not None and wiring.scope is not None
    names = input_names(definition)
    if len(names) != 2:
        return frame.session.report(
            WrongType(
                span=definition.span, wanted="two inputs, f and x", got=f"{len(names)}", where=f"wiring {wiring.name}"
            )
        )
    binding = bind(wiring, wiring.arguments, frame, expr.span)
    if not require(binding, wiring, frame, wiring.span) or binding.spoiled:
        return POISON
    scope = Scope(wiring.scope, wiring.name)
    scope.bind_value(names[0], sublayer)
    scope.bind_value(names[1], x)
    if isinstance(x, Tensor):
        scope.bind("dim", Thunk.of(x.type.dims[-1].size.known))
    bind_params(definition, binding, frame, scope)
    prefix = f"{sublayer.label}_" if isinstance(sublayer, Sublayer) else ""
    if isinstance(definition.body, tree.Body):
        values, _ = run_statements(definition, scope, frame, prefix)
    else:
        values, _ = run_return((definition.body,), scope, frame, prefix)
    return name_targets(("x",), values[:1], frame)[0]


# --- placing a body --------------------------------------------------------------------


def place(made: Made, name: str, span: Span, frame: Frame) -> Value:
    """Use a finished body in the caller: written out where it holds no weights, else called."""
    if inline.is_plain(made):
        return inline.paste(made, frame)
    key = finish(made, frame)
    frame.claim(name, span)
    inputs = [*made.passed, *made.frame.outer]
    types = tuple(result.type for result in made.results)
    return frame.add("call", inputs, span, types=types, id=name, body=BodyRef(key), name=name, instance="own")


def finish(made: Made, frame: Frame) -> str:
    """Close the body and store it; gives its key."""
    outputs = [(name, made.frame.use(result)) for name, result in zip(made.names, made.results, strict=True)]
    body = made.frame.builder.finish(outputs)
    session = frame.session
    key = session.keep(body, stacks.body_key(made.frame, session))
    made.frame.key = key
    session.variables[key] = made.frame.exported()
    session.written[key] = made.frame.written
    return key
