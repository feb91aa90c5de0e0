"""Rotary positions as the shipped specs set them, at the published width of a head and over hundreds of positions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_twins import (
    DEEPSEEK_ROPE,
    GEMMA3_ROPE,
    LLAMA3_ROPE,
    VOCAB,
    copy_weights,
    deepseek_twin,
    gemma3_twin,
    llama3_twin,
    scatter,
)
from torch import nn
from twin_weights import Place, deepseek_place, gemma3_place, llama3_place

import tantra_dsl

LLAMA3 = """
model narrow extends llama3_8b {
  vocab: 61  dim: 128  layers: 1 of same
  layers.attention.heads: 1
  layers.attention.kv_heads: 1
  layers.ffn.hidden: 48
  expect params < 1M
}
"""

GEMMA3 = """
model narrow extends gemma3_4b {
  vocab: 61  dim: 32  layers: 2 of (local, global)
  local.attention.heads: 1
  local.attention.kv_heads: 1
  local.ffn.hidden: 48
  expect params < 1M
}
"""

DEEPSEEK = """
model narrow extends deepseek_v3 {
  vocab: 61  dim: 32  layers: dense * 1
  dense.attention.heads: 1
  dense.attention.q_rank: 16
  dense.attention.kv_rank: 12
  dense.attention.v_dim: 6
  dense.ffn.hidden: 48
  remove sparse
  expect params < 1M
}
"""


def llama3() -> nn.Module:
    rope = LLAMA3_ROPE | {"original_max_position_embeddings": 8192}
    return llama3_twin(rope, hidden_size=128, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)


def gemma3() -> nn.Module:
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 256, "query_pre_attn_scalar": 256}
    kinds = ["sliding_attention", "full_attention"]
    return gemma3_twin(GEMMA3_ROPE, **heads, num_hidden_layers=2, layer_types=kinds, sliding_window=1024)


def deepseek() -> nn.Module:
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128}
    return deepseek_twin(DEEPSEEK_ROPE, **heads, num_hidden_layers=1)


NARROW: dict[str, tuple[str, Callable[[], nn.Module], Callable[[str], Place], int]] = {
    "llama3": (LLAMA3, llama3, llama3_place, 600),
    "gemma3": (GEMMA3, gemma3, gemma3_place, 1100),
    "deepseek": (DEEPSEEK, deepseek, deepseek_place, 600),
}


@torch.no_grad()
@pytest.mark.parametrize("name", NARROW)
def test_positions_far_apart(name: str) -> None:
    text, make_twin, place, length = NARROW[name]
    torch.manual_seed(0)
    twin = make_twin().eval()
    scatter(twin)
    model = tantra_dsl.loads(text).compile().eval()
    copy_weights(model, twin, place)
    tokens = torch.randint(0, VOCAB, (1, length))
    theirs = twin(input_ids=tokens, use_cache=False).logits
    assert (model(tokens) - theirs).abs().max() <= 5e-5 * theirs.abs().max()
