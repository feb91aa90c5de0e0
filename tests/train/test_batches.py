"""Batches show everything, repeat exactly, and never ask for what is padded."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.semantics.recipe import Recipe
from tantra_dsl.train import tokenizer
from tantra_dsl.train.batches import Crops, Rows, make_batches, mask_tokens
from tantra_dsl.train.corpus import Corpus
from tantra_dsl.train.objective import Objective

NEXT = Objective("next_token", 10_000, tokens="tokens")
MASKED = Objective("masked_token", 257, tokens="tokens", labels="labels", zeros=("segments",))
PAIRS = Objective("pairs", 300, source="source", target="target")


def numbered(train, validation=50):
    """A corpus whose tokens say where they stand."""
    return Corpus(tokenizer.Bytes(), "", {"tokens": np.arange(train)}, {"tokens": np.arange(validation)})


def crops(train, context=8, batch=4, seed=0, objective=NEXT, validation=50):
    return Crops(numbered(train, validation), objective, context, batch, seed)


def rows_of(batch):
    return batch.inputs["tokens"].tolist()


@settings(deadline=None)
@given(st.integers(9, 400), st.integers(2, 8), st.integers(1, 5), st.integers(0, 3))
def test_an_epoch_predicts_no_token_twice_and_nearly_all(train, context, batch, seed):
    made = crops(train, context, batch, seed)
    predicted = Counter(
        token for number in range(made.per_epoch) for row in rows_of(made.train(number)) for token in row[1:]
    )
    whole = made.per_epoch * batch
    assert sum(predicted.values()) == whole * (context - 1)
    if whole <= made._count:
        assert max(predicted.values()) == 1
        assert train - len(predicted) < (context - 1) * (batch + 2)


def test_crops_are_runs_of_the_text():
    for row in rows_of(crops(100).train(3)):
        assert row == list(range(row[0], row[0] + 8))


def test_batches_repeat_and_differ_by_seed_and_number():
    assert rows_of(crops(500).train(7)) == rows_of(crops(500).train(7))
    assert rows_of(crops(500).train(7)) != rows_of(crops(500).train(8))
    assert rows_of(crops(500).train(7)) != rows_of(crops(500, seed=1).train(7))


def test_epochs_cut_at_different_phases():
    made = crops(500)
    phases = {rows_of(made.train(epoch * made.per_epoch))[0][0] % 7 for epoch in range(20)}
    assert len(phases) > 2


def test_one_crop_is_enough():
    made = crops(8, context=8, batch=2)
    assert rows_of(made.train(5)) == [list(range(8))] * 2


@pytest.mark.parametrize("held", [2, 7, 8, 9, 15, 50, 64])
def test_the_whole_validation_part_is_predicted_once(held):
    made = crops(100, validation=held)
    batches = list(made.validation(None))
    predicted = sorted(token for batch in batches for row in rows_of(batch) for token in row[1:])
    assert predicted == list(range(1, held))
    assert sum(batch.targets for batch in batches) == held - 1


def test_a_part_of_validation_is_spread_over_it():
    starts = [row[0] for batch in crops(100, validation=5000).validation(3) for row in rows_of(batch)]
    assert len(starts) == 12
    assert (starts[0], len(set(starts))) == (0, 12)
    assert starts[-1] > 4900


def test_data_shorter_than_a_sequence_is_told():
    for train, validation, expected in ((7, 50, ["train"]), (100, 1, ["valid"]), (0, 0, ["train", "valid"])):
        with pytest.raises(SpecError) as caught:
            make_batches(numbered(train, validation), NEXT, Recipe(batch=2), 8)
        found = caught.value.diagnostics
        assert [problem.code for problem in found] == ["R0204"] * len(expected)
        assert [problem.part[:5] for problem in found] == expected


def test_a_shorter_context_is_proposed_where_it_helps():
    with pytest.raises(SpecError) as caught:
        make_batches(numbered(7), NEXT, Recipe(batch=2), 8)
    assert "at most 7" in caught.value.diagnostics[0].help


# --- masked tokens -----------------------------------------------------------------------


def test_masking_follows_the_published_shares():
    made = tokenizer.Bytes(("mask",))
    tokens = np.random.default_rng(0).integers(256, size=(200, 500))
    hidden, labels = mask_tokens(tokens, made, np.random.default_rng(1))
    asked = labels != -100
    np.testing.assert_array_equal(labels[asked], tokens[asked])
    np.testing.assert_array_equal(hidden[~asked], tokens[~asked])
    mask, kept = (hidden == 256)[asked].mean(), (hidden == tokens)[asked].mean()
    assert abs(asked.mean() - 0.15) < 0.005
    assert abs(mask - 0.8) < 0.01
    assert abs(kept - 0.1 - 0.1 / 256) < 0.01


def test_every_masked_batch_asks_for_something():
    _, labels = mask_tokens(np.zeros((1, 2), int), tokenizer.Bytes(("mask",)), np.random.default_rng(3))
    assert (labels != -100).any()


def test_masks_repeat_by_number_and_other_inputs_are_zeros():
    held = Corpus(tokenizer.Bytes(("mask",)), "", {"tokens": np.arange(100)}, {"tokens": np.arange(50)})
    made = Crops(held, MASKED, 8, 4, 0)
    first, again, other = made.train(2).inputs, made.train(2).inputs, made.train(3).inputs
    assert set(first) == {"tokens", "labels", "segments"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["labels"] == -100, other["labels"] == -100)
    assert not first["segments"].any()


# --- pairs -------------------------------------------------------------------------------


def pair_corpus(count, seed=0):
    """Row ``n`` holds only the token ``n`` + 1, at random lengths."""
    random = np.random.default_rng(seed)
    part = {}
    for side, low, high in (("source", 1, 9), ("target", 3, 7)):
        lengths = random.integers(low, high, count)
        part[side] = np.repeat(np.arange(1, count + 1), lengths)
        part[f"{side}_ends"] = np.cumsum(lengths)
    return Corpus(tokenizer.Characters("".join(map(chr, range(200))), ("pad", "start", "end")), "", part, part)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 7), st.integers(0, 3))
def test_an_epoch_shows_every_pair_once_and_never_pads_a_target(count, batch, seed):
    held = pair_corpus(count, seed)
    made = Rows(held, PAIRS, 16, batch, seed)
    seen = []
    for number in range(made.per_epoch):
        inputs = made.train(number).inputs
        source, target = inputs["source"], inputs["target"]
        assert len(target) <= batch
        assert (target == target[:, :1]).all()
        real = source != held.tokenizer.base
        assert torch.equal(torch.where(real, source, source[:, :1]), source[:, :1].expand_as(source))
        assert torch.equal(source[:, 0], target[:, 0])
        assert int(real.sum()) == np.diff(held.train["source_ends"], prepend=0)[target[:, 0].numpy() - 1].sum()
        seen += target[:, 0].tolist()
    assert sorted(seen) == list(range(1, count + 1))


def test_pairs_longer_than_the_context_are_left_out():
    held = pair_corpus(60)
    made = Rows(held, PAIRS, 5, 4, 0)
    shown = sum(len(made.train(number).inputs["target"]) for number in range(made.per_epoch))
    lengths = [np.diff(held.train[f"{side}_ends"], prepend=0) for side in ("source", "target")]
    assert shown == int(((lengths[0] <= 5) & (lengths[1] <= 5)).sum())
    assert 0 < shown < 60


def test_pairs_that_all_are_too_long_are_told():
    with pytest.raises(SpecError, match="R0204"):
        make_batches(pair_corpus(10), PAIRS, Recipe(), 2)
