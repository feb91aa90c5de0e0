"""Costs of a graph: parameters, FLOPs, decoding cache and training memory; each with its formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tantra_dsl.graph.costs.expectations import expectations
from tantra_dsl.graph.paths import parameter_count as params

if TYPE_CHECKING:
    from tantra_dsl.graph.costs.figures import Figure
    from tantra_dsl.graph.costs.parts import Part
    from tantra_dsl.graph.costs.report import CostReport, cost

__all__ = ["CostReport", "Figure", "Part", "cost", "expectations", "params"]

_HOMES = {"CostReport": "report", "Figure": "figures", "Part": "parts", "cost": "report"}


def __getattr__(name: str) -> Any:
    """Loads the report only where it is asked for: checking a spec needs no more than expectations."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
