"""Overrides of how an op runs."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, Final

from tantra_compiler.passes.base import each_body
from tantra_compiler.passes.places import places
from tantra_compiler.passes.recipe import with_attr, with_nodes
from tantra_dsl.graph.model import Body, Graph

KERNELS: Final = ("reference", "torch", "triton")
"""Ways that can be asked for: the plain reference, torch's own attention, tantra's own execution."""


@dataclass(frozen=True)
class ChooseKernels:
    """Marks the attention at the given paths to run in the given way, one of ``KERNELS``.

    A path names the module around the op, all layers of a stack at once: ``layers.*.attention``; it may be a pattern.
    Raises ValueError for a path at which there is no attention, and for a way that there is not.
    """

    name: ClassVar[str] = "choose_kernels"
    after: ClassVar[tuple[str, ...]] = ()
    kernels: tuple[tuple[str, str], ...] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with marked attention."""
        if not self.kernels:
            return graph
        paths = attention_paths(graph)
        self._check([path for each in paths.values() for path in each])
        return each_body(graph, lambda body: self._body(body, paths.get(body.key, [])))

    def _check(self, known: list[str]) -> None:
        for pattern, kernel in self.kernels:
            if kernel not in KERNELS:
                raise ValueError(f"there is no kernel {kernel!r} for {pattern}; there are {', '.join(KERNELS)}")
            if not any(fnmatchcase(path, pattern) for path in known):
                raise ValueError(f"there is no attention at {pattern!r}; it is at {', '.join(known) or 'no place'}")

    def _body(self, body: Body, paths: list[str]) -> Body:
        chosen = [kernel for pattern, kernel in self.kernels if any(fnmatchcase(path, pattern) for path in paths)]
        if not chosen:
            return body
        return with_nodes(body, [with_attr(n, "kernel", chosen[-1]) if n.op == "attend" else n for n in body.nodes])


def attention_paths(graph: Graph) -> dict[str, list[str]]:
    """For each body that attends, the paths at which the model uses it; ``*`` stands for every layer of a stack."""
    attending = (key for key, body in graph.bodies.items() if any(node.op == "attend" for node in body.nodes))
    found = places(graph)
    return {key: [path or graph.name for path in found[key]] for key in attending}
