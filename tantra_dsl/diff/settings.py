"""Settings of two models: whether they say the same, and where they differ inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tantra_dsl.diff.account import Account
from tantra_dsl.diff.closed import NONE, SIBLING, Closed, World, evaluate, mentioned, number, renamed, settled
from tantra_dsl.diff.operations import Operation
from tantra_dsl.diff.why import why
from tantra_dsl.graph.hash import program_digest
from tantra_dsl.scalars.ir import Program
from tantra_dsl.semantics.binding import parameters
from tantra_dsl.semantics.concerns import concern
from tantra_dsl.semantics.primitives import REQUIRED
from tantra_dsl.semantics.programs import meaning
from tantra_dsl.semantics.values import Function
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.flat import flat
from tantra_dsl.syntax.source import NOWHERE, Span

LAYER = frozenset({"i", "layer_count"})
"""What a layer is told about itself."""


@dataclass(frozen=True)
class Slot:
    """A parameter of something callable: its name, its default, the words that it offers."""

    name: str
    default: tree.Expr | None
    choices: tuple[str, ...] = ()


def slots(callee: Function) -> list[Slot]:
    """The hyper-parameters of a definition or primitive, in order."""
    if callee.definition is not None:
        known = parameters(callee.definition)
        siblings = {name: SIBLING + name for name in known}
        return [Slot(p.name, None if p.default is None else _default(p, siblings), p.choices) for p in known.values()]
    assert callee.primitive is not None
    return [Slot(name.rstrip("*"), _plain(default)) for name, default in callee.primitive.params]


def _default(parameter: tree.Parameter, siblings: dict[str, str]) -> tree.Expr:
    assert parameter.default is not None
    if isinstance(parameter.default, tree.Name) and parameter.default.id == parameter.name:
        return parameter.default
    return renamed(parameter.default, siblings)


def _plain(default: Any) -> tree.Expr | None:
    if default is REQUIRED or callable(default):
        return None
    if isinstance(default, bool):
        return tree.Name(str(default).lower())
    return number(default) if isinstance(default, int | float) else NONE


@dataclass(frozen=True)
class Applied:
    """A call read against what it calls: its settings by name, and what is left of its arguments."""

    callee: Function
    settings: dict[str, tree.Argument]
    rest: tuple[tree.Argument, ...]


def applied(expr: tree.Expr, function: Function | None) -> Applied | None:
    """How ``expr``, a name or a call of ``function``, sets its parameters; None where it cannot be told."""
    if function is None:
        return None
    arguments = expr.arguments if isinstance(expr, tree.Call) else ()
    names = [slot.name for slot in slots(function)]
    inputs = {p.name for p in (function.definition.inputs or ())} if function.definition is not None else set()
    found: dict[str, tree.Argument] = {a.name: a for a in arguments if a.name is not None and a.name in names}
    rest = [a for a in arguments if a.name is not None and a.name not in names]
    free = [name for name in names if name not in found]
    for argument in (a for a in arguments if a.name is None):
        tensors = len(inputs) if function.kind in ("module", "block") and not argument.hyper else 0
        if free and not tensors:
            found[free.pop(0)] = argument
        else:
            rest.append(argument)
    return Applied(function, found, tuple(rest))


class Comparison:
    """Compares closed expressions of two models, the old one's read in the new one's world."""

    def __init__(self, before: Account, after: Account) -> None:
        self.before, self.after = before, after

    @cached_property
    def _aliases(self) -> dict[str, str]:
        return {}

    def alias(self, name: str) -> str:
        """The old model's name for what the new one calls ``name``, where it is the same under another name."""
        if name not in self._aliases:
            self._aliases[name] = self._alias(name)
        return self._aliases[name]

    def _alias(self, name: str) -> str:
        new = self.after.function(name)
        if new is None or self.before.function(name) is not None:
            return name
        names = {n for scope in self.before.scope.chain() for n in scope.names}
        return next((n for n in sorted(names) if self._equal(self.before.function(n), new)), name)

    def _equal(self, old: Function | None, new: Function) -> bool:
        """Whether two definitions are one but for the name, or two functions of numbers with one meaning."""
        if old is None or old.definition is None or new.definition is None or old.kind != new.kind:
            return False
        if replace(old.definition, name=None) == replace(new.definition, name=None):
            return True
        programs = meaning(old, self.before.root.frame), meaning(new, self.after.root.frame)
        return programs[0] is not None and programs[1] is not None and _one(*programs)  # type: ignore[arg-type]

    # --- sameness ------------------------------------------------------------------------

    def same(self, old: Closed, new: Closed) -> bool:
        """Whether the old setting, read in the new model, says what the new one says."""
        if old.expr == new.expr and not old.given and not new.given:
            return True
        if self.form(old.expr, new.world, old=True) == self.form(new.expr, new.world, old=False):
            return True
        pairs = [program_digest(p) if p is not None else "" for p in (*old.programs, *new.programs)]
        return len(pairs) == 2 and pairs[0] == pairs[1]

    def form(self, expr: tree.Expr, world: World, *, old: bool, depth: int = 0) -> object:
        """A form of ``expr`` that is equal for what is written differently but is the same."""
        value = evaluate(expr, world)
        if value is not None:
            return "value", type(value) is bool, float(value) if isinstance(value, float) else value
        if depth > 40:
            return "deep"
        if isinstance(expr, tree.Name):
            return self._name_form(expr, world, old, depth)
        if isinstance(expr, tree.Call):
            return self._call_form(expr, world, old, depth)
        return self._other_form(settled(expr, world), world, old, depth)

    def _name_form(self, expr: tree.Name, world: World, old: bool, depth: int) -> object:
        found = world.find(expr.id)
        if found is not None and found[0] != expr:
            return self.form(found[0], found[1], old=old, depth=depth + 1)
        side = self.before if old else self.after
        if side.function(expr.id) is not None:
            return self._call_form(tree.Call(expr, ()), world, old, depth)
        return "name", expr.id

    def _call_form(self, expr: tree.Call, world: World, old: bool, depth: int) -> object:
        side = self.before if old else self.after
        name = expr.callee.id if isinstance(expr.callee, tree.Name) else ""
        read = applied(expr, side.function(name))
        if read is None:
            arguments = [(a.name, self.form(a.value, world, old=old, depth=depth + 1)) for a in expr.arguments]
            return "call", self.form(expr.callee, world, old=old, depth=depth + 1), arguments
        inner = inner_world(read, world)
        settings: list[tuple[str | int, object]] = []
        for place, slot in enumerate(slots(read.callee)):
            argument = read.settings.get(slot.name)
            value = argument.value if argument is not None else slot.default
            if value is not None:
                name_of = slot.name if side.is_standard(read.callee) or read.callee.primitive else place
                settings.append((name_of, self.form(value, world if argument else inner, old=old, depth=depth + 1)))
        rest = [(a.name, self.form(a.value, world, old=old, depth=depth + 1)) for a in read.rest]
        return "call", name if old else self.alias(name), sorted(settings, key=lambda pair: str(pair[0])), rest

    def _other_form(self, expr: tree.Expr, world: World, old: bool, depth: int) -> object:
        def form(part: tree.Expr) -> object:
            return self.form(part, world, old=old, depth=depth + 1)

        if isinstance(expr, tree.Name | tree.Call):
            return form(expr)
        if isinstance(expr, tree.Binary):
            return expr.op, form(expr.left), form(expr.right)
        if isinstance(expr, tree.Unary):
            return expr.op, form(expr.operand)
        if isinstance(expr, tree.If):
            return "if", form(expr.condition), form(expr.then), form(expr.otherwise)
        if isinstance(expr, tree.ListExpr | tree.Tuple):
            return "items", [form(item) for item in expr.items]
        if isinstance(expr, tree.Index):
            return "index", form(expr.base), [form(item) for item in expr.items]
        if isinstance(expr, tree.Attribute):
            return "attribute", form(expr.base), expr.name
        return expr if not isinstance(expr, tree.Definition) else replace(expr, name=None)

    # --- differences ---------------------------------------------------------------------

    def setting(self, path: str, owner: str, key: str, old: Closed | None, new: Closed | None) -> list[Operation]:
        """The operations that turn one setting into the other; none where they say the same."""
        if old is not None and new is not None:
            if self.same(old, new):
                return []
            inside = self._inside(path, key, old, new)
            if inside is not None:
                around = (path, settled(new.expr, new.world))
                return [replace(op, wider=(*op.wider, around)) for op in inside]
        return [self._operation(path, owner, key, old, new)]

    def _inside(self, path: str, key: str, old: Closed, new: Closed) -> list[Operation] | None:
        """Operations on the settings of a call that both sides make; None where they make different ones."""
        sides = [meaning_of(c) for c in (old, new)]
        names = [_callee(side) for side in sides]
        functions = [self.before.function(names[0], key), self.after.function(names[1], key)]
        reads = [applied(side, function) for side, function in zip(sides, functions, strict=True)]
        if functions[0] is not None and functions[0].primitive is not None:
            return None
        if not names[0] or names[0] != self.alias(names[1]) or reads[0] is None or reads[1] is None:
            return None
        if [a.name for a in reads[0].rest] != [a.name for a in reads[1].rest]:
            return None
        return self._settings_of(path, names[0], reads[0], reads[1], old, new)

    def _settings_of(
        self, path: str, owner: str, old: Applied, new: Applied, around_old: Closed, around_new: Closed
    ) -> list[Operation]:
        found: list[Operation] = []
        names = [slot.name for slot in slots(old.callee)]
        names += [slot.name for slot in slots(new.callee) if slot.name not in names]
        for name in names:
            sides = [argument_of(read, name, c) for read, c in ((old, around_old), (new, around_new))]
            if sides[0] is not None or sides[1] is not None:
                found += self.setting(f"{path}.{name}" if path else name, owner, name, sides[0], sides[1])
        for position, (a, b) in enumerate(zip(old.rest, new.rest, strict=True)):
            sides = [replace(c, expr=x.value, span=x.span) for c, x in ((around_old, a), (around_new, b))]
            label = a.name or _callee(a.value) or str(position)
            assert sides[0] is not None and sides[1] is not None
            found += self.setting(f"{path}.{label}" if path else label, owner, label, sides[0], sides[1])
        return found

    def _kind_of(self, owner: str, key: str) -> str:
        """The declared type of a setting: ``mask``, ``int`` ..., or nothing where several are offered."""
        callee = self.after.function(owner) or self.before.function(owner)
        choices = next((slot.choices for slot in slots(callee) if slot.name == key), ()) if callee else ()
        return choices[0] if len(choices) == 1 else ""

    def _operation(self, path: str, owner: str, key: str, old: Closed | None, new: Closed | None) -> Operation:
        before, after = (None if c is None or _is_none(c) else c for c in (old, new))
        kind = "add" if before is None else "remove" if after is None else "set"
        about = concern(owner, key)
        return Operation(
            kind,  # type: ignore[arg-type]
            path,
            None if before is None else before.text,
            None if after is None else after.text,
            "recipe" if about == "start" else "function",
            why(self._kind_of(owner, key), key, about),
            *_spans(old, new),
            (old is not None and not old.given, new is not None and not new.given),
            value=settled(new.expr, new.world) if new is not None and new.given else None,
            general=self._general(old, new),
        )

    def _general(self, old: Closed | None, new: Closed | None) -> tuple[str, str, tree.Expr] | None:
        """Both settings in terms of the layer's number, where the new one depends on it."""
        if old is None or new is None or new.source is None:
            return None
        after = self.after.closer.close(*new.source, keep=LAYER)
        if "i" not in mentioned(after):
            return None
        before = old.expr if old.source is None else self.before.closer.close(*old.source, keep=LAYER)
        return flat(before).replace(SIBLING, ""), flat(after), after


def _spans(old: Closed | None, new: Closed | None) -> tuple[Span, Span]:
    """Where both were written: the lines of their use, or where that is the same, of the lets that it names."""
    used = [None if side is None or side.source is None else side.source[0] for side in (old, new)]
    if old is not None and new is not None and used[0] is not None and used[0] == used[1]:
        sides = [side.expr.span if side.expr.span != NOWHERE else side.span for side in (old, new)]
        return sides[0], sides[1]
    return NOWHERE if old is None else old.span, NOWHERE if new is None else new.span


def _one(old: Program, new: Program) -> bool:
    return program_digest(old) == program_digest(new)


def _is_none(closed: Closed) -> bool:
    return isinstance(closed.expr, tree.Name) and closed.expr.id == "none"


def _callee(expr: tree.Expr) -> str:
    """The name that an expression is or calls."""
    while isinstance(expr, tree.Call):
        expr = expr.callee
    return expr.id if isinstance(expr, tree.Name) else ""


def meaning_of(closed: Closed) -> tree.Expr:
    """A setting's expression, or what it stands for where it is the name of a fact or of another parameter."""
    expr, world = settled(closed.expr, closed.world), closed.world
    for _ in range(40):
        found = world.find(expr.id) if isinstance(expr, tree.Name) else None
        if found is None or found[0] == expr:
            return expr
        expr, world = settled(*found), found[1]
    return expr


def argument_of(read: Applied, name: str, around: Closed) -> Closed | None:
    """A setting of a call, given or by default, in the place where the call stands."""
    argument = read.settings.get(name)
    if argument is not None:
        return Closed(argument.value, around.world, argument.span)
    slot = next((slot for slot in slots(read.callee) if slot.name == name), None)
    if slot is None or slot.default is None:
        return None
    return Closed(slot.default, inner_world(read, around.world), slot.default.span, given=False)


def inner_world(read: Applied, world: World) -> World:
    """What the parameters of a call mean in each other's defaults."""
    given = {SIBLING + name: argument.value for name, argument in read.settings.items()}
    default = {SIBLING + s.name: s.default for s in slots(read.callee) if s.default is not None}
    return World({**default, **given}, world, frozenset(given))


__all__ = ["Applied", "Comparison", "Slot", "applied", "argument_of", "meaning_of", "slots"]
