"""Passes: pure functions from graph to graph, each with a name, run in order and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

from tantra_dsl.graph.model import Body, Graph
from tantra_dsl.graph.verify import verify


class Pass(Protocol):
    """A frozen dataclass whose fields are its options; ``after`` names the passes that must have run before it."""

    name: ClassVar[str]
    after: ClassVar[tuple[str, ...]]

    def __call__(self, graph: Graph) -> Graph:
        """The graph made of ``graph``, which is left as it is."""
        ...


@dataclass(frozen=True)
class Decision:
    """What becomes of the ``op`` at ``path``: ``choice`` names what runs, and ``reason`` says why, for people."""

    path: str
    op: str
    choice: str
    reason: str


@runtime_checkable
class Deciding(Protocol):
    """A pass that can tell what it does to each op that it looks at."""

    def decisions(self, graph: Graph) -> tuple[Decision, ...]:
        """One for each such op of ``graph``, which the pass has not changed yet."""
        ...


@dataclass(frozen=True)
class Step:
    """A pass that ran, the graph that it made, and what it decided."""

    name: str
    graph: Graph
    decisions: tuple[Decision, ...] = ()


def run_passes(graph: Graph, passes: Iterable[Pass], watch: Callable[[Step], None] | None = None) -> Graph:
    """``graph`` after all ``passes``; verified after each. ``watch`` is told of every step."""
    done: set[str] = set()
    for each in passes:
        missing = set(each.after) - done
        assert not missing, f"{each.name} must run after {missing}"
        before, graph = graph, each(graph)
        verify(graph)
        done.add(each.name)
        if watch is not None:
            watch(Step(each.name, graph, each.decisions(before) if isinstance(each, Deciding) else ()))
    return graph


def each_body(graph: Graph, change: Callable[[Body], Body]) -> Graph:
    """``graph`` with every body changed by ``change``; itself where none differs."""
    bodies = {key: change(body) for key, body in graph.bodies.items()}
    if all(bodies[key] is body for key, body in graph.bodies.items()):
        return graph
    return replace(graph, bodies=bodies)
