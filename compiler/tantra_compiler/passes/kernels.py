"""Overrides of how an op runs."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, Final

from tantra_compiler.passes.base import each_body
from tantra_compiler.passes.places import places, with_first_layers
from tantra_compiler.passes.recipe import with_attr, with_nodes
from tantra_dsl.graph.model import Body, Graph

KERNELS: Final = ("reference", "torch", "triton")
"""Ways that can be asked for: the plain reference, torch's own attention, tantra's own execution."""


@dataclass(frozen=True)
class ChooseKernels:
    """Marks the attention at the given paths to run in the given way, one of ``KERNELS``.

    A path names the module around the op: ``layers.3.attention``, or with a pattern ``layers.*.attention``. Layers
    that share a body run alike. Raises ValueError for a path at which there is no attention, and for a way that there
    is not.
    """

    name: ClassVar[str] = "choose_kernels"
    after: ClassVar[tuple[str, ...]] = ()
    kernels: tuple[tuple[str, str], ...] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with marked attention."""
        if not self.kernels:
            return graph
        paths = attention_paths(graph)
        wanted = [(with_first_layers(graph, pattern), kernel) for pattern, kernel in self.kernels]
        self._check(wanted, [path for each in paths.values() for path in each])
        return each_body(graph, lambda body: self._body(body, wanted, paths.get(body.key, [])))

    def _check(self, wanted: list[tuple[str, str]], known: list[str]) -> None:
        for (asked, kernel), (pattern, _) in zip(self.kernels, wanted, strict=True):
            if kernel not in KERNELS:
                raise ValueError(f"there is no kernel {kernel!r} for {asked}; there are {', '.join(KERNELS)}")
            if not any(fnmatchcase(path, pattern) for path in known):
                raise ValueError(f"there is no attention at {asked!r}; it is at {', '.join(known) or 'no place'}")

    def _body(self, body: Body, wanted: list[tuple[str, str]], paths: list[str]) -> Body:
        chosen = [kernel for pattern, kernel in wanted if any(fnmatchcase(path, pattern) for path in paths)]
        if not chosen:
            return body
        return with_nodes(body, [with_attr(n, "kernel", chosen[-1]) if n.op == "attend" else n for n in body.nodes])


def attention_paths(graph: Graph) -> dict[str, list[str]]:
    """For each body that attends, the paths at which the model uses it, as ``places`` has them."""
    attending = (key for key, body in graph.bodies.items() if any(node.op == "attend" for node in body.nodes))
    found = places(graph)
    return {key: [path or graph.name for path in found[key]] for key in attending}
