"""Arrays made of fields on tensors, against the plain ones in Python."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tantra_compiler.runtime.fields import (
    end_of_places,
    first_place,
    run_starts,
    run_stops,
    same_starts,
    same_stops,
    without_gap,
)
from tantra_dsl.masks import Aux, derive
from tantra_dsl.masks.fields import with_aux
from tantra_dsl.masks.plan import Plan
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Capture

OF_FIELDS = {"run_start": run_starts, "run_stop": run_stops, "same_start": same_starts, "same_stop": same_stops}
OF_PLACES = {"low": first_place, "high": end_of_places, "solid": without_gap}

rows = st.integers(0, 12).flatmap(
    lambda length: st.lists(st.lists(st.integers(-2, 3), min_size=length, max_size=length), min_size=1, max_size=3)
)
rising = rows.map(lambda batch: [sorted(row) for row in batch])
falling = rows.map(lambda batch: [sorted(row, reverse=True) for row in batch])


def plan_with(*aux: Aux) -> Plan:
    base = derive(None)
    captures = (Capture("field", integer=True),)
    return Plan(base.body, captures, aux, base.keys, base.queries, None, "all")


@settings(max_examples=200, deadline=None)
@given(st.one_of(rows, rising, falling))
def test_arrays_of_fields(batch: list[list[int]]) -> None:
    keys = len(batch[0])
    read = with_aux(plan_with(*(Aux(kind, field=0) for kind in OF_FIELDS)), keys, keys, len(batch),
                    lambda capture, index: batch[int(index[0])][int(index[1])])  # fmt: skip
    field = torch.tensor(batch, dtype=torch.int64).view(len(batch), keys)
    for number, make in enumerate(OF_FIELDS.values(), start=1):
        expected = [[read(number, (b, p)) for p in range(keys)] for b in range(len(batch))]
        assert make(field).tolist() == expected


@settings(max_examples=200, deadline=None)
@given(rows)
def test_places_of_predicates(batch: list[list[int]]) -> None:
    keys = len(batch[0])
    predicate = parse_scalar("field[b, p] > 0", (Capture("field", integer=True),))
    read = with_aux(plan_with(*(Aux(kind, predicate=predicate) for kind in OF_PLACES)), keys, keys, len(batch),
                    lambda capture, index: batch[int(index[0])][int(index[1])])  # fmt: skip
    holds = torch.tensor(batch, dtype=torch.int64).view(len(batch), keys) > 0
    for number, make in enumerate(OF_PLACES.values(), start=1):
        assert make(holds).tolist() == [read(number, (b,)) for b in range(len(batch))]
