"""The facts that ``expect`` can speak about, each computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from tantra_dsl.graph.model import Graph


def expectations(graph: Graph) -> Mapping[str, int | None]:
    """Figures of ``graph`` by name; None where one is unknown. ``causal`` is 1 or 0; the rest as ``cost`` has them.

    ``flops_per_token`` is at the model's context, ``kv_bytes_per_token`` at two bytes per number.
    """
    return _Expectations(graph)


class _Expectations(Mapping[str, int | None]):
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, int | None] = {}

    def __getitem__(self, name: str) -> int | None:
        if name not in self._known:
            self._known[name] = _FIGURES[name](self._graph)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_FIGURES)

    def __len__(self) -> int:
        return len(_FIGURES)


def _params(graph: Graph) -> int:
    from tantra_dsl.graph.paths import parameter_count

    return parameter_count(graph)


def _active_params(graph: Graph) -> int:
    from tantra_dsl.graph.costs.parameters import Parameters

    return Parameters(graph).active[graph.root]


def _reported(name: str, seq: int | None, graph: Graph) -> int | None:
    from tantra_dsl.graph.costs.report import cost

    return cost(graph, seq=seq)[name].value


def _causal(graph: Graph) -> int:
    """Whether no attention and no convolution of the model reads a later position."""
    return int(all(_is_causal(graph, key) for key in graph.bodies))


def _is_causal(graph: Graph, key: str) -> bool:
    from tantra_dsl.graph.costs.masks import is_causal

    nodes = graph.bodies[key].nodes
    attends = (node for node in nodes if node.op in ("attend", "additive_attend"))
    convolutions = (node for node in nodes if node.op == "conv1d")
    return all(is_causal(node.attr("mask")) for node in attends) and all(node.attr("causal") for node in convolutions)


_FIGURES: Final[dict[str, Callable[[Graph], int | None]]] = {
    "params": _params,
    "active_params": _active_params,
    "kv_bytes_per_token": partial(_reported, "kv_bytes_per_token", 1),
    "flops_per_token": partial(_reported, "flops_per_token", None),
    "causal": _causal,
}
