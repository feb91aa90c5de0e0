"""The primitives as the language calls them: parameters, weights they make, nodes they become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.programs as programs
import tantra_dsl.semantics.references as references
from tantra_dsl.diagnostics.semantics import (
    MissingKey,
    ShapeMismatch,
    TooManyArguments,
    UnknownKey,
    WrongType,
)
from tantra_dsl.graph.model import Init
from tantra_dsl.graph.types import Dim, Size
from tantra_dsl.scalars.ir import Program
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.scope import Thunk
from tantra_dsl.semantics.values import POISON, Bound, Function, Poison, Symbol, Tensor, Value, describe, is_number
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Span

REQUIRED = object()
MAX_EXTENT = 10**9


@dataclass(frozen=True, eq=False)
class Primitive:
    """A primitive: its inputs (one ending in ``*`` is any number of tensors) and settings (a default or REQUIRED)."""

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
        from tantra_dsl.semantics.starts import as_init

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

    def add(self, op: str, inputs: list[Tensor], **attrs: Any) -> Value:
        """Add the node, unless a setting was wrong."""
        if self.poisoned:
            return POISON
        return self.frame.add(op, inputs, self.span, f"`{self.primitive.name}`", **attrs)


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
    owner, names = application.primitive.name, [name for name, _ in application.primitive.params]
    report = application.frame.session.report
    variadic = bool(names) and names[-1].endswith("*")
    sound = True
    for argument in rest:
        free = [name for name in names if name not in application.thunks]
        if argument.name is not None and argument.name not in names:
            argument.thunk.read, sound = True, False
            known = tuple(name for name in names if not name.endswith("*"))
            report(UnknownKey(span=argument.span, key=argument.name, owner=owner, candidates=known))
        elif argument.name in application.thunks:
            argument.thunk.read, sound = True, False
            reason = f"was given `{argument.name}` twice"
            report(TooManyArguments(span=argument.span, owner=owner, reason=reason))
        elif argument.name is None and variadic and free == [names[-1]]:
            application.thunks.setdefault(f"{names[-1]}{len(application.thunks)}", argument.thunk)
        elif argument.name is None and not free:
            argument.thunk.read, sound = True, False
            reason = f"takes at most {len(names)} setting{'' if len(names) == 1 else 's'}"
            report(TooManyArguments(span=argument.span, owner=owner, reason=reason))
        else:
            application.thunks[argument.name or free[0]] = argument.thunk
    return sound and _complete(application)


def _complete(application: Application) -> bool:
    primitive = application.primitive
    missing = tuple(
        name.rstrip("*") for name, default in primitive.params if default is REQUIRED and not _given(name, application)
    )
    if missing:
        place = application.frame.user_span(application.span)
        application.frame.session.report(MissingKey(span=place, owner=primitive.name, missing=missing))
    return not missing


def _given(name: str, application: Application) -> bool:
    """Whether a setting was given; one that takes any number of values needs at least one."""
    if name.endswith("*"):
        return any(given.startswith(name) for given in application.thunks)
    return name in application.thunks


# --- helpers of the builders -----------------------------------------------------------


def fact(name: str, instead: Any) -> Callable[[Application], Value]:
    """A default that is a fact of the model, where it sets one."""

    def default(application: Application) -> Value:
        scope = application.frame.session.model_scope
        thunk = scope.find(name) if scope is not None else None
        return evaluate.force(thunk, application.frame) if thunk is not None else instead

    return default


NORMAL = Init("normal", (0.0, 0.02))


def named_dim(name: str, size: int) -> Dim:
    """A dimension of known extent."""
    return Dim(name, Size.of(size))


def width_of(a: Application, which: int = 0) -> int:
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


def axis_of(a: Application, instead: str) -> str:
    """The setting ``axis``: a dimension's name, or ``instead`` where none is given."""
    value = a.value("axis")
    if value is None:
        return instead
    return value.name if isinstance(value, Symbol | Function) else str(value)
