"""``extends``, overrides by path and ``remove``: rewriting of the tree before it is elaborated."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.diagnostics.semantics import CircularDefinition, TooLarge, UndefinedName, UnknownPath, WrongType
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.depth import children
from tantra_dsl.syntax.limits import MAX_TREE_DEPTH
from tantra_dsl.syntax.source import Span

if TYPE_CHECKING:
    from tantra_dsl.semantics.frame import Frame
    from tantra_dsl.semantics.scope import Scope
    from tantra_dsl.semantics.values import Bound

MAX_TREE_SIZE = 50_000

Edit = Callable[[tree.Expr], tree.Expr]


class PathMissing(Exception):
    """A path names nothing; ``step`` is the part that is not there, ``known`` what is."""

    def __init__(self, step: str, known: tuple[str, ...]) -> None:
        super().__init__(step)
        self.step = step
        self.known = known


def steps(path: str) -> list[str]:
    """The parts of a dotted path: ``layers[3].attention`` is layers, [3], attention."""
    return [part for part in re.split(r"\.|(?=\[)", path) if part]


# --- definitions that extend others ----------------------------------------------------


def bind_definitions(members: tuple[tree.Member, ...], scope: Scope, frame: Frame) -> None:
    """Bind the named definitions among ``members``, in any order, each with what it extends merged in."""
    from tantra_dsl.semantics.scope import Thunk
    from tantra_dsl.semantics.values import Function

    def bind(definition: tree.Definition, meaning: tree.Definition) -> None:
        function = Function(definition.name or "", meaning, scope=scope, span=definition.span)
        scope.bind(function.name, Thunk.of(function))

    named = [member for member in members if isinstance(member, tree.Definition) and member.name]
    for definition in named:
        bind(definition, definition)
    names = tuple(sorted(scope.visible()))
    for definition in named:
        if definition.extends is not None and definition.kind != "model":
            merged = merge_base(definition, lambda name, by: _base(name, by, scope), frame.session.report, names)
            bind(definition, merged)


def _base(name: str, by: tree.Definition, scope: Scope) -> tree.Definition | None:
    """What ``name`` means in ``by extends name``: of a definition's own name, the one further out."""
    from tantra_dsl.semantics.values import Function

    thunk = scope.parent.find(name) if name == by.name and scope.parent is not None else scope.find(name)
    value = thunk.peek() if thunk is not None and thunk.known else None
    return value.definition if isinstance(value, Function) else None


def merge_base(
    definition: tree.Definition,
    find: Callable[[str, tree.Definition], tree.Definition | None],
    report: Callable[..., object],
    candidates: tuple[str, ...] = (),
) -> tree.Definition:
    """Merge the whole chain of ``extends`` into one definition; reports what cannot be.

    ``find(name, definition)`` gives what ``definition extends name`` stands for, or None; ``candidates`` are the names
    among which one that is not found may have been meant.
    """
    line = [definition]
    while line[-1].extends is not None:
        base = _next_base(line, find, report, candidates)
        if base is None:
            line[-1] = replace(line[-1], extends=None)
            break
        line.append(base)
    result = line.pop()
    while line:
        result = merged(result, line.pop(), report)
    return result


def _next_base(
    line: list[tree.Definition],
    find: Callable[[str, tree.Definition], tree.Definition | None],
    report: Callable[..., object],
    candidates: tuple[str, ...],
) -> tree.Definition | None:
    """What the last definition of ``line`` extends; None after a report."""
    definition = line[-1]
    assert definition.extends is not None
    name = definition.extends.id if isinstance(definition.extends, tree.Name) else ""
    span, here = definition.extends.span, definition.name or definition.kind
    base = find(name, definition)
    if any(base is earlier for earlier in line) or (base is None and name == here):
        chain = (*(earlier.name or earlier.kind for earlier in line), name)
        report(CircularDefinition(span=span, what=f"{definition.kind} {here}", chain=chain[chain.index(name) :]))
        return None
    if base is None:
        report(UndefinedName(span=span, name=name or "this", candidates=candidates))
        return None
    if base.kind != definition.kind:
        report(WrongType(span=span, wanted=f"a {definition.kind}", got=f"the {base.kind} {name}", where="`extends`"))
        return None
    return base


def merged(base: tree.Definition, child: tree.Definition, report: Callable[..., object]) -> tree.Definition:
    """``base`` with the members of ``child`` applied in order."""
    if not isinstance(base.body, tree.Body) or not isinstance(child.body, tree.Body):
        body: tree.Body | tree.Expr = child.body
    else:
        # What a model expects of itself is not expected of those that extend it.
        members: tuple[tree.Member, ...] = tuple(m for m in base.body.members if not isinstance(m, tree.Expect))
        for member in child.body.members:
            members = _applied(members, member, report)
        body = tree.Body(members, span=child.body.span)
    inputs = base.inputs if child.inputs is None else child.inputs
    params = {parameter.name: parameter for parameter in (*base.params, *child.params)}
    return replace(child, inputs=inputs, params=tuple(params.values()), extends=None, body=body)


def _applied(
    members: tuple[tree.Member, ...], member: tree.Member, report: Callable[..., object]
) -> tuple[tree.Member, ...]:
    try:
        if isinstance(member, tree.Entry):
            return set_member(members, steps(member.path), member.value, member.span)
        if isinstance(member, tree.Remove):
            return remove_member(members, steps(member.path))
        if isinstance(member, tree.Item) and isinstance(member.value, tree.Call):
            return _merge_item(members, member, member.value)
    except PathMissing as missing:
        path = member.path if isinstance(member, tree.Entry | tree.Remove) else ""
        report(UnknownPath(span=member.span, path=path, missing=missing.step, candidates=missing.known))
        return members
    except Unbounded:
        report(_too_large(member.span))
        return members
    return (*(old for old in members if not _same_name(old, member)), member)


def _merge_item(members: tuple[tree.Member, ...], item: tree.Item, call: tree.Call) -> tuple[tree.Member, ...]:
    """A section or sublayer that the base has, too, takes the new settings over the old."""
    for position, old in enumerate(members):
        if isinstance(old, tree.Item) and isinstance(old.value, tree.Call) and label(old.value) == label(call):
            value: tree.Expr = old.value
            for argument in call.arguments:
                if argument.name:
                    value = edit(value, steps(argument.name), argument.value, argument.span)
            return (*members[:position], replace(old, value=value), *members[position + 1 :])
    return (*members, item)


def _same_name(old: tree.Member, new: tree.Member) -> bool:
    named = (tree.Let, tree.Share, tree.Input, tree.Definition)
    if isinstance(old, named) and isinstance(new, named):
        return old.name == new.name
    return isinstance(old, tree.Assign) and isinstance(new, tree.Assign) and old.targets == new.targets


# --- paths into members ----------------------------------------------------------------


def label(expr: tree.Expr) -> str:
    """The name that an unlabelled sublayer goes by: what it calls."""
    while isinstance(expr, tree.Call):
        expr = expr.callee
    return expr.id if isinstance(expr, tree.Name) else ""


def names_of(members: tuple[tree.Member, ...]) -> tuple[str, ...]:
    """Everything that a path may start with."""
    return tuple(name for member in members if (name := _name_of(member)))


def _name_of(member: tree.Member) -> str:
    if isinstance(member, tree.Entry):
        return member.path
    if isinstance(member, tree.Item):
        return label(member.value)
    if isinstance(member, tree.Let | tree.Share | tree.Input):
        return member.name
    if isinstance(member, tree.Definition):
        return member.name or ""
    return member.targets[0] if isinstance(member, tree.Assign) and len(member.targets) == 1 else ""


def set_member(
    members: tuple[tree.Member, ...], path: list[str], value: tree.Expr, span: Span
) -> tuple[tree.Member, ...]:
    """Members with what ``path`` names set to ``value``. Raises PathMissing."""
    for position, member in enumerate(members):
        if _name_of(member) == path[0]:
            changed = _set_in(member, path[1:], value, span)
            return (*members[:position], changed, *members[position + 1 :])
    if len(path) > 1:
        raise PathMissing(path[0], names_of(members))
    return (*members, tree.Entry(path[0], value, span=span))


def _set_in(member: tree.Member, rest: list[str], value: tree.Expr, span: Span) -> tree.Member:
    if isinstance(member, tree.Definition):
        return _set_in_definition(member, rest, value, span)
    if isinstance(member, tree.Input):
        return replace(member, type=value, span=span)
    assert isinstance(member, tree.Entry | tree.Item | tree.Let | tree.Share | tree.Assign)
    if rest:
        return replace(member, value=edit(member.value, rest, value, span))
    fresh = with_same(value, member.value)
    if isinstance(member, tree.Item):
        return tree.Entry(label(member.value), fresh, span=span)
    return replace(member, value=fresh, span=span)


def _set_in_definition(definition: tree.Definition, rest: list[str], value: tree.Expr, span: Span) -> tree.Definition:
    if not rest or not isinstance(definition.body, tree.Body):
        raise PathMissing(rest[0] if rest else definition.name or "", ())
    try:
        members = set_member(definition.body.members, rest, value, span)
    except PathMissing:
        if definition.extends is None:
            raise
        # What the base holds is not here yet: the override joins those that wait for it.
        members = (*definition.body.members, tree.Entry(".".join(rest), value, span=span))
    return replace(definition, body=replace(definition.body, members=members))


def with_same(value: tree.Expr, old: tree.Expr) -> tree.Expr:
    """``value`` with ``same`` standing for what was there: the block of ``12 of block``, or all of it."""
    meant = old.right if isinstance(old, tree.Binary) and old.op == "of" else old
    changed = _replace_name(value, "same", meant)
    if changed is not value:
        _check_size(changed)
    return changed


class Unbounded(Exception):
    """Overrides that put ``same`` into itself again and again unfold without bound."""


def _check_size(expr: tree.Expr) -> None:
    """Raises Unbounded where the tree, with shared parts counted at each place, is too large or too deep to walk."""
    sizes: dict[int, tuple[int, int]] = {}
    pending: list[tuple[tree.Node, bool]] = [(expr, False)]
    while pending:
        node, ready = pending.pop()
        if id(node) in sizes:
            continue
        below = [child for child in children(node) if isinstance(child, tree.Node)]
        if not ready:
            pending += [(node, True), *((child, False) for child in below)]
            continue
        parts = [sizes[id(child)] for child in below]
        sizes[id(node)] = (1 + sum(size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0))
    size, depth = sizes[id(expr)]
    if size > MAX_TREE_SIZE or depth > MAX_TREE_DEPTH:
        raise Unbounded


def _too_large(span: Span) -> TooLarge:
    limit = f"{MAX_TREE_SIZE:,} parts, {MAX_TREE_DEPTH} levels deep"
    return TooLarge(span=span, what="`same` unfolds into too much here", limit=limit)


def _replace_name(expr: tree.Expr, name: str, meant: tree.Expr) -> tree.Expr:
    """``expr`` with ``meant`` for ``name``; the same object where the name does not occur."""
    if isinstance(expr, tree.Name):
        return meant if expr.id == name else expr
    if isinstance(expr, tree.Call):
        return _replace_in_call(expr, name, meant)
    parts = {slot: getattr(expr, slot) for slot in _PARTS.get(type(expr), ())}
    changed = {slot: _replace_each(part, name, meant) for slot, part in parts.items()}
    return replace(expr, **changed) if any(changed[slot] is not parts[slot] for slot in parts) else expr


def _replace_each(part: Any, name: str, meant: tree.Expr) -> Any:
    if not isinstance(part, tuple):
        return _replace_name(part, name, meant)
    items = tuple(_replace_name(item, name, meant) for item in part)
    return items if any(new is not old for new, old in zip(items, part, strict=True)) else part


_PARTS: dict[type, tuple[str, ...]] = {
    tree.Binary: ("left", "right"), tree.Unary: ("operand",), tree.Tuple: ("items",), tree.ListExpr: ("items",),
    tree.If: ("condition", "then", "otherwise"), tree.Index: ("base", "items"), tree.Attribute: ("base",),
}  # fmt: skip


def _replace_in_call(expr: tree.Call, name: str, meant: tree.Expr) -> tree.Expr:
    """``same { attention.heads: 4 }``: settings over an anonymous block are applied to it at once."""
    if isinstance(expr.callee, tree.Name) and expr.callee.id == name:
        result = meant
        for argument in expr.arguments:
            result = edit(result, steps(argument.name or ""), argument.value, argument.span)
        return result
    values = [_replace_name(argument.value, name, meant) for argument in expr.arguments]
    if all(value is argument.value for value, argument in zip(values, expr.arguments, strict=True)):
        return expr
    given = zip(expr.arguments, values, strict=True)
    return replace(expr, arguments=tuple(replace(argument, value=value) for argument, value in given))


def edit(expr: tree.Expr, path: list[str], value: tree.Expr, span: Span) -> tree.Expr:
    """``expr`` with what ``path`` names inside it set to ``value``. Raises PathMissing."""
    if isinstance(expr, tree.Definition):
        return _set_in_definition(expr, path, value, span)
    if isinstance(expr, tree.Call):
        return _set_argument(expr, path, value, span)
    if isinstance(expr, tree.Binary) and expr.op in ("of", "|>"):
        return replace(expr, right=edit(expr.right, path, value, span))
    if isinstance(expr, tree.Binary) and expr.op == "*":
        return replace(expr, left=edit(expr.left, path, value, span))
    if isinstance(expr, tree.Tuple):
        return replace(expr, items=tuple(edit(item, path, value, span) for item in expr.items))
    if isinstance(expr, tree.If):
        return replace(expr, then=edit(expr.then, path, value, span), otherwise=edit(expr.otherwise, path, value, span))
    if isinstance(expr, tree.Unary) and expr.op == "share":
        return replace(expr, operand=edit(expr.operand, path, value, span))
    if isinstance(expr, tree.Name) and expr.id not in ("none", "true", "false"):
        return tree.Call(expr, (tree.Argument(".".join(path), value, span=span),), braces=True, span=expr.span)
    raise PathMissing(path[0], ())


def _set_argument(call: tree.Call, path: list[str], value: tree.Expr, span: Span) -> tree.Expr:
    for position, argument in enumerate(call.arguments):
        own = argument.name or label(argument.value)
        if own == path[0]:
            new = edit(argument.value, path[1:], value, span) if len(path) > 1 else with_same(value, argument.value)
            fresh = replace(argument, value=new, span=span)
            return replace(call, arguments=(*call.arguments[:position], fresh, *call.arguments[position + 1 :]))
    given = tree.Argument(".".join(path), value, span=span)
    return replace(call, arguments=(*call.arguments, given))


def remove_member(members: tuple[tree.Member, ...], path: list[str]) -> tuple[tree.Member, ...]:
    """Members without what ``path`` names. Raises PathMissing."""
    for position, member in enumerate(members):
        if _name_of(member) == path[0]:
            kept = () if len(path) == 1 else (_remove_in(member, path[1:]),)
            return (*members[:position], *kept, *members[position + 1 :])
    raise PathMissing(path[0], names_of(members))


def _remove_in(member: tree.Member, path: list[str]) -> tree.Member:
    if isinstance(member, tree.Definition):
        return _remove_in_definition(member, path)
    if isinstance(member, tree.Entry | tree.Item | tree.Let | tree.Share | tree.Assign):
        return replace(member, value=_remove_in_expr(member.value, path))
    raise PathMissing(path[0], ())


def _remove_in_definition(definition: tree.Definition, path: list[str]) -> tree.Definition:
    if not isinstance(definition.body, tree.Body):
        raise PathMissing(path[0], ())
    return replace(definition, body=replace(definition.body, members=remove_member(definition.body.members, path)))


def _remove_in_expr(expr: tree.Expr, path: list[str]) -> tree.Expr:
    if isinstance(expr, tree.Definition):
        return _remove_in_definition(expr, path)
    if isinstance(expr, tree.Binary) and expr.op in ("of", "|>"):
        return replace(expr, right=_remove_in_expr(expr.right, path))
    if isinstance(expr, tree.Binary) and expr.op == "*":
        return replace(expr, left=_remove_in_expr(expr.left, path))
    if isinstance(expr, tree.Tuple):
        return replace(expr, items=tuple(_remove_in_expr(item, path) for item in expr.items))
    if isinstance(expr, tree.Call):
        return _remove_argument(expr, path)
    raise PathMissing(path[0], ())


def _remove_argument(call: tree.Call, path: list[str]) -> tree.Expr:
    for position, argument in enumerate(call.arguments):
        if (argument.name or label(argument.value)) == path[0]:
            kept = () if len(path) == 1 else (replace(argument, value=_remove_in_expr(argument.value, path[1:])),)
            return replace(call, arguments=(*call.arguments[:position], *kept, *call.arguments[position + 1 :]))
    raise PathMissing(path[0], tuple(argument.name or label(argument.value) for argument in call.arguments))


# --- settings given where a block is used ----------------------------------------------


def override_definition(definition: tree.Definition, delta: Bound, frame: Frame) -> tree.Definition | None:
    """A block with one of its parts set where it is used: ``local(attention.mask: causal)``."""
    delta.thunk.read = True
    assert delta.name is not None and delta.thunk.expr is not None
    known: tuple[str, ...] = ()
    path = steps(delta.name)
    if isinstance(definition.body, tree.Body):
        known = (*names_of(definition.body.members), "wiring")
        if path[0] in known:
            try:
                return _set_in_definition(definition, path, delta.thunk.expr, delta.span)
            except PathMissing as missing:
                known, path = missing.known, [missing.step]
            except Unbounded:
                frame.session.report(_too_large(delta.span))
                return None
    frame.session.report(UnknownPath(span=delta.span, path=delta.name, missing=path[0], candidates=known))
    return None


# --- overrides from outside ------------------------------------------------------------


def with_sets(definition: tree.Definition, sets: tuple[str, ...], sink: Sink) -> tree.Definition:
    """The model with overrides ``path=value`` applied in order; mistakes go to ``sink``."""
    for text in sets:
        parsed = parse_set(text, sink)
        if parsed is None or not isinstance(definition.body, tree.Body):
            continue
        path, value, span = parsed
        try:
            members = _set_section(definition.body.members, steps(path), value, span)
            definition = replace(definition, body=replace(definition.body, members=members))
        except PathMissing as missing:
            sink.add(UnknownPath(span=span, path=path, missing=missing.step, candidates=missing.known))
        except Unbounded:
            sink.add(_too_large(span))
    return definition


def _set_section(
    members: tuple[tree.Member, ...], path: list[str], value: tree.Expr, span: Span
) -> tuple[tree.Member, ...]:
    """Like ``set_member``; the recipe may be set where the model has none."""
    if path[0] == "train" and len(path) > 1 and "train" not in names_of(members):
        argument = tree.Argument(".".join(path[1:]), value, span=span)
        return (
            *members,
            tree.Item(tree.Call(tree.Name("train", span=span), (argument,), braces=True, span=span), span=span),
        )
    return set_member(members, path, value, span)


def parse_set(text: str, sink: Sink) -> tuple[str, tree.Expr, Span] | None:
    """Path, value and place of one ``path=value``."""
    from tantra_dsl.syntax.source import Source
    from tantra_dsl.syntax.text import parse_expression

    source = Source("--set", text)
    path, equals, _ = text.partition("=")
    span = Span(source, 0, len(text))
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*|\[\d+\])*", path.strip()):
        sink.add(WrongType(span=span, wanted="path=value, such as train.steps=100", got=f"`{text}`", where="`--set`"))
        return None
    # The path is blanked, not cut, so that places in the value are places in the argument.
    blanked = Source("--set", " " * (len(path) + 1) + text[len(path) + 1 :])
    value = parse_expression(blanked, sink)
    return None if value is None else (path.strip(), value, span)
