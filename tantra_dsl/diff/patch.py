"""A spec that extends one model and turns it into another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.diagnostics.semantics import NoEffect
from tantra_dsl.diff import compare, recipe
from tantra_dsl.diff.account import Part, account
from tantra_dsl.diff.closed import NONE, number
from tantra_dsl.diff.definitions import mentioned
from tantra_dsl.diff.operations import Operation
from tantra_dsl.graph.hash import full_hash
from tantra_dsl.semantics import extend
from tantra_dsl.semantics.library import Unit
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.format import format_text
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.source import Source

if TYPE_CHECKING:
    from tantra_dsl.api import Spec

Members = tuple[tree.Member, ...]


@dataclass(frozen=True)
class Patch:
    """A patch: the definitions that it brings, its members, and the text of the whole."""

    definitions: Members
    members: Members
    text: str


def patch(before: Spec, after: Spec, use: str | None = None) -> Patch:
    """The spec that turns ``before`` into ``after``; ``use`` is what it names the file of ``before``.

    Overrides where the language can say the change as such, else the smallest key around it is restated, and where
    not even that will do, the model. Every candidate is elaborated and compared before it is given. Raises SpecError
    where either has mistakes.
    """
    found = _Maker(before, after).smallest()
    if found is None:
        return Patch((), (), f"# Restated: no override turns {before.name} into this.\n\n{after.resolved_text()}")
    return Patch(*found, _text(before, after, use, *found))


def _text(before: Spec, after: Spec, use: str | None, definitions: Members, members: Members) -> str:
    taken = {name for unit in before.unit.everything() for name in unit.definitions()}
    name = after.name
    while name in taken:
        name += "_changed"
    file = use if use is not None else _use(before)
    uses = (tree.Use(file),) if file else ()
    model = tree.Definition("model", name, None, (), tree.Name(before.name), tree.Body(members))
    return format_text(tree.File((*uses, *definitions, model)))


def _use(before: Spec) -> str:
    """What names the file of a spec from beside it; nothing for a shipped one, which ``extends`` finds by itself."""
    if before.unit.shipped:
        return ""
    return before.unit.path.name if before.unit.path is not None else before.unit.source.name


class _Maker:
    def __init__(self, before: Spec, after: Spec) -> None:
        self.before, self.after = before, after
        self.target = account(after)
        self.goal = full_hash(self.target.graph)
        self.own = _body(before.merged)
        self.wanted = _body(after.merged)

    def smallest(self) -> tuple[Members, Members] | None:
        """Definitions and members of the first candidate that does it; None where nothing that extends does."""
        for definitions, members in self.candidates():
            cleaned = self.cleaned(definitions, members)
            if cleaned is not None:
                return definitions, cleaned
        return None

    def candidates(self) -> Iterator[tuple[Members, Members]]:
        """From the smallest to the largest."""
        lets = self.lets()
        for start in dict.fromkeys((lets, ())):
            operations = self.operations(start)
            if operations is None:
                continue
            sayable = [op for op in operations if _sayable(op)]
            heads = [
                [_head(op) for op in listed] for listed in ([op for op in operations if op not in sayable], operations)
            ]
            for widely in (False, True):
                overrides = self.overrides([op for op in sayable if _head(op) not in heads[0]], widely)
                yield self.restated((*start, *overrides), heads[0], operations)
            yield self.restated(start, [head for head in heads[1] if head != "train"], operations)
        yield self.everything()

    # --- trying ----------------------------------------------------------------------------

    def candidate(self, definitions: Members, members: Members) -> Spec | None:
        """The old model with ``members`` applied; None where that cannot be done."""
        sink = Sink()
        source = Source("patch", _text(self.before, self.after, "", definitions, members))
        file = parse_source(source, sink)
        if file is None or sink.errors:
            return None
        child = file.members[-1]
        assert isinstance(child, tree.Definition)
        merged = extend.merged(self.before.merged, replace(child, extends=None), sink.add)
        unit = Unit(source, tree.File(file.members[:-1]), None, [self.before.unit])
        return None if sink.errors else type(self.before)(unit, merged)

    def cleaned(self, definitions: Members, members: Members) -> Members | None:
        """``members`` without what nothing reads any more, if they lead to the goal; else None."""
        for _ in range(8):
            spec = self.candidate(definitions, members)
            if spec is None:
                return None
            wrong = [item for item in spec.check() if item.severity == "error"]
            if not wrong:
                return members if self.reached(spec) else None
            idle = {name for item in wrong if isinstance(item, NoEffect) for name in self.named(item)}
            if not idle:
                return None
            members = (*members, *(tree.Remove(name) for name in sorted(idle)))
        return None

    def named(self, item: NoEffect) -> list[str]:
        """Names of members of the old model that a diagnostic says to be without effect."""
        return [m.name for m in self.own if isinstance(m, tree.Let | tree.Share) and m.span == item.span]

    def reached(self, spec: Spec) -> bool:
        """Whether a candidate is the new model, with its starts and its recipe."""
        graph = spec.graph()
        return (
            full_hash(graph) == self.goal
            and not recipe.operations(spec.recipe(), self.after.recipe())
            and not compare.operations(account(spec), self.target)
        )

    def operations(self, start: Members) -> list[Operation] | None:
        """What is still different once ``start`` is applied; None where that cannot be."""
        spec = self.candidate((), start)
        if spec is None or any(item.severity == "error" for item in spec.check()):
            return None
        self.base = account(spec)
        found = compare.operations(self.base, self.target)
        return [*found, *recipe.operations(spec.recipe(), self.after.recipe())]

    # --- candidates ------------------------------------------------------------------------

    def lets(self) -> Members:
        """Lets that both have, with other values."""
        known = {m.name: m for m in self.own if isinstance(m, tree.Let)}
        changed = (m for m in self.wanted if isinstance(m, tree.Let) and m.name in known and known[m.name] != m)
        return tuple(tree.Entry(m.name, m.value) for m in changed)

    def overrides(self, operations: Iterable[Operation], widely: bool) -> Members:
        """Each operation as an override of its own path, or ``widely`` of the widest setting around it."""
        found: dict[str, tree.Member] = {}
        later: list[Operation] = []
        for op in operations:
            if op.path.startswith("train."):
                continue
            if "[" in op.path:
                later.append(op)
            elif op.kind == "repeat":
                count = number(int(op.new or ""))
                found[op.path] = tree.Entry(op.path, tree.Binary("of", count, tree.Name("same")))
            else:
                path, member = _override(op, widely)
                found[path] = member
        stacks = {op.path.split("[")[0] for op in later}
        patterns = {name: tree.Entry(name, self.pattern(name, set(found), widely)) for name in sorted(stacks)}
        rest = [member for path, member in found.items() if path not in patterns]
        return (*patterns.values(), *rest)

    def pattern(self, name: str, told: set[str], widely: bool) -> tree.Expr:
        """The layers of the new model as changes of the old one's block; what is told of all layers is left out."""
        old, new = self.base.root.stacks[name], self.target.root.stacks[name]
        items = [self.layer(name, old.at(0), part, count, told, widely) for part, count in new.runs]
        listed = items[0] if len(items) == 1 else tree.Tuple(tuple(items))
        cycled = len(items) == 1 or new.count != sum(count for _, count in new.runs)
        return tree.Binary("of", number(new.count), listed) if cycled else listed

    def layer(self, name: str, old: Part, new: Part, count: int, told: set[str], widely: bool) -> tree.Expr:
        """``same { attention.mask: causal } * 5``."""
        found: dict[str, tree.Expr] = {}
        for op in compare.parts(self.base, self.target, old, new):
            if not _sayable(op):
                continue
            path, member = _override(op, widely)
            if f"{name}.{path}" not in told:
                found[path] = member.value if isinstance(member, tree.Entry) else NONE
        same: tree.Expr = tree.Name("same")
        if found:
            arguments = tuple(tree.Argument(path, value) for path, value in found.items())
            same = tree.Call(same, arguments, braces=True)
        return tree.Binary("*", same, number(count)) if count > 1 else same

    def recipe(self, operations: Iterable[Operation]) -> Members:
        """Overrides of the recipe, or the whole section where only one model has one."""
        changed = [op for op in operations if op.path.startswith("train.")]
        own, wanted = _section(self.own), _section(self.wanted)
        if not changed:
            return ()
        if wanted is None:
            return (tree.Remove("train"),)
        if own is None:
            return (wanted,)
        return tuple(_recipe_override(op, own, wanted) for op in _tops(changed))

    def restated(self, start: Members, heads: list[str], operations: list[Operation]) -> tuple[Members, Members]:
        """The keys ``heads`` as the new model has them, with everything that they mention."""
        chosen = [m for m in self.wanted if _name(m) in heads]
        gone = [head for head in heads if head not in {_name(m) for m in self.wanted}]
        definitions, members = self.closure(chosen)
        removed = tuple(tree.Remove(name) for name in gone if name in {_name(m) for m in self.own})
        said = {_name(m) for m in members}
        kept = tuple(m for m in start if _name(m) not in said)
        return definitions, (*kept, *members, *removed, *self.recipe(operations))

    def everything(self) -> tuple[Members, Members]:
        """The new model's members all over, and the old one's others removed."""
        kept = [m for m in self.wanted if not isinstance(m, tree.Expect)]
        definitions, members = self.closure(kept)
        gone = dict.fromkeys(_name(m) for m in self.own if _name(m))
        return definitions, (*(tree.Remove(name) for name in gone), *members)

    def closure(self, chosen: Sequence[tree.Member]) -> tuple[Members, Members]:
        """The members with those that they mention, in the order of the new model; and definitions of its files."""
        files = {
            m.name: m
            for unit in self.after.unit.everything()
            for m in unit.file.members
            if isinstance(m, tree.Definition | tree.Let | tree.Share) and getattr(m, "kind", "") != "model" and m.name
        }
        own = {_name(m): m for m in self.wanted if isinstance(m, tree.Let | tree.Share | tree.Definition)}
        taken: dict[str, tree.Member] = {}
        outside: dict[str, tree.Member] = {}
        pending: list[tree.Node] = list(chosen)
        while pending:
            for name in mentioned(pending.pop()):
                if name in own and name not in taken:
                    taken[name] = own[name]
                    pending.append(own[name])
                elif name not in own and name in files and name not in outside:
                    outside[name] = files[name]
                    pending.append(files[name])
        listed = [m for m in self.wanted if m in chosen or taken.get(_name(m)) is m]
        return tuple(outside.values()), tuple(listed)


def _head(op: Operation) -> str:
    """The key of the model that an operation is about."""
    return op.path.split(".")[0].split("[")[0]


def _sayable(op: Operation) -> bool:
    """Whether an operation may be said as an override of its path."""
    if not op.path or op.absolute or op.kind in ("rename", "move", "share"):
        return False
    if op.kind == "repeat":
        return op.new is not None and op.new.replace("_", "").isdigit()
    return op.value is not None or op.kind == "remove" or op.defaulted[1] or op.path.startswith("train.")


def _override(op: Operation, widely: bool) -> tuple[str, tree.Member]:
    """One override, by the path that it sets."""
    if widely and op.wider:
        path, value = op.wider[-1]
        return path, tree.Entry(path, value)
    if op.value is None:
        return op.path, tree.Remove(op.path)
    return op.path, tree.Entry(op.path, op.value)


def _tops(operations: list[Operation]) -> list[Operation]:
    return list({op.path: op for op in operations}.values())


def _recipe_override(op: Operation, own: tree.Item, wanted: tree.Item) -> tree.Member:
    """A key of the recipe as the new model's text has it; removed where it has it by default."""
    key = op.path.split(".")[1]
    for section in (wanted,):
        assert isinstance(section.value, tree.Call)
        given = [a for a in section.value.arguments if a.name == key]
        if given and len([a for a in section.value.arguments if (a.name or "").split(".")[0] == key]) == 1:
            return tree.Entry(f"train.{key}", given[0].value)
    from tantra_dsl.syntax.text import parse_expression

    value = None if op.new is None else parse_expression(Source("patch", op.new), Sink())
    return tree.Remove(f"train.{key}") if value is None else tree.Entry(op.path, value)


def _section(members: Members) -> tree.Item | None:
    return next((m for m in members if isinstance(m, tree.Item) and _name(m) == "train"), None)


def _body(definition: tree.Definition) -> Members:
    assert isinstance(definition.body, tree.Body)
    return definition.body.members


def _name(member: tree.Member) -> str:
    return next(iter(extend.names_of((member,))), "")
