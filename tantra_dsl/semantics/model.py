"""From a model definition to its graph: inputs, the short forms, equations, the objective."""

from __future__ import annotations

from dataclasses import dataclass, field

import tantra_dsl.semantics.bodies as bodies
import tantra_dsl.semantics.calls as calls
import tantra_dsl.semantics.closing as closing
import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.extend as extend
import tantra_dsl.semantics.naming as naming
import tantra_dsl.semantics.references as references
from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.diagnostics.semantics import Misplaced, MissingKey, NoEffect, Redefined, UnknownKey, WrongType
from tantra_dsl.diagnostics.syntax import DuplicateKey, DuplicateName
from tantra_dsl.graph.model import Graph, InputSpec
from tantra_dsl.graph.types import Dim, Size, TensorType
from tantra_dsl.semantics.binding import input_names
from tantra_dsl.semantics.builtins import INPUT_KINDS
from tantra_dsl.semantics.frame import Abandoned, Frame, Session
from tantra_dsl.semantics.library import Unit
from tantra_dsl.semantics.primitives import NORMAL
from tantra_dsl.semantics.recipe import Setting
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.settings import settings_of
from tantra_dsl.semantics.shared import SharedThunk
from tantra_dsl.semantics.values import (
    POISON,
    Function,
    InputType,
    Stack,
    Symbol,
    Tensor,
    Value,
    describe,
    is_callable,
)  # fmt: skip
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.duplicates import head
from tantra_dsl.syntax.source import Span

STAND_IN = 2**6 * 3**2 * 5 * 7
"""What a figure that cannot be told is taken for while the rest is checked; most numbers of heads divide it."""
FACTS = ("vocab", "context", "dim", "init", "residual_init", "norm")
SHORT = ("embed", "layers", "final_norm", "head", "objective")
KEYS = (*FACTS, *SHORT)


@dataclass
class Elaborated:
    """What came of a model: its graph unless there are mistakes, its recipe's settings, and what it expects."""

    graph: Graph | None = None
    settings: list[Setting] = field(default_factory=list)
    expects: list[tree.Expect] = field(default_factory=list)
    scope: Scope | None = None
    frame: Frame | None = None
    changed: bool = False
    """Whether the model was changed from outside, so that its own expectations need not hold."""


def file_scope(unit: Unit, prelude: Scope, frame: Frame, made: dict[int, Scope] | None = None) -> Scope:
    """What the definitions of a file see: its own, those of the files it uses, the standard library.

    ``made`` holds the scopes of files that were met before, so that a file used by several is one.
    """
    made = {} if made is None else made
    if id(unit) not in made:
        made[id(unit)] = _file_scope(unit, _imported(unit, prelude, frame, made), frame)
    return made[id(unit)]


def _imported(unit: Unit, prelude: Scope, frame: Frame, made: dict[int, Scope]) -> Scope:
    imported = Scope(prelude, "used files")
    for used in unit.uses:
        inner = file_scope(used, prelude, frame, made)
        assert inner.parent is not None
        for name, thunk in {**inner.parent.names, **inner.names}.items():
            first = imported.names.get(name, thunk)
            imported.names[name] = thunk if first is thunk else _ambiguous(name, first, thunk, frame)
    return imported


def _ambiguous(name: str, first: Thunk, second: Thunk, frame: Frame) -> Thunk:
    """What stands for a name that two used files define: a mistake, but only where it is asked for."""
    thunk = Thunk.of(POISON)
    places = (_defined_at(first), _defined_at(second))
    thunk.on_read = lambda: frame.session.sink.add(Redefined(span=places[1], name=name, first=places[0]))
    return thunk


def _defined_at(thunk: Thunk) -> Span:
    value = thunk.peek() if thunk.known else None
    return value.definition.name_span if isinstance(value, Function) and value.definition else thunk.span


def _file_scope(unit: Unit, imported: Scope, frame: Frame) -> Scope:
    scope = Scope(imported, unit.source.name)
    for member in unit.file.members:
        if isinstance(member, tree.Let):
            scope.bind(member.name, Thunk(member.value, scope, frame))
        elif isinstance(member, tree.Share):
            scope.bind(member.name, SharedThunk(member, scope, frame))
        elif not isinstance(member, tree.Use) and not (isinstance(member, tree.Definition) and member.name):
            advice = "only definitions, `let`, `share` and `use` stand outside a model"
            frame.session.report(Misplaced(span=member.span, what="this", where="a file", advice=advice))
    extend.bind_definitions(unit.file.members, scope, frame)
    return scope


def merged_model(unit: Unit, definition: tree.Definition, sink: Sink) -> tree.Definition:
    """The model with everything that it extends merged in."""
    known = {name: found for used in unit.everything() for name, found in used.definitions().items()}
    return extend.merge_base(definition, lambda name, _by: known.get(name), sink.add, tuple(known))


def elaborate(
    unit: Unit, definition: tree.Definition, prelude: Scope, library: frozenset[int], sink: Sink
) -> Elaborated:
    """Elaborate a merged model. Mistakes go to ``sink``; then there is no graph."""
    session = Session(sink, prelude, library=library)
    frame = Frame(session, definition.name or "model", None, "", definition.span)
    frame.definition = definition
    result = Elaborated(frame=frame)
    try:
        scope = Scope(file_scope(unit, prelude, frame), definition.name or "model")
        result.scope = frame.params = scope
        outputs = _Model(definition, scope, frame, result).run()
        if not sink.errors:
            _report_idle(session)
        if outputs is not None and not sink.errors:
            result.graph = _graph(definition, outputs, scope, frame)
        assert result.graph is not None or sink.errors, "a model is sound or its mistakes are told"
    except (Abandoned, RecursionError) as stopped:
        if isinstance(stopped, RecursionError):
            from tantra_dsl.diagnostics.semantics import TooLarge

            sink.add(
                TooLarge(
                    span=definition.span,
                    what="definitions refer to each other too deeply",
                    limit="a few hundred levels",
                )
            )
    return result


def _report_idle(session: Session) -> None:
    """Report every key, equation and let that nothing asked for."""
    read = {_place(span) for thunk, _, _, span in session.explicit if thunk.read}
    # What other layers read of a layer is exported by its body.
    tapped = [(key, name) for key, taps in session.exports.items() for name in taps]
    read |= {_place(session.written[key][name]) for key, name in tapped if name in session.written.get(key, {})}
    for _, what, owner, span in session.explicit:
        place = _place(span)
        if place in read or id(span.source) in session.library:
            continue
        read.add(place)
        reason = (
            "nothing reads it"
            if owner in ("this",) or what.startswith(("the equation", "`let", "`share"))
            else f"nothing in {owner} reads it as it is set up here"
        )
        session.report(NoEffect(span=span, what=what, reason=reason))


def _place(span: Span) -> tuple[int, int, int]:
    return id(span.source), span.start, span.end


def _graph(definition: tree.Definition, outputs: list[tuple[str, Tensor]], scope: Scope, frame: Frame) -> Graph:
    session = frame.session
    key = session.keep(frame.builder.finish([(name, frame.use(tensor)) for name, tensor in outputs]), frame.name)
    frame.key = key
    closing.close(session)
    facts = []
    for name in ("context", "vocab", "dim"):
        thunk = scope.names.get(name)
        value = evaluate.force(thunk, frame) if thunk is not None else None
        if isinstance(value, int):
            facts.append((name, value))
    graph = Graph(definition.name or "model", key, {}, tuple(facts))
    reachable = _reachable(session, key)
    return Graph(graph.name, key, {k: b for k, b in session.bodies.items() if k in reachable}, graph.facts)


def _reachable(session: Session, root: str) -> set[str]:
    found: set[str] = set()
    todo = [root]
    while todo:
        key = todo.pop()
        if key in found:
            continue
        found.add(key)
        for node in session.bodies[key].nodes:
            if node.op in ("call", "instance"):
                todo.append(node.attr("body").key)
            elif node.op == "stack":
                todo.extend(ref.key for ref, _ in node.attr("runs"))
    return found


class _Model:
    """Elaborates the members of one model."""

    def __init__(self, definition: tree.Definition, scope: Scope, frame: Frame, result: Elaborated) -> None:
        self.definition = definition
        self.scope = scope
        self.frame = frame
        self.session = frame.session
        self.result = result
        self.inputs: dict[str, Tensor] = {}
        self.keys: dict[str, tree.Entry] = {}
        self.assigned: dict[str, tuple[Span, Thunk]] = {}
        self.objective_input: Value = None
        self.recipe_span: Span | None = None

    @property
    def members(self) -> tuple[tree.Member, ...]:
        """The model's members."""
        assert isinstance(self.definition.body, tree.Body)
        return self.definition.body.members

    def run(self) -> list[tuple[str, Tensor]] | None:
        """Elaborate everything; gives the outputs."""
        if not isinstance(self.definition.body, tree.Body):
            self.session.report(
                Misplaced(span=self.definition.span, what="an expression", where="place of a model's members")
            )
            return None
        self.session.model_scope = self.scope
        bodies.bind_members(self.members, self.scope, self.frame)
        self._sort_members()
        self._bind_facts()
        self._declare_inputs()
        self.frame.scope = self.scope
        self._bind_embed()
        hidden = self._short_forms()
        returned = self._equations()
        return self._outputs(hidden, returned)

    # --- members -----------------------------------------------------------------------

    def _sort_members(self) -> None:
        sections = []
        for member in self.members:
            if isinstance(member, tree.Entry):
                self._take_key(member)
            elif isinstance(member, tree.Item):
                sections.append(member)
            elif isinstance(member, tree.Expect):
                self.result.expects.append(member)
            elif isinstance(member, tree.Use | tree.Remove):
                what = "`use`" if isinstance(member, tree.Use) else "`remove`"
                advice = (
                    "put `use` at the top of the file"
                    if isinstance(member, tree.Use)
                    else "`remove` needs something to `extends`"
                )
                self.session.report(Misplaced(span=member.span, what=what, where="this model", advice=advice))
        for section in sections:
            self._take_section(section)

    def _take_key(self, member: tree.Entry) -> None:
        if member.path in KEYS:
            self.keys[member.path] = member
            return
        owner = f"model {self.frame.name}"
        self.session.report(
            UnknownKey(
                span=member.span, key=member.path, owner=owner, candidates=(*KEYS, "train", "expect", "input", "let")
            )
        )

    def _take_section(self, member: tree.Item) -> None:
        if isinstance(member.value, tree.Call) and extend.label(member.value) == "train":
            if self.recipe_span is not None:
                self.session.report(DuplicateKey(span=member.span, key="train", first=self.recipe_span))
            self.recipe_span = member.span
            self.result.settings = settings_of(member.value, self.scope, self.frame)
            return
        what = f"`{extend.label(member.value) or 'this'}`"
        advice = "sublayers stand in a block: `layers: 12 of block { ... }`"
        self.session.report(Misplaced(span=member.span, what=what, where=f"model {self.frame.name}", advice=advice))

    def _bind_facts(self) -> None:
        init = tree.Name("init", span=self.definition.span)
        self.session.defaults = {"init": Thunk.of(NORMAL), "residual_init": Thunk(init, self.scope, self.frame)}
        own = {m.name: m for m in self.members if isinstance(m, tree.Definition | tree.Let | tree.Share | tree.Input)}
        for name in FACTS:
            entry = self.keys.get(name)
            if entry is None:
                continue
            if name in own:
                place, first = sorted((head(own[name]), head(entry)), key=lambda span: span.start)[::-1]
                self.session.report(DuplicateName(span=place, name=name, what="the name", first=first))
            thunk = Thunk(entry.value, self.scope, self.frame)
            self.scope.bind(name, thunk)
            if name in ("vocab", "context", "dim"):
                self._check_fact(name, thunk, entry)
            self.session.explicit.append((thunk, f"`{name}`", f"model {self.frame.name}", entry.span))
        self.frame.dim = self.scope.names.get("dim")
        if "context" in self.scope.names:
            evaluate.force(self.scope.names["context"], self.frame)

    def _check_fact(self, name: str, thunk: Thunk, entry: tree.Entry) -> None:
        def check(value: Value) -> Value:
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9:
                return value
            if value is not POISON:
                wanted = "a positive whole number"
                place = entry.value.span
                self.session.report(WrongType(span=place, wanted=wanted, got=describe(value), where=f"`{name}`"))
            self.session.guessing = True
            return STAND_IN

        thunk.check = check

    # --- inputs ------------------------------------------------------------------------

    def _declare_inputs(self) -> None:
        for member in self.members:
            if isinstance(member, tree.Input):
                self.declare(member.name, self._kind_of_input(member.type), member.span)
        if not self._streams() and ("embed" in self.keys or "layers" in self.keys):
            self.declare("tokens", Symbol("tokens"), self.keys.get("embed", self.definition).span)

    def _kind_of_input(self, type: tree.Expr) -> Value:
        """What the type of an input says; `tokens` is a kind of input here, whatever else goes by that name."""
        kind = type.base if isinstance(type, tree.Index) else type
        if isinstance(type, tree.Call) and isinstance(type.callee, tree.Name) and type.callee.id in INPUT_KINDS:
            advice = f"its figures stand in brackets: `{type.callee.id}[...]`"
            got = f"{type.callee.id}(...)"
            return self.session.report(
                WrongType(span=type.span, wanted="the kind of an input", got=got, where="`input`", advice=advice)
            )
        if not isinstance(kind, tree.Name) or kind.id not in INPUT_KINDS:
            return evaluate.evaluate(type, self.scope, self.frame)
        if not isinstance(type, tree.Index):
            return InputType(kind.id)
        figures = [evaluate.evaluate(item, self.scope, self.frame) for item in type.items]
        return evaluate.input_type(kind.id, figures, type, self.frame)

    def declare(self, name: str, kind: Value, span: Span) -> Tensor | None:
        """Add an input of the model."""
        if isinstance(kind, Function):
            kind = Symbol(kind.name)
        if isinstance(kind, Symbol):
            kind = InputType(kind.name)
        typed = self._input_type(name, kind, span) if isinstance(kind, InputType) else None
        if typed is None:
            if kind is not POISON:
                wanted = "tokens, labels, ids[n], per_token, per_sequence, class[n], pixels[c, h, w] or features[n]"
                self.session.report(WrongType(span=span, wanted=wanted, got=describe(kind), where=f"input `{name}`"))
            self.scope.bind_value(name, POISON)
            return None
        tensor = Tensor(self.frame.builder.input(name, typed[0], "tensor", spec=typed[1]), self.frame)
        self.inputs[name] = tensor
        if typed[1].kind in ("per_token", "per_sequence"):
            self.session.fields[name] = tensor
        else:
            thunk = Thunk.of(tensor)
            self.scope.bind(name, thunk) if not self._names_embedding(name) else self.scope.bind(f"input {name}", thunk)
        return tensor

    def _names_embedding(self, name: str) -> bool:
        """In the short form `embed: tokens + ...`, `tokens` is the module that embeds the input of that name."""
        return name == "tokens" and not any(isinstance(m, tree.Input) and m.name == "tokens" for m in self.members)

    def _sequences(self) -> int:
        """How many inputs are sequences with a length of their own; fields and labels go with another's."""
        types = (member.type for member in self.members if isinstance(member, tree.Input))
        heads = (type.base if isinstance(type, tree.Index) else type for type in types)
        return sum(isinstance(head, tree.Name) and head.id in ("tokens", "features") for head in heads)

    def _input_type(self, name: str, kind: InputType, span: Span) -> tuple[TensorType, InputSpec] | None:
        batch = Dim("batch", Size.symbol("batch"))
        own = kind.kind in ("tokens", "features") and name != "tokens" and self._sequences() > 1
        time = Dim("time", Size.symbol(f"{name}.time" if own else "time"))
        figures = kind.figures
        shapes: dict[str, tuple[int, tuple[Dim, ...]]] = {
            "tokens": (0, (batch, time)), "labels": (0, (batch, time)), "per_token": (0, (batch, time)),
            "per_sequence": (0, (batch,)), "ids": (1, (batch, time)), "class": (1, (batch,)),
        }  # fmt: skip
        if kind.kind in shapes and len(figures) in (
            shapes[kind.kind][0],
            1 if kind.kind == "tokens" else shapes[kind.kind][0],
        ):
            limit = figures[0] if figures else (self._vocab(span) if kind.kind in ("tokens", "labels") else None)
            return TensorType(shapes[kind.kind][1], "int"), InputSpec(kind.kind, limit)
        if kind.kind == "pixels" and len(figures) == 3:
            dims = [Dim(n, Size.of(f)) for n, f in zip(("channels", "height", "width"), figures, strict=True)]
            return TensorType((batch, *dims)), InputSpec("pixels")
        if kind.kind == "features" and len(figures) == 1:
            return TensorType((batch, time, Dim("dim", Size.of(figures[0])))), InputSpec("features")
        return None

    def _vocab(self, span: Span) -> int | None:
        thunk = self.scope.names.get("vocab")
        if thunk is None:
            self.session.report(MissingKey(span=span, owner=f"model {self.frame.name}", missing=("vocab",)))
            return None
        value = evaluate.force(thunk, self.frame)
        return value if isinstance(value, int) else None

    # --- the short forms ---------------------------------------------------------------

    def _bind_embed(self) -> None:
        """``embed`` is one table for all its uses: the `embed:` key, or else plain token embeddings."""
        if "embed" in self.scope.names:
            return
        entry = self.keys.get("embed")
        value: tree.Expr = entry.value if entry is not None else tree.Name("tokens", span=self.definition.span)
        span = entry.span if entry is not None else self.definition.span
        share = tree.Share("embed", value, span=span)
        around = Scope(self.scope.parent, "embed")
        for level in (self.scope,):
            around.names.update({k: v for k, v in level.names.items() if k not in self.inputs})
        self.scope.bind("embed", SharedThunk(share, around, self.frame))

    def _stream_input(self) -> Tensor | None:
        """What the short form embeds: the tokens, or the only input."""
        candidates = self._streams()
        tokens = [t for t in candidates if self._kind(t) == "tokens"]
        chosen = tokens or [t for t in candidates if self._kind(t) in ("pixels", "features")] or candidates
        return chosen[0] if chosen else None

    def _streams(self) -> list[Tensor]:
        """Inputs that may be embedded: neither fields of the batch nor what is to be predicted."""
        own = [t for name, t in self.inputs.items() if name not in self.session.fields]
        return [t for t in own if self._kind(t) not in ("labels", "class")]

    def _kind(self, tensor: Tensor) -> str:
        spec: InputSpec = self.frame.builder.nodes[tensor.ref.node].attr("spec")
        return spec.kind

    def _short_forms(self) -> Value:
        if "embed" not in self.keys:
            for key in ("layers", "final_norm", "head"):
                if key in self.keys:
                    self.session.report(MissingKey(span=self.keys[key].span, owner=f"`{key}:`", missing=("embed",)))
            return None
        stream = self._stream_input()
        if stream is None:
            return POISON
        embed = evaluate.lookup("embed", self.keys["embed"].span, self.scope, self.frame)
        # What the model calls so itself goes before.
        free = {name for name in ("hidden", "logits") if self.scope.find(name) is None}
        x = self._or_stand_in(self._apply("embed", stream, embed))
        for key in ("layers", "final_norm", "head"):
            if key in self.keys:
                x = self._or_stand_in(self._apply(key, x, None))
            if key != "head" and "hidden" in free:
                self.scope.bind_value("hidden", x)
        if "head" in self.keys and "logits" in free:
            self.scope.bind_value("logits", x)
        return x

    def _or_stand_in(self, x: Value) -> Value:
        """``x``, or where it is broken a stream to go on with, so that mistakes further on are told, too."""
        if x is not POISON:
            return x
        self.session.guessing = True
        dims = (*(Dim(name, Size.symbol(name)) for name in ("batch", "time")), Dim("dim", Size.of(STAND_IN)))
        id = self.frame.builder.free_id("stand_in")
        return Tensor(self.frame.builder.input(id, TensorType(dims)), self.frame)

    def _apply(self, key: str, x: Value, callee: Value) -> Value:
        entry = self.keys[key]
        callee = callee if callee is not None else evaluate.evaluate(entry.value, self.scope, self.frame)
        if x is POISON or callee is POISON:
            return POISON
        if not is_callable(callee) and not isinstance(callee, Stack) and callee is not None:
            wanted = "a stack of layers, such as `12 of block { ... }`" if key == "layers" else "a module"
            return self.session.report(
                WrongType(span=entry.value.span, wanted=wanted, got=describe(callee), where=f"`{key}`")
            )
        self.frame.begin()
        value = calls.call_with(callee, [x], entry.value, self.frame, key)
        if is_callable(value):
            return self.session.report(
                WrongType(span=entry.value.span, wanted="a module of one tensor", got=describe(value), where=f"`{key}`")
            )
        return bodies.name_targets(("logits" if key == "head" else "x",), calls.results(value)[:1], self.frame)[0]

    # --- equations and outputs ---------------------------------------------------------

    def _equations(self) -> tuple[tuple[Value, ...], tuple[str, ...]] | None:
        returned = None
        for member in self.members:
            if isinstance(member, tree.Assign):
                bodies.run_assign(member, self.scope, self.frame, self.assigned)
            elif isinstance(member, tree.Return):
                returned = bodies.run_return(member.values, self.scope, self.frame)
        return returned

    def _outputs(
        self, hidden: Value, returned: tuple[tuple[Value, ...], tuple[str, ...]] | None
    ) -> list[tuple[str, Tensor]] | None:
        loss = self._objective(hidden)
        results: list[tuple[str, Value]] = []
        if returned is not None:
            names = ("output",) if len(returned[0]) == 1 else returned[1]
            results = list(zip(names, returned[0], strict=True))
        elif hidden is not None:
            results = [("output", hidden)]
        elif self.objective_input is not None:
            results = [("output", self.objective_input)]
        elif loss is not POISON:
            missing = ("return",) if loss is not None else ("embed", "return", "objective")
            owner = f"model {self.frame.name}"
            self.session.report(MissingKey(span=self.definition.name_span, owner=owner, missing=missing))
        if loss is not None:
            results.append(("loss", loss))
        bodies.report_unused(self.assigned, self.frame)
        self._note_inputs([value for _, value in results if isinstance(value, Tensor)])
        if any(not isinstance(value, Tensor) for _, value in results):
            return None
        return results

    def _note_inputs(self, results: list[Tensor]) -> None:
        """Note the inputs, so that one which nothing is made from is reported."""
        nodes = self.frame.builder.nodes.values()
        read = {ref.node for node in nodes for ref in node.inputs} | {tensor.ref.node for tensor in results}
        for member in self.members:
            if isinstance(member, tree.Input) and member.name in self.inputs:
                thunk = Thunk.of(None)
                thunk.read = self.inputs[member.name].ref.node in read
                self.session.explicit.append((thunk, f"`input {member.name}`", "this", member.span))

    def _objective(self, hidden: Value) -> Value:
        entry = self.keys.get("objective")
        if entry is None:
            return None
        self.frame.begin()
        expr = entry.value
        self.frame.sites.update(naming.assign((expr,), (), self.scope, self.frame.taken))
        value = (
            self._called_objective(expr)
            if isinstance(expr, tree.Call)
            else evaluate.evaluate(expr, self.scope, self.frame)
        )
        if isinstance(value, Function):
            value = self._short_objective(value, hidden, expr)
        if value is POISON or value is None:
            return POISON
        tensor = references.tensor(value, self.frame, expr.span)
        if isinstance(tensor, Tensor) and tensor.type.rank:
            wanted = "a single number, the loss"
            return self.session.report(
                WrongType(span=expr.span, wanted=wanted, got=describe(tensor), where="`objective`")
            )
        return bodies.name_targets(("loss",), (tensor,), self.frame)[0]

    def _called_objective(self, expr: tree.Call) -> Value:
        """Evaluates the call; what is judged first is the model's output unless it returns something else."""
        callee = evaluate.evaluate(expr.callee, self.scope, self.frame)
        if callee is POISON:
            return POISON
        arguments = calls.bound(expr, self.scope, self.frame)
        value = calls.call(callee, arguments, expr, self.frame)
        if arguments and arguments[0].name is None and arguments[0].thunk.known:
            first = arguments[0].thunk.peek()
            self.objective_input = first if isinstance(first, Tensor) else None
        return value

    def _short_objective(self, function: Function, hidden: Value, expr: tree.Expr) -> Value:
        """``objective: next_token``: judges the output against the input of the kind that the objective names."""
        if hidden is None or hidden is POISON or function.definition is None:
            if hidden is not POISON:
                advice = "name what is judged: next_token(logits, target)"
                self.session.report(
                    WrongType(
                        span=expr.span,
                        wanted="a model in the short form",
                        got="equations",
                        where="`objective`",
                        advice=advice,
                    )
                )
            return POISON
        tensors = [hidden]
        given = {a.name for a in function.arguments}
        for parameter in (function.definition.inputs or ())[1:]:
            if parameter.name not in given:
                found = self._input_for(parameter, hidden, expr)
                if found is None:
                    return POISON
                tensors.append(found)
        value = calls.call_with(function, tensors, expr, self.frame, "objective")
        if is_callable(value):
            missing = input_names(function.definition)
            return self.session.report(
                MissingKey(span=expr.span, owner=f"objective {function.name}", missing=tuple(missing))
            )
        return value

    def _input_for(self, parameter: tree.Parameter, hidden: Tensor, expr: tree.Expr) -> Tensor | None:
        kind = parameter.choices[0] if parameter.choices else parameter.name
        named = self.inputs.get(parameter.name)
        if named is not None:
            return named
        same = [t for t in self.inputs.values() if self._kind(t) == kind]
        if same:
            return same[0]
        figures: tuple[int, ...] = ()
        if kind == "class":
            width = hidden.type.dims[-1].size.known
            figures = (width,) if width else ()
        return self.declare(parameter.name, InputType(kind, figures), expr.span)
