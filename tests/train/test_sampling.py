"""What a trained model writes."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.train import checkpoint, sample, train
from tantra_dsl.train.folder import RunFolder
from tantra_dsl.train.sampling import Choice, Writer, pick
from tests.train import fake_model
from tests.train.fake_model import FakeSpec


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on text with characters of several bytes."""
    folder = tmp_path_factory.mktemp("sampled")
    (folder / "text.txt").write_text("zéro ☃ un ☃ deux\n" * 200)
    recipe = {
        "data": str(folder / "text.txt"),
        "steps": 20,
        "batch": 8,
        "tokenizer": ["bytes"],
        "precision": ["float32"],
    }
    return train(FakeSpec({"context": 16}, recipe), out=folder / "run", progress=None).folder


def written(run, prompt="zéro", **choice):
    return "".join(sample(run, prompt, load=fake_model.load, **choice))


def test_a_seed_repeats_a_sample_and_another_gives_another(run):
    assert written(run, seed=1) == written(run, seed=1)
    assert written(run, seed=1) != written(run, seed=2)


def test_without_a_seed_samples_differ(run):
    assert len({written(run) for _ in range(4)}) > 1


def test_what_comes_is_valid_text_of_the_length_asked_for(run):
    text = written(run, max_new=300, temperature=1.5, seed=0)
    assert 100 < len(text) <= 300
    text.encode()


def test_an_empty_prompt_starts_somewhere(run):
    assert written(run, "", max_new=20, seed=0)


def test_temperature_0_takes_the_likeliest_whatever_the_seed(run):
    assert written(run, temperature=0, seed=1) == written(run, temperature=0, seed=2)


def test_top_k_1_is_temperature_0(run):
    assert written(run, top_k=1, seed=1) == written(run, temperature=0)


def test_a_run_that_is_none_and_figures_out_of_range(run, tmp_path):
    with pytest.raises(SpecError, match="R0307"):
        sample(tmp_path, "a", load=fake_model.load)
    for wrong in ({"temperature": -1}, {"temperature": float("nan")}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match="must be"):
            sample(run, "a", load=fake_model.load, **wrong)


def test_characters_that_were_never_seen_are_named(tmp_path):
    (tmp_path / "text.txt").write_text("abc" * 100)
    recipe = {"data": str(tmp_path / "text.txt"), "steps": 1, "batch": 2, "tokenizer": ["characters"]}
    folder = train(FakeSpec({"vocab": 9, "context": 8}, recipe), out=tmp_path / "run", progress=None).folder
    with pytest.raises(SpecError, match="'☃'"):
        sample(folder, "a☃b", load=fake_model.load)
    assert set("".join(sample(folder, "", load=fake_model.load, max_new=50))) <= set("abc")


def test_a_model_that_does_not_extend_text_is_refused(tmp_path):
    (tmp_path / "text.txt").write_text("abc" * 100)
    recipe = {"data": str(tmp_path / "text.txt"), "steps": 1, "batch": 2, "tokenizer": ["bytes"]}
    folder = train(FakeSpec({"kind": "masked", "vocab": 257}, recipe), out=tmp_path / "run", progress=None).folder
    with pytest.raises(SpecError, match="R0404"):
        sample(folder, "a", load=fake_model.load)


def test_a_damaged_best_checkpoint_is_passed_over(run, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    best = checkpoint.by_loss(RunFolder(copy).checkpoints)[0]
    (best / "weights.safetensors").write_bytes(b"")
    assert written(copy, seed=1)
    shutil.rmtree(RunFolder(copy).checkpoints)
    with pytest.raises(SpecError, match="R0306"):
        sample(copy, "a", load=fake_model.load)


# --- drawing a token ---------------------------------------------------------------------


def shares(choice, logits, draws=4000):
    generator = torch.Generator().manual_seed(0)
    counts = Counter(int(pick(torch.tensor(logits), choice, generator)) for _ in range(draws))
    return [counts[token] / draws for token in range(len(logits))]


LOGITS = [2.0, 1.0, 0.0, -1.0]


def test_draws_follow_the_tempered_shares():
    for temperature in (0.5, 1.0, 2.0):
        expected = (torch.tensor(LOGITS) / temperature).softmax(-1).tolist()
        assert shares(Choice(temperature), LOGITS) == pytest.approx(expected, abs=0.03)


def test_top_k_keeps_k():
    expected = [*torch.tensor(LOGITS[:2]).softmax(-1).tolist(), 0, 0]
    assert shares(Choice(1.0, top_k=2), LOGITS) == pytest.approx(expected, abs=0.03)


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass():
    full = torch.tensor(LOGITS).softmax(-1)
    for mass, kept in ((0.5, 1), (0.65, 2), (0.9, 3), (1.0, 4)):
        expected = (full * (torch.arange(4) < kept) / full[:kept].sum()).tolist()
        assert shares(Choice(1.0, top_p=mass), LOGITS) == pytest.approx(expected, abs=0.03)


# --- the context -------------------------------------------------------------------------


class Recorder:
    """A model that says which tokens it was shown, and always wants the next number."""

    def __init__(self):
        self.shown = []

    def new_cache(self, batch, max_length):
        self.shown.append([])
        cache = fake_model.Cache()
        cache.length = 0
        return cache

    def __call__(self, *, tokens, cache):
        self.shown[-1] += tokens[0].tolist()
        cache.length += tokens.shape[1]
        logits = torch.zeros(1, tokens.shape[1], 100)
        logits[0, -1, int(tokens[0, -1]) + 1] = 1
        return logits


@pytest.mark.parametrize(("context", "prompt"), [(8, 3), (8, 8), (8, 20), (1, 2), (5, 1)])
def test_a_full_context_is_read_again_from_its_newer_half(context, prompt):
    model = Recorder()
    writer = Writer(model, "tokens", context, 100, torch.device("cpu"))
    assert list(writer.write(list(range(prompt)), 30, Choice(0))) == list(range(prompt, prompt + 30))
    for window in model.shown:
        assert window == list(range(window[0], window[0] + len(window)))
        assert len(window) <= context
    for before, after in zip(model.shown, model.shown[1:], strict=False):
        assert after[0] > before[0]
        assert after[: max(1, context // 2)][-1] == before[-1] + 1


def test_tokens_beyond_the_tokenizer_are_never_drawn():
    writer = Writer(Recorder(), "tokens", 8, 5, torch.device("cpu"))
    assert all(token < 5 for token in writer.write([2], 40, Choice(2.0, seed=0)))
