"""How many positions a picture of a model shows."""

from __future__ import annotations

from typing import Final

from tantra_dsl.graph.model import Graph

_DEFAULT_LENGTH: Final = 4096


def shown_length(graph: Graph, seq: int | None) -> int:
    """``seq``; where None, the model's context, but at most 4096."""
    return seq or min(int(graph.fact("context") or _DEFAULT_LENGTH), _DEFAULT_LENGTH)
