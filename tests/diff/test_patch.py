"""A patch extends the one model and turns it into the other, as an author would write it."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

import tantra_dsl
from tantra_dsl.diff.patches import applied, patch
from tantra_dsl.diff.report import diff
from tests.diff.conftest import SMALL, edited
from tests.diff.test_changes import OWN, SUBLAYERS

FAMILIES = (
    "gpt2",
    "llama3_8b",
    "gemma3_4b",
    "deepseek_v3",
    "transformer_base",
    "bert_base",
    "mamba2_130m",
    "vit_base_16",
)


def body(before: str, after: str) -> list[str]:
    """The members of a patch between two texts that does what it should."""
    sides = tantra_dsl.loads(before), tantra_dsl.loads(after)
    text = patch(*sides).text
    assert diff(applied(sides[0], text), sides[1]).empty, text
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("model "))
    assert " extends " in lines[start]
    return [line.strip() for line in lines[start + 1 : -1]]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("heads: 4,", "heads: 8,", ["layers.attention.heads: 8"]),
        ("4 of block", "7 of block", ["layers: 7 of same"]),
        ("let norm: layernorm", "let norm: rms", ["norm: rms"]),
        ("dim: 64", "dim: 128", ["dim: 128"]),
        ("heads: 4,", "heads: 4, score: alibi,", ["layers.attention.score: alibi"]),
        (SUBLAYERS[1], "", ["remove layers.ffn"]),
        (SUBLAYERS[1], "    ffn: mlp { hidden: 3 * dim }\n", ["layers.ffn: mlp { hidden: 3 * dim }"]),
        ("  final_norm: norm\n", "", ["remove final_norm"]),
        ("bias: true }\n    ffn", "bias: false }\n    ffn", ["layers.attention.bias: false"]),
        ("mask: causal, bias: true", "mask: causal", ["remove layers.attention.bias"]),
        (
            "mask: causal,",
            "mask: if i % 2 == 0 then causal and window(9) else causal,",
            ["layers: 4 of (same { attention.mask: causal and window(9) }, same)"],
        ),
        (
            "heads: 4,",
            "heads: 5 + i, head_dim: 12,",
            ["layers.attention.heads: 5 + i", "layers.attention.head_dim: 12"],
        ),
        ("next_token", "next_token\n  train { steps: 3, batch: 2 }", ["train { steps: 3, batch: 2 }"]),
    ],
)
def test_overrides(old: str, new: str, lines: list[str]) -> None:
    assert body(SMALL, edited((old, new))) == lines


def test_a_recipe_is_overridden_key_by_key() -> None:
    before = edited(("next_token", "next_token\n  train { steps: 3, batch: 2, optimizer: adamw(lr: 1e-3) }"))
    after = before.replace("steps: 3", "steps: 4").replace(", batch: 2", "").replace("1e-3", "2e-3")
    assert body(before, after) == ["remove train.batch", "train.steps: 4", "train.optimizer: adamw(lr: 2e-3)"]


def test_a_recipe_is_removed() -> None:
    assert body(edited(("next_token", "next_token\n  train { steps: 3 }")), SMALL) == ["remove train"]


def test_a_let_that_nothing_reads_any_more_goes() -> None:
    after = edited(("let norm: layernorm\n", ""), ("pre(norm)", "post(rms)"), ("final_norm: norm", "final_norm: rms"))
    assert body(SMALL, after)[-1] == "remove norm"


def test_what_no_override_can_say_restates_the_key_around_it() -> None:
    lines = body(SMALL, edited(("".join(SUBLAYERS), "".join(SUBLAYERS[::-1]))))
    assert lines[0] == "layers: 4 of block {"
    assert not any(line.startswith(("vocab", "embed", "objective")) for line in lines)


def test_a_block_of_a_pattern_is_overridden_by_its_name() -> None:
    two = edited(
        ("4 of block {", "4 of (a, b)\n  block a {"),
        ("final_norm: norm", "block b extends a { attention.mask: all }\n  final_norm: norm"),
        ("next_token", "masked_token"),
    )
    assert body(two, two.replace("attention.mask: all", "attention.mask: k >= q")) == ["b.attention.mask: k >= q"]


def test_a_definition_comes_with_what_is_built_on_it() -> None:
    sides = tantra_dsl.loads(OWN), tantra_dsl.loads(OWN.replace("up = linear", "up = 2 * linear"))
    text = patch(*sides).text
    assert "module glu" in text
    assert "wiring around" not in text
    assert "mask comb" not in text
    assert diff(applied(sides[0], text), sides[1]).empty


@pytest.mark.parametrize(("a", "b"), list(permutations(FAMILIES, 2)))
def test_from_any_shipped_model_to_any_other(a: str, b: str) -> None:
    before, after = tantra_dsl.load(a), tantra_dsl.load(b)
    made = patch(before, after)
    assert diff(tantra_dsl.loads(made.text), after).empty


def test_a_patch_in_a_file_finds_the_spec_beside_it(tmp_path: Path) -> None:
    (tmp_path / "small.tantra").write_text(SMALL, encoding="utf-8")
    before, after = tantra_dsl.load(tmp_path / "small.tantra"), tantra_dsl.loads(edited(("heads: 4,", "heads: 8,")))
    text = patch(before, after).text
    assert text.startswith('use "small.tantra"\n')
    (tmp_path / "change.tantra").write_text(text, encoding="utf-8")
    assert diff(tantra_dsl.load(tmp_path / "change.tantra"), after).empty
