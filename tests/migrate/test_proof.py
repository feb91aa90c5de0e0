"""The proof looks at every rule: a plan that is changed anywhere is believed only where the numbers bear it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
import torch

from tantra_dsl.migrate.carrying import carried as carry
from tantra_dsl.migrate.planning import Entry, Plan
from tantra_dsl.migrate.proof import prove
from tantra_dsl.migrate.rules import Carried, Fill, Started, Zeros
from tests.migrate.conftest import planned, random_weights, result
from tests.migrate.test_functions import EXACT, NO_MULTIPLE, SAME, WIDER, grown

CASES = {**SAME, **WIDER, **{name: grown(text, "2e-5") for name, text in NO_MULTIPLE.items()}}
NAMES = [
    "all_at_once", "sandwich", "wider_experts", "keys_and_heads", "wider_without_norms", "layers_in_a_pattern",
    "tied_to_the_table", "no_longer_tied", "layernorm", "rms",
]  # fmt: skip


def spoiled(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """The plan with one rule changed, for every entry and every way to change it; each with the tensor's path."""
    for place, entry in enumerate(plan.items):
        assert isinstance(entry, Entry)
        for rule in (other for other in _others(entry, plan) if other != entry.rule):
            items = [*plan.items]
            items[place] = replace(entry, rule=rule)
            yield entry.new.path, replace(plan, items=items)


def _others(entry: Entry, plan: Plan) -> Iterator[Carried | Started | Zeros]:
    yield Started("spoiled")
    if isinstance(entry.rule, Carried):
        yield Zeros("spoiled")
        fills: tuple[Fill, ...] = ("start", "share", "mean", "zero")
        for fill in fills:
            yield replace(entry.rule, fills=(fill,) * len(entry.rule.fills))
        yield replace(entry.rule, scale=entry.rule.scale * 0.75)
        yield replace(entry.rule, axes=tuple(replace(a, blocks=a.blocks[::-1]) for a in entry.rule.axes))
        others = (e.rule for e in plan.entries if e.old is not None and e.new.shape == entry.new.shape)
        swaps = (o for o in others if isinstance(o, Carried) and o.source != entry.rule.source and _alike(o, entry))
        yield from islice(swaps, 2)


def _alike(rule: Carried, entry: Entry) -> bool:
    assert isinstance(entry.rule, Carried)
    return [axis.old for axis in rule.axes] == [axis.old for axis in entry.rule.axes]


@pytest.mark.parametrize("name", NAMES)
def test_a_spoiled_plan_is_not_believed(name: str) -> None:
    before, after = CASES[name]
    made = planned(before, after)
    graphs = made.before.graph(), made.after.graph()
    assert prove(*graphs, made.plan, False).reasons == []
    fresh, weights = random_weights(after, seed=9), random_weights(before)
    tokens = torch.randint(0, 31, (2, 9), generator=torch.Generator().manual_seed(1))
    exact = result(before, weights, tokens)
    seen = {True: 0, False: 0}
    for path, plan in spoiled(made.plan):
        believed = not prove(*graphs, plan, False).reasons
        seen[believed] += 1
        if believed:
            error = (
                (result(after, dict(carry(plan, weights, lambda place: fresh[place.path])), tokens) - exact).abs().max()
            )
            assert error < EXACT * exact.abs().max(), (path, plan.rules[path].words)
    assert seen[False] > len(made.plan.items) / 2
