"""The guarantee as a spec's author meets it: each leak caught, named and placed."""

from __future__ import annotations

import pytest

from tantra_dsl import api
from tantra_dsl.diagnostics.core import Diagnostic
from tantra_dsl.syntax.source import Span

MODEL = """model tiny {{
  vocab: 256   context: 64   dim: 32
  {definitions}
  embed: tokens + learned_positions
  layers: {layers}
  head: tied
  objective: {objective}
}}
"""
GOOD = "block { wiring: pre(layernorm)  attention { heads: 4, mask: causal }  ffn { hidden: 64, activation: relu } }"

CASES: dict[str, tuple[str, str, str, str, str]] = {
    "mask that looks ahead": (
        "", "4 of block { wiring: pre(layernorm)  self: attention { heads: 4, mask: abs(q - k) <= 8 } }",
        "L0101", "layers.0.self", "abs(q - k) <= 8",
    ),
    "mask by name": (
        "mask near(w) = abs(q - k) <= w",
        "4 of block { wiring: pre(layernorm)  attention { heads: 4, mask: near(8) } }",
        "L0101", "layers.0.attention", "near(8)",
    ),
    "bidirectional block": (
        "block both { wiring: pre(layernorm)  attention { heads: 4 } }\n"
        "block one extends both { attention.mask: causal }",
        "(one * 3, both, one)", "L0101", "layers.3 (block both).attention", "attention",
    ),
    "centred convolution": (
        "block local(x) = x + conv1d(x, 3, causal: false)", "2 of local",
        "L0102", "layers.0 (block local)", "conv1d(x, 3, causal: false)",
    ),
    "mean over time": (
        "module mean_of_all(x) = expand_time(linear(pool(x, mean), dim), x)",
        "2 of block { wiring: pre(layernorm)  gist: mean_of_all  attention { heads: 4, mask: causal } }",
        "L0103", "layers.0.gist", "pool(x, mean)",
    ),
    "shift of the wrong sign": (
        "block ahead(x) = x + shift(x, -1)", "2 of ahead", "L0104", "layers.0 (block ahead)", "shift(x, -1)",
    ),
}  # fmt: skip


def words_of(span: Span) -> str:
    return span.source.text[span.start : span.end]


def check(definitions: str, layers: str, objective: str = "next_token") -> list[Diagnostic]:
    return api.loads(MODEL.format(definitions=definitions, layers=layers, objective=objective)).check()


@pytest.mark.parametrize("case", CASES)
def test_leaks_are_named_and_placed(case: str) -> None:
    definitions, layers, code, path, words = CASES[case]
    (found,) = check(definitions, layers)
    assert found.code == code
    assert found.title.startswith(path)
    assert words_of(found.span) == words
    assert found.help
    objective = found.notes[0].span
    assert objective is not None
    assert words_of(objective) == "objective"


@pytest.mark.parametrize("case", CASES)
def test_the_same_models_pass_under_a_masked_token_objective(case: str) -> None:
    definitions, layers, *_ = CASES[case]
    assert check(definitions, layers, "masked_token") == []


def test_a_target_on_the_wrong_side_is_the_objectives_fault() -> None:
    backwards = "module backwards(logits, target: tokens) = cross_entropy(logits, shift(target, 1))"
    (found,) = check(backwards, f"2 of {GOOD}", "backwards")
    assert (found.code, found.span.source.text[found.span.start : found.span.end]) == (
        "L0105",
        "cross_entropy(logits, shift(target, 1))",
    )


def test_a_sound_model_has_nothing_to_say() -> None:
    assert check("", f"4 of {GOOD}") == []


def test_yaml_is_pointed_at_as_precisely() -> None:
    text = api.loads(
        MODEL.format(definitions="", layers=CASES["mask that looks ahead"][1], objective="next_token")
    ).to_yaml()
    (found,) = api.loads(text, language="yaml").check()
    assert found.code == "L0101"
    assert text[found.span.start : found.span.end] == "abs(q - k) <= 8"


@pytest.mark.parametrize("spec", [spec.name for spec in api.shipped()])
def test_shipped_models_do_not_leak(spec: str) -> None:
    assert [found for found in api.load(spec).check() if found.code.startswith("L")] == []
