"""How a model came about, as a tree: parts with settings, sublayers and stacks of layers, and digests of each body."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from tantra_dsl.diff.closed import NONE, SIBLING, Closed, Closer, World, number, renamed
from tantra_dsl.graph import stacks as graph_stacks
from tantra_dsl.graph.hash import body_digests
from tantra_dsl.graph.model import Body, Graph
from tantra_dsl.graph.paths import used_bodies
from tantra_dsl.scalars.ir import Program
from tantra_dsl.semantics.binding import input_names, is_sublayer_form, parameters
from tantra_dsl.semantics.bodies import Sublayer
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.model import FACTS, SHORT, Elaborated
from tantra_dsl.semantics.programs import origin
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.stacks import Building
from tantra_dsl.semantics.values import Function
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import NOWHERE, Span

if TYPE_CHECKING:
    from tantra_dsl.api import Spec

FIGURES = ("vocab", "context", "dim")


@dataclass(frozen=True, eq=False)
class Sub:
    """A sublayer of a block: its label, the call that it is, how it is wired, and its part where it became a body."""

    label: str
    call: Closed
    wiring: str
    part: Part | None


@dataclass(frozen=True, eq=False)
class Layers:
    """A stack of layers: its name, the kinds in order as (part, count), and how many layers there are in all."""

    name: str
    runs: tuple[tuple[Part, int], ...]
    count: int
    shared: bool
    span: Span

    @property
    def period(self) -> int:
        """Layers in one turn of the pattern."""
        return min(self.count, sum(count for _, count in self.runs))

    def at(self, index: int) -> Part:
        """The part that layer ``index`` is."""
        index %= sum(count for _, count in self.runs)
        for part, count in self.runs:
            if index < count:
                return part
            index -= count
        raise AssertionError

    def spelled(self) -> list[tuple[Part, int]]:
        """The runs, gone through until there are ``count`` layers."""
        found: list[tuple[Part, int]] = []
        left = self.count
        if len(self.runs) == 1:
            return [(self.runs[0][0], left)]
        while left > 0:
            for part, count in self.runs:
                if left > 0:
                    found.append((part, min(count, left)))
                left -= count
        return found

    @property
    def text(self) -> str:
        """The pattern as an author would write it, each kind by its name."""
        runs = [(name, sum(count for _, count in group)) for name, group in groupby(self.runs, lambda run: run[0].name)]
        listed = ", ".join(f"{name} * {count}" if count > 1 else name for name, count in runs)
        if len(runs) == 1:
            return f"{self.count} of {runs[0][0]}"
        return f"{self.count} of ({listed})" if self.count != sum(count for _, count in runs) else f"({listed})"


class Account:
    """One model: its graph, its root part, and what its expressions mean."""

    def __init__(self, spec: Spec, elaborated: Elaborated, graph: Graph) -> None:
        assert elaborated.frame is not None and elaborated.scope is not None
        self.spec, self.graph = spec, graph
        self.scope = elaborated.scope
        self.session = elaborated.frame.session
        entries = self._entries(spec.merged)
        self.facts = {name: entries[name] for name in FACTS if name in entries}
        thunks = {id(self.scope.names[name]): name for name in self.facts if name in self.scope.names}
        thunks |= {id(thunk): name for name, thunk in self.session.defaults.items() if name not in self.facts}
        self.closer = Closer(thunks, self._hidden(elaborated.frame))
        self.world = World({name: self.closer.close(e.value, self.scope) for name, e in self.facts.items()})
        self.entries = entries
        self.digests = body_digests(graph)
        self.startless = body_digests(graph, starts=False)
        self.root = Part(self, elaborated.frame)

    def _hidden(self, frame: Frame) -> dict[int, Thunk]:
        """Lets that a result of the model, such as `hidden`, goes by the name of since."""
        assert isinstance(self.spec.merged.body, tree.Body)
        found: dict[int, Thunk] = {}
        for member in self.spec.merged.body.members:
            if isinstance(member, tree.Let):
                now = self.scope.names.get(member.name)
                if now is not None and now.expr is None:
                    found[id(now)] = Thunk(member.value, self.scope, frame)
        return found

    @staticmethod
    def _entries(merged: tree.Definition) -> dict[str, tree.Entry]:
        assert isinstance(merged.body, tree.Body)
        return {member.path: member for member in merged.body.members if isinstance(member, tree.Entry)}

    def key(self, name: str, *, lets: bool = False) -> Closed | None:
        """A key or a shared module of the model itself, or one of its ``lets``; None where it has none of that name."""
        assert isinstance(self.spec.merged.body, tree.Body)
        kinds = (tree.Share, tree.Let) if lets else (tree.Share,)
        named = (m for m in self.spec.merged.body.members if isinstance(m, kinds))
        member = next((m for m in named if m.name == name), None) or self.entries.get(name)
        if member is None:
            return None
        expr = self.closer.close(member.value, self.scope)
        return Closed(expr, self.world, member.value.span, source=(member.value, self.scope))

    def function(self, name: str, key: str = "") -> Function | None:
        """The definition or primitive called ``name``, as the model sees it.

        As a word of the parameter ``key`` it may mean another: ``linear`` is ``scaling_linear`` for ``scaling``.
        """
        if key and (chosen := self.function(f"{key}_{name}")) is not None:
            return chosen
        thunk = self.scope.find(name)
        value = thunk.peek() if thunk is not None and thunk.known else None
        return value if isinstance(value, Function) else None

    def is_standard(self, function: Function) -> bool:
        """Whether a definition is of the standard library."""
        return function.definition is not None and id(function.definition.span.source) in self.session.library

    def programs(self, thunk: Thunk | None) -> tuple[Program | None, ...]:
        """The scalar program that a setting was resolved to, if it was."""
        if thunk is None:
            return ()
        first = origin(thunk)
        found = self.session.programs.get(id(first))
        return (found[1],) if found is not None and found[0] is first else ()


class Part:
    """One occurrence of a definition in a model, in the frame where it was elaborated."""

    def __init__(self, account: Account, frame: Frame) -> None:
        self.account, self.frame = account, frame
        assert frame.definition is not None
        self.definition = frame.definition
        self.label = frame.label

    @property
    def name(self) -> str:
        """Name of its definition; ``block`` where it has none."""
        return self.definition.name or self.definition.kind

    @property
    def span(self) -> Span:
        """Where its author asked for it, or defined it where that is nowhere in a text."""
        return self.frame.call_site if self.frame.call_site is not NOWHERE else self.definition.span

    @property
    def body(self) -> Body | None:
        """Its body of the graph; None where it was written out in its caller."""
        return self.account.graph.bodies.get(self.frame.key) if self.frame.key else None

    @property
    def digest(self) -> str | None:
        """Digest of its body, weights' starts and names included; None where it was written out in its caller."""
        return self.account.digests.get(self.frame.key) if self.frame.key else None

    @property
    def is_sublayers(self) -> bool:
        """Whether it lists sublayers instead of equations."""
        return self.definition.kind == "block" and is_sublayer_form(self.definition)

    @cached_property
    def world(self) -> World:
        """What facts, the local width and its own parameters mean inside it."""
        names: dict[str, tree.Expr] = {}
        width = self.frame.dim.peek() if self.frame.dim is not None and self.frame.dim.known else None
        if isinstance(width, int) and self.frame.parent is not None:
            names["dim"] = number(width)
        outer = World(names, self.account.world)
        settings = self._settings(outer)
        given = frozenset(SIBLING + name for name, setting in settings.items() if setting.given)
        return World({SIBLING + name: setting.expr for name, setting in settings.items()}, outer, given)

    @cached_property
    def settings(self) -> dict[str, Closed]:
        """Every hyper-parameter by name, given or by default."""
        return self._settings(self.world)

    def _settings(self, world: World) -> dict[str, Closed]:
        if self.frame.parent is None:
            return {}
        known = parameters(self.definition)
        siblings = frozenset(known)
        return {name: self._setting(name, parameter, siblings, world) for name, parameter in known.items()}

    @cached_property
    def inputs(self) -> dict[str, Closed]:
        """The tensors that it was given by name besides the one that it is applied to, such as `memory`."""
        found = {}
        for name in input_names(self.definition)[1:]:
            given = self.frame.given.get(name)
            if given is not None and given.expr is not None and given.scope is not None:
                expr = self.account.closer.close(given.expr, given.scope)
                found[name] = Closed(expr, self.world, given.expr.span, source=(given.expr, given.scope))
        return found

    def _setting(self, name: str, parameter: tree.Parameter, siblings: frozenset[str], world: World) -> Closed:
        given = self.frame.given.get(name)
        bound = self.frame.params.names.get(name)
        programs = self.account.programs(bound)
        if given is not None and given.expr is not None and given.scope is not None:
            expr = self.account.closer.close(given.expr, given.scope)
            return Closed(expr, world, given.expr.span, True, programs, (given.expr, given.scope))
        default = parameter.default if parameter.default is not None else NONE
        if isinstance(default, tree.Name) and default.id == name:
            outer = self.frame.params.parent or Scope()
            expr = self.account.closer.close(default, outer)
            return Closed(expr, world, default.span, False, programs, (default, outer))
        expr = renamed(default, {sibling: SIBLING + sibling for sibling in siblings})
        return Closed(expr, world, default.span, False, programs, (default, self.frame.params))

    # --- what is inside --------------------------------------------------------------------

    @cached_property
    def children(self) -> dict[str, Part]:
        """The parts that became bodies or were written out within, by label; each label once."""
        found: dict[str, Part] = {}
        layers = {id(frame) for building in self.frame.stacks for frame in _frames_of(building, self.frame)}
        for child in self.frame.children:
            if child.definition is not None and id(child) not in layers and child.label not in found:
                found[child.label] = Part(self.account, child)
            elif child.definition is None and child.label:
                inner = [grand for grand in child.children if grand.definition is not None]
                found |= {f"{child.label}.{grand.label}": Part(self.account, grand) for grand in inner}
        return found

    @cached_property
    def wiring(self) -> Closed | None:
        """How a block joins its sublayers to the stream; None where it does not say."""
        member = self._member("wiring")
        if member is None:
            return None
        expr = self.account.closer.close(member.value, self.frame.scope)
        return Closed(expr, self.world, member.value.span, source=(member.value, self.frame.scope))

    def _member(self, path: str) -> tree.Entry | None:
        assert isinstance(self.definition.body, tree.Body)
        entries = (m for m in self.definition.body.members if isinstance(m, tree.Entry))
        return next((member for member in entries if member.path == path), None)

    @cached_property
    def sublayers(self) -> list[Sub]:
        """A block's sublayers in order."""
        found = []
        for sublayer, wiring in self.frame.sublayers:
            assert isinstance(sublayer, Sublayer)
            expr = self.account.closer.close(sublayer.expr, self.frame.scope)
            call = Closed(expr, self.world, sublayer.expr.span, source=(sublayer.expr, self.frame.scope))
            name = wiring.name if isinstance(wiring, Function) else ""
            found.append(Sub(sublayer.label, call, name, self.children.get(sublayer.label)))
        return found

    @cached_property
    def stacks(self) -> dict[str, Layers]:
        """The stacks of layers built within, by name."""
        return {building.name: self._stack(building) for building in self.frame.stacks}

    def _stack(self, building: Building) -> Layers:
        body = self.body
        assert body is not None
        node = next(n for n in body.nodes if n.op == "stack" and n.attr("name") == building.name)
        turn = graph_stacks.Layers(node).shortest({key: key for key in used_bodies(node)})
        runs = tuple((self._layer(building, key), count) for key, count in turn)
        return Layers(building.name, runs, node.attr("count"), bool(node.attr("shared")), building.stack.span)

    def _layer(self, building: Building, key: str) -> Part:
        made: dict[str, Part] = self.__dict__.setdefault("_made", {})
        if key not in made:
            made[key] = Part(self.account, building.layers[key])
        return made[key]


def _frames_of(building: Building, frame: Frame) -> list[Frame]:
    return [child for child in frame.children if child.layer is not None and child.layer.stack is building]


def account(spec: Spec) -> Account:
    """The account of a sound spec. Raises SpecError where it has mistakes."""
    graph = spec.graph()
    return Account(spec, spec.elaborated, graph)


__all__ = ["FIGURES", "SHORT", "Account", "Layers", "Part", "Sub", "account", "input_names"]
