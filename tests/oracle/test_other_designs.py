"""Designs that a user would write with the standard library, against transformers."""

from __future__ import annotations

import pytest
import torch
from comparison import OUTPUT_BUDGET, compare_loss_and_gradients, largest_difference
from other_designs import OTHERS
from tiny_twins import paired

designs = pytest.mark.parametrize("name", OTHERS)


@designs
def test_outputs(name: str) -> None:
    both = paired(OTHERS[name])
    assert largest_difference(both, both.model) <= OUTPUT_BUDGET


@designs
def test_loss_and_gradients(name: str) -> None:
    compare_loss_and_gradients(paired(OTHERS[name]))


@designs
@torch.no_grad()
def test_cached_decoding(name: str) -> None:
    both = paired(OTHERS[name])
    ((stream, text),) = both.inputs.items()
    cache = both.model.new_cache(*text.shape)
    pieces = [both.model(**{stream: piece}, cache=cache) for piece in text.split([7, *[1] * 11], dim=1)]
    whole = both.model(text)
    assert (torch.cat(pieces, dim=1) - whole).abs().max() <= OUTPUT_BUDGET * whole.abs().max()
