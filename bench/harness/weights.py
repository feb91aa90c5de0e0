"""One set of weights for every library, so that all of them compute the same function.

A table maps a weight of a peer to ours, which are joined along their first dimension. Biases that only the peer has are
set to zero; those that only we have are zero when training starts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harness.shapes import Shape

Table = dict[str, tuple[str, ...]]


def copy_weights(peer: str, model: nn.Module, ours: Mapping[str, Tensor], shape: Shape) -> None:
    """Gives ``model`` of the library ``peer`` the weights ``ours``, named as the spec names them."""
    with torch.no_grad():
        for name, parts in table(peer, shape).items():
            module = model.get_submodule(name)
            for kind in ("weight", "bias"):
                place = found(module, kind)
                if place is None or f"{parts[0]}.{kind}" not in ours:
                    assert kind == "bias", name
                    if place is not None:
                        place.zero_()
                    continue
                joined = torch.cat([arranged(peer, part, ours[f"{part}.{kind}"], shape) for part in parts])
                joined = joined.T if type(module).__name__ == "Conv1D" and kind == "weight" else joined
                place.copy_(joined - float(getattr(module, "unit_offset", 0.0)))
        if (peer, shape.llama) == ("x_transformers", False):
            model.get_parameter("pos_emb.emb.weight").mul_(shape.dim**0.5)  # the library scales its positions down


def found(module: nn.Module, kind: str) -> nn.Parameter | None:
    """The weight or bias of ``module``; x-transformers calls the weights of its norms gamma and g."""
    names = (kind, "gamma", "g") if kind == "weight" else (kind,)
    return next((module._parameters[name] for name in names if module._parameters.get(name) is not None), None)


def arranged(peer: str, name: str, weight: Tensor, shape: Shape) -> Tensor:
    """``weight`` in the order of its peer.

    x-transformers rotates neighbouring channels, the others halves of a head; its query head h reads kv head
    h % kv_heads, that of the others h // (heads / kv_heads).
    """
    if peer != "x_transformers" or not shape.llama:
        return weight
    if name.endswith(("attention.q", "attention.k")):
        weight = weight.view(-1, 2, shape.head_dim // 2, shape.dim).transpose(1, 2).reshape(weight.shape)
    if name.endswith("attention.q"):
        weight = spread(weight, shape)
    return spread(weight.T, shape).T if name.endswith("attention.out") else weight


def spread(weight: Tensor, shape: Shape) -> Tensor:
    """Heads [kv_heads, group] along the first dimension of ``weight`` as [group, kv_heads]."""
    return weight.unflatten(0, (shape.kv_heads, -1, shape.head_dim)).transpose(0, 1).flatten(0, 2)


def table(peer: str, shape: Shape) -> Table:
    """Every weight of the library ``peer``, with ours."""
    names = dict(_STEMS[peer, shape.llama])
    for layer in range(shape.layers):
        for theirs, ours in _LAYERS[peer, shape.llama].items():
            name = theirs.format(i=layer, attention=2 * layer, ffn=2 * layer + 1)
            names[name] = tuple(f"layers.{layer}.{part}" for part in ours)
    return names


_STEMS: dict[tuple[str, bool], Table] = {
    ("transformers", False): {
        "transformer.wte": ("embed.tokens",),
        "transformer.wpe": ("embed.learned_positions",),
        "transformer.ln_f": ("final_norm",),
    },
    ("transformers", True): {"model.embed_tokens": ("embed",), "model.norm": ("final_norm",)},
    ("litgpt", False): {
        "transformer.wte.tokens": ("embed.tokens",),
        "transformer.wte.positions": ("embed.learned_positions",),
        "transformer.ln_f": ("final_norm",),
    },
    ("litgpt", True): {"transformer.wte": ("embed",), "transformer.ln_f": ("final_norm",)},
    ("x_transformers", False): {
        "token_emb.emb": ("embed.tokens",),
        "pos_emb.emb": ("embed.learned_positions",),
        "attn_layers.final_norm": ("final_norm",),
    },
    ("x_transformers", True): {"token_emb.emb": ("embed",), "attn_layers.final_norm": ("final_norm",)},
}

_QKV = ("attention.q", "attention.k", "attention.v")

_LAYERS: dict[tuple[str, bool], Table] = {
    ("transformers", False): {
        "transformer.h.{i}.ln_1": ("attention_norm",),
        "transformer.h.{i}.attn.c_attn": _QKV,
        "transformer.h.{i}.attn.c_proj": ("attention.out",),
        "transformer.h.{i}.ln_2": ("ffn_norm",),
        "transformer.h.{i}.mlp.c_fc": ("ffn.up",),
        "transformer.h.{i}.mlp.c_proj": ("ffn.out",),
    },
    ("transformers", True): {
        "model.layers.{i}.input_layernorm": ("attention_norm",),
        "model.layers.{i}.self_attn.q_proj": ("attention.q",),
        "model.layers.{i}.self_attn.k_proj": ("attention.k",),
        "model.layers.{i}.self_attn.v_proj": ("attention.v",),
        "model.layers.{i}.self_attn.o_proj": ("attention.out",),
        "model.layers.{i}.post_attention_layernorm": ("ffn_norm",),
        "model.layers.{i}.mlp.gate_proj": ("ffn.gate",),
        "model.layers.{i}.mlp.up_proj": ("ffn.up",),
        "model.layers.{i}.mlp.down_proj": ("ffn.out",),
    },
    ("litgpt", False): {
        "transformer.h.{i}.norm_1": ("attention_norm",),
        "transformer.h.{i}.attn.qkv": _QKV,
        "transformer.h.{i}.attn.proj": ("attention.out",),
        "transformer.h.{i}.norm_2": ("ffn_norm",),
        "transformer.h.{i}.mlp.fc": ("ffn.up",),
        "transformer.h.{i}.mlp.proj": ("ffn.out",),
    },
    ("litgpt", True): {
        "transformer.h.{i}.norm_1": ("attention_norm",),
        "transformer.h.{i}.attn.qkv": _QKV,
        "transformer.h.{i}.attn.proj": ("attention.out",),
        "transformer.h.{i}.norm_2": ("ffn_norm",),
        "transformer.h.{i}.mlp.fc_1": ("ffn.gate",),
        "transformer.h.{i}.mlp.fc_2": ("ffn.up",),
        "transformer.h.{i}.mlp.proj": ("ffn.out",),
    },
    ("x_transformers", False): {
        "attn_layers.layers.{attention}.0.0": ("attention_norm",),
        "attn_layers.layers.{attention}.1.to_q": ("attention.q",),
        "attn_layers.layers.{attention}.1.to_k": ("attention.k",),
        "attn_layers.layers.{attention}.1.to_v": ("attention.v",),
        "attn_layers.layers.{attention}.1.to_out": ("attention.out",),
        "attn_layers.layers.{ffn}.0.0": ("ffn_norm",),
        "attn_layers.layers.{ffn}.1.ff.0.0": ("ffn.up",),
        "attn_layers.layers.{ffn}.1.ff.2": ("ffn.out",),
    },
    ("x_transformers", True): {
        "attn_layers.layers.{attention}.0.0": ("attention_norm",),
        "attn_layers.layers.{attention}.1.to_q": ("attention.q",),
        "attn_layers.layers.{attention}.1.to_k": ("attention.k",),
        "attn_layers.layers.{attention}.1.to_v": ("attention.v",),
        "attn_layers.layers.{attention}.1.to_out": ("attention.out",),
        "attn_layers.layers.{ffn}.0.0": ("ffn_norm",),
        "attn_layers.layers.{ffn}.1.ff.0.proj": ("ffn.up", "ffn.gate"),
        "attn_layers.layers.{ffn}.1.ff.2": ("ffn.out",),
    },
}
