"""Random edits of random specs: all are found, none is invented, and the patch leads from the one to the other."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings

import tantra_dsl
from tantra_dsl.api import Spec
from tantra_dsl.diff.operations import Operation
from tantra_dsl.diff.patches import applied, patch
from tantra_dsl.diff.report import diff
from tests.diff.random_specs import KNOBS, Model, Spelling, changed, changes, models, spellings, text

SLOW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def spec(model: Model, spelling: Spelling) -> Spec:
    loaded = tantra_dsl.loads(text(model, spelling))
    assert [found for found in loaded.check() if found.severity == "error"] == [], text(model, spelling)
    return loaded


def knob(op: Operation) -> set[str]:
    """The knobs that an operation is about."""
    layers = re.match(r"layers\[(.*?)\]", op.path)
    path = re.sub(r"\[.*?\]", "", op.path)
    if path.startswith("layers.attention.mask"):
        which = {"every 2nd from 0": ("even",), "every 2nd": ("odd",)}.get(layers[1] if layers else "", ("even", "odd"))
        return {f"layers.attention.{name}" for name in which}
    return {max((name for name in KNOBS if path == name or path.startswith(f"{name}.")), key=len)}


@SLOW
@given(models, changes, spellings, spellings)
def test_edits_are_found_and_none_is_invented(
    model: Model, steps: dict[str, int], one: Spelling, other: Spelling
) -> None:
    after = changed(model, steps)
    found = diff(spec(model, one), spec(after, other))
    expected = {name for name in KNOBS if model[name] != after[name]}
    assert set().union(*(knob(op) for op in found.operations)) == expected
    assert found.empty == (not expected)


@SLOW
@given(models, spellings, spellings)
def test_spelling_is_no_difference(model: Model, one: Spelling, other: Spelling) -> None:
    found = diff(spec(model, one), spec(model, other))
    assert found.empty
    assert found.operations == ()


@SLOW
@given(models, models, spellings, spellings)
def test_a_patch_leads_from_the_one_to_the_other(model: Model, after: Model, one: Spelling, other: Spelling) -> None:
    before, target = spec(model, one), spec(after, other)
    made = patch(before, target)
    assert diff(applied(before, made.text), target).empty


@SLOW
@given(models, changes, spellings)
def test_a_patch_of_a_few_edits_restates_no_model(model: Model, steps: dict[str, int], spelling: Spelling) -> None:
    before, target = spec(model, spelling), spec(changed(model, steps), spelling)
    made = patch(before, target)
    assert diff(applied(before, made.text), target).empty
    assert "extends m" in made.text
    assert not any(line.strip() == "objective: next_token" for line in made.text.splitlines())
