"""What is another text but the same model has no diff."""

from __future__ import annotations

from pathlib import Path

import pytest

import tantra_dsl
from tantra_dsl.diff.report import diff
from tests.diff.conftest import SMALL, between, edited

SAME = {
    "a let renamed": edited(("let norm:", "let n:"), ("pre(norm)", "pre(n)"), ("final_norm: norm", "final_norm: n")),
    "a let inlined": edited(
        ("  let norm: layernorm\n", ""), ("pre(norm)", "pre(layernorm)"), ("final_norm: norm", "final_norm: layernorm")
    ),
    "keys in another order": edited(
        ("heads: 4, mask: causal, bias: true", "bias: true, mask: causal, heads: 4"),
        ("  vocab: 256\n  context: 128\n", "  context: 128\n  vocab: 256\n"),
    ),
    "a default written": edited(("heads: 4,", "heads: 4, kv_heads: 4, head_dim: 16,")),
    "a mask in other words": edited(("mask: causal", "mask: k <= q")),
    "a number as arithmetic": edited(("4 * dim", "256")),
    "an activation of one's own": "fn mine(x) = 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x ** 3)))\n"
    + edited(("gelu_tanh", "mine")),
    "a pattern spelled differently": edited(("4 of block {", "(share_nothing * 4)\n  block share_nothing {")),
    "a block with a name": edited(("layers: 4 of block {", "layers: (a, a) * 2\n  block a {")),
    "a residual in another place": edited(("  dim: 64\n", ""), ("  head: tied\n", "  head: tied\n  dim: 64\n")),
}


@pytest.mark.parametrize("how", SAME)
def test_the_same_model_has_no_diff(how: str) -> None:
    found = between(SMALL, SAME[how])
    assert found.empty
    assert found.operations == ()
    assert {tensor.fate for tensor in found.weights} == {"loads"}


def test_text_against_yaml() -> None:
    text = tantra_dsl.loads(SMALL)
    assert diff(text, tantra_dsl.loads(text.to_yaml(), language="yaml")).empty


def test_a_file_split_in_two(tmp_path: Path) -> None:
    whole = "module slim(x) = linear(x, dim)\n" + edited(("ffn {", "slim {}\n    ffn {"))
    (tmp_path / "whole.tantra").write_text(whole, encoding="utf-8")
    (tmp_path / "parts.tantra").write_text("module slim(x) = linear(x, dim)\n", encoding="utf-8")
    (tmp_path / "main.tantra").write_text('use "parts.tantra"\n' + whole.split("\n", 1)[1], encoding="utf-8")
    sides = [tantra_dsl.load(tmp_path / name) for name in ("whole.tantra", "main.tantra")]
    assert diff(*sides).empty


@pytest.mark.parametrize("name", [spec.name for spec in tantra_dsl.shipped()])
def test_a_shipped_model_is_itself(name: str) -> None:
    spec = tantra_dsl.load(name)
    assert diff(spec, tantra_dsl.load(name)).empty
    assert diff(spec, tantra_dsl.loads(spec.resolved_text())).empty
