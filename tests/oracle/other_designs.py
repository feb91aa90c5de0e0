"""Designs that do not ship, written in the language with the standard library, and their transformers twins."""

from __future__ import annotations

import pytest
from tiny_twins import VOCAB, Family, Inputs, Outputs, ids
from torch import Tensor, nn
from twin_weights import LLAMA_NAMES, Place, View, renamed, same

transformers = pytest.importorskip("transformers")


def text() -> Inputs:
    return {"text": ids(2, 18)}


def tokens() -> Inputs:
    return {"tokens": ids(2, 18)}


def call(twin: nn.Module, inputs: Inputs) -> tuple[Outputs, Tensor]:
    (given,) = inputs.values()
    result = twin(input_ids=given, labels=given, use_cache=False)
    return (result.logits,), result.loss


def of_heads(index: int, heads: int) -> View:
    """Queries, keys or values of a tensor that holds all three head by head."""
    return lambda weight: weight.unflatten(0, (heads, 3, -1))[:, index].flatten(0, 1)


# --- parallel sublayers, a part of each head turned ------------------------------------------

GPT_NEOX = """
block parallel(x) {
  attended = attention(layernorm(x); heads: 2, bias: true, mask: causal, position: rope(fraction: 0.25))
  fed = ffn(layernorm(x); hidden: 48, activation: gelu, bias: true)
  return x + attended + fed
}
model gpt_neox {
  vocab: 61  dim: 32
  embed: tokens
  layers: 2 of parallel
  final_norm: layernorm
  head: language_model
  objective: next_token
}
"""

GPTJ = """
block parallel(x) {
  h = layernorm(x)
  attended = attention(h; heads: 2, mask: causal, position: rope(fraction: 0.5, interleaved: true))
  return x + attended + ffn(h; hidden: 48, activation: gelu_tanh, bias: true)
}
model gptj {
  vocab: 61  dim: 32
  embed: tokens
  layers: 2 of parallel
  final_norm: layernorm
  head: language_model(bias: true)
  objective: next_token
}
"""

NEOX_NAMES = {
    "embed": "gpt_neox.embed_in",
    "head.out": "lm_head",
    "final_norm": "gpt_neox.final_layer_norm",
    "layers": "gpt_neox.layers",
    "attended_layernorm": "input_layernorm",
    "fed_layernorm": "post_attention_layernorm",
    "attended_attention.q": "attention.query_key_value",
    "attended_attention.k": "attention.query_key_value",
    "attended_attention.v": "attention.query_key_value",
    "attended_attention.out": "attention.dense",
    "fed_ffn.up": "mlp.dense_h_to_4h",
    "fed_ffn.out": "mlp.dense_4h_to_h",
}

GPTJ_NAMES = {
    "embed": "transformer.wte",
    "head.out": "lm_head",
    "final_norm": "transformer.ln_f",
    "layers": "transformer.h",
    "h": "ln_1",
    "attended_attention.q": "attn.q_proj",
    "attended_attention.k": "attn.k_proj",
    "attended_attention.v": "attn.v_proj",
    "attended_attention.out": "attn.out_proj",
    "ffn.up": "mlp.fc_in",
    "ffn.out": "mlp.fc_out",
}


def gpt_neox_twin() -> nn.Module:
    config = transformers.GPTNeoXConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25},
        use_parallel_residual=True,
    )
    return transformers.GPTNeoXForCausalLM(config)


def gpt_neox_place(path: str) -> Place:
    for index, name in enumerate("qkv"):
        if f".attended_attention.{name}." in path:
            return renamed(path, NEOX_NAMES), of_heads(index, 2)
    return renamed(path, NEOX_NAMES), same


def gptj_twin() -> nn.Module:
    config = transformers.GPTJConfig(
        vocab_size=VOCAB, n_positions=24, n_embd=32, n_layer=2, n_head=2, n_inner=48, rotary_dim=8
    )
    return transformers.GPTJForCausalLM(config)


def gptj_place(path: str) -> Place:
    if path.startswith("layers."):
        _, layer, rest = path.split(".", 2)
        return f"transformer.h.{layer}.{renamed(rest, GPTJ_NAMES)}", same
    return renamed(path, GPTJ_NAMES), same


# --- scores: linear biases, soft caps --------------------------------------------------------

BLOOM = """
model bloom {
  vocab: 61  dim: 36
  input text: tokens
  share embed: tokens
  block layer {
    wiring: pre(layernorm)
    attention { heads: 6, bias: true, mask: causal, score: alibi }
    ffn { hidden: 4 * dim, activation: gelu_tanh, bias: true }
  }
  start = layernorm(embed(text))
  layers = start |> layer * 2
  final_norm = layernorm(layers)
  objective: next_token(tied(final_norm), text)
}
"""

GEMMA2 = """
fn capped(x) = 3 * tanh(x / 3)
model gemma2 {
  vocab: 61  dim: 32
  let norm: rms(eps: 1e-6, weight: one_plus)
  input text: tokens
  share embed: tokens(scale: sqrt(dim))
  block local {
    wiring: sandwich(norm)
    attention {
      heads: 4, kv_heads: 2, head_dim: 8, scale: 1 / sqrt(24), score: softcap(5)
      mask: causal and window(4), position: rope
    }
    ffn { hidden: 48, activation: gelu_tanh, gated: true }
  }
  block global extends local { attention.mask: causal }
  layers = embed(text) |> (local, global) * 2
  final_norm = norm(layers)
  logits = capped(tied(final_norm))
  objective: next_token(logits, text)
}
"""

BLOOM_NAMES = {
    "embed": "transformer.word_embeddings",
    "start_layernorm": "transformer.word_embeddings_layernorm",
    "final_norm": "transformer.ln_f",
    "layers": "transformer.h",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.q": "self_attention.query_key_value",
    "attention.k": "self_attention.query_key_value",
    "attention.v": "self_attention.query_key_value",
    "attention.out": "self_attention.dense",
    "ffn.up": "mlp.dense_h_to_4h",
    "ffn.out": "mlp.dense_4h_to_h",
}

GEMMA2_NAMES = LLAMA_NAMES | {
    "layers_layers": "model.layers",
    "attention_pre_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "ffn_pre_norm": "pre_feedforward_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}


def bloom_twin() -> nn.Module:
    """Six heads: their slopes are those of four heads and two in between."""
    return transformers.BloomForCausalLM(
        transformers.BloomConfig(vocab_size=VOCAB, hidden_size=36, n_layer=2, n_head=6, bos_token_id=1, eos_token_id=2)
    )


def bloom_place(path: str) -> Place:
    for index, name in enumerate("qkv"):
        if f".attention.{name}." in path:
            return renamed(path, BLOOM_NAMES), of_heads(index, 6)
    return renamed(path, BLOOM_NAMES), same


def gemma2_twin() -> nn.Module:
    config = transformers.Gemma2Config(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=24,
        sliding_window=4,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=3.0,
        attn_implementation="eager",
    )
    return transformers.Gemma2ForCausalLM(config)


def gemma2_place(path: str) -> Place:
    return renamed(path, GEMMA2_NAMES), same


# --- experts ---------------------------------------------------------------------------------

MIXTRAL = """
model mixtral {
  vocab: 61  dim: 32
  let norm: rms(eps: 1e-5)
  embed: tokens
  layers: 2 of block {
    wiring: pre(norm)
    attention { heads: 4, kv_heads: 2, mask: causal and window(5), position: rope(theta: 1_000_000) }
    ffn: moe { experts: 4, top_k: 2, hidden: 24 }
  }
  final_norm: norm
  head: language_model
  objective: next_token
}
"""

GPT_OSS = """
module biased_experts(x; experts: int, top_k: int, hidden: int) {
  router = linear(x, experts, true)
  chosen, weights = route(router; top_k: top_k, after: softmax)
  gate = expert_linear(x, chosen; count: experts, out: hidden, bias: true)
  up = expert_linear(x, chosen; count: experts, out: hidden, bias: true)
  down = expert_linear(clamped_glu(gate, up; limit: 0.5), chosen; count: experts, out: dim, bias: true)
  return combine_experts(down, weights)
}
model gpt_oss {
  vocab: 61  dim: 32
  let norm: rms(eps: 1e-5)
  embed: tokens
  layers: 2 of block {
    wiring: pre(norm)
    attention {
      heads: 4, kv_heads: 2, head_dim: 16, bias: true, sink: true
      mask: if i % 2 == 0 then causal and window(5) else causal
      position: rope {
        theta: 150_000, factor: 0.1 * log(32) + 1
        scaling: yarn(factor: 32, original: 4096, truncate: false)
      }
    }
    ffn: biased_experts { experts: 4, top_k: 2, hidden: 24 }
  }
  final_norm: norm
  head: language_model
  objective: next_token
}
"""

MIXTRAL_NAMES = LLAMA_NAMES | {"ffn.router": "mlp.gate", "ffn.down.weight": "mlp.experts.down_proj"}

GPT_OSS_NAMES = {
    "attention.sinks": "self_attn.sinks",
    "ffn.router": "mlp.router",
    "ffn.gate.weight": "mlp.experts.gate_up_proj",
    "ffn.up.weight": "mlp.experts.gate_up_proj",
    "ffn.gate.bias": "mlp.experts.gate_up_proj_bias",
    "ffn.up.bias": "mlp.experts.gate_up_proj_bias",
    "ffn.down.weight": "mlp.experts.down_proj",
    "ffn.down.bias": "mlp.experts.down_proj_bias",
} | LLAMA_NAMES


def mixtral_twin() -> nn.Module:
    config = transformers.MixtralConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=5,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    )
    return transformers.MixtralForCausalLM(config)


def mixtral_place(path: str) -> Place:
    for index, name in enumerate(("gate", "up")):
        if path.endswith(f".ffn.{name}.weight"):
            joined = path.replace("layers", "model.layers").replace(f"ffn.{name}.weight", "mlp.experts.gate_up_proj")
            return joined, lambda weight, index=index: weight.chunk(2, dim=1)[index]  # type: ignore[misc]
    return renamed(path, MIXTRAL_NAMES), same


def gpt_oss_twin() -> nn.Module:
    rope = {
        "rope_type": "yarn",
        "rope_theta": 150_000.0,
        "factor": 32.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 4096,
    }
    config = transformers.GptOssConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=5,
        swiglu_limit=0.5,
        rope_parameters=rope,
        attn_implementation="eager",
    )
    return transformers.GptOssForCausalLM(config)


def gpt_oss_place(path: str) -> Place:
    """Gate and up of the experts alternate; their matrices are the other way round."""
    name = renamed(path, GPT_OSS_NAMES)
    if ".experts." not in name:
        return name, same
    first = {"gate": 0, "up": 1}.get(path.split(".")[-2])
    step = slice(None) if first is None else slice(first, None, 2)
    if path.endswith("weight"):
        return name, lambda weight: weight[..., step].transpose(1, 2)
    return name, lambda weight: weight[..., step]


OTHERS = {
    "gpt_neox": Family(GPT_NEOX, gpt_neox_twin, tokens, call, gpt_neox_place),
    "gptj": Family(GPTJ, gptj_twin, tokens, call, gptj_place),
    "bloom": Family(BLOOM, bloom_twin, text, call, bloom_place),
    "gemma2": Family(GEMMA2, gemma2_twin, text, call, gemma2_place),
    "mixtral": Family(MIXTRAL, mixtral_twin, tokens, call, mixtral_place),
    "gpt_oss": Family(GPT_OSS, gpt_oss_twin, tokens, call, gpt_oss_place),
}
