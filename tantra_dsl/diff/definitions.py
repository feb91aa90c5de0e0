"""Definitions of the author's own that both models use under one name, and that say something else."""

from __future__ import annotations

from tantra_dsl.diff import equations
from tantra_dsl.diff.account import Account
from tantra_dsl.diff.closed import mentioned
from tantra_dsl.diff.operations import Operation
from tantra_dsl.diff.settings import Comparison
from tantra_dsl.graph.hash import program_digest
from tantra_dsl.semantics.programs import meaning
from tantra_dsl.semantics.values import Function
from tantra_dsl.syntax import tree


def changed_definitions(settings: Comparison, walked: set[str]) -> list[Operation]:
    """What is different in definitions that both models mention, by their names; those ``walked`` are known already."""
    before, after = used(settings.before), used(settings.after)
    found: list[Operation] = []
    for name, new in after.items():
        old = before.get(settings.alias(name))
        if old is not None and name not in walked and not _one(settings, old, new):
            found += _operations(settings, name, old, new)
    return found


def used(side: Account) -> dict[str, Function]:
    """The author's own definitions that a model mentions, through each other too; blocks and models apart."""
    found: dict[str, Function] = {}
    pending: list[tree.Node] = [side.spec.merged]
    seen: set[str] = set()
    while pending:
        for name in mentioned(pending.pop()) - seen:
            seen.add(name)
            function = side.function(name)
            if function is None or function.definition is None or side.is_standard(function):
                continue
            pending.append(function.definition)
            if function.kind not in ("block", "model"):
                found[name] = function
    return found


def _one(settings: Comparison, old: Function, new: Function) -> bool:
    """Whether two definitions say the same."""
    assert old.definition is not None and new.definition is not None
    if old.definition.body == new.definition.body and old.definition.params == new.definition.params:
        return True
    programs = meaning(old, settings.before.root.frame), meaning(new, settings.after.root.frame)
    return None not in programs and len({program_digest(p) for p in programs if p is not None}) == 1


def _operations(settings: Comparison, name: str, old: Function, new: Function) -> list[Operation]:
    assert old.definition is not None and new.definition is not None
    sides = [
        equations.equations(function.definition, side, function.scope or side.scope)
        for function, side in ((old, settings.before), (new, settings.after))
        if function.definition is not None
    ]
    pairs = zip(_parameters(new.definition), _parameters(old.definition), strict=False)
    return equations.operations(sides[0], sides[1], name, (), dict(pairs))


def _parameters(definition: tree.Definition) -> list[str]:
    return [p.name for p in (*(definition.inputs or ()), *definition.params)]
