"""The class of the whole model: forward, loss, cache and starts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tantra_compiler.emit.classes import (
    Classes,
    base_class,
    constructed,
    described,
    free_name,
    inits_table,
    packed_table,
    signature,
)
from tantra_compiler.emit.expr import call, quoted, statement
from tantra_compiler.emit.flow import wanted_name
from tantra_compiler.emit.incremental import closure
from tantra_compiler.emit.kept import ATOMS
from tantra_compiler.emit.members import Weights
from tantra_compiler.emit.names import class_name, identifier
from tantra_compiler.emit.writer import Writer
from tantra_dsl.graph.model import Body, Ref

_CHEAP = frozenset({"shift", "slice", "select", "positions"})
"""Ops that the loss may as well do again."""


@dataclass
class Root:
    """Writes the model's class. ``digest`` is the graph's hash."""

    classes: Classes
    digest: str

    def __post_init__(self) -> None:
        self.callables = self.classes.callables
        self.source = self.callables.source
        self.graph = self.source.graph
        self.body: Body = self.graph.main
        self.weights = Weights(self.body)
        self.results = {name: ref for name, ref in self.body.outputs if name != "loss"}
        self.loss = dict(self.body.outputs).get("loss")
        self.cached = self.source.incremental.possible
        self.name = self.source.claim(class_name(self.graph.name))
        self.variables = self._variables()
        self.shared = self._shared()

    def _variables(self) -> dict[Ref, str]:
        names: dict[Ref, str] = {}
        for node in self.body.inputs:
            names[Ref(node.id)] = free_name(identifier(node.attr("name")), self.source.names | set(names.values()))
        return names

    def write(self) -> str:
        """The class, behind the tuple of its results where it has several."""
        parts = [self._head(), self._trunk(), self._forward(), self._loss(), self._cache(), self._init_weights()]
        text = "\n\n".join("\n".join(part) for part in parts if part)
        return text if len(self.results) == 1 else f"{self._result_class()}\n\n\n{text}"

    def _result_class(self) -> str:
        fields = [f"    {identifier(name)}: Tensor" for name in self.results]
        doc = '    """What a call of the model gives."""'
        return "\n".join([f"class {self._result_name}(NamedTuple):", doc, "", *fields])

    @property
    def _result_name(self) -> str:
        return f"{self.name}Output"

    def _head(self) -> list[str]:
        reason = self.source.incremental.reason
        made = constructed(self.body, self.callables)
        lines = [
            f"class {self.name}({base_class(self.callables, self.body)}):",
            f'    """{described(self.body)}"""',
            "",
            f"    spec_name: ClassVar[str] = {quoted(self.graph.name)}",
            f'    spec_hash: ClassVar[str] = "{self.digest}"',
            f"    cacheable: ClassVar[str | None] = {reason and quoted(reason)}",
            *inits_table(self.callables, self.body),
            *packed_table(self.body),
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *made,
        ]
        return lines

    # --- forward and loss ------------------------------------------------------------------

    def _parameters(self, refs: list[Ref]) -> list[str]:
        """The inputs that ``refs`` need, annotated."""
        needed = closure(self.body, tuple(refs))
        return [f"{name}: Tensor" for ref, name in self.variables.items() if ref.node in needed]

    def _forward(self) -> list[str]:
        refs = list(self.results.values())
        returns = self._result_name if len(refs) > 1 else "Tensor"
        head = signature("forward", ["self", *self._parameters(refs)], self.cached, 4, returns)
        given, start = self._from_trunk(self.cached)
        writer = Writer(self.body, self.callables, self.weights, self.cached, given)
        lines = writer.lines(refs, wrap=returns if len(refs) > 1 else "")
        return [*head, *self._begin(), *read_only(start, lines), *lines]

    def _begin(self) -> list[str]:
        if not self.cached:
            return []
        growing = next(
            self.variables[Ref(n.id)] for n in self.body.inputs if self.source.incremental.streams(self.body, n.type)
        )
        return ["        if cache is not None:", f"            cache.begin({growing}.shape[1])"]

    def _loss(self) -> list[str]:
        if self.loss is None:
            return []
        everything = [f"{name}: Tensor" for name in self.variables.values()]
        head = signature("loss", ["self", *everything], False, 4, "Tensor")
        given, start = self._from_trunk(False) if self.shared else self._from_forward()
        lines = Writer(self.body, self.callables, self.weights, False, given).lines([self.loss])
        return [*head, *read_only(start, lines), *lines]

    def _from_forward(self) -> tuple[dict[Ref, str], list[str]]:
        """The results by name, and the line that calls the model for them."""
        return self._called("self", list(self.results.values()), list(self.results), False)

    def _called(
        self, function: str, refs: list[Ref], names: list[str], cached: bool
    ) -> tuple[dict[Ref, str], list[str]]:
        """Names for what ``function`` gives, and the line that calls it."""
        given = dict(self.variables)
        for ref, name in zip(refs, names, strict=True):
            wanted = self.body.node(ref.node).target or name
            given.setdefault(ref, free_name(identifier(wanted), self.source.names | set(given.values())))
        needed = closure(self.body, refs)
        arguments = [name for ref, name in self.variables.items() if ref.node in needed]
        targets = ", ".join(given[ref] for ref in refs)
        return given, statement(f"{targets} = ", call(function, *arguments, *(["cache"] if cached else [])), 8)

    # --- what forward and loss share -------------------------------------------------------

    def _shared(self) -> list[Ref]:
        """What both the results and the loss are made from, where the results alone do not do for the loss."""
        if self.loss is None or not self._needs_more():
            return []
        made, lost = closure(self.body, self.results.values()), closure(self.body, [self.loss])
        common = {node.id for node in self.body.nodes if node.id in made & lost and node.op not in ATOMS}
        read = [ref for n in self.body.nodes if n.id in (made | lost) - common for ref in n.inputs]
        ends = [*self.results.values(), self.loss]
        return list(dict.fromkeys(ref for ref in (*read, *ends) if ref.node in common))

    def _needs_more(self) -> bool:
        """Whether the loss reads something of the forward pass, other than its results, that takes work."""
        assert self.loss is not None
        inner = closure(self.body, self.results.values())
        pending, seen = [self.loss], set(self.results.values())
        while pending:
            ref = pending.pop()
            node = self.body.node(ref.node)
            if ref in seen or node.op in ATOMS:
                continue
            if node.id in inner and node.op not in _CHEAP:
                return True
            seen.add(ref)
            pending.extend(node.inputs)
        return False

    def _trunk(self) -> list[str]:
        if not self.shared:
            return []
        returns = "Tensor" if len(self.shared) == 1 else f"tuple[{', '.join(['Tensor'] * len(self.shared))}]"
        head = signature("trunk", ["self", *self._parameters(self.shared)], self.cached, 4, returns)
        doc = '        """What both the results and the loss are made from."""'
        writer = Writer(self.body, self.callables, self.weights, self.cached, self.variables)
        return [*head, doc, *writer.lines(self.shared)]

    def _from_trunk(self, cached: bool) -> tuple[dict[Ref, str], list[str]]:
        if not self.shared:
            return dict(self.variables), []
        names = [wanted_name(self.body.node(ref.node), ref.out) for ref in self.shared]
        return self._called("self.trunk", self.shared, names, cached)

    # --- cache and starts ------------------------------------------------------------------

    def _cache(self) -> list[str]:
        if not self.cached:
            return [
                "    def new_cache(self, batch: int, max_length: int) -> None:",
                '        """Raises ValueError: this model does not decode position by position."""',
                '        raise ValueError(f"no cache: {self.cacheable}")',
            ]
        return [
            "    def new_cache(self, batch: int, max_length: int) -> Cache:",
            '        """An empty cache for ``batch`` sequences of at most ``max_length`` positions."""',
            "        return Cache(batch, max_length)",
        ]

    def _init_weights(self) -> list[str]:
        return [
            "    def init_weights(self, seed: int) -> None:",
            '        """Start every weight as the spec says; one seed always gives the same weights."""',
            f"        {self.source.use('init_weights')}(self, seed)",
        ]


def read_only(start: list[str], lines: list[str]) -> list[str]:
    """``start``, the line of an assignment, with ``_`` for the names that ``lines`` do not read."""
    if not start:
        return start
    targets, equals, value = start[0].partition(" = ")
    text = "\n".join(lines)
    kept = [name if re.search(rf"\b{name}\b", text) else "_" for name in targets.strip().split(", ")]
    return [f"{' ' * 8}{', '.join(kept)}{equals}{value}", *start[1:]]
