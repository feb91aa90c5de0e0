"""Matching the arguments of a call with the parameters of a definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import tantra_dsl.semantics.evaluate as evaluate
import tantra_dsl.semantics.references as references
from tantra_dsl.diagnostics.core import one_of
from tantra_dsl.diagnostics.semantics import MissingKey, TooManyArguments, UnknownKey, WrongType
from tantra_dsl.graph.model import Init
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import (
    POISON,
    Bound,
    Function,
    Symbol,
    Tensor,
    Value,
    describe,
    is_callable,
    is_number,
)  # fmt: skip
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Span


@dataclass
class Binding:
    """What each parameter of a definition was given.

    ``spoiled``: something was wrong; ``poisoned``: with a value that stands before the `;`, and that was told.
    """

    inputs: dict[str, Thunk] = field(default_factory=dict)
    params: dict[str, Thunk] = field(default_factory=dict)
    deltas: list[Bound] = field(default_factory=list)
    spoiled: bool = False
    poisoned: bool = False


def input_names(definition: tree.Definition) -> list[str]:
    """Names of what a definition is applied to, the unwritten ``x`` of a block of sublayers included."""
    names = [parameter.name for parameter in definition.inputs or ()]
    if definition.kind == "block" and is_sublayer_form(definition) and "x" not in names:
        names.insert(0, "x")
    if definition.kind in ("mask", "score"):
        return []
    return names


def is_sublayer_form(definition: tree.Definition) -> bool:
    """Whether a block lists sublayers instead of equations."""
    if not isinstance(definition.body, tree.Body):
        return False
    return not any(isinstance(member, tree.Assign | tree.Return) for member in definition.body.members)


def parameters(definition: tree.Definition) -> dict[str, tree.Parameter]:
    """Hyper-parameters by name; those of a mask or score include what stands in its only list."""
    own = list(definition.params)
    if definition.kind in ("mask", "score"):
        own = [*(definition.inputs or ()), *own]
    found = {parameter.name: parameter for parameter in own}
    if definition.kind == "wiring" and "norm" not in found and _mentions(definition.body, "norm"):
        found = {"norm": tree.Parameter("norm", default=tree.Name("norm", span=definition.span)), **found}
    return found


def _mentions(node: object, name: str) -> bool:
    if isinstance(node, tree.Name):
        return node.id == name
    if isinstance(node, tuple):
        return any(_mentions(item, name) for item in node)
    if isinstance(node, tree.Node):
        fields = (
            getattr(node, slot, None)
            for cls in type(node).__mro__
            for slot in getattr(cls, "__slots__", ())
            if slot != "span"
        )
        return any(_mentions(value, name) for value in fields if isinstance(value, tree.Node | tuple))
    return False


def bind(function: Function, arguments: tuple[Bound, ...], frame: Frame, span: Span) -> Binding:
    """Match arguments with parameters, reporting every one that does not fit."""
    definition = function.definition
    assert definition is not None
    binding = Binding()
    matcher = _Matcher(function, definition, frame, span, binding)
    for argument in arguments:
        matcher.take(argument)
    return binding


class _Matcher:
    """Takes arguments one by one."""

    def __init__(
        self, function: Function, definition: tree.Definition, frame: Frame, span: Span, binding: Binding
    ) -> None:
        self.definition = definition
        self.owner = f"{definition.kind} {function.name}"
        self.frame = frame
        self.span = span
        self.binding = binding
        self.inputs = input_names(definition)
        self.params = parameters(definition)
        self.scope = function.scope

    def take(self, argument: Bound) -> None:
        """Put one argument where it belongs."""
        if argument.name is not None:
            self._named(argument)
        elif argument.hyper or not self.inputs:
            self._next_param(argument)
        else:
            self._positional(argument)

    def _named(self, argument: Bound) -> None:
        name = argument.name
        assert name is not None
        if name in self.inputs:
            self._place(self.binding.inputs, name, argument)
        elif name in self.params:
            self._place(self.binding.params, name, argument)
        elif "." in name or self.definition.kind == "block":
            self.binding.deltas.append(argument)
        else:
            self._unknown(argument, name)

    def _unknown(self, argument: Bound, name: str) -> None:
        self.binding.spoiled = True
        argument.thunk.read = True
        self.frame.session.report(
            UnknownKey(
                span=argument.span, key=name, owner=self.owner, candidates=(*self.inputs, *self.params),
                defined_at=self.definition.name_span,
            )
        )  # fmt: skip

    def _positional(self, argument: Bound) -> None:
        value = evaluate.force(argument.thunk, self.frame)
        if value is POISON:
            self.binding.spoiled = self.binding.poisoned = True
            return
        open_inputs = [name for name in self.inputs if name not in self.binding.inputs]
        fits = references.is_tensor(value)
        if fits and open_inputs:
            self.binding.inputs[open_inputs[0]] = argument.thunk
        elif fits:
            self._surplus(argument)
        else:
            self._next_param(argument)

    def _next_param(self, argument: Bound) -> None:
        for name in self.params:
            if name not in self.binding.params:
                self._place(self.binding.params, name, argument)
                return
        self._surplus(argument)

    def _surplus(self, argument: Bound) -> None:
        self.binding.spoiled = True
        argument.thunk.read = True
        places = (*(() if self.definition.kind == "wiring" else self.inputs), *self.params)
        self.frame.session.report(surplus(argument, self.owner, places))

    def _place(self, into: dict[str, Thunk], name: str, argument: Bound) -> None:
        if name in into:
            self.binding.spoiled = True
            reason = f"was given `{name}` twice"
            self.frame.session.report(TooManyArguments(span=argument.span, owner=self.owner, reason=reason))
            return
        parameter = self.params.get(name) if into is self.binding.params else None
        into[name] = typed(argument, parameter, self.scope, self.frame) if parameter else argument.thunk


def surplus(argument: Bound, owner: str, places: tuple[str, ...]) -> TooManyArguments:
    """The report of an ``argument`` for which none of the ``places`` is left."""
    listed = f" ({', '.join(places)})" if places else ""
    reason = f"takes {len(places)} value{'' if len(places) == 1 else 's'}{listed}, but more were given"
    return TooManyArguments(span=argument.span, owner=owner, reason=reason)


def require(binding: Binding, function: Function, frame: Frame, span: Span) -> bool:
    """Report hyper-parameters without a value; False where some are missing."""
    definition = function.definition
    assert definition is not None
    missing = tuple(
        name for name, p in parameters(definition).items() if p.default is None and name not in binding.params
    )
    if missing and not binding.spoiled:
        owner = f"{definition.kind} {function.name}"
        frame.session.report(MissingKey(span=span, owner=owner, missing=missing, defined_at=definition.name_span))
    return not missing


# --- types of parameters ---------------------------------------------------------------

_CHECKS: dict[str, tuple[str, Callable[[Value], bool]]] = {
    "int": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "number": ("a number", is_number),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "module": ("a module", lambda v: v is None or is_callable(v) or v is POISON),
    "text": ("a text in quotes", lambda v: isinstance(v, str)),
    "list": ("a list", lambda v: isinstance(v, tuple)),
    "init": (
        "an initialisation such as normal(0.02), or a number",
        lambda v: isinstance(v, Init | Function) or is_number(v),
    ),
    "tensor": ("a tensor", lambda v: isinstance(v, Tensor) or references.is_tensor(v)),
}


def typed(argument: Bound, parameter: tree.Parameter, scope: Scope | None, frame: Frame) -> Thunk:
    """The argument's thunk, checked against the parameter's declared type or choices when it is evaluated."""
    thunk = argument.thunk
    if not parameter.choices or thunk.expr is None or thunk.scope is None:
        return thunk
    if len(parameter.choices) == 1 and parameter.choices[0] in ("mask", "score", "fn"):
        return thunk
    chosen = Thunk(thunk.expr, _with_choices(parameter, scope, thunk.scope), thunk.frame)
    chosen.on_read = thunk.touch
    chosen.check = _checker(parameter, thunk, frame)
    return chosen


def _with_choices(parameter: tree.Parameter, definition_scope: Scope | None, around: Scope) -> Scope:
    """The scope of an argument: the parameter's choices first, as ``<parameter>_<choice>`` if that is defined."""
    if len(parameter.choices) == 1:
        return around
    scope = Scope(around)
    for choice in parameter.choices:
        if choice in ("none", "true", "false") or choice in _CHECKS:
            continue
        meant = definition_scope.find(f"{parameter.name}_{choice}") if definition_scope else None
        scope.bind(choice, Thunk.of(_chosen(choice, meant)))
    return scope


def _chosen(choice: str, meant: Thunk | None) -> Value:
    value = meant.peek() if meant is not None and meant.known else None
    return replace(value, choice=choice) if isinstance(value, Function) else Symbol(choice)


def _checker(parameter: tree.Parameter, thunk: Thunk, frame: Frame) -> Callable[[Value], Value]:
    def check(value: Value) -> Value:
        if value is POISON or any(_is_choice(value, choice, parameter) for choice in parameter.choices):
            return value
        wanted = one_of(_CHECKS[choice][0] if choice in _CHECKS else f"`{choice}`" for choice in parameter.choices)
        where = f"`{parameter.name}`"
        return frame.session.report(WrongType(span=thunk.span, wanted=wanted, got=describe(value), where=where))

    return check


def _is_choice(value: Value, choice: str, parameter: tree.Parameter) -> bool:
    if choice == "none":
        return value is None
    if choice in _CHECKS:
        return _CHECKS[choice][1](value)
    if isinstance(value, Symbol):
        return value.name == choice
    return isinstance(value, Function) and choice in (value.name, value.choice)
