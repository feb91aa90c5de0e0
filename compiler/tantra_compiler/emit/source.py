"""What an emitted module holds besides its classes: imports, scalar functions, and the names that are taken."""

from __future__ import annotations

from dataclasses import dataclass, field

from tantra_compiler.emit.attention import AttentionPrograms
from tantra_compiler.emit.incremental import Incremental
from tantra_compiler.emit.names import BUILTINS, RESERVED, free
from tantra_compiler.emit.programs import Programs
from tantra_compiler.emit.runtime_index import RUNTIME
from tantra_dsl.graph.model import Graph

_OWNERS = ("param", "instance", "call", "stack")


@dataclass
class Source:
    """Collects one emitted module.

    ``incremental`` says how the model decodes. ``spec`` is the graph before all passes: weights are made in its order,
    so that optimizers, which number them, read each other's states.
    """

    graph: Graph
    incremental: Incremental
    spec: Graph
    names: set[str] = field(default_factory=lambda: set(RESERVED) | set(RUNTIME))
    programs: Programs = field(init=False)
    attentions: AttentionPrograms = field(init=False)
    globals_read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.programs = Programs(self.claim)
        self.attentions = AttentionPrograms(self.claim)

    def written(self, key: str) -> list[str]:
        """Paths of what body ``key`` owns, in the order of the spec."""
        body = self.spec.bodies.get(key)
        return [] if body is None else [node.attr("name") for node in body.nodes if node.op in _OWNERS]

    def claim(self, wanted: str) -> str:
        """A name at module level that nothing else has, nor any of Python's own functions, which all functions call."""
        name = free(wanted, self.names | BUILTINS)
        self.names.add(name)
        return name

    def use(self, name: str) -> str:
        """``name`` of the runtime; nothing else in the module can be called so, and reading it imports it."""
        assert name in RUNTIME, name
        return self.read(name)

    def read(self, name: str) -> str:
        """``name``, noted as one that the function being written reads from the module: no variable may hide it."""
        self.globals_read.add(name)
        return name
