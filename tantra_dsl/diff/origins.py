"""Where a value of a model comes from: the lines, defaults and overrides that set it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.semantics import UnknownPath
from tantra_dsl.diff.account import Account, Layers, Part, account
from tantra_dsl.diff.bases import bases, blocks
from tantra_dsl.diff.closed import SIBLING, Closed
from tantra_dsl.diff.equations import Equation, of_part
from tantra_dsl.diff.operations import place
from tantra_dsl.diff.recipe import value_at
from tantra_dsl.diff.settings import applied, argument_of, meaning_of
from tantra_dsl.diff.which import which
from tantra_dsl.semantics.model import FACTS
from tantra_dsl.semantics.scope import Scope
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.flat import flat
from tantra_dsl.syntax.source import Source, Span

if TYPE_CHECKING:
    from tantra_dsl.api import Spec

_STEP = re.compile(r"(?P<name>\w+)(?:\[(?P<index>\d+)\])?\Z")
_DEPTH = 16


@dataclass(frozen=True)
class Line:
    """One line that had a say: its place and text, and what it did."""

    where: str
    text: str
    role: str


@dataclass(frozen=True)
class Origin:
    """A value at a path (which says the layers, where they differ), and the lines behind it, the deciding one first."""

    path: str
    value: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class _Found:
    """A value in one model: its full path, its text, where it was written, and what it was made from."""

    path: str
    value: str
    span: Span
    given: bool
    closed: Closed | None = None
    inherited: tuple[tuple[str, tree.Expr, Span], ...] = ()


def explain(spec: Spec, path: str) -> list[Origin]:
    """The origins of what ``path`` names, one for each set of layers in which it differs.

    Raises SpecError where the spec has mistakes or the path names nothing.
    """
    model = account(spec)
    found = _look(model, path)
    before = [_look_quietly(ancestor, path) for ancestor in _ancestors(spec)]
    return [_origin(item, before, model.scope) for item in found]


def _origin(found: _Found, before: list[tuple[str, list[_Found]]], facts: Scope) -> Origin:
    lines = [_line(found.span, "sets it" if found.given else "is the default")]
    seen = {found.span}
    others = [(name, o) for name, listed in before for o in listed if o.path == found.path or len(listed) == 1]
    for name, other in others:
        if other.given and other.span not in seen:
            seen.add(other.span)
            lines.append(_line(other.span, f"set it to {other.value} in {name}; overridden"))
    for name, expr, span in found.inherited:
        if span not in seen:
            seen.add(span)
            lines.append(_line(span, f"set it to {flat(expr)} in block {name}; overridden"))
    default = next((other for _, other in others if not other.given and other.span not in seen), None)
    if found.given and default is not None:
        seen.add(default.span)
        lines.append(_line(default.span, f"is the default, {default.value}; overridden"))
    closed = found.closed
    if closed is not None and closed.source is not None:
        lines += _behind(*closed.source, facts, seen, 0)
    return Origin(found.path, found.value, tuple(lines))


def _line(span: Span, role: str) -> Line:
    source = span.source
    number = source.line_column(span.start)[0] if source.text else 0
    text = source.line(number).strip() if number else ""
    return Line(place(span) or source.name, text, role)


def _behind(expr: tree.Expr, scope: Scope, facts: Scope, seen: set[Span], depth: int) -> Iterator[Line]:
    """The lines of the lets, facts and parameters that an expression mentions."""
    for name in _names(expr):
        thunk = scope.find(name)
        if name in FACTS and (thunk is None or thunk.expr is None):
            thunk = facts.names.get(name)
        if thunk is None or thunk.expr is None or thunk.scope is None or depth > _DEPTH or thunk.span in seen:
            continue
        seen.add(thunk.span)
        yield _line(thunk.span, f"gives `{name}`")
        yield from _behind(thunk.expr, thunk.scope, facts, seen, depth + 1)


def _names(expr: tree.Node) -> list[str]:
    from tantra_dsl.syntax.depth import children

    if isinstance(expr, tree.Name):
        return [expr.id]
    return [name for child in children(expr) if isinstance(child, tree.Node) for name in _names(child)]


# --- the models that it extends --------------------------------------------------------


def _ancestors(spec: Spec) -> list[Spec]:
    """The models that a spec builds on, the nearest first; the spec itself where overrides were made from outside."""
    units = spec.unit.everything()
    known = {name: (unit, d) for unit in units for name, d in unit.models().items()}
    found = [type(spec)(spec.unit, spec.definition)] if spec.sets else []
    definition = spec.definition
    while isinstance(definition.extends, tree.Name) and definition.extends.id in known:
        unit, definition = known[definition.extends.id]
        found.append(type(spec)(unit, definition))
    return found


def _look_quietly(spec: Spec, path: str) -> tuple[str, list[_Found]]:
    """What a path names in a model that may not be sound by itself."""
    try:
        return spec.name, _look(account(spec), path)
    except SpecError:
        return spec.name, []


# --- paths -----------------------------------------------------------------------------


def _look(model: Account, path: str) -> list[_Found]:
    """What ``path`` names. Raises SpecError where it names nothing."""
    steps = path.split(".")
    if steps[0] == "train":
        return [_recipe(model.spec, path)]
    found = _Search(model, path).run(steps)
    return found


def _recipe(spec: Spec, path: str) -> _Found:
    told = value_at(spec.recipe(), path.removeprefix("train").removeprefix("."))
    if told is None:
        raise _missing(spec, path, path.split(".")[-1], ())
    value, key, known = told
    span = spec.recipe().span(key)
    nowhere = Span(Source("the recipe's default", ""), 0, 0)
    return _Found(path, value, span if known else nowhere, known)


def _missing(spec: Spec, path: str, step: str, known: tuple[str, ...]) -> SpecError:
    return SpecError(
        [UnknownPath(span=Span(Source(spec.name, path), 0, len(path)), path=path, missing=step, candidates=known)]
    )


class _Search:
    """Follows a path into a model."""

    def __init__(self, model: Account, path: str) -> None:
        self.model, self.path = model, path

    def run(self, steps: list[str]) -> list[_Found]:
        """What the steps name."""
        first = self._step(steps[0])
        if first[0] in self.model.root.stacks:
            return self._stack(self.model.root.stacks[first[0]], first[1], steps[1:], first[0])
        setting = self.model.key(first[0], lets=True)
        if setting is not None:
            return [self._setting(setting, steps[1:], first[0])]
        child = self.model.root.children.get(first[0])
        if child is not None:
            return self._part(child, steps[1:], first[0])
        equation = of_part(self.model.root).get(first[0])
        if equation is not None and len(steps) == 1:
            return [_equation(equation, first[0])]
        known = (*FACTS, *self.model.entries, *self.model.root.stacks, *self.model.root.children)
        raise _missing(self.model.spec, self.path, first[0], tuple(dict.fromkeys(known)))

    def _step(self, step: str) -> tuple[str, int | None]:
        match = _STEP.match(step)
        if match is None:
            raise _missing(self.model.spec, self.path, step, ())
        return match["name"], None if match["index"] is None else int(match["index"])

    def _stack(self, stack: Layers, index: int | None, rest: list[str], path: str) -> list[_Found]:
        if not rest:
            return [_Found(path, stack.text, stack.span, True)]
        if index is not None:
            if index >= stack.count:
                raise _missing(self.model.spec, self.path, f"layer {index}", ())
            return [_placed(item, f"{path}[{index}]", "") for item in self._layer(stack.at(index), rest)]
        return self._each(stack, rest, path)

    def _layer(self, part: Part, rest: list[str]) -> list[_Found]:
        """What a layer has, with what the blocks that its own extends say of it."""
        known = blocks(self.model.spec)
        inherited = tuple(bases(known, part.name, rest))
        return [replace(item, inherited=inherited) for item in self._part(part, rest, "")]

    def _each(self, stack: Layers, rest: list[str], path: str) -> list[_Found]:
        """What the layers have, once for each set of layers that have it from the same line."""
        where: dict[tuple[str, str, Span], list[int]] = {}
        made: dict[tuple[str, str, Span], _Found] = {}
        kinds: dict[int, list[_Found]] = {}
        wrong: SpecError | None = None
        for layer in range(stack.count):
            part = stack.at(layer)
            try:
                found = kinds[id(part)] = kinds.get(id(part)) or self._layer(part, rest)
            except SpecError as error:
                wrong, kinds[id(part)] = error, []
                continue
            for item in found:
                key = item.path, item.value, item.span
                where.setdefault(key, []).append(layer)
                made[key] = item
        if wrong is not None and not made:
            raise wrong
        return [_placed(made[key], path, which(layers, stack.count)) for key, layers in where.items()]

    def _part(self, part: Part, rest: list[str], path: str) -> list[_Found]:
        if not rest:
            return [_Found(path, part.name, part.span, True)]
        name, index = self._step(rest[0])
        below = f"{path}.{name}" if path else name
        if name in part.stacks:
            return self._stack(part.stacks[name], index, rest[1:], below)
        if name in part.settings:
            return [self._setting(part.settings[name], rest[1:], below)]
        if name == "wiring" and part.is_sublayers and part.wiring is not None:
            return [self._setting(part.wiring, rest[1:], below)]
        sub = next((sub for sub in part.sublayers if sub.label == name), None)
        if sub is not None and sub.part is None:
            return [self._setting(sub.call, rest[1:], below)]
        child = sub.part if sub is not None else part.children.get(name)
        if child is not None:
            return self._called(child, sub.call if sub else None, rest[1:], below)
        equation = of_part(part).get(name)
        if equation is not None and len(rest) == 1:
            return [_equation(equation, below)]
        known = (*part.settings, *(s.label for s in part.sublayers), *part.children)
        raise _missing(self.model.spec, self.path, name, tuple(dict.fromkeys(known)))

    def _called(self, part: Part, call: Closed | None, rest: list[str], path: str) -> list[_Found]:
        if rest or call is None:
            return self._part(part, rest, path)
        return [_Found(path, call.text, call.span, True, call)]

    def _setting(self, closed: Closed, rest: list[str], path: str) -> _Found:
        if not rest:
            span = closed.source[0].span if closed.source is not None else closed.span
            return _Found(path, closed.text, span, closed.given, closed)
        expr = meaning_of(closed)
        callee = expr.callee if isinstance(expr, tree.Call) else expr
        name = callee.id if isinstance(callee, tree.Name) else ""
        key = path.split(".")[-1]
        read = applied(expr, self.model.function(name.removeprefix(SIBLING), key))
        inner = argument_of(read, rest[0], closed) if read is not None else None
        if inner is None:
            known = tuple(read.settings) if read is not None else ()
            raise _missing(self.model.spec, self.path, rest[0], known)
        return self._setting(inner, rest[1:], f"{path}.{rest[0]}")


def _equation(equation: Equation, path: str) -> _Found:
    return _Found(path, flat(equation.value), equation.span, True)


def _placed(found: _Found, path: str, layers: str) -> _Found:
    prefix = f"{path}[{layers}]" if layers else path
    return replace(found, path=f"{prefix}.{found.path}")


def text(origins: list[Origin]) -> str:
    """Origins for a terminal."""
    blocks = []
    for origin in origins:
        width = max(len(line.where) for line in origin.lines)
        lines = [f"  {line.where:<{width}}  {line.role}: {line.text}".rstrip(": ") for line in origin.lines]
        blocks.append("\n".join([f"{origin.path} = {origin.value}", *lines]))
    return "\n\n".join(blocks) + "\n"
