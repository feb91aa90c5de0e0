"""The course of the learning rate."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tantra_dsl.semantics.recipe import ScheduleChoice
from tantra_dsl.train.schedule import factor, noam_peak

KINDS = ["constant", "cosine", "linear", "noam", "wsd"]
choices = st.builds(
    ScheduleChoice,
    st.sampled_from(KINDS),
    warmup=st.integers(0, 50) | st.floats(0, 0.5),
    decay=st.integers(0, 50) | st.floats(0, 0.5),
    floor=st.floats(0, 1),
)


def course(choice, total):
    return [factor(choice, step, total) for step in range(total)]


@given(choices, st.integers(1, 300))
def test_every_step_moves_and_none_exceeds_the_peak(choice, total):
    assert all(0 < value <= 1 for value in course(choice, total))


@given(choices, st.integers(100, 300))
def test_it_rises_through_warm_up_and_never_after(choice, total):
    values = course(choice, total)
    warmup = choice.warmup if isinstance(choice.warmup, int) else round(choice.warmup * total)
    assert all(before < after for before, after in pairwise(values[: warmup + 1]))
    assert all(before >= after for before, after in pairwise(values[warmup:]))


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
def test_it_ends_near_the_floor(kind):
    last = course(ScheduleChoice(kind, warmup=10, floor=0.25), 1000)[-1]
    assert 0.25 < last < 0.26


def test_half_way_down():
    for kind in ("cosine", "linear"):
        assert factor(ScheduleChoice(kind, warmup=0, floor=0.2), 500, 1000) == pytest.approx(0.6)


def test_wsd_is_flat_until_its_decay():
    values = course(ScheduleChoice("wsd", warmup=10, decay=100), 500)
    assert set(values[10:401]) == {1.0}
    assert values[450] == pytest.approx(0.5)


def test_noam_is_the_published_formula():
    dim, warmup, total = 512, 4000, 20_000
    for step in (4000, 5000, 19_999):
        published = dim**-0.5 * min(step**-0.5, step * warmup**-1.5)
        ours = noam_peak(dim, warmup) * factor(ScheduleChoice("noam", warmup), step, total)
        assert ours == pytest.approx(published)
