"""Which ops can be compiled, and what is said of those that cannot."""

from __future__ import annotations

from tantra_compiler.emit.writer import LOWERED
from tantra_dsl.diagnostics.compiling import NotLowered
from tantra_dsl.diagnostics.core import Sink, SpecError
from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.paths import used_bodies


def require_lowered(graph: Graph) -> None:
    """Raise SpecError with a diagnostic for each op of ``graph`` that cannot be compiled yet."""
    sink = Sink()
    paths = body_paths(graph)
    for body in graph.bodies.values():
        for node in body.nodes:
            if node.op not in LOWERED:
                sink.add(NotLowered(span=node.origin, op=node.op, path=paths[body.key]))
    if sink.items:
        raise SpecError(sink.sorted())


def body_paths(graph: Graph) -> dict[str, str]:
    """For each body, the path of one place where the model uses it; the root's is its name."""
    paths = {graph.root: ""}
    pending = [graph.root]
    while pending:
        key = pending.pop()
        for node in graph.bodies[key].nodes:
            for used in used_bodies(node):
                if used not in paths:
                    part = f"{node.attr('name')}.*" if node.op == "stack" else node.attr("name")
                    paths[used] = f"{paths[key]}.{part}".strip(".")
                    pending.append(used)
    return {key: path or graph.name for key, path in paths.items()}
