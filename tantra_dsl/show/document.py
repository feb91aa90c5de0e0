"""``tantra show --json``: a model and its costs as plain data."""

from __future__ import annotations

import json
from typing import Any

from tantra_dsl.graph.costs.parts import Part
from tantra_dsl.graph.costs.report import CostReport, cost
from tantra_dsl.graph.hash import architecture_hash, full_hash
from tantra_dsl.graph.model import Graph

SCHEMA = 1
"""Version of the document; it goes up when a key changes its meaning or goes."""


def show_json(graph: Graph, report: CostReport | None = None, *, seq: int | None = None, batch: int = 1) -> str:
    """``show_dict`` as JSON text."""
    return json.dumps(show_dict(graph, report, seq=seq, batch=batch), indent=2)


def show_dict(
    graph: Graph, report: CostReport | None = None, *, seq: int | None = None, batch: int = 1
) -> dict[str, Any]:
    """The model and its costs as plain data; ``cost(graph, seq=seq, batch=batch)`` where no report is given.

    Every figure has ``value`` (None = unknown), ``bound`` (exact, upper or unknown) and ``formula``.
    """
    report = report or cost(graph, seq=seq, batch=batch)
    return {
        "schema": SCHEMA,
        "model": graph.name,
        "architecture_hash": architecture_hash(graph),
        "full_hash": full_hash(graph),
        "facts": dict(graph.facts),
        "setting": {
            "seq": report.seq,
            "batch": report.batch,
            "precision": report.precision,
            "optimizer": report.optimizer,
        },
        "figures": {
            name: {"value": figure.value, "bound": figure.bound, "formula": figure.formula}
            for name, figure in report.figures.items()
        },
        "parts": [_part(part) for part in report.parts],
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "kind": part.kind,
        "count": part.count,
        "output": part.output,
        "params": part.params,
        "active_params": part.active_params,
        "flops": {"value": part.flops.value, "bound": part.flops.bound, "formula": part.flops.formula},
        "kv_bytes_per_token": part.kv_bytes_per_token,
        "activation_bytes": part.activation_bytes,
        "optimizer_bytes": part.optimizer_bytes,
        "pattern": [{"layer": name, "count": count} for name, count in part.pattern],
        "parts": [_part(inner) for inner in part.parts],
    }
