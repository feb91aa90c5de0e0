"""The class of the whole model: forward, loss, cache and starts."""

from __future__ import annotations

from dataclasses import dataclass

from tantra_compiler.emit.classes import Classes, constructed, described, free_name, inits_table, signature
from tantra_compiler.emit.expr import call, quoted, statement
from tantra_compiler.emit.incremental import closure
from tantra_compiler.emit.members import Weights
from tantra_compiler.emit.names import class_name, identifier
from tantra_compiler.emit.writer import Writer
from tantra_dsl.graph.model import Body, Ref


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

    def _variables(self) -> dict[Ref, str]:
        names: dict[Ref, str] = {}
        for node in self.body.inputs:
            names[Ref(node.id)] = free_name(identifier(node.attr("name")), self.source.names | set(names.values()))
        return names

    def write(self) -> str:
        """The class, behind the tuple of its results where it has several."""
        parts = [self._head(), self._forward(), self._loss(), self._cache(), self._init_weights()]
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
            f"class {self.name}(nn.Module):",
            f'    """{described(self.body)}"""',
            "",
            f"    spec_name: ClassVar[str] = {quoted(self.graph.name)}",
            f'    spec_hash: ClassVar[str] = "{self.digest}"',
            f"    cacheable: ClassVar[str | None] = {reason and quoted(reason)}",
            *inits_table(self.callables, self.body)[:-1],
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
        writer = Writer(self.body, self.callables, self.weights, self.cached, self.variables)
        return [*head, *self._begin(), *writer.lines(refs, wrap=returns if len(refs) > 1 else "")]

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
        given, lines = self._from_forward()
        return [*head, *lines, *Writer(self.body, self.callables, self.weights, False, given).lines([self.loss])]

    def _from_forward(self) -> tuple[dict[Ref, str], list[str]]:
        """What the loss takes from a call of forward, and the line that makes the call; nothing where it needs more."""
        assert self.loss is not None
        refs = set(self.results.values())
        if not self._is_enough(refs):
            return dict(self.variables), []
        given = dict(self.variables)
        for name, ref in self.results.items():
            wanted = self.body.node(ref.node).target or name
            given.setdefault(ref, free_name(identifier(wanted), self.source.names | set(given.values())))
        needed = closure(self.body, tuple(self.results.values()))
        arguments = [name for ref, name in self.variables.items() if ref.node in needed]
        targets = ", ".join(given[ref] for ref in self.results.values())
        return given, statement(f"{targets} = ", call("self", *arguments), 8)

    def _is_enough(self, refs: set[Ref]) -> bool:
        """Whether the loss reads nothing of the forward pass but its results."""
        assert self.loss is not None
        inner = closure(self.body, tuple(refs))
        pending, seen = [self.loss], set[str]()
        while pending:
            ref = pending.pop()
            node = self.body.node(ref.node)
            if ref in refs or node.id in seen or node.op in ("input", "param", "instance"):
                continue
            if node.id in inner and node.op in ("call", "stack"):
                return False
            seen.add(node.id)
            pending.extend(node.inputs)
        return bool(seen)

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
