"""Where each transformers model keeps the weight that a spec knows by its path."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

View = Callable[[Tensor], Tensor]
Place = tuple[str, View]
Names = dict[str, str]


def same(weight: Tensor) -> Tensor:
    return weight


def transposed(weight: Tensor) -> Tensor:
    return weight.T


def flat_patches(weight: Tensor) -> Tensor:
    """Weights of a convolution over patches as a linear map of their pixels."""
    return weight.flatten(1)


def part(index: int, of: int, view: View = same) -> View:
    """One of ``of`` equal parts of a tensor that is joined along its last dimension."""
    return lambda weight: view(weight.chunk(of, dim=-1)[index])


def renamed(path: str, names: Names) -> str:
    """``path`` with the parts that ``names`` lists replaced, each once, in order."""
    path = f".{path}"
    for ours, theirs in names.items():
        path = path.replace(f".{ours}.", f".{theirs}.", 1) if f".{ours}." in f"{path}." else path
        if path.endswith(f".{ours}"):
            path = path.removesuffix(ours) + theirs
    return path.removeprefix(".")


# --- decoders ------------------------------------------------------------------------------

GPT2_NAMES = {
    "embed.tokens": "transformer.wte",
    "embed.learned_positions": "transformer.wpe",
    "final_norm": "transformer.ln_f",
    "layers": "transformer.h",
    "attention_norm": "ln_1",
    "ffn_norm": "ln_2",
    "attention.out": "attn.c_proj",
    "attention.q": "attn.c_attn",
    "attention.k": "attn.c_attn",
    "attention.v": "attn.c_attn",
    "ffn.up": "mlp.c_fc",
    "ffn.out": "mlp.c_proj",
}

LLAMA_NAMES = {
    "embed": "model.embed_tokens",
    "head.out": "lm_head",
    "final_norm": "model.norm",
    "layers": "model.layers",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj",
    "attention.v": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "ffn.gate": "mlp.gate_proj",
    "ffn.up": "mlp.up_proj",
    "ffn.out": "mlp.down_proj",
}

GEMMA3_NAMES = LLAMA_NAMES | {
    "attention_pre_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "ffn_pre_norm": "pre_feedforward_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
    "attention.qk_norm_q": "self_attn.q_norm",
    "attention.qk_norm_k": "self_attn.k_norm",
}

DEEPSEEK_NAMES = LLAMA_NAMES | {
    "attention.q_down": "self_attn.q_a_proj",
    "attention.q_down_norm": "self_attn.q_a_layernorm",
    "attention.q": "self_attn.q_b_proj",
    "attention.kv": "self_attn.kv_a_proj_with_mqa",
    "attention.kv_up_norm": "self_attn.kv_a_layernorm",
    "attention.kv_up": "self_attn.kv_b_proj",
    "ffn.router": "mlp.gate",
    "ffn.correction": "mlp.gate.e_score_correction_bias",
    "ffn.always.gate": "mlp.shared_experts.gate_proj",
    "ffn.always.up": "mlp.shared_experts.up_proj",
    "ffn.always.out": "mlp.shared_experts.down_proj",
    "ffn.down.weight": "mlp.experts.down_proj",
}

MAMBA2_NAMES = {
    "embed": "backbone.embeddings",
    "final_norm": "backbone.norm_f",
    "layers": "backbone.layers",
    "mixer_norm": "norm",
    "mixer.projected": "mixer.in_proj",
    "mixer.mixed": "mixer.conv1d",
    "mixer.step_bias": "mixer.dt_bias",
    "mixer.a_log": "mixer.A_log",
    "mixer.skip": "mixer.D",
    "mixer.out": "mixer.out_proj",
}


def gpt2_place(path: str) -> Place:
    layout = transposed if path.endswith("weight") and any(f".{x}." in path for x in ("attention", "ffn")) else same
    for index, name in enumerate("qkv"):
        if f".attention.{name}." in path:
            return renamed(path, GPT2_NAMES), part(index, 3, layout)
    return renamed(path, GPT2_NAMES), layout


def denseformer_place(path: str) -> Place:
    if path.endswith((".weights", ".own")):
        _, layer, name = path.split(".")
        return f"{'own' if name == 'own' else 'earlier'}.{layer}", same
    plain = path.replace("middle_norm", "attention_norm").replace("middle_attention", "attention")
    name, view = gpt2_place(plain.replace("made_norm", "ffn_norm").replace("made_ffn", "ffn"))
    return f"gpt2.{name}", view


def llama3_place(path: str) -> Place:
    return renamed(path, LLAMA_NAMES), same


def gemma3_place(path: str) -> Place:
    return renamed(path, GEMMA3_NAMES), same


def deepseek_place(path: str) -> Place:
    """Gate and up of the routed experts are one tensor there."""
    for index, name in enumerate(("gate", "up")):
        if path.endswith(f".ffn.{name}.weight") and not path.startswith("layers.0."):
            joined = path.replace("layers", "model.layers").replace(f"ffn.{name}.weight", "mlp.experts.gate_up_proj")
            return joined, lambda weight, index=index: weight.chunk(2, dim=1)[index]  # type: ignore[misc]
    return renamed(path, DEEPSEEK_NAMES), same


def mamba2_place(path: str) -> Place:
    return renamed(path, MAMBA2_NAMES), same


# --- encoders ------------------------------------------------------------------------------

BERT_NAMES = {
    "embed": "bert.embeddings.word_embeddings",
    "embeddings.positions": "bert.embeddings.position_embeddings",
    "embeddings.segment": "bert.embeddings.token_type_embeddings",
    "embeddings.norm": "bert.embeddings.LayerNorm",
    "pooled": "bert.pooler.dense",
    "logits.transform": "cls.predictions.transform.dense",
    "logits.state_norm": "cls.predictions.transform.LayerNorm",
    "logits.bias": "cls.predictions.bias",
    "relation": "cls.seq_relationship",
    "encoded": "bert.encoder.layer",
    "attention.q": "attention.self.query",
    "attention.k": "attention.self.key",
    "attention.v": "attention.self.value",
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "ffn.up": "intermediate.dense",
    "ffn.out": "output.dense",
    "ffn_norm": "output.LayerNorm",
}

VIT_NAMES = {
    "embed.class": "vit.embeddings.cls_token",
    "embed.positions": "vit.embeddings.position_embeddings",
    "embed.patches": "vit.embeddings.patch_embeddings.projection",
    "layers": "vit.layers",
    "attention_norm": "layernorm_before",
    "ffn_norm": "layernorm_after",
    "attention.q": "attention.q_proj",
    "attention.k": "attention.k_proj",
    "attention.v": "attention.v_proj",
    "attention.out": "attention.o_proj",
    "ffn.up": "mlp.fc1",
    "ffn.out": "mlp.fc2",
    "final_norm": "vit.layernorm",
    "head.out": "classifier",
}


def bert_place(path: str) -> Place:
    return renamed(path, BERT_NAMES), same


def vit_place(path: str) -> Place:
    if path == "embed.patches.weight":
        return renamed(path, VIT_NAMES), flat_patches
    return renamed(path, VIT_NAMES), (lambda w: w[0]) if path in ("embed.class", "embed.positions") else same


# --- encoder and decoder, two towers ---------------------------------------------------------

MARIAN_NAMES = {
    "embed": "model.shared",
    "encoded_layers": "model.encoder.layers",
    "decoded_layers": "model.decoder.layers",
    "attention": "self_attn",
    "self": "self_attn",
    "cross": "encoder_attn",
    "attention_norm": "self_attn_layer_norm",
    "self_norm": "self_attn_layer_norm",
    "cross_norm": "encoder_attn_layer_norm",
    "ffn_norm": "final_layer_norm",
    "q": "q_proj",
    "k": "k_proj",
    "v": "v_proj",
    "self_attn.out": "self_attn.out_proj",
    "encoder_attn.out": "encoder_attn.out_proj",
    "ffn.up": "fc1",
    "ffn.out": "fc2",
}

T5_NAMES = {
    "embed": "shared",
    "encoder_layers": "encoder.block",
    "decoder": "decoder.block",
    "encoded": "encoder.final_layer_norm",
    "decoded": "decoder.final_layer_norm",
    "attention_norm": "layer.0.layer_norm",
    "self_norm": "layer.0.layer_norm",
    "cross_norm": "layer.1.layer_norm",
    "attention": "layer.0.SelfAttention",
    "self": "layer.0.SelfAttention",
    "cross": "layer.1.EncDecAttention",
    "SelfAttention.out": "SelfAttention.o",
    "EncDecAttention.out": "EncDecAttention.o",
    "ffn.up": "DenseReluDense.wi",
    "ffn.out": "DenseReluDense.wo",
}

CLIP_NAMES = {
    "image_in": "vision_model.pre_layrnorm",
    "image_state": "vision_model.post_layernorm",
    "image_projected": "visual_projection",
    "image_layers": "vision_model.encoder.layers",
    "pixels_in.patches": "vision_model.embeddings.patch_embedding",
    "pixels_in.positions": "vision_model.embeddings.position_embedding.weight",
    "pixels_in.class": "vision_model.embeddings.class_embedding",
    "embed": "text_model.embeddings.token_embedding",
    "text_layers_learned_positions": "text_model.embeddings.position_embedding",
    "text_layers_layers": "text_model.encoder.layers",
    "text_norm": "text_model.final_layer_norm",
    "text_projected": "text_projection",
    "temperature": "logit_scale",
    "attention_norm": "layer_norm1",
    "ffn_norm": "layer_norm2",
    "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj",
    "attention.v": "self_attn.v_proj",
    "attention.out": "self_attn.out_proj",
    "ffn.up": "mlp.fc1",
    "ffn.out": "mlp.fc2",
}


def transformer_place(path: str) -> Place:
    return renamed(path, MARIAN_NAMES), same


def t5_place(path: str) -> Place:
    """The feed-forward layer is the last sublayer of its block; the first block of a stack keeps the bias of all."""
    if path.endswith("_bias.table"):
        stack = path.removesuffix("_bias.table")
        return f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", same
    last = "2" if path.startswith("decoder.") else "1"
    name = renamed(path, T5_NAMES).replace("ffn_norm", f"layer.{last}.layer_norm")
    return name.replace("DenseReluDense", f"layer.{last}.DenseReluDense"), same


def clip_place(path: str) -> Place:
    name = renamed(path, CLIP_NAMES)
    if path == "pixels_in.patches.weight":
        return name, flat_patches
    return name, (lambda weight: weight[None]) if path == "pixels_in.class" else same
