"""The state while a model is elaborated: one session, and a frame per body under construction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tantra_dsl.diagnostics.core import Diagnostic, Note, Sink
from tantra_dsl.diagnostics.semantics import (
    BadArithmetic,
    CircularDefinition,
    ExpectationFailed,
    NameClash,
    ShapeMismatch,
    StreamChanged,
    TooLarge,
    WrongType,
)
from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.model import Attr, Body, Ref
from tantra_dsl.graph.rules import ShapeError
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.ir import Program
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import POISON, Poison, Tensor, is_number
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import NOWHERE, Span

MAX_NODES = 12_000
MAX_STEPS = 200_000
MAX_DEPTH = 48


class Abandoned(Exception):
    """Elaboration was given up: a limit was passed, and it has been reported."""


@dataclass(eq=False)
class Session:
    """Everything that the elaboration of one model shares."""

    sink: Sink
    prelude: Scope
    model_scope: Scope | None = None
    bodies: dict[str, Body] = field(default_factory=dict)
    index: dict[tuple[Any, ...], str] = field(default_factory=dict)
    exports: dict[str, dict[str, Ref]] = field(default_factory=dict)
    fields: dict[str, Tensor] = field(default_factory=dict)
    explicit: list[tuple[Thunk, str, str, Span]] = field(default_factory=list)
    variables: dict[str, dict[str, Ref]] = field(default_factory=dict)
    written: dict[str, dict[str, Span]] = field(default_factory=dict)
    stacks: dict[str, Any] = field(default_factory=dict)
    library: frozenset[int] = frozenset()
    defaults: dict[str, Thunk] = field(default_factory=dict)
    nodes_left: int = MAX_NODES
    steps_left: int = MAX_STEPS
    guessing: bool = False
    """Whether something broken has a stand-in, so that mistakes elsewhere are found; figures mean nothing then."""
    numbers: dict[str, int] = field(default_factory=dict)
    programs: dict[int, tuple[Thunk, Program | None]] = field(default_factory=dict)
    """The program that each mask, score and the like was resolved to, by ``id`` of the thunk that it came from."""

    def report(self, diagnostic: Diagnostic) -> Poison:
        """Collect a mistake and return poison, to stand for the value that is missing."""
        if not self.guessing or _independent(diagnostic):
            self.sink.add(diagnostic)
        return POISON

    @contextmanager
    def guess(self) -> Iterator[None]:
        """Elaborate what is known to be wrong, for the mistakes that are there whatever it should have been."""
        before, self.guessing = self.guessing, True
        try:
            yield
        finally:
            self.guessing = before

    def keep(self, body: Body, wanted: str) -> str:
        """Store a finished body, or find the equal one that is there; returns its key."""
        content = (body.definition, body.nodes, body.outputs)
        key = self.index.get(content)
        if key is None:
            key, number = wanted, self.numbers.get(wanted, 2)
            while key in self.bodies:
                key, number = f"{wanted}_{number}", number + 1
            self.numbers[wanted] = number
            self.index[content] = key
            self.bodies[key] = Body(key, body.definition, body.nodes, body.outputs, (), body.origin)
        return key


def _independent(diagnostic: Diagnostic) -> bool:
    """Whether a mistake is one whatever the figures and shapes around it are."""
    if isinstance(diagnostic, WrongType):
        return not diagnostic.got.startswith(("the number", "a tensor"))
    return not isinstance(diagnostic, ShapeMismatch | StreamChanged | BadArithmetic | ExpectationFailed | TooLarge)


class Frame:
    """One body under construction.

    Tensors of frames further out may be used: they become inputs of this body (``captured``), and who calls
    the body passes them.

    Afterwards a frame tells how its body came about, for those who compare or explain models: ``definition`` with the
    meaning of its parameters (``params``; those that were ``given`` apart), the ``key`` of the body where it became
    one, and what was built within: ``children``, ``stacks``, and each of a block's ``sublayers`` with its wiring.
    """

    def __init__(self, session: Session, name: str, parent: Frame | None, label: str, origin: Span = NOWHERE) -> None:
        self.session = session
        self.name = name
        self.parent = parent
        self.label = label
        self.builder = BodyBuilder(name, name, origin)
        self.captured: dict[tuple[int, Ref], Ref] = {}
        self.outer: list[Tensor] = []
        self.sites: dict[int, str] = {}
        self.taken: set[str] = set()
        self.equation: int | None = None
        self.equations = 0
        self.variables: dict[str, Tensor] = {}
        self.written: dict[str, Span] = {}
        self.scope: Scope = Scope()
        self.call_site: Span = NOWHERE
        self.given: dict[str, Thunk] = {}
        self.dim: Thunk | None = None
        self.definition: tree.Definition | None = None
        self.params: Scope = Scope()
        self.key = ""
        self.children: list[Frame] = []
        self.stacks: list[Any] = []
        self.sublayers: list[tuple[Any, Any]] = []
        if parent is not None:
            parent.children.append(self)
        self.layer: Any = None
        self.depth: int = 0 if parent is None else parent.depth + 1
        if self.depth > MAX_DEPTH:
            raise self._too_deep()
        self.spend(origin)

    def _too_deep(self) -> Abandoned:
        frames = list(self._outwards())
        again = next((n for n, frame in enumerate(frames) if n and frame.builder.origin == self.builder.origin), None)
        if again is None:
            what = "modules are nested too deeply"
            self.session.report(TooLarge(span=self.builder.origin, what=what, limit=f"{MAX_DEPTH} levels"))
        else:
            chain = tuple(frame.name for frame in reversed(frames[: again + 1]))
            self.session.report(CircularDefinition(span=self.builder.origin, what=f"`{self.name}`", chain=chain))
        return Abandoned()

    def _outwards(self) -> Iterator[Frame]:
        frame: Frame | None = self
        while frame is not None:
            yield frame
            frame = frame.parent

    def spend(self, span: Span) -> None:
        """Count a node or a body; gives up beyond the limit."""
        self.session.nodes_left -= 1
        if self.session.nodes_left < 0:
            what = "this model expands to too many operations"
            self.session.report(TooLarge(span=self.user_span(span), what=what, limit=f"{MAX_NODES:,}"))
            raise Abandoned

    def step(self, span: Span, count: int = 1) -> None:
        """Count steps of evaluation; gives up beyond the limit, which definitions that double each other pass."""
        self.session.steps_left -= count
        if self.session.steps_left < 0:
            what = "the definitions of this model expand to too many expressions"
            self.session.report(TooLarge(span=self.user_span(span), what=what, limit=f"{MAX_STEPS:,}"))
            raise Abandoned

    @property
    def path(self) -> str:
        """Where this body is in the model, for messages: ``layers.0.attention``."""
        names: list[str] = []
        frame: Frame | None = self
        while frame is not None:
            if frame.label:
                names.append(frame.label)
            frame = frame.parent
        return ".".join(reversed(names))

    def where(self) -> str:
        """` in layers.0.attention`, or nothing at the top."""
        return f" in {self.path}" if self.path else ""

    def user_span(self, span: Span) -> Span:
        """``span``, or where a standard definition that holds it was called from; for what nobody wrote, too."""
        frame: Frame | None = self
        while frame is not None and (span == NOWHERE or id(span.source) in self.session.library):
            span, frame = frame.call_site, frame.parent
        return span

    def exported(self) -> dict[str, Ref]:
        """The variables of this body and where their values are, by final node id."""
        final = self.builder.names()
        own = {name: t.ref for name, t in self.variables.items() if t.frame is self}
        return {name: Ref(final[ref.node], ref.out) for name, ref in own.items()}

    def begin(self) -> None:
        """Start a new equation."""
        self.equation = self.equations
        self.equations += 1

    def claim(self, name: str, span: Span) -> str:
        """Reserve ``name`` for a set of weights of this body."""
        if name in self.taken:
            where = self.path or f"model {self.name}"
            self.session.report(NameClash(span=self.user_span(span), name=name, where=where))
        self.taken.add(name)
        return name

    def site(self, expr: tree.Node | None, otherwise: str) -> str:
        """Name of the weights that the occurrence ``expr`` holds."""
        return self.sites.get(id(expr), otherwise)

    def use(self, tensor: Tensor) -> Ref:
        """A ref in this body to ``tensor``, which may belong to a frame further out."""
        if tensor.frame is self:
            return tensor.ref
        key = (id(tensor.frame), tensor.ref)
        if key not in self.captured:
            self.captured[key] = self._capture(tensor)
            self.outer.append(tensor)
        return self.captured[key]

    def _capture(self, tensor: Tensor) -> Ref:
        assert self.parent is not None, "a tensor escaped from the body that made it"
        node = tensor.frame.builder.nodes[tensor.ref.node]
        kind = "tensor"
        if node.op == "param":
            kind = "param"
        elif node.op == "instance":
            kind = "module"
        elif node.op == "input" and node.attr("kind") in ("param", "module"):
            kind = node.attr("kind")
        name = (node.attr("name") if node.op in ("param", "instance", "input") else node.target) or node.id
        name = str(name).replace(".", "_")
        if self.layer is not None and self.layer.frame is self:
            name = self.layer.stack.extra_name(tensor, name)
        type = node.types[tensor.ref.out] if node.types else None
        return self.builder.input(self.builder.free_id(name), type, kind)

    def add(
        self, op: str, inputs: list[Tensor], span: Span, what: str = "", *, types: tuple[TensorType, ...] | None = None,
        id: str | None = None, target: str | None = None, **attrs: Attr,
    ) -> Any:  # fmt: skip
        """Add an op; gives a Tensor, a tuple of them, or poison after reporting why the operands do not fit."""
        self.spend(span)
        refs = [self.use(tensor) for tensor in inputs]
        try:
            out = self.builder.add(
                op, refs, id=id, equation=self.equation, target=target, origin=span, types=types, **attrs
            )
        except ShapeError as error:
            return self.mismatch(error, inputs, span, what or op)
        tensors = tuple(Tensor(ref, self) for ref in out)
        return tensors[0] if len(tensors) == 1 else tensors

    def mismatch(self, error: ShapeError, inputs: list[Tensor], span: Span, what: str) -> Poison:
        """Report operands that do not fit, with where each comes from."""
        notes = self._figures()
        for number in error.inputs:
            tensor = inputs[number]
            node = tensor.frame.builder.nodes[tensor.ref.node]
            if node.op == "input" and self.user_span(span) is span:
                notes.append(Note(f"{tensor.type} is the input `{node.id}` of {tensor.frame.name}"))
            elif node.origin is not NOWHERE and self.user_span(node.origin) is node.origin:
                notes.append(Note(f"{tensor.type} comes from here", node.origin))
        reason = error.reason + self.where()
        place = self.user_span(span)
        return self.session.report(ShapeMismatch(span=place, op=what, reason=reason, operands=tuple(notes)))

    def _figures(self) -> list[Note]:
        """The numbers that were given to the modules around, with the lines that set them."""
        notes = []
        for name, thunk in self.given.items():
            if thunk.known and thunk.expr is not None and is_number(value := thunk.peek()):
                notes.append(Note(f"`{name}` is {value}, set here", thunk.span))
        return notes
