"""What each key is about: the architecture, unless it is declared here.

A key of the architecture changes the hash of the model. One that says how training starts changes
``graph.hash.full_hash`` alone, and one of the recipe neither. There is no key yet that is about numerics alone.
"""

from __future__ import annotations

from typing import Literal

Concern = Literal["architecture", "start", "recipe"]

START = frozenset({"param.decay"})
"""How weights start and whether they decay: these keys of these owners, and every ``init`` and ``..._init``."""

RECIPE = frozenset({"model.train"})
"""Sections that say how a model is trained."""


def concern(owner: str, key: str) -> Concern:
    """What ``key`` of a module, primitive or ``model`` is about."""
    path = f"{owner}.{key}"
    if key == "init" or key.endswith("_init") or path in START:
        return "start"
    return "recipe" if path in RECIPE else "architecture"
