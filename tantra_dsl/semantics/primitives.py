"""The primitives as the language calls them: parameters, weights they make, nodes they become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.programs as programs
import tantra_dsl.semantics.references as references
from tantra_dsl.diagnostics.semantics import (
    BadArithmetic,
    MissingKey,
    ShapeMismatch,
    TooManyArguments,
    UnknownKey,
    WrongType,
)
from tantra_dsl.graph.model import Attr, Init
from tantra_dsl.graph.types import Dim, Size
from tantra_dsl.scalars.ir import Op, Program, Scalar, Var
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.numbers import FUNCTIONS, ArithmeticMistake, function
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import POISON, Bound, Function, Poison, Symbol, Tensor, Value, describe, is_number
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Span

REQUIRED = object()
MAX_EXTENT = 10**9


@dataclass(frozen=True, eq=False)
class Primitive:
    """A primitive: its inputs (one ending in ``*`` takes any number of tensors) and settings (a default or REQUIRED)."""

    name: str
    inputs: tuple[str, ...]
    params: tuple[tuple[str, Any], ...]
    build: Callable[[Application], Value]
    weighted: bool = False


@dataclass
class Application:
    """One application of a primitive: its tensors, its settings, and where it stands."""

    primitive: Primitive
    frame: Frame
    expr: tree.Expr
    site: str
    tensors: list[Tensor] = field(default_factory=list)
    thunks: dict[str, Thunk] = field(default_factory=dict)
    poisoned: bool = False

    @property
    def span(self) -> Span:
        """Where the call is written."""
        return self.expr.span

    def value(self, name: str) -> Value:
        """A setting's value, or its default."""
        thunk = self.thunks.get(name)
        if thunk is not None:
            value = evaluate.force(thunk, self.frame)
            if value is POISON:
                self.poisoned = True
            return value
        default = dict(self.primitive.params)[name]
        return default(self) if callable(default) and not isinstance(default, Function) else default

    def _want(self, name: str, wanted: str, fits: Callable[[Value], bool], instead: Value) -> Value:
        value = self.value(name)
        if value is POISON:
            return instead
        if not fits(value):
            self.wrong(name, wanted, value)
            return instead
        return value

    def wrong(self, name: str, wanted: str, value: Value) -> None:
        """Report a setting of the wrong sort."""
        thunk = self.thunks.get(name)
        span = thunk.span if thunk is not None and thunk.expr is not None else self.span
        self.poisoned = True
        where = f"`{name}` of {self.primitive.name}"
        self.frame.session.report(
            WrongType(span=self.frame.user_span(span), wanted=wanted, got=describe(value), where=where)
        )

    def whole(self, name: str, least: int = 1) -> int:
        """A whole number, at least ``least``."""
        wanted = "a positive whole number" if least == 1 else f"a whole number, at least {least}"
        fits = lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= MAX_EXTENT  # noqa: E731
        value: int = self._want(name, wanted, fits, max(least, 1))
        return value

    def optional_whole(self, name: str) -> int | None:
        """A whole number or none."""
        return None if self.value(name) is None else self.whole(name)

    def number(self, name: str) -> float:
        """A number, as a float."""
        return float(self._want(name, "a number", is_number, 1.0))

    def flag(self, name: str) -> bool:
        """True or false."""
        return bool(self._want(name, "true or false", lambda v: isinstance(v, bool), False))

    def word(self, name: str, choices: tuple[str, ...]) -> str:
        """One of a few words."""
        value = self.value(name)
        text = value.name if isinstance(value, Symbol | Function) else value
        if isinstance(text, str) and text in choices:
            return text
        if value is not POISON:
            self.wrong(name, " or ".join(choices), value)
        return choices[0]

    def init(self, name: str) -> Init:
        """An initialisation; a number means that constant."""
        wanted = "an initialisation such as normal(0.02), or a number"
        value = self._want(name, wanted, lambda v: as_init(v, self.frame) is not None, 0)
        return as_init(value, self.frame) or NORMAL

    def weight(self, name: str, dims: tuple[Dim, ...], init: Init, decay: bool = True, trained: bool = True) -> Tensor:
        """Make a weight under this occurrence's name: ``q.weight``."""
        self.frame.spend(self.span)
        path = f"{self.site}.{name}" if name else self.site
        return Tensor(self.frame.builder.param(path, dims, init, decay, trained=trained, origin=self.span), self.frame)

    def claim(self) -> None:
        """Reserve this occurrence's name."""
        self.frame.claim(self.site, self.span)

    def tensor(self, name: str) -> Tensor | None:
        """A setting that is a tensor, or none."""
        value = self.value(name)
        if value is None or value is POISON:
            return None
        if not references.is_tensor(value):
            self.wrong(name, "a tensor", value)
            return None
        found = references.tensor(value, self.frame, self.span)
        if isinstance(found, Poison):
            self.poisoned = True
            return None
        tensor: Tensor = found
        return tensor

    def program(
        self, name: str, kind: programs.ProgramKind, heads: int | None = None
    ) -> tuple[Program | None, list[Tensor]]:
        """A setting that is a scalar program, with the tensors it reads."""
        thunk = self.thunks.get(name)
        if thunk is None:
            return None, []
        resolved = programs.resolve(thunk, kind, self.frame, heads)
        if isinstance(resolved, Poison):
            self.poisoned = True
            return None, []
        return resolved

    def add(self, op: str, inputs: list[Tensor], **attrs: Attr) -> Value:
        """Add the node, unless a setting was wrong."""
        if self.poisoned:
            return POISON
        return self.frame.add(op, inputs, self.span, f"`{self.primitive.name}`", **attrs)


def as_init(value: Value, frame: Frame) -> Init | None:
    """An initialisation from a value: itself, a constant, or one named without settings (``xavier_uniform``)."""
    if is_number(value):
        return Init("constant", (float(value),))
    if isinstance(value, Function) and value.primitive in _INITS and value.primitive is not None:
        needs = any(default is REQUIRED for _, default in value.primitive.params)
        value = None if needs else value.primitive.build(Application(value.primitive, frame, tree.Name(value.name), ""))
    return value if isinstance(value, Init) else None


def apply(callee: Function, expr: tree.Expr, frame: Frame, label: str | None) -> Value:
    """Apply a primitive; without its tensors it stays a partial application."""
    primitive = callee.primitive
    assert primitive is not None
    application = Application(primitive, frame, expr, label or "")
    rest = _take_tensors(callee, application)
    if rest is None:
        return POISON
    needed = len([name for name in primitive.inputs if not name.endswith("*")])
    if len(application.tensors) < needed or (primitive.inputs and not application.tensors):
        return callee
    if not _take_params(rest, application):
        return POISON
    application.site = label or frame.site(expr, primitive.name)
    result = primitive.build(application)
    return POISON if application.poisoned else result


def _take_tensors(callee: Function, application: Application) -> list[Bound] | None:
    """Positional tensors first; gives what is left, or None where a tensor is poison."""
    primitive = application.primitive
    many = bool(primitive.inputs) and primitive.inputs[-1].endswith("*")
    rest = []
    for argument in callee.arguments:
        open_input = many or len(application.tensors) < len(primitive.inputs)
        if argument.name is None and not argument.hyper and open_input:
            value = evaluate.force(argument.thunk, application.frame)
            if value is POISON:
                return None
            if references.is_tensor(value):
                tensor = references.tensor(value, application.frame, argument.span)
                if isinstance(tensor, Poison):
                    return None
                application.tensors.append(tensor)
                continue
        rest.append(argument)
    return rest


def _take_params(rest: list[Bound], application: Application) -> bool:
    primitive = application.primitive
    names = [name for name, _ in primitive.params]
    report = application.frame.session.report
    variadic = bool(names) and names[-1].endswith("*")
    for argument in rest:
        free = [name for name in names if name not in application.thunks]
        if argument.name is not None and argument.name not in names:
            argument.thunk.read = True
            report(UnknownKey(span=argument.span, key=argument.name, owner=primitive.name, candidates=tuple(names)))
            return False
        if argument.name is None and variadic and free == [names[-1]]:
            application.thunks.setdefault(f"{names[-1]}{len(application.thunks)}", argument.thunk)
            continue
        if argument.name is None and not free:
            argument.thunk.read = True
            report(
                TooManyArguments(
                    span=argument.span, owner=primitive.name, reason=f"takes at most {len(names)} settings"
                )
            )
            return False
        application.thunks[argument.name or free[0]] = argument.thunk
    missing = tuple(
        name.rstrip("*") for name, default in primitive.params if default is REQUIRED and not _given(name, application)
    )
    if missing:
        report(MissingKey(span=application.frame.user_span(application.span), owner=primitive.name, missing=missing))
    return not missing


def _given(name: str, application: Application) -> bool:
    """Whether a setting was given; one that takes any number of values needs at least one."""
    if name.endswith("*"):
        return any(given.startswith(name) for given in application.thunks)
    return name in application.thunks


# --- helpers of the builders -----------------------------------------------------------


def _fact(name: str, instead: Any) -> Callable[[Application], Value]:
    """A default that is a fact of the model, where it sets one."""

    def default(application: Application) -> Value:
        scope = application.frame.session.model_scope
        thunk = scope.find(name) if scope is not None else None
        return evaluate.force(thunk, application.frame) if thunk is not None else instead

    return default


NORMAL = Init("normal", (0.0, 0.02))


def _dim(name: str, size: int) -> Dim:
    return Dim(name, Size.of(size))


def _width(a: Application, which: int = 0) -> int:
    """Known width of a tensor's last dimension."""
    tensor = a.tensors[which]
    known = tensor.type.dims[-1].size.known if tensor.type.rank else None
    if known is None:
        a.poisoned = True
        reason = f"needs a known width, but got {tensor.type}"
        a.frame.session.report(
            ShapeMismatch(span=a.frame.user_span(a.span), op=f"`{a.primitive.name}`", reason=reason + a.frame.where())
        )
        return 1
    return known


def _linear(a: Application) -> Value:
    given = a.tensor("weight") if "weight" in a.thunks else None
    if given is not None:
        return a.add("linear", [a.tensors[0], given], has=())
    if "out" not in a.thunks:
        return a.frame.session.report(MissingKey(span=a.frame.user_span(a.span), owner="linear", missing=("out",)))
    out, width = a.whole("out"), _width(a)
    if a.poisoned:
        return POISON
    a.claim()
    operands = [a.tensors[0], a.weight("weight", (_dim("dim", out), _dim("in", width)), a.init("init"))]
    if a.flag("bias"):
        operands.append(a.weight("bias", (_dim("dim", out),), a.init("bias_init"), decay=False))
    return a.add("linear", operands, has=("bias",) if len(operands) == 3 else ())


def _embedding(a: Application) -> Value:
    count, width = a.whole("count"), a.whole("width")
    if a.poisoned:
        return POISON
    a.claim()
    table = a.weight("weight", (_dim("count", count), _dim("dim", width)), a.init("init"))
    return a.add("embedding", [a.tensors[0], table])


def _lookup(a: Application) -> Value:
    return a.add("embedding", a.tensors)


def _param(a: Application) -> Value:
    shape = a.value("shape")
    shape = shape if isinstance(shape, tuple) else (shape,)
    if any(n is POISON for n in shape):
        return POISON
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n <= MAX_EXTENT for n in shape):
        a.wrong("shape", "positive whole numbers, as in param([heads, head_dim])", a.value("shape"))
        return POISON
    a.claim()
    dims = tuple(_dim("dim", n) for n in shape)
    decay = a.value("decay")
    return a.weight("", dims, a.init("init"), len(shape) > 1 if decay is None else bool(decay), a.flag("trained"))


def _conv1d(a: Application) -> Value:
    channels, groups, width = _width(a), a.whole("groups"), a.whole("width")
    out = a.optional_whole("out") or channels
    if a.poisoned:
        return POISON
    if channels % groups or out % groups:
        reason = f"{groups} groups do not divide {channels} channels into {out}"
        return a.frame.session.report(BadArithmetic(span=a.frame.user_span(a.span), reason=reason))
    a.claim()
    dims = (_dim("dim", out), _dim("in", channels // groups), _dim("width", width))
    operands = [a.tensors[0], a.weight("weight", dims, a.init("init"))]
    if a.flag("bias"):
        operands.append(a.weight("bias", (_dim("dim", out),), Init("constant", (0.0,)), decay=False))
    return a.add(
        "conv1d", operands, causal=a.flag("causal"), groups=groups, stride=a.whole("stride"),
        dilation=a.whole("dilation"),
        has=("bias",) if len(operands) == 3 else (),
    )  # fmt: skip


def _expert_linear(a: Application) -> Value:
    count, out, width = a.whole("count"), a.whole("out"), _width(a)
    if a.poisoned:
        return POISON
    a.claim()
    operands = [
        *a.tensors,
        a.weight("weight", (_dim("experts", count), _dim("dim", out), _dim("in", width)), a.init("init")),
    ]
    if a.flag("bias"):
        operands.append(
            a.weight("bias", (_dim("experts", count), _dim("dim", out)), Init("constant", (0.0,)), decay=False)
        )
    return a.add("expert_linear", operands, has=("bias",) if len(operands) == 4 else ())


def _split(a: Application) -> Value:
    sizes = []
    for thunk in a.thunks.values():
        value = evaluate.force(thunk, a.frame)
        for item in value if isinstance(value, tuple) else (value,):
            if not isinstance(item, int) or isinstance(item, bool):
                a.wrong("sizes*", "whole numbers", item)
                return POISON
            sizes.append(item)
    return a.add("split", a.tensors, sizes=tuple(sizes))


def _axis(a: Application, instead: str) -> str:
    value = a.value("axis")
    if value is None:
        return instead
    return value.name if isinstance(value, Symbol | Function) else str(value)


def _concat(a: Application) -> Value:
    axis = _axis(a, "last")
    if axis == "last":
        heads = max((t.type.dims[2].size.known or 0 for t in a.tensors if t.type.axis("heads") == 2), default=0)
        spread = [_spread(a, tensor, heads) if heads and tensor.type.rank == 3 else tensor for tensor in a.tensors]
        a.tensors = [tensor for tensor in spread if isinstance(tensor, Tensor)]
    return a.add("concat", a.tensors, axis=axis)


def _spread(a: Application, tensor: Tensor, heads: int) -> Value:
    """[batch, time, d] for every head: [batch, time, heads, d]."""
    alone = a.add("split_heads", [tensor], heads=1)
    return alone if alone is POISON or heads == 1 else a.add("repeat_heads", [alone], times=heads)


def _select(a: Application) -> Value:
    index = a.value("index")
    if not isinstance(index, int) or isinstance(index, bool):
        a.wrong("index", "a whole number", index)
        return POISON
    return a.add("select", a.tensors, axis=_axis(a, "time"), index=index)


def _slice(a: Application) -> Value:
    ends = {}
    for name in ("start", "stop"):
        value = a.value(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            a.wrong(name, "a whole number", value)
            return POISON
        ends[name] = value
    return a.add("slice", a.tensors, axis=_axis(a, "time"), start=ends["start"] or 0, stop=ends["stop"])


def _heads(a: Application) -> Value:
    """Heads where none are written: as many as ``head_dim`` of the module around fits, or else its ``heads``."""
    for name in ("head_dim", "heads"):
        thunk = a.frame.scope.find(name)
        value = evaluate.force(thunk, a.frame) if thunk is not None else None
        if isinstance(value, int) and value > 0:
            return value if name == "heads" else max(1, _width(a) // value)
    return POISON if a.poisoned else _missing_heads(a)


def _missing_heads(a: Application) -> Value:
    a.poisoned = True
    return a.frame.session.report(MissingKey(span=a.frame.user_span(a.span), owner="split_heads", missing=("heads",)))


def _shift(a: Application) -> Value:
    by = a.value("by")
    if not isinstance(by, int) or isinstance(by, bool):
        a.wrong("by", "a whole number", by)
        return POISON
    integer = a.tensors[0].type.dtype != "float"
    return a.add("shift", a.tensors, by=by, fill=-100 if integer else 0)


def _pool(a: Application) -> Value:
    kind = a.word("kind", ("mean", "sum", "max"))
    weights = a.tensor("weights")
    operands = [a.tensors[0]] if weights is None else [a.tensors[0], weights]
    return a.add("pool", operands, axis=_axis(a, "time"), kind=kind, has=() if weights is None else ("weights",))


def _normalize(kind: str) -> Callable[[Application], Value]:
    def build(a: Application) -> Value:
        return a.add("normalize", a.tensors, kind=kind, eps=a.number("eps"), groups=a.whole("groups"))

    return build


def _dropout(a: Application) -> Value:
    rate = a.value("rate")
    if rate is not None and not (is_number(rate) and 0 <= rate < 1):
        a.wrong("rate", "a number from 0 up to 1", rate)
        return POISON
    return a.add("dropout", a.tensors, rate=None if rate is None else float(rate))


def _tabulate(a: Application) -> Value:
    program, captures = a.program("table", "table")
    if program is None or captures:
        a.poisoned = True
        return POISON
    return a.add("tabulate", a.tensors, program=program, width=a.whole("width"))


def _rotate(a: Application) -> Value:
    program, _ = a.program("frequency", "frequency")
    width = a.whole("width")
    if program is None:
        a.poisoned = True
        return POISON
    operand = a.tensors[0]
    flat = operand.type.rank == 3
    if flat:
        operand = a.add("split_heads", [operand], heads=1)
        if operand is POISON:
            return POISON
    turned = a.add(
        "rope", [operand], frequency=program, width=width, interleaved=a.flag("interleaved"), factor=a.number("factor")
    )
    return a.add("merge_heads", [turned]) if flat and turned is not POISON else turned


def _attend(a: Application) -> Value:
    from tantra_dsl.scalars.facts import is_exactly_causal

    heads = a.tensors[0].type.dims[2].size.known if a.tensors[0].type.rank == 4 else None
    mask, mask_reads = a.program("mask", "mask", heads)
    score, score_reads = a.program("score", "score", heads)
    sink, dropout = a.tensor("sink"), a.value("dropout")
    causal = mask is not None and is_exactly_causal(mask)
    operands = [*a.tensors, *([] if sink is None else [sink]), *mask_reads, *score_reads]
    if dropout is not None and not (is_number(dropout) and 0 <= dropout < 1):
        a.wrong("dropout", "a number from 0 up to 1", dropout)
    return a.add(
        "attend", operands, mask=mask, score=score, scale=_scale(a, "scale"), causal=causal,
        has=() if sink is None else ("sink",),
        dropout=None if not dropout else float(dropout),
    )  # fmt: skip


def _scale(a: Application, name: str) -> float:
    value = a.value(name)
    if value is None and a.tensors[0].type.rank == 4:
        width = a.tensors[0].type.dims[3].size.known
        return 1.0 / float(width or 1) ** 0.5
    return a.number(name)


def _additive_attend(a: Application) -> Value:
    mask, reads = a.program("mask", "mask")
    weight = a.tensor("weight")
    if weight is None:
        a.poisoned = True
        return POISON
    return a.add("additive_attend", [*a.tensors, weight, *reads], mask=mask, has=())


def _with_optional(op: str, name: str, required: int) -> Callable[[Application], Value]:
    def build(a: Application) -> Value:
        extra = a.tensor(name) if len(a.tensors) == required else a.tensors.pop()
        operands = a.tensors if extra is None else [*a.tensors, extra]
        return a.add(op, operands, has=() if extra is None else (name,))

    return build


def _route(a: Application) -> Value:
    bias, after = a.tensor("bias"), a.value("after")
    groups = a.whole("groups")
    kept = a.optional_whole("kept_groups") or groups
    return a.add(
        "route", [a.tensors[0], *([] if bias is None else [bias])], top_k=a.whole("top_k"), groups=groups,
        kept_groups=kept, normalize=a.flag("normalize"), scale=a.number("scale"),
        after=None if after is None else a.word("after", ("softmax",)),
        has=() if bias is None else ("bias",),
    )  # fmt: skip


def _cross_entropy(a: Application) -> Value:
    smoothing = a.value("label_smoothing")
    if smoothing is not None and not (is_number(smoothing) and 0 <= smoothing < 1):
        a.wrong("label_smoothing", "a number from 0 up to 1", smoothing)
    return a.add(
        "cross_entropy",
        a.tensors,
        label_smoothing=None if smoothing is None else float(smoothing),
        ignore=-100,
        z_loss=a.number("z_loss"),
    )


def _plain(op: str, **settings: str) -> Callable[[Application], Value]:
    """A primitive whose settings go straight into attributes; settings name the getter of each."""

    def build(a: Application) -> Value:
        return a.add(op, a.tensors, **{name: getattr(a, getter)(name) for name, getter in settings.items()})

    return build


def _softmax(a: Application) -> Value:
    return a.add("softmax", a.tensors, axis=_axis(a, "last"))


def _positions(a: Application) -> Value:
    return a.add("positions", a.tensors, offset=a.whole("offset", 0))


def _extent(a: Application) -> Value:
    """``width(x)``: the known width of a tensor, as a number."""
    return _width(a)


_ZERO = Init("constant", (0.0,))
_INIT = ("init", _fact("init", NORMAL))

_TABLE = (
    Primitive("linear", ("x",), (("out", None), ("bias", False), ("weight", None), _INIT,
              ("bias_init", _ZERO)), _linear, True),
    Primitive("embedding", ("ids",), (("count", REQUIRED), ("width", REQUIRED), _INIT), _embedding, True),
    Primitive("lookup", ("ids", "table"), (), _lookup),
    Primitive("param", (), (("shape", ()), ("init", _fact("init", NORMAL)), ("decay", None),
              ("trained", True)), _param, True),
    Primitive("conv1d", ("x",), (("width", REQUIRED), ("out", None), ("causal", True), ("groups", 1),
              ("stride", 1), ("dilation", 1),
                                 ("bias", True), _INIT), _conv1d, True),
    Primitive("expert_linear", ("x", "experts"), (("count", REQUIRED), ("out", REQUIRED),
              ("bias", False), _INIT), _expert_linear, True),
    Primitive("split", ("x",), (("sizes*", REQUIRED),), _split),
    Primitive("concat", ("xs*",), (("axis", None),), _concat),
    Primitive("split_heads", ("x",), (("heads", _heads),), _plain("split_heads", heads="whole")),
    Primitive("merge_heads", ("x",), (), _plain("merge_heads")),
    Primitive("repeat_heads", ("x",), (("times", REQUIRED),), _plain("repeat_heads", times="whole")),
    Primitive("patches", ("x",), (("size", REQUIRED),), _plain("patches", size="whole")),
    Primitive("unpatch", ("x",), (("size", REQUIRED),), _plain("unpatch", size="whole")),
    Primitive("shift", ("x",), (("by", REQUIRED),), _shift),
    Primitive("select", ("x",), (("index", REQUIRED), ("axis", None)), _select),
    Primitive("gather_time", ("x", "index"), (), _plain("gather_time")),
    Primitive("slice", ("x",), (("start", 0), ("stop", None), ("axis", None)), _slice),
    Primitive("pool", ("x",), (("kind", "mean"), ("axis", None), ("weights", None)), _pool),
    Primitive("argmax_time", ("ids",), (), _plain("argmax_time")),
    Primitive("expand_time", ("x", "like"), (), _plain("expand_time")),
    Primitive("standardize", ("x",), (("eps", 1e-5), ("groups", 1)), _normalize("layernorm")),
    Primitive("rms_normalize", ("x",), (("eps", 1e-6), ("groups", 1)), _normalize("rms")),
    Primitive("l2_normalize", ("x",), (("eps", 1e-6), ("groups", 1)), _normalize("l2")),
    Primitive("softmax", ("x",), (("axis", None),), _softmax),
    Primitive("dropout", ("x",), (("rate", None),), _dropout),
    Primitive("stop_gradient", ("x",), (), _plain("stop_gradient")),
    Primitive("positions", ("x",), (("offset", 0),), _positions),
    Primitive("tabulate", ("x",), (("table", REQUIRED), ("width", REQUIRED)), _tabulate),
    Primitive("rotate", ("x",), (("frequency", REQUIRED), ("width", REQUIRED), ("interleaved", False),
              ("factor", 1.0)), _rotate),
    Primitive("attend", ("q", "k", "v"), (("mask", None), ("score", None), ("scale", None), ("sink", None),
              ("dropout", None)), _attend),
    Primitive("additive_attend", ("q", "k", "v"), (("weight", REQUIRED), ("mask", None)), _additive_attend),
    Primitive("linear_scan", ("q", "k", "v"), (("decay", None),), _with_optional("linear_scan", "decay", 3)),
    Primitive("selective_scan", ("x", "delta", "a", "b", "c"), (), _plain("selective_scan")),
    Primitive("delta_scan", ("q", "k", "v", "beta"), (("decay", None),), _with_optional("delta_scan", "decay", 4)),
    Primitive("route", ("scores",), (("top_k", REQUIRED), ("bias", None), ("groups", 1),
              ("kept_groups", None), ("normalize", False),
                                     ("scale", 1.0), ("after", None)), _route),
    Primitive("combine_experts", ("y", "weights"), (), _plain("combine_experts")),
    Primitive("balance_loss", ("scores", "experts"), (("count", REQUIRED),), _plain("balance_loss", count="whole")),
    Primitive("matmul", ("a", "b"), (("transpose", False),), _plain("matmul", transpose="flag")),
    Primitive("similarity", ("a", "b"), (), _plain("similarity")),
    Primitive("indices", ("x",), (), _plain("indices")),
    Primitive("transpose", ("x",), (), _plain("transpose")),
    Primitive("cross_entropy", ("logits", "target"), (("label_smoothing", None), ("z_loss", 0.0)), _cross_entropy),
    Primitive("mean_squared_error", ("x", "target"), (), _plain("mean_squared_error")),
    Primitive("width", ("x",), (), _extent),
)  # fmt: skip


# --- mathematical functions and initialisations ----------------------------------------


def _mathematical(name: str) -> Primitive:
    def build(a: Application) -> Value:
        return _apply_function(name, a)

    return Primitive(name, (), (("values*", None),), build)


def _apply_function(name: str, a: Application) -> Value:
    values = [evaluate.force(thunk, a.frame) for thunk in a.thunks.values()]
    if any(value is POISON for value in values):
        return POISON
    arity = FUNCTIONS[name][0]
    if len(values) != arity and not (arity < 0 and len(values) >= -arity):
        report = WrongType(
            span=a.span,
            wanted=f"{abs(arity)} value{'s' if abs(arity) > 1 else ''}",
            got=str(len(values)),
            where=f"`{name}`",
        )
        return a.frame.session.report(report)
    if all(is_number(value) for value in values):
        try:
            return function(name, values)
        except ArithmeticMistake as mistake:
            return a.frame.session.report(BadArithmetic(span=a.frame.user_span(a.span), reason=str(mistake)))
    return _map_function(name, values, a)


def _map_function(name: str, values: list[Value], a: Application) -> Value:
    operands: list[Tensor] = []
    scalars: list[Scalar] = []
    for value in values:
        if is_number(value):
            scalars.append(evaluate.constant(value))
            continue
        tensor = references.tensor(value, a.frame, a.span)
        if isinstance(tensor, Poison):
            return POISON
        scalars.append(Var("abcdefgh"[len(operands)]))
        operands.append(tensor)
    if name == "ceil":
        body: Scalar = Op("neg", (Op("floor", (Op("neg", (scalars[0],)),)),))
    elif name in ("min", "max"):
        body = scalars[0]
        for scalar in scalars[1:]:
            body = Op(name, (body, scalar))  # type: ignore[arg-type]
    else:
        body = Op(name, tuple(scalars))  # type: ignore[arg-type]
    return evaluate.apply_map(body, operands, a.span, a.frame, f"`{name}`", name)


def _init(name: str, params: tuple[tuple[str, Any], ...], kind: str) -> Primitive:
    def build(a: Application) -> Value:
        return Init(kind, tuple(a.number(param) for param, _ in params))

    return Primitive(name, (), params, build)


def _normal(a: Application) -> Value:
    return Init("normal", (a.number("mean"), a.number("std")))


def _truncated(a: Application) -> Value:
    return Init("truncated_normal", (a.number("mean"), a.number("std"), a.number("low"), a.number("high")))


def _listed(a: Application) -> Value:
    values = a.value("list")
    if not isinstance(values, tuple) or not all(is_number(v) for v in values):
        a.wrong("list", "a list of numbers", values)
        return POISON
    return Init("values", tuple(float(v) for v in values))


def _each(a: Application) -> Value:
    """``each(log(j + 1), 24)``: the values of an expression in ``j`` for j = 0, 1, ..."""
    from tantra_dsl.scalars.evaluate import evaluate as value_of

    program, _ = a.program("value", "frequency")
    if program is None:
        return POISON
    try:
        return Init("values", tuple(float(value_of(program.body, {"j": j})) for j in range(a.whole("count"))))
    except (ArithmeticError, ValueError) as error:
        return a.frame.session.report(BadArithmetic(span=a.frame.user_span(a.span), reason=str(error)))


_INITS = (
    Primitive("each", (), (("value", REQUIRED), ("count", REQUIRED)), _each),
    Primitive("normal", (), (("std", REQUIRED), ("mean", 0.0)), _normal),
    Primitive("truncated_normal", (), (("std", REQUIRED), ("mean", 0.0), ("low", -2.0), ("high", 2.0)), _truncated),
    _init("uniform", (("low", REQUIRED), ("high", REQUIRED)), "uniform"),
    _init("constant", (("value", REQUIRED),), "constant"),
    _init("xavier_uniform", (("gain", 1.0),), "xavier_uniform"),
    _init("xavier_normal", (("gain", 1.0),), "xavier_normal"),
    _init("kaiming_uniform", (("a", 5**0.5),), "kaiming_uniform"),
    Primitive("values", (), (("list", REQUIRED),), _listed),
)
INPUT_KINDS = ("tokens", "labels", "ids", "per_token", "per_sequence", "class", "pixels", "features")
AXES = ("batch", "time", "depth", "heads", "head_dim", "slots", "last", "mean", "sum", "max", "softmax")


def bind_builtins(scope: Scope) -> None:
    """Bind everything that needs no definition in the language."""
    for primitive in (*_TABLE, *_INITS, *(_mathematical(name) for name in FUNCTIONS)):
        scope.bind_value(primitive.name, Function(primitive.name, primitive=primitive))
    for name, value in (("true", True), ("false", False), ("none", None), ("pi", 3.141592653589793)):
        scope.bind_value(name, value)
    for name, number in (("zeros", 0.0), ("ones", 1.0)):
        scope.bind_value(name, Init("constant", (number,)))
    scope.bind_value("identity", Init("identity"))
    for name in (*INPUT_KINDS, *AXES):
        scope.fallbacks.setdefault(name, Thunk.of(Symbol(name)))
