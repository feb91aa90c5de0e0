"""What differs between two specs, or between a module and a checkpoint, in lines for a diagnostic."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tantra_dsl.train.protocol import SpecLike

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST = 12


def differences(kept: SpecLike, asked: SpecLike) -> tuple[str, ...]:
    """Lines of the resolved specs that only one of them has."""
    before, after = kept.resolved_text().splitlines(), asked.resolved_text().splitlines()
    lines = [
        line
        for line in difflib.unified_diff(before, after, lineterm="", n=0)
        if not line.startswith(("---", "+++", "@@"))
    ]
    shown = [f"{'run' if line[0] == '-' else 'now'}: {line[1:].strip()}" for line in lines if line[1:].strip()]
    return _capped(shown) or ("the texts are equal, but their architectures are not",)


def weight_differences(module: nn.Module, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Weights that are missing, extra or of another shape; a tied weight may be saved under one name only."""
    state = module.state_dict(keep_vars=True)
    tied = {id(state[name]) for name in weights if name in state}
    missing = [
        f"weight {name} is not in the checkpoint"
        for name in state
        if name not in weights and id(state[name]) not in tied
    ]
    extra = [f"weight {name} is only in the checkpoint" for name in weights if name not in state]
    shapes = [
        f"weight {name} is {list(state[name].shape)}, in the checkpoint {list(tensor.shape)}"
        for name, tensor in weights.items()
        if name in state and state[name].shape != tensor.shape
    ]
    return _capped(shapes + missing + extra)


def _capped(lines: list[str]) -> tuple[str, ...]:
    more = (f"and {len(lines) - MOST} more",) if len(lines) > MOST else ()
    return (*lines[:MOST], *more)
