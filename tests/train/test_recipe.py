"""What a train section may say, and what each mistake is told as."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.semantics.recipe import (
    DataSource,
    OptimizerChoice,
    Recipe,
    ScheduleChoice,
    Setting,
    TokenizerChoice,
    Word,
    recipe_keys,
    resolve_recipe,
)
from tantra_dsl.semantics.recipe_keys import TRAIN, Key
from tantra_dsl.syntax.source import Source, Span


def word(name, *positional, **named):
    return Word(name, positional, tuple(named.items()))


def resolve(*settings):
    sink = Sink()
    return resolve_recipe([Setting(path, value) for path, value in settings], sink), sink.items


def mistake(*settings):
    """The one mistake that ``settings`` hold."""
    _, problems = resolve(*settings)
    assert len(problems) == 1, [problem.title for problem in problems]
    return problems[0]


def test_nothing_said_is_the_default_recipe():
    assert resolve() == (Recipe(), [])


def test_every_key_reaches_the_recipe():
    said = {
        "data": word("shakespeare"), "tokenizer": word("bpe", 512), "split": word("document"), "validation": 0.2,
        "context": 64, "batch": 8, "accumulate": 2, "steps": 500, "time_limit": 60,
        "optimizer": word("muon", 0.03, momentum=0.9, adamw_lr=0.01),
        "schedule": word("wsd", warmup=10, decay=0.5, floor=0.1), "label_smoothing": 0.1, "dropout": 0.2, "clip": None,
        "precision": word("float32"), "compile": True, "seed": 7, "eval_every": 50, "eval_batches": 3, "save_every": 60,
        "keep": 5, "log_every": 2, "prompt": "ROMEO",
    }  # fmt: skip
    recipe, problems = resolve(*said.items())
    assert not problems
    assert recipe == Recipe(
        DataSource("bundled", "shakespeare"), TokenizerChoice("bpe", 512), "document", 0.2, 64, 8, 2, 500, None, 60.0,
        OptimizerChoice("muon", 0.03, momentum=0.9, adamw_lr=0.01), ScheduleChoice("wsd", 10, 0.5, 0.1), 0.1, 0.2, None,
        "float32", True, 7, 50, 3, 60, 5, 2, "ROMEO",
    )  # fmt: skip
    assert set(said) | {"epochs"} == {entry.name for entry in TRAIN}


def test_later_settings_replace_earlier_ones_and_inner_keys_override():
    recipe, problems = resolve(
        ("optimizer", word("adamw", lr=1e-3, betas=(0.8, 0.9))), ("optimizer.lr", 5e-4), ("batch", 4), ("batch", 6)
    )
    assert not problems
    assert recipe.optimizer == OptimizerChoice("adamw", 5e-4, (0.8, 0.9))
    assert recipe.batch == 6


def test_an_inner_key_alone_refines_the_default_choice():
    recipe, _ = resolve(("schedule.floor", 0.5))
    assert recipe.schedule == ScheduleChoice("cosine", floor=0.5)


def test_an_inner_override_replaces_an_unnamed_argument():
    recipe, problems = resolve(("tokenizer", word("bpe", 512)), ("tokenizer.vocab", 1024))
    assert not problems
    assert recipe.tokenizer == TokenizerChoice("bpe", 1024)


def test_pairs_and_paths():
    assert resolve(("data", word("pairs", "a.tsv")))[0].data == DataSource("pairs", "a.tsv")
    assert resolve(("data", "a.txt"))[0].data == DataSource("path", "a.txt")


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        (("stesp", 5), "R0101", "steps"),
        (("lr", 1e-3), "R0101", "optimizer"),
        (("floor", 0.1), "R0101", "schedule"),
        (("batch.size", 3), "R0101", "batch"),
        (("optimizer", word("adamw", beta=3)), "R0101", "betas"),
        (("batch", 2.5), "R0102", "whole number"),
        (("batch", True), "R0102", "whole number"),
        (("steps", "many"), "R0102", "whole number"),
        (("compile", 1), "R0102", "true or false"),
        (("optimizer", 3), "R0102", "adamw"),
        (("optimizer", word("adamw", betas=0.9)), "R0102", "two numbers"),
        (("data", None), "R0102", "path in quotes"),
        (("prompt", 3), "R0102", "text in quotes"),
        (("batch", 0), "R0103", "from 1"),
        (("steps", 10**400), "R0103", "from 1"),
        (("clip", math.nan), "R0103", "above 0"),
        (("dropout", 1.0), "R0103", "below 1"),
        (("optimizer", word("sgd", lr=math.inf)), "R0103", "above 0"),
        (("optimizer", word("adam", betas=(0.9, 1.0))), "R0103", "below 1"),
        (("optimizer", word("adamw", momentum=0.9)), "R0104", "first beta"),
        (("optimizer", word("adam", weight_decay=0.1)), "R0104", "adamw"),
        (("optimizer", word("sgd", betas=(0.9, 0.99))), "R0104", "momentum"),
        (("schedule", word("constant", floor=0.1)), "R0104", "cosine"),
        (("schedule", word("cosine", decay=0.1)), "R0104", "wsd"),
        (("tokenizer", word("bytes", vocab=300)), "R0104", "bpe"),
        (("optimizer", word("adamw", 1e-3, lr=1e-3)), "R0104", "keep one"),
        (("optimizer", word("adamww")), "R0105", "adamw"),
        (("data", word("shakespear")), "R0105", "shakespeare"),
        (("precision", word("bf16")), "R0105", "bfloat16"),
        (("tokenizer", word("bpe")), "R0106", "bpe(4096)"),
        (("data", word("pairs")), "R0106", "pairs("),
        (("schedule", word("cosine", 1, 2, 3)), "R0107", "name the arguments"),
    ],
)
def test_mistakes(setting, code, said):
    found = mistake(setting)
    assert found.code == code
    told = " ".join([found.title, found.label, *(note.text for note in found.notes), found.help])
    assert said in told
    assert len(told) < 500


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        (("steps", 5), ("epochs", 1.0), "epochs"),
        (("validation", 0), ("eval_every", 5), "eval_every"),
        (("validation", 0), ("split", word("document")), "split"),
        (("data", word("pairs", "a.tsv")), ("split", word("document")), "split"),
    ],
)
def test_keys_that_others_leave_without_effect(first, second, key):
    found = mistake(first, second)
    assert (found.code, found.key) == ("R0104", key)
    assert found.notes
    assert found.help


def test_warm_up_must_fit_into_the_steps():
    assert mistake(("steps", 100), ("schedule", word("cosine", warmup=101))).code == "R0103"
    assert mistake(("steps", 100), ("schedule", word("wsd", warmup=80, decay=0.3))).code == "R0103"
    assert not resolve(("steps", 100), ("schedule", word("wsd", warmup=70, decay=0.3)))[1]
    assert not resolve(("steps", 100), ("schedule", word("noam", warmup=4000)))[1]


def test_all_mistakes_are_told_at_once_where_they_stand():
    source = Source("a.tantra", "batch: 0\nsteps: x\nlr: 1")
    places = [Span(source, start, start + 5) for start in (0, 9, 18)]
    sink = Sink()
    values = ("batch", 0), ("steps", "x"), ("lr", 1)
    recipe = resolve_recipe(
        [Setting(path, value, span) for (path, value), span in zip(values, places, strict=True)], sink
    )
    assert [item.span.location for item in sink.sorted()] == ["a.tantra:1:1", "a.tantra:2:1", "a.tantra:3:1"]
    assert (recipe.batch, recipe.steps) == (Recipe().batch, Recipe().steps)


def test_the_recipe_remembers_where_its_keys_were_set():
    span = Span(Source("a.tantra", "batch: 8"), 0, 8)
    assert resolve_recipe([Setting("batch", 8, span)], Sink()).span("batch") is span


def test_the_reference_lists_every_key_with_a_readable_default():
    rows = {row.path: row for row in recipe_keys()}
    for entry in TRAIN:
        assert rows[entry.name].doc
    plain = [entry for entry in TRAIN if isinstance(entry, Key) and entry.default not in ("none", "true", "false")]
    defaults = Recipe()
    for key in plain:
        default = getattr(defaults, key.name)
        assert default is None or float(key.default) == default


def test_documented_defaults_are_accepted():
    for entry in TRAIN:
        if isinstance(entry, Key):
            plain = {"none": None, "false": False}
            value = plain[entry.default] if entry.default in plain else float(entry.default)
            if isinstance(value, float) and value == int(value):
                value = int(value)
            if entry.name != "epochs":
                assert not resolve((entry.name, value))[1], entry.name


names = st.sampled_from([entry.name for entry in TRAIN] + ["lr", "optimizer.lr", "batch.x", "nonsense", "a.b.c"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.tuples(inner)
        | st.builds(
            lambda name, positional, named: Word(name, tuple(positional), tuple(named.items())),
            st.sampled_from(["adamw", "muon", "cosine", "wsd", "bpe", "bytes", "pairs", "shakespeare", "none", "x"]),
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["lr", "warmup", "betas", "vocab", "path", "x"]), inner, max_size=2),
        )
    ),
    max_leaves=5,
)


@given(st.lists(st.tuples(names, values), max_size=6))
def test_nothing_but_diagnostics_comes_out(settings):
    recipe, problems = resolve(*settings)
    assert isinstance(recipe, Recipe)
    for problem in problems:
        assert problem.code.startswith("R01")
        assert problem.title
        assert (problem.label, problem.notes, problem.help) != ("", (), "")
