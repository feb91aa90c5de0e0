"""Passes: pure functions from graph to graph, each with a name, run in order and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

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
class Step:
    """A pass that ran, and the graph that it made."""

    name: str
    graph: Graph


def run_passes(graph: Graph, passes: Iterable[Pass], watch: Callable[[Step], None] | None = None) -> Graph:
    """``graph`` after all ``passes``; verified after each. ``watch`` is told of every step."""
    done: set[str] = set()
    for each in passes:
        missing = set(each.after) - done
        assert not missing, f"{each.name} must run after {missing}"
        graph = each(graph)
        verify(graph)
        done.add(each.name)
        if watch is not None:
            watch(Step(each.name, graph))
    return graph


def each_body(graph: Graph, change: Callable[[Body], Body]) -> Graph:
    """``graph`` with every body changed by ``change``; itself where none differs."""
    bodies = {key: change(body) for key, body in graph.bodies.items()}
    if all(bodies[key] is body for key, body in graph.bodies.items()):
        return graph
    return replace(graph, bodies=bodies)
