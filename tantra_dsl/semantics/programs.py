"""Masks, scores, functions and tables: expressions over coordinates, resolved to scalar programs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

import tantra_dsl.semantics.bodies as bodies
import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.naming as naming
import tantra_dsl.semantics.references as references
from tantra_dsl.diagnostics.core import Diagnostic, Sink
from tantra_dsl.diagnostics.semantics import (
    BadArithmetic,
    CircularDefinition,
    Misplaced,
    MissingKey,
    TooLarge,
    UndeclaredField,
    UndefinedName,
    UnknownKey,
    WrongType,
)
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Program, Scalar, ScalarOp, Var
from tantra_dsl.scalars.simplify import ScalarError, simplify
from tantra_dsl.scalars.types import kind_of
from tantra_dsl.scalars.walk import fold
from tantra_dsl.semantics.binding import bind, input_names, require, surplus
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.numbers import FUNCTIONS
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import (
    POISON,
    Bound,
    Combination,
    Function,
    Instance,
    Poison,
    Tensor,
    Value,
    describe,
    is_number,
)  # fmt: skip
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Span

MAX_INLINED = 64

ProgramKind = Literal["mask", "score", "fn", "frequency", "table"]
COORDINATES: dict[str, tuple[str, ...]] = {
    "mask": ("q", "k", "b", "h", "heads", "queries", "keys"),
    "score": ("q", "k", "b", "h", "heads", "queries", "keys", "s"),
    "frequency": ("j",),
    "table": ("p", "c"),
    "fn": (),
}
OPERATORS: dict[str, ScalarOp] = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "mod", "**": "pow", "<": "lt", "<=": "le",
    ">": "gt", ">=": "ge", "==": "eq", "!=": "ne", "and": "and", "or": "or",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Symbolic:
    """A scalar expression bound to a name while a program is resolved."""

    scalar: Scalar


@dataclass
class Context:
    """One program being resolved: its coordinates, the tensors it reads, and the score so far."""

    kind: ProgramKind
    frame: Frame
    heads: int | None = None
    captures: list[Tensor] = field(default_factory=list)
    specs: list[Capture] = field(default_factory=list)
    operands: list[Tensor] = field(default_factory=list)
    score: Scalar = field(default_factory=lambda: Var("s"))
    open: list[tree.Definition | Thunk] = field(default_factory=list)
    symbolic: dict[int, bool] = field(default_factory=dict)
    given_up: bool = False

    def give_up(self, span: Span) -> Poison:
        """Report definitions that need each other without end, or nearly so, once for the whole program."""
        if not self.given_up:
            again = next((item for n, item in enumerate(self.open) if item in self.open[:n]), None)
            self.frame.session.report(self._endless(again, self.frame.user_span(span)))
        self.given_up = True
        return POISON

    def _endless(self, again: tree.Definition | Thunk | None, span: Span) -> Diagnostic:
        if isinstance(again, tree.Definition):
            place = self.frame.user_span(again.name_span)
            return CircularDefinition(span=place, what=f"{again.kind} {again.name or ''}".strip())
        if again is not None:
            return CircularDefinition(span=span, what="this value")
        return TooLarge(span=span, what="definitions are nested too deeply", limit=f"{MAX_INLINED} levels")

    def capture(self, tensor: Tensor, name: str, learned: bool) -> int:
        """Number of a tensor among those that the program reads."""
        for number, known in enumerate(self.captures):
            if known.frame is tensor.frame and known.ref == tensor.ref:
                return number
        self.captures.append(tensor)
        self.specs.append(Capture(name, learned, tensor.type.dtype != "float"))
        return len(self.captures) - 1

    def operand(self, tensor: Tensor) -> Scalar:
        """A tensor that an elementwise function is applied to, as its next variable."""
        for number, known in enumerate(self.operands):
            if known.frame is tensor.frame and known.ref == tensor.ref:
                return Var("abcdefgh"[number])
        self.operands.append(tensor)
        return Var("abcdefgh"[len(self.operands) - 1])


Result = Scalar | Poison


def resolve(
    thunk: Thunk, kind: ProgramKind, frame: Frame, heads: int | None = None
) -> tuple[Program | None, list[Tensor]] | Poison:
    """The program that an argument means, and the tensors it reads; None where it changes nothing."""
    context = Context(kind, frame, heads)
    body = _of_thunk(thunk, context)
    if isinstance(body, Poison):
        return body
    finished = _finish(body, context, thunk, frame)
    if not isinstance(finished, Poison):
        first = origin(thunk)
        frame.session.programs[id(first)] = (first, finished[0])
    return finished


def _finish(body: Scalar, context: Context, thunk: Thunk, frame: Frame) -> tuple[Program | None, list[Tensor]] | Poison:
    span = frame.user_span(origin(thunk).span)
    checked = _checked(body, "bool" if context.kind == "mask" else "number", span, frame)
    if isinstance(checked, Poison):
        return checked
    if (context.kind == "mask" and checked == Const(True)) or (context.kind == "score" and checked == Var("s")):
        return None, []
    variables = tuple(name for name in COORDINATES[context.kind] if name not in ("heads",))
    return Program(context.kind, variables, checked, tuple(context.specs), _text(thunk)), context.captures


def _checked(body: Scalar, wanted: str, span: Span, frame: Frame) -> Result:
    try:
        body = simplify(body)
        kind = kind_of(body)
    except ScalarError as error:
        return frame.session.report(BadArithmetic(span=span, reason=error.reason + frame.where()))
    if fold(body, _divides_by_zero):
        return frame.session.report(BadArithmetic(span=span, reason="division by zero" + frame.where()))
    if kind != wanted:
        names = {"bool": "a condition, true or false", "number": "a number"}
        return frame.session.report(WrongType(span=span, wanted=names[wanted], got=names[kind]))
    return body


def _divides_by_zero(part: Scalar, inner: list[bool]) -> bool:
    """Whether ``part`` does, which for all values of its variables is no number; ``inner`` tells it of its parts."""
    divides = isinstance(part, Op) and part.op in ("div", "floordiv", "mod") and part.args[1] in (Const(0), Const(0.0))
    return divides or any(inner)


def origin(thunk: Thunk) -> Thunk:
    """Where a value that was passed from parameter to parameter was written first."""
    while isinstance(thunk.expr, tree.Name) and thunk.scope is not None:
        further = thunk.scope.find(thunk.expr.id)
        if further is None or further is thunk or further.expr is None:
            return thunk
        thunk = further
    return thunk


def _text(thunk: Thunk) -> str:
    """The program as its author wrote it, on one line."""
    span = origin(thunk).span
    return " ".join(span.source.text[span.start : span.end].split())[:120]


# --- expressions -----------------------------------------------------------------------


def scalar(expr: tree.Expr, scope: Scope, context: Context) -> Result:
    """Resolve an expression to a scalar; poison after a report."""
    context.frame.step(expr.span)
    if context.given_up:
        return POISON
    if isinstance(expr, tree.Name):
        return _name(expr, scope, context)
    if isinstance(expr, tree.Binary):
        return _binary(expr, scope, context)
    if isinstance(expr, tree.Call):
        return _call(expr, scope, context)
    if isinstance(expr, tree.If):
        return _if(expr, scope, context)
    if isinstance(expr, tree.Unary) and expr.op in ("-", "not"):
        operand = scalar(expr.operand, scope, context)
        return operand if isinstance(operand, Poison) else Op("neg" if expr.op == "-" else "not", (operand,))
    if isinstance(expr, tree.Index):
        return _gather(expr, scope, context)
    return _of_value(evaluate.evaluate(expr, scope, context.frame), expr.span, context)


def _name(expr: tree.Name, scope: Scope, context: Context) -> Result:
    local = _program_local(expr.id, scope)
    if local is not None:
        return _of_thunk(local, context, expr.span)
    if expr.id == "s" and context.kind == "score":
        return context.score
    if expr.id == "heads" and context.heads is not None and context.kind in ("mask", "score"):
        return Const(context.heads)
    if expr.id in COORDINATES[context.kind]:
        return Var(expr.id)
    thunk = evaluate.find(expr.id, scope, context.frame)
    if thunk is not None:
        return _of_thunk(thunk, context, expr.span)
    if expr.id in context.frame.session.fields:
        return _bare_field(expr, context)
    if expr.id == "dim" and context.frame.dim is not None:
        return _of_thunk(context.frame.dim, context)
    candidates = tuple(sorted(scope.visible() | set(COORDINATES[context.kind])))
    return context.frame.session.report(
        UndefinedName(span=context.frame.user_span(expr.span), name=expr.id, candidates=candidates)
    )


def _program_local(name: str, scope: Scope) -> Thunk | None:
    """A parameter of the program itself, which may be called like a coordinate."""
    for level in scope.chain():
        if not isinstance(level, ProgramScope):
            return None
        if name in level.names:
            return level.names[name]
    return None


class ProgramScope(Scope):
    """The parameters of a mask, score or function while its body is resolved."""

    __slots__ = ()


def _of_thunk(thunk: Thunk, context: Context, asked: Span | None = None) -> Result:
    """The program of a thunk, which was ``asked`` for there."""
    thunk.touch()
    if thunk.known or thunk.expr is None:
        return _of_value(thunk.peek(), thunk.span if asked is None else asked, context)
    if (
        thunk.check is not None
        or thunk.whole
        or not isinstance(thunk.expr, tree.Binary | tree.Unary | tree.If | tree.Call | tree.Index | tree.Name)
    ):
        return _of_value(evaluate.force(thunk, context.frame), thunk.span, context)
    assert thunk.scope is not None
    context.open.append(thunk)
    try:
        if len(context.open) > MAX_INLINED or thunk in context.open[:-1]:
            return context.give_up(thunk.span)
        return scalar(thunk.expr, thunk.scope, context)
    finally:
        context.open.pop()


def _of_value(value: Value, span: Span, context: Context) -> Result:
    if isinstance(value, Poison):
        return POISON
    if isinstance(value, Symbolic):
        return value.scalar
    if isinstance(value, bool) or is_number(value):
        return Const(float(value) if isinstance(value, Fraction) else value)
    if value is None and context.kind in ("mask", "score"):
        return Const(True) if context.kind == "mask" else context.score
    if isinstance(value, Combination):
        return scalar(value.expr, value.scope, context)
    if isinstance(value, Instance) and isinstance(value.function, Function):
        return _inline(value.function, (), span, context, value)
    if isinstance(value, Function) and value.kind in ("mask", "score"):
        return _inline(value, (), span, context)
    return _of_tensor(value, span, context)


def _of_tensor(value: Value, span: Span, context: Context) -> Result:
    if references.is_tensor(value):
        tensor = references.tensor(value, context.frame, span)
        if isinstance(tensor, Poison):
            return tensor
        if context.kind == "fn":
            return context.operand(tensor)
        if tensor.type.rank == 0:
            return Gather(context.capture(tensor, "value", True), ())
    wanted = {"mask": "a mask", "score": "a score"}.get(context.kind, "a number")
    return context.frame.session.report(
        WrongType(span=context.frame.user_span(span), wanted=wanted, got=describe(value))
    )


def _binary(expr: tree.Binary, scope: Scope, context: Context) -> Result:
    left = scalar(expr.left, scope, context)
    if expr.op == "then":
        return _then(expr, left, scope, context)
    right = scalar(expr.right, scope, context)
    if isinstance(left, Poison) or isinstance(right, Poison):
        return POISON
    if expr.op not in OPERATORS:
        return context.frame.session.report(Misplaced(span=expr.span, what=f"`{expr.op}`", where=f"a {context.kind}"))
    return Op(OPERATORS[expr.op], (left, right))


def _then(expr: tree.Binary, left: Result, scope: Scope, context: Context) -> Result:
    if isinstance(left, Poison):
        return POISON
    if context.kind != "score":
        advice = "combine masks with and, or, not; `then` feeds one score into the next"
        return context.frame.session.report(
            Misplaced(span=expr.span, what="`then`", where=f"a {context.kind}", advice=advice)
        )
    before, context.score = context.score, left
    try:
        return scalar(expr.right, scope, context)
    finally:
        context.score = before


def _if(expr: tree.If, scope: Scope, context: Context) -> Result:
    condition = scalar(expr.condition, scope, context) if _symbolic(expr.condition, scope, context) else None
    if condition is None:
        value = evaluate.evaluate(expr.condition, scope, context.frame)
        if isinstance(value, bool):
            return scalar(expr.then if value else expr.otherwise, scope, context)
        if isinstance(value, Poison):
            return POISON
        return context.frame.session.report(
            WrongType(span=expr.condition.span, wanted="a condition", got=describe(value))
        )
    branches = [scalar(branch, scope, context) for branch in (expr.then, expr.otherwise)]
    if isinstance(condition, Poison) or any(isinstance(branch, Poison) for branch in branches):
        return POISON
    return Op("where", (condition, branches[0], branches[1]))  # type: ignore[arg-type]


def _symbolic(expr: tree.Expr, scope: Scope, context: Context) -> bool:
    """Whether an expression mentions something that is only known at run time."""
    context.frame.step(expr.span)
    if isinstance(expr, tree.Name):
        local = _program_local(expr.id, scope)
        if local is not None:
            return _symbolic_thunk(local, context)
        if expr.id in COORDINATES[context.kind] and expr.id != "heads":
            return True
        thunk = evaluate.find(expr.id, scope, context.frame)
        return thunk is not None and _symbolic_thunk(thunk, context)
    if isinstance(expr, tree.Binary):
        return _symbolic(expr.left, scope, context) or _symbolic(expr.right, scope, context)
    if isinstance(expr, tree.Unary):
        return _symbolic(expr.operand, scope, context)
    if isinstance(expr, tree.Call):
        return any(_symbolic(argument.value, scope, context) for argument in expr.arguments)
    if isinstance(expr, tree.If):
        return any(_symbolic(part, scope, context) for part in (expr.condition, expr.then, expr.otherwise))
    return isinstance(expr, tree.Index)


def _symbolic_thunk(thunk: Thunk, context: Context) -> bool:
    if thunk.known:
        value = thunk.peek()
        return isinstance(value, Symbolic | Tensor)
    if thunk.expr is None or thunk.scope is None or isinstance(thunk.expr, tree.String | tree.Number | tree.Definition):
        return False
    if id(thunk) not in context.symbolic:
        context.symbolic[id(thunk)] = _symbolic(thunk.expr, thunk.scope, context)
    return context.symbolic[id(thunk)]


# --- fields and tables -----------------------------------------------------------------


def _bare_field(expr: tree.Name, context: Context) -> Result:
    tensor = context.frame.session.fields[expr.id]
    if tensor.type.rank == 1:
        return Gather(context.capture(tensor, expr.id, False), (Var("b"),))
    wanted = f"a position, as in {expr.id}[q]"
    return context.frame.session.report(
        WrongType(span=expr.span, wanted=wanted, got="none", where=f"the field {expr.id}")
    )


def _gather(expr: tree.Index, scope: Scope, context: Context) -> Result:
    indices = [scalar(item, scope, context) for item in expr.items]
    if any(isinstance(index, Poison) for index in indices):
        return POISON
    given: tuple[Scalar, ...] = tuple(indices)  # type: ignore[arg-type]
    if isinstance(expr.base, tree.Name) and evaluate.find(expr.base.id, scope, context.frame) is None:
        return _field(expr, expr.base.id, given, context)
    value = evaluate.evaluate(expr.base, scope, context.frame)
    tensor = references.tensor(value, context.frame, expr.base.span)
    if isinstance(tensor, Poison):
        return POISON
    if tensor.type.rank != len(given):
        wanted, got = f"{tensor.type.rank} indices", f"{len(given)}"
        return context.frame.session.report(
            WrongType(span=expr.span, wanted=wanted, got=got, where=f"a table {tensor.type}")
        )
    name = expr.base.id if isinstance(expr.base, tree.Name) else "table"
    return Gather(context.capture(tensor, name, True), given)


def _field(expr: tree.Index, name: str, indices: tuple[Scalar, ...], context: Context) -> Result:
    fields = context.frame.session.fields
    if name not in fields:
        declared = tuple(sorted(fields))
        return context.frame.session.report(
            UndeclaredField(
                span=context.frame.user_span(expr.span),
                name=name,
                declared=declared,
                whole=bool(indices == (Var("b"),)),
            )
        )
    tensor = fields[name]
    if len(indices) != 1:
        got = f"{len(indices)} indices"
        return context.frame.session.report(
            WrongType(span=expr.span, wanted="one index", got=got, where=f"the field {name}")
        )
    number = context.capture(tensor, name, False)
    return Gather(number, indices if tensor.type.rank == 1 else (Var("b"), *indices))


# --- calls -----------------------------------------------------------------------------


def _call(expr: tree.Call, scope: Scope, context: Context) -> Result:
    if isinstance(expr.callee, tree.Name) and expr.callee.id == "where":
        return _builtin("where", expr, scope, context)
    if isinstance(expr.callee, tree.Name) and expr.callee.id in FUNCTIONS:
        return _builtin(expr.callee.id, expr, scope, context)
    callee = evaluate.evaluate(expr.callee, scope, context.frame)
    if isinstance(callee, Poison):
        return POISON
    arguments = _arguments(expr, scope, context)
    if callee is None:
        return _of_thunk(arguments[0].thunk, context) if arguments else POISON
    if isinstance(callee, Function) and callee.kind in ("mask", "score", "fn"):
        return _inline(callee, arguments, expr.span, context)
    if isinstance(callee, Function) and callee.kind == "module" and context.kind == "fn":
        value = evaluate.evaluate(expr, scope, context.frame)
        return _of_value(value, expr.span, context)
    wanted = f"a {context.kind} or a function"
    return context.frame.session.report(
        WrongType(span=context.frame.user_span(expr.span), wanted=wanted, got=describe(callee))
    )


def _arguments(expr: tree.Call, scope: Scope, context: Context) -> tuple[Bound, ...]:
    result = []
    for argument in expr.arguments:
        thunk = Thunk(argument.value, scope, context.frame)
        if argument.name is not None:
            entry = (thunk, f"`{argument.name}`", "this", argument.span)
            context.frame.session.explicit.append(entry)
        result.append(Bound(thunk, argument.name, argument.hyper, argument.span))
    return tuple(result)


def _builtin(name: str, expr: tree.Call, scope: Scope, context: Context) -> Result:
    for argument in expr.arguments:
        if argument.name is not None:
            return context.frame.session.report(
                UnknownKey(span=argument.span, key=argument.name, owner=name, candidates=())
            )
    arguments = [scalar(argument.value, scope, context) for argument in expr.arguments]
    if any(isinstance(argument, Poison) for argument in arguments):
        return POISON
    given: list[Scalar] = arguments  # type: ignore[assignment]
    arity = 3 if name == "where" else FUNCTIONS[name][0]
    if len(given) != arity and not (arity < 0 and len(given) >= -arity):
        wanted = f"{abs(arity)} value{'s' if abs(arity) != 1 else ''}"
        return context.frame.session.report(
            WrongType(span=expr.span, wanted=wanted, got=str(len(given)), where=f"`{name}`")
        )
    if name == "ceil":
        return Op("neg", (Op("floor", (Op("neg", (given[0],)),)),))
    result = given[0]
    if name in ("min", "max"):
        for other in given[1:]:
            result = Op(name, (result, other))  # type: ignore[arg-type]
        return result
    return Op(name, tuple(given))  # type: ignore[arg-type]


def _inline(
    function: Function, arguments: tuple[Bound, ...], span: Span, context: Context, instance: Instance | None = None
) -> Result:
    """The body of a mask, score or function, with its parameters standing for what was given."""
    definition = function.definition
    assert definition is not None and function.scope is not None
    allowed = {"mask": ("mask", "fn"), "score": ("score", "fn")}.get(context.kind, ("fn",))
    if definition.kind not in allowed:
        where = f"a {context.kind}" if context.kind in ("mask", "score") else "a function"
        return context.frame.session.report(
            Misplaced(span=context.frame.user_span(span), what=f"the {definition.kind} {function.name}", where=where)
        )
    scope = _parameters(function, arguments, span, context)
    if scope is None:
        return POISON
    context.open.append(definition)
    try:
        if len(context.open) > MAX_INLINED:
            return context.give_up(definition.name_span)
        return _body(definition, scope, context, function, instance)
    finally:
        context.open.pop()


def _parameters(function: Function, arguments: tuple[Bound, ...], span: Span, context: Context) -> ProgramScope | None:
    definition = function.definition
    assert definition is not None
    inputs = [parameter.name for parameter in definition.inputs or ()] if definition.kind == "fn" else []
    given = list((*arguments, *function.arguments) if inputs else (*function.arguments, *arguments))
    scope = ProgramScope(function.scope, function.name)
    for name in inputs:
        argument = next((a for a in given if a.name == name or (a.name is None and not a.hyper)), None)
        if argument is None:
            where = f"{definition.kind} {function.name}"
            context.frame.session.report(WrongType(span=span, wanted=f"a value for `{name}`", got="none", where=where))
            return None
        given.remove(argument)
        value = _of_thunk(argument.thunk, context)
        if isinstance(value, Poison):
            return None
        scope.bind_value(name, Symbolic(value))
    spare = [argument for argument in given if argument.name is None]
    if inputs and len(spare) > len(definition.params):
        places = (*inputs, *(parameter.name for parameter in definition.params))
        context.frame.session.report(surplus(spare[len(definition.params)], f"fn {function.name}", places))
        return None
    binding = bind(
        replace(function, definition=replace(definition, inputs=() if inputs else definition.inputs)),
        tuple(given),
        context.frame,
        span,
    )
    if binding.spoiled or not require(binding, function, context.frame, span):
        return None
    bodies.bind_params(definition, binding, context.frame, scope)
    return scope


def _body(
    definition: tree.Definition, scope: ProgramScope, context: Context, function: Function, instance: Instance | None
) -> Result:
    if not isinstance(definition.body, tree.Body):
        return scalar(definition.body, scope, context)
    frame = instance.owner if instance is not None else context.frame
    prefix = f"{instance.name if instance is not None else function.name}."
    if instance is not None and "scope" in instance.attributes:
        scope.names.update(instance.attributes["scope"])
        returned = _returned(definition)
        return POISON if returned is None else scalar(returned, scope, context)
    result = _statements(definition, scope, context, frame, prefix)
    if instance is not None:
        instance.attributes["scope"] = {
            name: thunk for name, thunk in scope.names.items() if isinstance(thunk.known and thunk.peek(), Tensor)
        }
    return result


def _returned(definition: tree.Definition) -> tree.Expr | None:
    """What a body returns; None where it does not, which was told when its equations were first worked out."""
    assert isinstance(definition.body, tree.Body)
    return next((member.values[0] for member in definition.body.members if isinstance(member, tree.Return)), None)


def _statements(
    definition: tree.Definition, scope: ProgramScope, context: Context, frame: Frame, prefix: str
) -> Result:
    """Equations of a score or function: weights are made in the frame, the rest stays symbolic."""
    assert isinstance(definition.body, tree.Body)
    for member in definition.body.members:
        if isinstance(member, tree.Assign) and len(member.targets) == 1:
            if _makes_weights(member.value, scope):
                frame.sites.update(naming.assign((member.value,), member.targets, scope, frame.taken, prefix))
                scope.bind_value(member.targets[0], evaluate.evaluate(member.value, scope, frame))
            else:
                value = scalar(member.value, scope, context)
                if isinstance(value, Poison):
                    return POISON
                scope.bind_value(member.targets[0], Symbolic(value))
        elif isinstance(member, tree.Return):
            return scalar(member.values[0], scope, context)
        else:
            where = f"the equations of {definition.kind} {definition.name}"
            return context.frame.session.report(Misplaced(span=member.span, what="this", where=where))
    owner = f"{definition.kind} {definition.name}"
    return context.frame.session.report(MissingKey(span=definition.name_span, owner=owner, missing=("return",)))


def _makes_weights(expr: tree.Expr, scope: Scope) -> bool:
    if not isinstance(expr, tree.Call) or not isinstance(expr.callee, tree.Name):
        return False
    thunk = scope.find(expr.callee.id)
    value = thunk.peek() if thunk is not None and thunk.known else None
    return isinstance(value, Function) and (
        value.kind in ("module", "block") or (value.primitive is not None and value.primitive.weighted)
    )


# --- functions on tensors and numbers --------------------------------------------------


def meaning(function: Function, frame: Frame) -> Program | None:
    """What an ``fn`` makes of its arguments, as a program; None where it needs more than they."""
    definition = function.definition
    if definition is None or definition.kind != "fn":
        return None
    names = input_names(definition)
    context, session = Context("fn", frame), frame.session
    given = tuple(Bound(Thunk.of(Symbolic(Var(name))), None, False) for name in names)
    told, session.sink = session.sink, Sink()
    try:
        body = _inline(function, given, definition.span, context)
        sound = not (isinstance(body, Poison) or context.operands or context.captures or session.sink.errors)
        return Program("fn", tuple(names), simplify(body)) if sound else None  # type: ignore[arg-type]
    except ScalarError:
        return None
    finally:
        session.sink = told


def call_fn(function: Function, expr: tree.Expr, frame: Frame) -> Value:
    """Call a ``fn`` outside a program: elementwise on tensors, at once on numbers, else a partial application."""
    definition = function.definition
    assert definition is not None
    wanted = len(input_names(definition))
    positional = [
        a for a in function.arguments if (a.name is None and not a.hyper) or a.name in input_names(definition)
    ]
    if wanted and len(positional) < wanted:
        return function
    values = [evaluate.force(a.thunk, frame) for a in positional]
    if any(value is POISON for value in values):
        return POISON
    context = Context("fn", frame)
    body = _inline(function, (), expr.span, context)
    if isinstance(body, Poison):
        return POISON
    checked = _checked(body, "number", frame.user_span(expr.span), frame)
    if isinstance(checked, Poison):
        return POISON
    if not context.operands:
        return checked.value if isinstance(checked, Const) else POISON
    if isinstance(checked, Var):
        return context.operands[0]
    name = definition.name or "fn"
    return evaluate.apply_map(checked, context.operands, expr.span, frame, f"`{name}`", name)
