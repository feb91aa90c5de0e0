"""Llama 3 8B against variants in the manner of Mistral, Qwen and Gemma: the known differences, line by line."""

from __future__ import annotations

import pytest

import tantra_dsl
from tantra_dsl.diff.report import Diff, diff
from tests.diff.conftest import told

MISTRAL = """
model mistral {
  vocab: 32_000
  context: 32_768
  dim: 4096
  let eps: 1e-5
  init: normal(0.02)

  block layer {
    wiring: pre(rms(eps: eps))
    attention { position: rope, mask: q - k < 4096 and causal, kv_heads: 8, heads: 32 }
    ffn { gated: true, activation: silu, hidden: 14_336 }
  }
  embed: tokens
  layers: (layer * 16) * 2
  final_norm: rms(eps: eps)
  head: language_model
  objective: next_token
}
"""
QWEN = """
model qwen {
  vocab: 151_936
  context: 40_960
  dim: 4096
  let norm: rms
  init: normal(0.02)

  embed: tokens
  layers: 36 of block {
    wiring: pre(norm)
    attention { heads: 32, kv_heads: 8, head_dim: 128, qk_norm: norm, position: rope(theta: 1_000_000), mask: causal }
    ffn { hidden: 12_288, activation: silu, gated: true }
  }
  final_norm: norm
  head: language_model
  objective: next_token
}
"""
GEMMA = """
model gemma {
  vocab: 256_000
  context: 8192
  dim: 3584
  let norm: rms(eps: 1e-6, weight: one_plus)
  init: normal(0.02)

  block local {
    wiring: sandwich(norm)
    attention {
      heads: 16
      kv_heads: 8
      head_dim: 256
      scale: 1 / 16
      score: softcap(50)
      position: rope(theta: 10_000)
      mask: causal and window(4096)
    }
    ffn { hidden: 14_336, activation: gelu_tanh, gated: true }
  }
  block global extends local { attention.mask: causal }

  module capped(x) = 30 * tanh(tied(x) / 30)
  embed: tokens(scale: sqrt(dim))
  layers: 42 of (local, global)
  final_norm: norm
  head: capped
  objective: next_token
}
"""


def against_llama(text: str) -> Diff:
    return diff(tantra_dsl.load("llama3_8b"), tantra_dsl.loads(text), seq=4096)


def test_mistral() -> None:
    assert told(against_llama(MISTRAL)) == [
        "vocab: 128_256 -> 32_000",
        "context: 131_072 -> 32_768",
        "layers.attention.mask: causal -> q - k < 4096 and causal",
        "layers.attention.position.theta: 500_000 -> 10_000",
        "layers.attention.position.scaling: llama3(factor: 8) -> None",
    ]


def test_what_of_llama_a_mistral_loads() -> None:
    found = {tensor.path: tensor for tensor in against_llama(MISTRAL).weights}
    assert {path for path, tensor in found.items() if tensor.fate != "loads"} == {"embed.weight", "head.out.weight"}
    assert found["embed.weight"].how == "rows 128,256 -> 32,000"
    assert found["layers.*.attention.q.weight"].count == 32


def test_qwen() -> None:
    assert told(against_llama(QWEN)) == [
        "vocab: 128_256 -> 151_936",
        "context: 131_072 -> 40_960",
        "final_norm.eps: 1e-5 -> 1e-6",
        "layers: 32 -> 36",
        "layers.wiring.norm.eps: 1e-5 -> 1e-6",
        "layers.attention.position.theta: 500_000 -> 1_000_000",
        "layers.attention.position.scaling: llama3(factor: 8) -> None",
        "layers.attention.qk_norm: None -> rms",
        "layers.ffn.hidden: 14_336 -> 12_288",
    ]


def test_what_of_llama_a_qwen_loads() -> None:
    fates = {tensor.path: (tensor.fate, tensor.count) for tensor in against_llama(QWEN).weights}
    assert fates["layers[first 32].attention.q.weight"] == ("loads", 32)
    assert fates["layers[last 4].attention.q.weight"] == ("new", 4)
    assert fates["layers.*.attention.qk_norm_q.weight"] == ("new", 36)
    assert fates["layers[first 32].ffn.up.weight"] == ("reshaped", 32)


def test_gemma() -> None:
    # Its scale of 1 / 16 is what heads of 256 have anyway, so there is nothing to tell.
    assert told(against_llama(GEMMA)) == [
        "vocab: 128_256 -> 256_000",
        "context: 131_072 -> 8192",
        "dim: 4096 -> 3584",
        "embed.scale: 1 -> sqrt(dim) (59.87)",
        "final_norm.eps: 1e-5 -> 1e-6",
        "final_norm.weight: plain -> one_plus",
        "head: language_model -> capped",
        "layers: 32 -> 42",
        "layers.wiring: pre(rms(eps: 1e-5)) -> sandwich(rms(eps: 1e-6, weight: one_plus))",
        "layers.attention.heads: 32 -> 16",
        "layers.attention.head_dim: dim / heads (128) -> 256",
        "layers[every 2nd from 0].attention.mask: causal -> causal and window(4096)",
        "layers.attention.score: None -> softcap(50)",
        "layers.attention.position.theta: 500_000 -> 10_000",
        "layers.attention.position.scaling: llama3(factor: 8) -> None",
        "layers.ffn.activation: silu -> gelu_tanh",
    ]


def test_shipped_gemma_against_llama_names_its_pattern() -> None:
    found = {
        op.path: (op.old, op.new) for op in diff(tantra_dsl.load("llama3_8b"), tantra_dsl.load("gemma3_4b")).operations
    }
    local, all_but = "layers[every 6th].attention", "layers[all but every 6th].attention"
    assert found[f"{local}.position.theta"] == ("500_000", "1_000_000")
    assert found[f"{all_but}.position.theta"] == ("500_000", "10_000")
    assert found[f"{all_but}.mask"] == ("causal", "causal and window(1024)")
    assert f"{local}.mask" not in found


@pytest.mark.parametrize("text", [MISTRAL, QWEN, GEMMA])
def test_every_line_names_both_places(text: str) -> None:
    spec = tantra_dsl.loads(text)
    for op in diff(tantra_dsl.load("llama3_8b"), spec).operations:
        for span in (op.before, op.after):
            line = span.source.line(span.source.line_column(span.start)[0])
            assert line.strip(), op


@pytest.mark.parametrize("text", [MISTRAL, QWEN, GEMMA])
def test_the_other_way_round_is_told_too(text: str) -> None:
    there, back = against_llama(text), diff(tantra_dsl.loads(text), tantra_dsl.load("llama3_8b"))

    def settings(found: Diff) -> set[str]:
        return {op.path.split(".")[-1] for op in found.operations}

    assert settings(there) == settings(back)
