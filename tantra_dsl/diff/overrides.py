"""Operations as the overrides that the language has for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tantra_dsl.diff import compare
from tantra_dsl.diff.account import Account, Part
from tantra_dsl.diff.closed import NONE, number
from tantra_dsl.diff.operations import Operation
from tantra_dsl.syntax import tree

Members = tuple[tree.Member, ...]


def head(op: Operation) -> str:
    """The key of the model that an operation is about."""
    return op.path.split(".")[0].split("[")[0]


def sayable(op: Operation) -> bool:
    """Whether an operation may be said as an override of its path."""
    if not op.path or op.absolute or op.kind in ("rename", "move", "share"):
        return False
    if op.kind == "repeat":
        return op.new is not None and op.new.isdigit()
    return op.value is not None or op.kind == "remove" or op.defaulted[1] or op.path.startswith("train.")


def override(op: Operation, widely: bool) -> tuple[str, tree.Member]:
    """One override, by the path that it sets; ``widely``: of the widest setting around that path."""
    if widely and op.wider:
        path, value = op.wider[-1]
        return path, tree.Entry(path, value)
    if op.value is None:
        return op.path, tree.Remove(op.path)
    return op.path, tree.Entry(op.path, op.value)


@dataclass(frozen=True)
class Overrides:
    """Makes overrides of operations that turn ``base`` into ``target``; ``own`` are the members of the former."""

    base: Account
    target: Account
    own: Members
    widely: bool

    def members(self, operations: Iterable[Operation]) -> Members:
        """Each operation as an override of its own path; those of some layers only as their blocks allow."""
        found: dict[str, tree.Member] = {}
        stacks: dict[str, None] = {}
        for op in operations:
            if "[" in op.path:
                stacks[head(op)] = None
            elif op.kind == "repeat":
                block = tree.Binary("of", number(int(op.new or "")), tree.Name("same"))
                found[op.path] = tree.Entry(op.path, block)
            elif not op.path.startswith("train."):
                path, member = override(op, self.widely)
                found[path] = member
        for name in stacks:
            found = self._some_layers(name, found)
        return tuple(found.values())

    def _some_layers(self, name: str, found: dict[str, tree.Member]) -> dict[str, tree.Member]:
        """The overrides with those of some layers: of a block, changed in turns, or of the blocks of a pattern."""
        old, new = self.base.root.stacks.get(name), self.target.root.stacks.get(name)
        if old is None or new is None:
            return found
        if len(old.runs) == 1:
            pattern = tree.Entry(name, self._pattern(name, set(found)))
            return {name: pattern, **{path: member for path, member in found.items() if path != name}}
        pairs = {(id(old.at(i)), id(new.at(i))): (old.at(i), new.at(i)) for i in range(min(old.count, new.count))}
        for one, other in pairs.values():
            for path, value in self._changes(name, one, other, set(found)).items():
                full = f"{one.name}.{path}"
                found[full] = tree.Entry(full, value)
        return found

    def _pattern(self, name: str, told: set[str]) -> tree.Expr:
        """The layers of the new model as changes of the old one's block; what is told of all layers is left out."""
        old, new = self.base.root.stacks[name], self.target.root.stacks[name]
        layers: list[tuple[tree.Expr, int]] = []
        for part, count in new.runs:
            layer = self._layer(name, old.at(0), part, told)
            before = layers.pop() if layers and layers[-1][0] == layer else (layer, 0)
            layers.append((layer, before[1] + count))
        items = [tree.Binary("*", layer, number(count)) if count > 1 else layer for layer, count in layers]
        cycled = new.count != sum(count for _, count in new.runs)
        if len(items) == 1:
            return tree.Binary("of", number(new.count), layers[0][0])
        listed = tree.Tuple(tuple(items))
        return tree.Binary("of", number(new.count), listed) if cycled else listed

    def _layer(self, name: str, old: Part, new: Part, told: set[str]) -> tree.Expr:
        """``same { attention.mask: causal }``."""
        same: tree.Expr = tree.Name("same")
        changes = self._changes(name, old, new, told)
        if not changes:
            return same
        arguments = tuple(tree.Argument(path, value) for path, value in changes.items())
        return tree.Call(same, arguments, braces=True)

    def _changes(self, name: str, old: Part, new: Part, told: set[str]) -> dict[str, tree.Expr]:
        """What turns one kind of layer into another, by paths below it, without what is ``told`` of all layers."""
        found: dict[str, tree.Expr] = {}
        for op in filter(sayable, compare.parts(self.base, self.target, old, new)):
            path, member = override(op, self.widely)
            if f"{name}.{path}" not in told:
                found[path] = member.value if isinstance(member, tree.Entry) else NONE
        return found
