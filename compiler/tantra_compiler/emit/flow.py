"""Which nodes of a body become lines, which are written inside others, and what each value is called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tantra_compiler.emit.kept import ATOMS, Groups
from tantra_compiler.emit.names import free, identifier
from tantra_dsl.graph.model import Body, Node, Ref


@dataclass
class Flow:
    """Plan of the lines that compute ``wanted``.

    ``given`` are nodes whose values have names already. A node is written inside its reader where that is the only one
    and belongs to the same equation; ``hoisted`` nodes get a line of their own all the same. A node of ``kept`` stands
    for itself and for all that serves it alone.
    """

    body: Body
    wanted: tuple[Ref, ...]
    given: frozenset[str] = frozenset()
    hoisted: frozenset[str] = frozenset()
    kept: Groups = field(default_factory=dict)
    nodes: list[Node] = field(init=False)
    readers: dict[str, list[str]] = field(init=False)
    lines: list[list[Node]] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = self._needed()
        self.readers = {}
        for node in self.nodes:
            for ref in node.inputs:
                self.readers.setdefault(ref.node, []).append(node.id)
        self._ends = Counter(ref.node for ref in self.wanted)
        self._by_id = {node.id: node for node in self.nodes}
        heads = [node for node in self.nodes if not self.is_inside(node)]
        self._place = self._places(heads)
        self.lines = self._grouped(heads)

    def _needed(self) -> list[Node]:
        found = {ref.node for ref in self.wanted}
        needed: list[Node] = []
        for node in reversed(self.body.nodes):
            if node.id in found and node.id not in self.given:
                whole = self._whole(node)
                found.update(ref.node for ref in whole.inputs)
                needed.append(whole)
        return [node for node in reversed(needed) if node.op not in ATOMS]

    def _whole(self, node: Node) -> Node:
        """``node``, reading what its group reads where it is kept."""
        group = self.kept.get(node.id, frozenset()) | {node.id}
        if len(group) == 1:
            return node
        read = [ref for other in self.body.nodes if other.id in group for ref in other.inputs]
        return replace(node, inputs=tuple(dict.fromkeys(ref for ref in read if ref.node not in group)))

    def is_inside(self, node: Node) -> bool:
        """Whether ``node`` is written inside its only reader."""
        readers = self.readers.get(node.id, [])
        if (node.op == "stack" and node.id not in self.kept) or len(node.types) != 1 or node.id in self.hoisted:
            return False
        if self._ends[node.id]:
            return not readers and self._ends[node.id] == 1
        if len(readers) != 1:
            return False
        reader = self._by_id[readers[0]]
        if reader.op == "stack" and reader.inputs[0].node != node.id:
            return False
        free_standing = node.equation is None and node.target is None
        return free_standing or (reader.equation == node.equation and node.target is None)

    def _places(self, heads: list[Node]) -> dict[str, int]:
        """For each node, the number of the line in which it is written; what ends the body comes last."""
        places = {node.id: number for number, node in enumerate(heads)}
        for node in reversed(self.nodes):
            if node.id not in places:
                readers = self.readers.get(node.id, [])
                places[node.id] = places[readers[0]] if readers else len(heads)
        return places

    def last_use(self, id: str) -> int:
        """Number of the last line that reads ``id``; -1 where none does."""
        if self._ends[id]:
            return len(self._place) + 1
        return max((self._place[reader] for reader in self.readers.get(id, ())), default=-1)

    def last_use_of(self, ref: Ref) -> int:
        """Number of the last line that reads ``ref``; -1 where none does."""
        if ref in self.wanted:
            return len(self._place) + 1
        return max((self._place[node.id] for node in self.nodes if ref in node.inputs), default=-1)

    def place(self, node: Node) -> int:
        """Number of the line of ``node``."""
        return self._place[node.id]

    def _grouped(self, heads: list[Node]) -> list[list[Node]]:
        """Lines; neighbours that one equation assigns at once share one."""
        lines: list[list[Node]] = []
        for node in heads:
            if lines and self._together(lines[-1], node):
                lines[-1].append(node)
            else:
                lines.append([node])
        return lines

    def _together(self, line: list[Node], node: Node) -> bool:
        if any(n.op == "stack" and n.id not in self.kept for n in (node, line[0])):
            return False
        same = node.equation is not None and node.equation == line[0].equation
        named = all(n.target is not None and len(n.types) == 1 for n in (*line, node))
        return same and named and all(self._place[node.id] not in self._used_at(n.id) for n in line)

    def _used_at(self, id: str) -> set[int]:
        return {self._place[reader] for reader in self.readers.get(id, ())}


class Names:
    """Variables of one function: each value's name, and until which line the name must keep it."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._held: dict[str, int] = {}
        self.assigned: set[str] = set()
        self.of: dict[Ref, str] = {}

    def hold(self, ref: Ref, name: str, until: int) -> None:
        """Give ``ref`` the name ``name`` up to line ``until``."""
        self.of[ref] = name
        self._held[name] = until

    def keep(self, name: str, line: int) -> None:
        """Let nothing else take ``name`` in ``line``."""
        self._held[name] = max(self._held.get(name, -1), line + 1)

    def assign(self, ref: Ref, wanted: str, line: int, until: int) -> str:
        """Name for a value made in ``line`` and read up to line ``until``; a name whose value is done is free again."""
        busy = {name for name, last in self._held.items() if last > line}
        name = free(identifier(wanted), self._taken | busy)
        self.hold(ref, name, until)
        self.assigned.add(name)
        return name


def wanted_name(node: Node, out: int) -> str:
    """What a value would best be called: its equation's variable, else its node."""
    if node.target is not None:
        parts = [part.strip() for part in node.target.split(",")]
        return parts[out] if out < len(parts) else f"{parts[0]}_{out}"
    stem = re.sub(r"_\d+$", "", node.id)
    base = _NOUNS.get(node.op, node.op) if stem in (node.op, _MADE_OF.get(node.op)) else stem
    return base if len(node.types) == 1 else f"{base}_{out}"


_NOUNS = {
    "map": "inner",
    "attend": "attended",
    "linear": "projected",
    "embedding": "embedded",
    "normalize": "normal",
    "split_heads": "heads",
    "merge_heads": "merged",
    "concat": "joined",
    "positions": "position",
    "tabulate": "table",
    "shift": "shifted",
    "conv1d": "convolved",
    "rope": "turned",
    "split": "part",
    "slice": "part",
    "select": "selected",
    "pool": "pooled",
    "linear_cross_entropy": "loss",
    "mapped": "inner",
    "seeded_dropout": "dropped",
    "mapped_linear": "projected",
}
"""What a value is called by default, where its op is named after what it does."""

_MADE_OF = {
    "linear_cross_entropy": "cross_entropy",
    "mapped": "map",
    "mapped_linear": "linear",
    "seeded_dropout": "dropout",
}
"""Ops that passes make, and those whose nodes they take over."""
