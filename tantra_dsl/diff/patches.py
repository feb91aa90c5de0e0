"""A spec that extends one model and turns it into another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from tantra_dsl.diagnostics.core import Sink, SpecError
from tantra_dsl.diagnostics.semantics import NoEffect
from tantra_dsl.diff import compare, recipe
from tantra_dsl.diff.account import account
from tantra_dsl.diff.closed import NONE, mentioned
from tantra_dsl.diff.operations import Operation
from tantra_dsl.diff.overrides import Members, Overrides, head, sayable
from tantra_dsl.graph.hash import full_hash
from tantra_dsl.semantics import extend
from tantra_dsl.semantics.library import Unit
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.format import format_text
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.source import Source
from tantra_dsl.syntax.text import parse_expression

if TYPE_CHECKING:
    from tantra_dsl.api import Spec


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


def applied(before: Spec, text: str) -> Spec:
    """The model that a patch makes of ``before``: what ``use`` would do, without files. Raises SpecError."""
    sink = Sink()
    source = Source("patch", text)
    file = parse_source(source, sink)
    members = () if file is None else file.members
    model = next((m for m in members if isinstance(m, tree.Definition) and m.kind == "model"), None)
    if model is None or sink.errors:
        raise SpecError(sink.sorted())
    rest = tuple(m for m in members if m is not model and not isinstance(m, tree.Use))
    if model.extends is not None:
        model = extend.merged(before.merged, replace(model, extends=None), sink.add)
    if sink.errors:
        raise SpecError(sink.sorted())
    return type(before)(Unit(source, tree.File(rest), None, [before.unit]), model)


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
    return before.unit.path.name if before.unit.path is not None else ""


class _Maker:
    def __init__(self, before: Spec, after: Spec) -> None:
        self.before, self.after = before, after
        self.target = account(after)
        self.goal = full_hash(self.target.graph)
        self.own = _body(before.merged)
        self.wanted = _body(after.merged)

    def smallest(self) -> tuple[Members, Members] | None:
        """Definitions and members of the first candidate that does it; None where nothing that extends does."""
        for members in self.candidates():
            cleaned = self.cleaned(members)
            if cleaned is not None:
                return self.definitions, cleaned
        return None

    def candidates(self) -> Iterator[Members]:
        """Members of a patch, from the smallest to the largest."""
        lets = self.lets()
        for start in dict.fromkeys((lets, ())):
            operations = self.operations(start)
            if operations is None:
                continue
            plain = [op for op in operations if sayable(op)]
            rest = list(dict.fromkeys(head(op) for op in operations if op not in plain))
            yield (*start, *self.recipe(operations))
            for widely in (False, True):
                chosen = [op for op in plain if head(op) not in rest]
                members = Overrides(self.base, self.target, self.own, widely).members(chosen)
                yield self.restated((*start, *members), rest, operations)
            heads = dict.fromkeys(head(op) for op in operations if head(op) != "train")
            yield self.restated(start, list(heads), operations)
        yield self.everything()

    # --- trying ----------------------------------------------------------------------------

    def candidate(self, members: Members) -> Spec | None:
        """The old model with ``members`` applied; None where that cannot be done."""
        try:
            return applied(self.before, _text(self.before, self.after, "", self.definitions, members))
        except SpecError:
            return None

    def cleaned(self, members: Members) -> Members | None:
        """``members`` without what nothing reads any more, if they lead to the goal; else None."""
        for _ in range(8):
            spec = self.candidate(members)
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
        spec = self.candidate(start)
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
        return tuple(dict.fromkeys(_recipe_override(op, wanted) for op in changed))

    def restated(self, start: Members, heads: Sequence[str], operations: Sequence[Operation]) -> Members:
        """The keys ``heads`` as the new model has them, with everything that they mention."""
        chosen = [m for m in self.wanted if _name(m) in heads]
        names = {_name(m) for m in chosen}
        members = self.closure(chosen)
        if any(isinstance(m, tree.Definition) and m not in self.own for m in members):
            kept = members  # what extends a block must come after it
        else:
            kept = tuple(m for m in members if m not in self.own)
        members = kept
        said = {_name(m) for m in members}
        removed = (tree.Remove(head) for head in heads if head not in names and head in {_name(m) for m in self.own})
        return (*(m for m in start if _name(m) not in said), *members, *removed, *self.recipe(operations))

    def everything(self) -> Members:
        """The new model's members all over, and the old one's removed."""
        gone = dict.fromkeys(_name(m) for m in self.own if _name(m))
        kept = (m for m in self.wanted if not isinstance(m, tree.Expect))
        return (*(tree.Remove(name) for name in gone), *kept)

    def closure(self, chosen: Sequence[tree.Member]) -> Members:
        """The members with those of the new model that they mention, in its order."""
        own = {_name(m): m for m in self.wanted if isinstance(m, tree.Let | tree.Share | tree.Definition)}
        taken: dict[str, tree.Member] = {}
        pending: list[tree.Node] = list(chosen)
        while pending:
            for name in mentioned(pending.pop()) & own.keys() - taken.keys():
                taken[name] = own[name]
                pending.append(own[name])
        return tuple(m for m in self.wanted if m in chosen or taken.get(_name(m)) is m)

    @cached_property
    def definitions(self) -> Members:
        """What the new model's files define and the old one's do not, or otherwise, with all that is built on it."""
        before, after = _defined(self.before), _defined(self.after)
        changed = {name for name, member in after.items() if before.get(name) != member}
        grown = -1
        while grown != len(changed):
            grown = len(changed)
            changed |= {name for name, member in after.items() if mentioned(member) & changed}
        needed: set[str] = set()
        pending: list[tree.Node] = list(self.wanted)
        while pending:
            fresh = mentioned(pending.pop()) & after.keys() - needed
            needed |= fresh
            pending += [after[name] for name in fresh]
        return tuple(member for name, member in after.items() if name in changed & needed)


def _defined(spec: Spec) -> dict[str, tree.Member]:
    """Definitions, lets and shares of the files of a spec, models apart, in their order."""
    members = (m for unit in spec.unit.everything() for m in unit.file.members)
    named = (m for m in members if isinstance(m, tree.Definition | tree.Let | tree.Share))
    return {m.name: m for m in named if m.name and not (isinstance(m, tree.Definition) and m.kind == "model")}


def _recipe_override(op: Operation, wanted: tree.Item) -> tree.Member:
    """A key of the recipe as the new model's text has it; removed where it has none."""
    assert isinstance(wanted.value, tree.Call)
    key = op.path.split(".")[1]
    given = [a for a in wanted.value.arguments if (a.name or "").split(".")[0] == key]
    if not given:
        return tree.Remove(f"train.{key}")
    if len(given) == 1 and given[0].name == key:
        return tree.Entry(f"train.{key}", given[0].value)
    value = None if op.new is None else parse_expression(Source("patch", op.new), Sink())
    return tree.Entry(op.path, value if value is not None else NONE)


def _section(members: Members) -> tree.Item | None:
    return next((m for m in members if isinstance(m, tree.Item) and _name(m) == "train"), None)


def _body(definition: tree.Definition) -> Members:
    assert isinstance(definition.body, tree.Body)
    return definition.body.members


def _name(member: tree.Member) -> str:
    return next(iter(extend.names_of((member,))), "")
