"""Arrays made of the fields of a batch, which say how far a mask reaches: all in time linear in the length."""

from __future__ import annotations

import torch
from torch import Tensor


def run_starts(field: Tensor) -> Tensor:
    """Where the run of equal values around each position of ``field`` [batch, keys] begins; int32."""
    places = torch.arange(field.shape[1], device=field.device, dtype=torch.int32).expand(field.shape)
    begins = torch.ones_like(field, dtype=torch.bool)
    begins[:, 1:] = field[:, 1:] != field[:, :-1]
    return torch.where(begins, places, 0).cummax(1).values.to(torch.int32) if field.shape[1] else places


def run_stops(field: Tensor) -> Tensor:
    """Where the run of equal values around each position of ``field`` [batch, keys] ends, exclusive; int32."""
    return field.shape[1] - run_starts(field.flip(1)).flip(1)


def never_turns(field: Tensor) -> Tensor:
    """Whether the values of each sequence only rise or only fall, so that equal ones stand together; [batch, 1]."""
    before, after = field[:, :-1], field[:, 1:]
    return ((before <= after).all(1) | (before >= after).all(1)).unsqueeze(1)


def same_starts(field: Tensor) -> Tensor:
    """No equal value stands before this place; 0 where the values of a sequence turn."""
    return torch.where(never_turns(field), run_starts(field), 0)


def same_stops(field: Tensor) -> Tensor:
    """No equal value stands at this place or after it; the length where the values of a sequence turn."""
    return torch.where(never_turns(field), run_stops(field), field.shape[1])


def first_place(holds: Tensor) -> Tensor:
    """The first place at which ``holds`` [batch, keys] is true, else the length; [batch], int32."""
    places = torch.arange(holds.shape[1], device=holds.device, dtype=torch.int32)
    if not holds.shape[1]:
        return torch.zeros(holds.shape[0], device=holds.device, dtype=torch.int32)
    return torch.where(holds, places, holds.shape[1]).amin(1)


def end_of_places(holds: Tensor) -> Tensor:
    """One more than the last place at which ``holds`` [batch, keys] is true, else 0; [batch], int32."""
    return holds.shape[1] - first_place(holds.flip(1))


def without_gap(holds: Tensor) -> Tensor:
    """1 where ``holds`` [batch, keys] is true at all places between its first and its last, else 0; [batch], int32."""
    return (holds.sum(1) == (end_of_places(holds) - first_place(holds)).clamp(min=0)).to(torch.int32)
