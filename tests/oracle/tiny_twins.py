"""Every family at tiny size: the shipped spec shrunk, its transformers twin, and where the twin keeps each weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from twin_weights import (
    Place,
    bert_place,
    clip_place,
    deepseek_place,
    denseformer_place,
    gemma3_place,
    gpt2_place,
    llama3_place,
    mamba2_place,
    t5_place,
    transformer_place,
    vit_place,
)

import tantra_dsl

transformers = pytest.importorskip("transformers")

VOCAB, BATCH, TIME = 61, 2, 18
Inputs = dict[str, Tensor]
Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Family:
    """A shrunk spec, and how its twin is made, called, judged and read."""

    spec: str
    twin: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    call: Callable[[nn.Module, Inputs], tuple[Outputs, Tensor]]
    place: Callable[[str], Place]


@dataclass(frozen=True)
class Pair:
    """Both models with the same weights, and inputs for them."""

    family: Family
    spec: tantra_dsl.Spec
    model: nn.Module
    twin: nn.Module
    inputs: Inputs


def ids(*shape: int, low: int = 1, high: int = VOCAB) -> Tensor:
    return torch.randint(low, high, shape)


def one_text() -> Inputs:
    return {"tokens": ids(BATCH, TIME)}


def two_texts() -> Inputs:
    return {"source": ids(BATCH, TIME + 5), "target": ids(BATCH, TIME)}


def causal_call(twin: nn.Module, inputs: Inputs) -> tuple[Outputs, Tensor]:
    result = twin(input_ids=inputs["tokens"], labels=inputs["tokens"], use_cache=False)
    return (result.logits,), result.loss


def following(target: Tensor) -> Tensor:
    """The token after each position; the last has none."""
    return torch.cat([target[:, 1:], torch.full_like(target[:, :1], -100)], dim=1)


# --- decoders ------------------------------------------------------------------------------

GPT2 = """
model tiny extends gpt2 {
  vocab: 61  context: 24  dim: 32  blocks: 2
  layers.attention.heads: 4
  expect params < 100_000
}
"""

LLAMA3 = """
model tiny extends llama3_8b {
  vocab: 61  dim: 32  layers: 2 of same
  layers.attention.heads: 4
  layers.attention.kv_heads: 2
  layers.attention.position: rope(theta: 500_000, scaling: llama3(factor: 8, original: 256))
  layers.ffn.hidden: 48
  expect params < 100_000
}
"""

GEMMA3 = """
model tiny extends gemma3_4b {
  vocab: 61  dim: 32  layers: 7 of same
  local.attention.heads: 4
  local.attention.kv_heads: 2
  local.attention.head_dim: 8
  local.attention.mask: causal and window(5)
  local.ffn.hidden: 48
  expect params < 100_000
}
"""

DEEPSEEK = """
model tiny extends deepseek_v3 {
  vocab: 61  dim: 32  layers: (dense * 1, sparse * 2)
  dense.attention.heads: 4
  dense.attention.q_rank: 16
  dense.attention.kv_rank: 12
  dense.attention.nope_dim: 8
  dense.attention.rope_dim: 8
  dense.attention.v_dim: 6
  dense.attention.scale: stretch ** 2 / sqrt(8 + 8)
  dense.ffn.hidden: 48
  sparse.ffn.experts: 8
  sparse.ffn.top_k: 3
  sparse.ffn.hidden: 16
  sparse.ffn.groups: 4
  sparse.ffn.kept_groups: 2
  expect params < 100_000
}
"""

MAMBA2 = """
model tiny extends mamba2_130m {
  vocab: 61  dim: 32  layers: 2 of same
  layers.mixer.heads: 4
  layers.mixer.head_dim: 16
  layers.mixer.state: 8
  expect params < 100_000
}
"""


def gpt2_twin() -> nn.Module:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=VOCAB, n_positions=24, n_embd=32, n_layer=2, n_head=4)
    )


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}


def llama3_twin(rope: Any, **changes: Any) -> nn.Module:
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 2048,
    }
    config = transformers.LlamaConfig(**sizes | changes, rope_parameters=rope)
    return transformers.LlamaForCausalLM(config)


GEMMA3_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
}


def gemma3_twin(rope: Any, **changes: Any) -> nn.Module:
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 7,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 5,
    }
    config = transformers.Gemma3TextConfig(**sizes | changes, rope_parameters=rope)
    return transformers.Gemma3ForCausalLM(config)


DEEPSEEK_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 40.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 4096,
}


def deepseek_twin(rope: Any, **changes: Any) -> nn.Module:
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "n_routed_experts": 8,
        "kv_lora_rank": 12,
        "q_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 6,
        "qk_nope_head_dim": 8,
        "n_group": 4,
        "topk_group": 2,
        "num_experts_per_tok": 3,
        "first_k_dense_replace": 1,
        "max_position_embeddings": 163_840,
    }
    config = transformers.DeepseekV3Config(**sizes | changes, rope_parameters=rope)
    return transformers.DeepseekV3ForCausalLM(config)


def mamba2_twin() -> nn.Module:
    config = transformers.Mamba2Config(
        vocab_size=VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_heads=4,
        head_dim=16,
        state_size=8,
        n_groups=1,
        chunk_size=8,
        tie_word_embeddings=True,
    )
    return transformers.Mamba2ForCausalLM(config)


# --- GPT-2 whose layers read weighted averages ----------------------------------------------

DENSEFORMER = """
model tiny extends gpt2_denseformer {
  vocab: 61  context: 24  dim: 32  blocks: 3  heads: 4
  expect params < 100_000
}
"""


class DenseFormer(nn.Module):
    """The twin's GPT-2 blocks with depth-weighted averages between them (Pagliardini et al. 2024, equation 2)."""

    def __init__(self) -> None:
        super().__init__()
        config = transformers.GPT2Config(vocab_size=VOCAB, n_positions=24, n_embd=32, n_layer=3, n_head=4)
        self.gpt2 = transformers.GPT2LMHeadModel(config)
        self.earlier = nn.ParameterList(torch.zeros(layer + 1) for layer in range(3))
        self.own = nn.ParameterList(torch.ones(()) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        body = self.gpt2.transformer
        mask = torch.full((tokens.shape[1],) * 2, -torch.inf).triu(1)[None, None]
        x = body.wte(tokens) + body.wpe(torch.arange(tokens.shape[1]))
        made = [x]
        for block, earlier, own in zip(body.h, self.earlier, self.own, strict=True):
            out = block(x, attention_mask=mask)
            out = out[0] if isinstance(out, tuple) else out
            x = own * out + sum(weight * state for weight, state in zip(earlier, made, strict=True))
            made.append(out)
        return self.gpt2.lm_head(body.ln_f(x))


def denseformer_call(twin: nn.Module, inputs: Inputs) -> tuple[Outputs, Tensor]:
    logits = twin(inputs["tokens"])
    return (logits,), nn.functional.cross_entropy(logits.flatten(0, 1), following(inputs["tokens"]).flatten())


# --- encoders ------------------------------------------------------------------------------

BERT = """
model tiny extends bert_base {
  vocab: 61  context: 24  dim: 32  blocks: 2  heads: 4
  expect params < 100_000
}
"""

VIT = """
model tiny extends vit_base_16 {
  dim: 32  size: 24  layers: 2 of same
  embed.patch: 8
  layers.attention.heads: 4
  head.classes: 7
  expect params < 100_000
}
"""


def bert_twin() -> nn.Module:
    config = transformers.BertConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=24,
    )
    return transformers.BertForPreTraining(config)


def bert_inputs() -> Inputs:
    tokens = ids(BATCH, TIME)
    labels = torch.where(torch.rand(BATCH, TIME) < 0.3, ids(BATCH, TIME), -100)
    segments = (torch.arange(TIME) >= 7).long().expand(BATCH, TIME)
    return {"tokens": tokens, "segments": segments, "labels": labels, "follows": ids(BATCH, low=0, high=2)}


def bert_call(twin: nn.Module, inputs: Inputs) -> tuple[Outputs, Tensor]:
    result = twin(
        input_ids=inputs["tokens"],
        token_type_ids=inputs["segments"],
        labels=inputs["labels"],
        next_sentence_label=inputs["follows"],
    )
    return (result.prediction_logits, result.seq_relationship_logits), result.loss


def vit_twin() -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        image_size=24,
        patch_size=8,
        num_labels=7,
    )
    return transformers.ViTForImageClassification(config)


def vit_inputs() -> Inputs:
    return {"image": torch.randn(BATCH, 3, 24, 24), "label": ids(BATCH, low=0, high=7)}


def vit_call(twin: nn.Module, inputs: Inputs) -> tuple[Outputs, Tensor]:
    result = twin(pixel_values=inputs["image"], labels=inputs["label"])
    return (result.logits,), result.loss


# --- encoder and decoder, two towers ---------------------------------------------------------

TRANSFORMER = """
model tiny extends transformer_base {
  vocab: 61  dim: 32  heads: 4  hidden: 48  blocks: 2
  expect params < 100_000
}
"""

T5 = """
model tiny extends t5_base {
  vocab: 61  dim: 32  heads: 4  head_dim: 8  hidden: 48  blocks: 2
  expect params < 100_000
}
"""

CLIP = """
model tiny extends clip_vit_b_32 {
  vocab: 61  context: 20  dim: 32  image_dim: 24  image_size: 24  patch: 8  blocks: 2
  image_layer.attention.heads: 3
  text_layer.attention.heads: 4
  expect params < 100_000
}
"""


def transformer_twin() -> nn.Module:
    config = transformers.MarianConfig(
        vocab_size=VOCAB,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        max_position_embeddings=64,
        activation_function="relu",
        scale_embedding=True,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return transformers.MarianMTModel(config)


def transformer_call(twin: nn.Module, inputs: Inputs) -> tuple[Outputs, Tensor]:
    """Marian's own loss smooths no labels, so the loss is torch's."""
    logits = twin(input_ids=inputs["source"], decoder_input_ids=inputs["target"]).logits
    labels = following(inputs["target"]).flatten()
    return (logits,), nn.functional.cross_entropy(logits.flatten(0, 1), labels, label_smoothing=0.1)


def t5_twin() -> nn.Module:
    config = transformers.T5Config(
        vocab_size=VOCAB, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config)


def t5_inputs() -> Inputs:
    """Longer than the rest: distances from eight on share buckets."""
    return {"source": ids(BATCH, 40), "target": ids(BATCH, 30)}


def t5_call(twin: nn.Module, inputs: Inputs) -> tuple[Outputs, Tensor]:
    result = twin(input_ids=inputs["source"], decoder_input_ids=inputs["target"], labels=following(inputs["target"]))
    return (result.logits,), result.loss


def clip_twin() -> nn.Module:
    text = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 20,
        "eos_token_id": VOCAB - 1,
        "projection_dim": 32,
    }
    vision = {
        "hidden_size": 24,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 24,
        "patch_size": 8,
        "projection_dim": 32,
    }
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))


def clip_inputs() -> Inputs:
    """The end of each text is its highest token."""
    tokens = ids(3, TIME, high=VOCAB - 1)
    tokens[torch.arange(3), torch.tensor([TIME - 1, 6, 11])] = VOCAB - 1
    return {"image": torch.randn(3, 3, 24, 24), "tokens": tokens}


def clip_call(twin: nn.Module, inputs: Inputs) -> tuple[Outputs, Tensor]:
    result = twin(input_ids=inputs["tokens"], pixel_values=inputs["image"], return_loss=True)
    return (result.image_embeds, result.text_embeds), result.loss


# --- pairs ---------------------------------------------------------------------------------

FAMILIES = {
    "gpt2": Family(GPT2, gpt2_twin, one_text, causal_call, gpt2_place),
    "llama3": Family(LLAMA3, lambda: llama3_twin(LLAMA3_ROPE), one_text, causal_call, llama3_place),
    "bert": Family(BERT, bert_twin, bert_inputs, bert_call, bert_place),
    "transformer": Family(TRANSFORMER, transformer_twin, two_texts, transformer_call, transformer_place),
    "vit": Family(VIT, vit_twin, vit_inputs, vit_call, vit_place),
    "gemma3": Family(GEMMA3, lambda: gemma3_twin(GEMMA3_ROPE), one_text, causal_call, gemma3_place),
    "deepseek": Family(DEEPSEEK, lambda: deepseek_twin(DEEPSEEK_ROPE), one_text, causal_call, deepseek_place),
    "mamba2": Family(MAMBA2, mamba2_twin, one_text, causal_call, mamba2_place),
    "t5": Family(T5, t5_twin, t5_inputs, t5_call, t5_place),
    "clip": Family(CLIP, clip_twin, clip_inputs, clip_call, clip_place),
    "denseformer": Family(DENSEFORMER, DenseFormer, one_text, denseformer_call, denseformer_place),
}


def pair(name: str) -> Pair:
    """Both models of a family whose spec ships."""
    return paired(FAMILIES[name])


@lru_cache
def paired(family: Family) -> Pair:
    """The models of a family in evaluation mode, all weights away from their start (zeros and ones hide mistakes)."""
    torch.manual_seed(0)
    twin = family.twin().eval()
    scatter(twin)
    spec = tantra_dsl.loads(family.spec)
    model = spec.compile().eval()
    copy_weights(model, twin, family.place)
    return Pair(family, spec, model, twin, family.inputs())


@torch.no_grad()
def scatter(twin: nn.Module) -> None:
    """Move every trained weight, and the untrained bias of routers, off its start."""
    for name, weight in [*twin.named_parameters(), *twin.named_buffers()]:
        if weight.requires_grad or name.endswith("e_score_correction_bias"):
            weight.add_(torch.randn_like(weight) * 0.1)


@torch.no_grad()
def copy_weights(model: nn.Module, twin: nn.Module, place: Callable[[str], Place]) -> None:
    """Every weight of ``model`` from where the twin keeps it."""
    theirs = twin.state_dict()
    for path, weight in model.state_dict().items():
        name, view = place(path)
        weight.copy_(view(theirs[name]))


def outputs(model: nn.Module, inputs: Inputs) -> Outputs:
    """What a compiled model returns, as a tuple; it takes the inputs that are no labels."""
    judged = {"labels", "follows", "label"}
    result = model(**{name: value for name, value in inputs.items() if name not in judged})
    return tuple(result) if isinstance(result, tuple) else (result,)
