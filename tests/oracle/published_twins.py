"""The transformers twin of every shipped model, at its published size, on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers")


def gpt2(dim: int, layers: int, heads: int) -> nn.Module:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=dim, n_layer=layers, n_head=heads))


def llama3(dim: int, hidden: int, layers: int, heads: int) -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=128_256,
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
    )
    return transformers.LlamaForCausalLM(config)


def bert(dim: int, layers: int, heads: int) -> nn.Module:
    config = transformers.BertConfig(
        hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * dim
    )
    return transformers.BertForPreTraining(config)


def transformer(dim: int, hidden: int, heads: int) -> nn.Module:
    config = transformers.MarianConfig(
        vocab_size=37_000,
        d_model=dim,
        encoder_layers=6,
        decoder_layers=6,
        encoder_ffn_dim=hidden,
        decoder_ffn_dim=hidden,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        max_position_embeddings=512,
        pad_token_id=0,
        decoder_start_token_id=0,
    )
    return transformers.MarianMTModel(config)


def vit_base_16() -> nn.Module:
    return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000))


def gemma3_4b() -> nn.Module:
    config = transformers.Gemma3TextConfig(
        vocab_size=262_208,
        hidden_size=2560,
        intermediate_size=10_240,
        num_hidden_layers=34,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
    )
    return transformers.Gemma3ForCausalLM(config)


def deepseek_v3() -> nn.Module:
    return transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config())


def mamba2_130m() -> nn.Module:
    config = transformers.Mamba2Config(
        vocab_size=50_288, hidden_size=768, num_hidden_layers=24, num_heads=24, n_groups=1, tie_word_embeddings=True
    )
    return transformers.Mamba2ForCausalLM(config)


def t5_base() -> nn.Module:
    config = transformers.T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12, decoder_start_token_id=0)
    return transformers.T5ForConditionalGeneration(config)


def clip_vit_b_32() -> nn.Module:
    return transformers.CLIPModel(transformers.CLIPConfig())


TWINS: dict[str, Callable[[], nn.Module]] = {
    "gpt2": lambda: gpt2(768, 12, 12),
    "gpt2_medium": lambda: gpt2(1024, 24, 16),
    "gpt2_large": lambda: gpt2(1280, 36, 20),
    "gpt2_xl": lambda: gpt2(1600, 48, 25),
    "llama3_8b": lambda: llama3(4096, 14_336, 32, 32),
    "llama3_70b": lambda: llama3(8192, 28_672, 80, 64),
    "llama3_405b": lambda: llama3(16_384, 53_248, 126, 128),
    "bert_base": lambda: bert(768, 12, 12),
    "bert_large": lambda: bert(1024, 24, 16),
    "transformer_base": lambda: transformer(512, 2048, 8),
    "transformer_big": lambda: transformer(1024, 4096, 16),
    "vit_base_16": vit_base_16,
    "gemma3_4b": gemma3_4b,
    "deepseek_v3": deepseek_v3,
    "mamba2_130m": mamba2_130m,
    "t5_base": t5_base,
    "clip_vit_b_32": clip_vit_b_32,
}


@lru_cache
def twin(name: str) -> nn.Module:
    """The twin of ``name``, without memory for its weights."""
    with torch.device("meta"):
        return TWINS[name]()


def trained_numbers(name: str) -> int:
    """How many numbers training changes in the twin of ``name``; what is tied counts once."""
    return sum(weight.numel() for weight in twin(name).parameters() if weight.requires_grad)


def head_counts(name: str) -> set[tuple[int, int, int]]:
    """Heads of queries, heads of keys and width of a head, of every kind of attention in the twin of ``name``."""
    config = twin(name).config
    parts = [config.text_config, config.vision_config] if name.startswith("clip") else [config]
    return {(part.num_attention_heads, key_heads(part), head_width(part)) for part in parts}


def key_heads(config: Any) -> int:
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads


def head_width(config: Any) -> int:
    for name in ("qk_head_dim", "d_kv", "head_dim"):
        if getattr(config, name, None) is not None:
            return getattr(config, name)
    return config.hidden_size // config.num_attention_heads
