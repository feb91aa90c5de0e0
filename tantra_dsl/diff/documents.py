"""A diff as plain data; ``grammars/diff.schema.json`` describes it."""

from __future__ import annotations

import json
from typing import Any

from tantra_dsl.diff.costs import PART_FIGURES, Costs, PartChange
from tantra_dsl.diff.operations import Operation, place
from tantra_dsl.diff.report import Diff
from tantra_dsl.diff.weights import Tensor

SCHEMA = 1
"""Version of the document; it goes up when a key changes its meaning or goes."""


def document(found: Diff, patch: str | None = None) -> dict[str, Any]:
    """The whole diff as plain data; with ``patch``, the text that ``apply`` takes."""
    return {
        "schema": SCHEMA,
        "before": vars_of(found, "before"),
        "after": vars_of(found, "after"),
        "verdict": found.verdict,
        "notes": list(found.notes),
        "operations": [_operation(op) for op in found.operations],
        "costs": _costs(found.costs),
        "weights": [_tensor(tensor) for tensor in found.weights],
        "patch": patch,
    }


def vars_of(found: Diff, side: str) -> dict[str, str]:
    """One side's model."""
    model = getattr(found, side)
    return {"name": model.name, "source": model.source, "architecture_hash": model.hash}


def render(found: Diff, patch: str | None = None) -> str:
    """``document`` as JSON text."""
    return json.dumps(document(found, patch), indent=2) + "\n"


def _operation(op: Operation) -> dict[str, Any]:
    return {
        "kind": op.kind,
        "path": op.path,
        "old": op.old,
        "new": op.new,
        "concern": op.concern,
        "why": op.why,
        "before": place(op.before),
        "after": place(op.after),
        "old_is_default": op.defaulted[0],
        "new_is_default": op.defaulted[1],
    }


def _costs(costs: Costs) -> dict[str, Any]:
    figures = {
        c.name: {"old": c.old.value, "new": c.new.value, "delta": c.delta, "formula": c.new.formula}
        for c in costs.figures
    }
    return {
        "seq": costs.seq,
        "batch": costs.batch,
        "figures": figures,
        "parts": [_part(part) for part in costs.parts],
    }


def _part(part: PartChange) -> dict[str, Any]:
    figures: dict[str, Any] = {"path": part.path}
    for name in PART_FIGURES:
        old, new = part.figure(name)
        figures[name] = {"old": old, "new": new, "delta": None if old is None or new is None else new - old}
    return figures


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "fate": tensor.fate,
        "path": tensor.path,
        "old_path": tensor.old_path or tensor.path,
        "old_shape": None if tensor.old is None else list(tensor.old),
        "new_shape": None if tensor.new is None else list(tensor.new),
        "how": tensor.how,
        "count": tensor.count,
    }
