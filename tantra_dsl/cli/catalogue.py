"""``tantra list``: the specs that ship."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tantra_dsl.cli.outcome import FINE


@dataclass(frozen=True)
class Row:
    """One shipped model: its name, parameters and one line about it."""

    name: str
    params: int
    summary: str


def list_shipped(as_json: bool) -> int:
    """Print every shipped model; the exit status."""
    rows = _rows()
    if as_json:
        print(json.dumps([row.__dict__ for row in rows], indent=2))
        return FINE
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{row.name:<{width}}  {row.params:>17,}  {row.summary}".rstrip())
    return FINE


def _rows() -> list[Row]:
    import tantra_dsl

    return [Row(spec.name, _params(spec.name), spec.summary) for spec in tantra_dsl.shipped()]


def _params(name: str) -> int:
    import tantra_dsl
    from tantra_dsl.graph.costs import params

    return params(tantra_dsl.load(name).graph())
