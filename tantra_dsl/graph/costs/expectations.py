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


def _causal(graph: Graph) -> int | None:
    from tantra_dsl.graph.leaks import is_causal

    causal = is_causal(graph)
    return None if causal is None else int(causal)


_FIGURES: Final[dict[str, Callable[[Graph], int | None]]] = {
    "params": _params,
    "active_params": _active_params,
    "kv_bytes_per_token": partial(_reported, "kv_bytes_per_token", 1),
    "flops_per_token": partial(_reported, "flops_per_token", None),
    "causal": _causal,
}
