"""What the blocks that a block extends say of a setting, read from the tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tantra_dsl.semantics.extend import label
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Span

if TYPE_CHECKING:
    from tantra_dsl.api import Spec


def blocks(spec: Spec) -> dict[str, tree.Definition]:
    """The blocks of a model and of its files by name, as they are written."""
    members = [m for unit in spec.unit.everything() for m in unit.file.members]
    if isinstance(spec.merged.body, tree.Body):
        members += spec.merged.body.members
    return {m.name: m for m in members if isinstance(m, tree.Definition) and m.kind == "block" and m.name}


def bases(known: Mapping[str, tree.Definition], name: str, path: list[str]) -> Iterator[tuple[str, tree.Expr, Span]]:
    """What each block that ``name`` extends says at ``path``, the nearest first: its name, the value, its place."""
    seen: set[str] = set()
    while name in known and name not in seen:
        seen.add(name)
        base = known[name].extends
        name = base.id if isinstance(base, tree.Name) else ""
        if name in known and isinstance(known[name].body, tree.Body):
            found = _in_members(known[name].body.members, path)  # type: ignore[union-attr]
            if found is not None:
                yield name, found.value, found.span


def _in_members(members: tuple[tree.Member, ...], path: list[str]) -> tree.Entry | tree.Argument | None:
    """The entry or argument that sets ``path``; the last one where several do."""
    found: tree.Entry | tree.Argument | None = None
    for member in members:
        if isinstance(member, tree.Entry) and member.path.split(".") == path:
            found = member
        elif isinstance(member, tree.Entry | tree.Item):
            start = [label(member.value)] if isinstance(member, tree.Item) else member.path.split(".")
            if path[: len(start)] == start:
                found = _in_value(member.value, path[len(start) :]) or found
    return found


def _in_value(expr: tree.Expr, path: list[str]) -> tree.Argument | None:
    if not isinstance(expr, tree.Call):
        return None
    for argument in expr.arguments:
        start = (argument.name or label(argument.value)).split(".")
        if start == path:
            return argument
        if path[: len(start)] == start:
            return _in_value(argument.value, path[len(start) :])
    return None
