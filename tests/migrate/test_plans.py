"""What a plan says: rules, tensors without one, what would be lost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import tantra_dsl
from tantra_dsl.graph.paths import weights as weights_of
from tantra_dsl.migrate import Options, plan
from tantra_dsl.migrate.table import document, text
from tests.migrate.conftest import LLAMA, SMALL, edited, planned, rules

PAIRS = [("gpt2", "gpt2_medium"), ("llama3_8b", "gemma3_4b"), ("bert_base", "gpt2"), ("mamba2_130m", "llama3_8b"),
         ("deepseek_v3", "llama3_8b"), ("t5_base", "transformer_base")]  # fmt: skip


def codes(before: str, after: str, **options: object) -> list[str]:
    return [problem.code for problem in planned(before, after, **options).problems()]


def test_copies() -> None:
    assert set(rules(planned(SMALL, SMALL)).values()) == {"copied"}
    assert planned(SMALL, SMALL).plan.losses == []


def test_wider_ffn() -> None:
    found = rules(planned(SMALL, edited(("hidden: 24", "hidden: 40"))))
    assert found["layers.0.ffn.up.weight"] == "rows: 24 -> 40, new ones started as the spec says"
    assert found["layers.0.ffn.up.bias"] == "entries: 24 -> 40, new ones started as the spec says"
    assert found["layers.0.ffn.out.weight"] == "columns: 24 -> 40, new ones zero"
    assert found["layers.0.ffn.out.bias"] == "copied"


def test_identity_layers_copy_the_layer_below_but_for_what_makes_them_pass_on() -> None:
    made = planned(SMALL, edited(("2 of", "3 of")))
    zeros = {path for path, words in rules(made).items() if words.startswith("zeros")}
    assert zeros == {f"layers.2.{part}.out.{name}" for part in ("attention", "ffn") for name in ("weight", "bias")}
    entry = next(e for e in made.plan.entries if e.new.path == "layers.2.attention.q.weight")
    assert entry.old is not None
    assert entry.old.path == "layers.0.attention.q.weight"


def test_a_wiring_that_cannot_pass_on_is_told() -> None:
    post = edited(("pre(norm)", "post(norm)"))
    after = post.replace("2 of", "3 of")
    assert codes(post, after) == ["W0203"]
    assert codes(post, after, layers="stack") == []


def test_a_tensor_without_a_rule() -> None:
    normed = edited(("heads: 4,", "heads: 4, qk_norm: rms,"))
    made = planned(SMALL, normed)
    (problem,) = made.problems()
    assert problem.code == "W0201"
    assert len(problem.notes) == 2
    for note, head in zip(problem.notes, "qk", strict=True):
        assert note.text.startswith("layers.attention.")
        assert head in note.text
        assert note.text.endswith("[4]: the old model has nothing in its place")
    assert codes(SMALL, normed, start_missing=True) == []


@pytest.mark.parametrize(
    "edit",
    [("dim: 16", "dim: 32"), ("heads: 4,", "heads: 4, head_dim: 8,"), ("heads: 4,", "heads: 4, head_dim: 2,")],
)
def test_widths_that_norms_and_positions_see_have_no_rule(edit: tuple[str, str]) -> None:
    assert "W0201" in codes(SMALL, edited(edit))


@pytest.mark.parametrize(
    ("edits", "what"),
    [
        ([("hidden: 24", "hidden: 20")], "4 of its 24 rows"),
        ([("2 of", "1 of")], "the new model has no such tensor"),
        ([("vocab: 31", "vocab: 30")], "1 of its 31 rows"),
        ([("context: 12", "context: 10")], "2 of its 12 rows"),
        ([("embed: tokens + learned_positions", "embed: tokens")], "learned_positions.weight: the new model"),
    ],
)
def test_nothing_is_lost_silently(edits: list[tuple[str, str]], what: str) -> None:
    after = edited(*edits)
    (problem,) = planned(SMALL, after).problems()
    assert problem.code == "W0202"
    assert any(what in note.text for note in problem.notes), problem.notes
    assert codes(SMALL, after, drop=True) == []


def test_a_table_of_tokens_is_found_under_another_name() -> None:
    made = planned(SMALL, edited(("embed: tokens + learned_positions", "embed: tokens")), drop=True)
    entry = next(entry for entry in made.plan.entries if entry.new.path == "embed.weight")
    assert entry.old is not None
    assert (entry.old.path, entry.rule.words) == ("embed.tokens.weight", "copied")


def test_biases_that_go_must_be_zero_when_it_is_done() -> None:
    from tantra_dsl.diagnostics.core import SpecError
    from tests.migrate.conftest import random_weights

    made = planned(SMALL, SMALL.replace(", bias: true", ""))
    assert made.problems() == []
    with pytest.raises(SpecError) as caught:
        made.carry(random_weights(SMALL), 0)
    assert [problem.code for problem in caught.value.diagnostics] == ["W0202"]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_every_tensor_of_both_models_is_accounted_for(before: str, after: str) -> None:
    sides = tantra_dsl.load(before), tantra_dsl.load(after)
    made = plan(*sides, Options())
    new = [entry.new.path for entry in made.plan.entries] + [lack.new.path for lack in made.plan.lacks]
    assert sorted(new) == sorted(weight.path for weight in weights_of(sides[1].graph()))
    used = {entry.old.path for entry in made.plan.entries if entry.old is not None}
    used |= {lack.old.path for lack in made.plan.lacks if lack.old is not None}
    lost = {loss.old.path for loss in made.plan.losses}
    assert used | lost == {weight.path for weight in weights_of(sides[0].graph())}
    assert text(made)
    json.dumps(document(made))


def test_shapes_are_those_of_the_new_model() -> None:
    for before, after in ((SMALL, edited(("hidden: 24", "hidden: 40"), ("vocab: 31", "vocab: 50"))), (LLAMA, LLAMA)):
        wanted = {weight.path: weight.shape for weight in weights_of(tantra_dsl.loads(after).graph())}
        assert {entry.new.path: entry.new.shape for entry in planned(before, after).plan.entries} == wanted


def test_a_plan_needs_no_tensor_library() -> None:
    script = (
        "import sys, tantra_dsl; from tantra_dsl.migrate import plan; from tantra_dsl.migrate.table import text; "
        "made = plan(tantra_dsl.load('gpt2'), tantra_dsl.load('gpt2_medium')); text(made); made.claim; "
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
