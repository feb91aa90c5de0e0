"""What compiled models compute, against transformers with the same weights."""

from __future__ import annotations

import hand_models
import pytest
import torch
from torch import nn

from tantra_compiler import CompileOptions, compile_graph

transformers = pytest.importorskip("transformers")


def copied(model: nn.Module, oracle: nn.Module, names: dict[str, str], transposed: tuple[str, ...] = ()) -> None:
    """Copy weights from ``oracle``; ``names`` maps parts of our paths to parts of its."""
    theirs = oracle.state_dict()
    with torch.no_grad():
        for path, weight in model.named_parameters():
            other = f".{path}"
            for ours, their in names.items():
                other = other.replace(ours, their)
            value = theirs[other.removeprefix(".")]
            weight.copy_(value.T if any(part in path and path.endswith("weight") for part in transposed) else value)


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, budget: float = 1e-5) -> None:
    """Equal up to ``budget`` of the scale of ``theirs``."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= budget * theirs.abs().max()


def gpt2_oracle() -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=61, n_positions=24, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0
    )
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config).eval()


def gpt2_pair() -> tuple[nn.Module, nn.Module]:
    oracle = gpt2_oracle()
    with torch.no_grad():
        for weight in oracle.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    model = compile_graph(hand_models.gpt2())
    fused = {}
    for i in range(2):
        for leaf in ("weight", "bias"):
            whole = oracle.state_dict()[f"transformer.h.{i}.attn.c_attn.{leaf}"]
            for name, part in zip("qkv", whole.chunk(3, dim=-1), strict=True):
                fused[f"layers.{i}.attention.{name}.{leaf}"] = part.T if leaf == "weight" else part
    oracle_names = {
        "embed.tokens": "transformer.wte", "embed.positions": "transformer.wpe", "final_norm": "transformer.ln_f",
        ".layers.": ".transformer.h.", "attention_norm": "ln_1", "ffn_norm": "ln_2", "attention.out": "attn.c_proj",
        "ffn.up": "mlp.c_fc", "ffn.down": "mlp.c_proj",
    }  # fmt: skip
    rest = nn.Module()
    rest.state_dict = lambda: (
        oracle.state_dict() | {f"transformer.h.{k.removeprefix('layers.')}": v for k, v in fused.items()}
    )  # type: ignore[method-assign]
    copied(model, rest, oracle_names, transposed=("attention.out", "ffn.up", "ffn.down"))
    return model, oracle


def test_gpt2_outputs_loss_and_gradients() -> None:
    model, oracle = gpt2_pair()
    tokens = torch.randint(0, 61, (3, 11))
    assert_same(model(tokens), oracle(tokens).logits)
    loss, expected = model.loss(tokens), oracle(tokens, labels=tokens).loss
    assert_same(loss, expected)
    loss.backward()
    expected.backward()
    assert_same(model.embed.tokens.weight.grad, oracle.transformer.wte.weight.grad)
    ours = model.layers[0].ffn.up.weight.grad
    assert_same(ours, oracle.transformer.h[0].mlp.c_fc.weight.grad.T)


def test_llama_outputs_loss_and_gradients() -> None:
    config = transformers.LlamaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )  # fmt: skip
    torch.manual_seed(0)
    oracle = transformers.LlamaForCausalLM(config).eval()
    model = compile_graph(hand_models.llama())
    names = {
        ".embed.": ".model.embed_tokens.", ".head.": ".lm_head.", "final_norm": "model.norm",
        ".layers.": ".model.layers.", "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attention.out": "self_attn.o_proj", "attention.q": "self_attn.q_proj", "attention.k": "self_attn.k_proj",
        "attention.v": "self_attn.v_proj", "ffn.gate": "mlp.gate_proj", "ffn.up": "mlp.up_proj",
        "ffn.down": "mlp.down_proj",
    }  # fmt: skip
    copied(model, oracle, names)
    tokens = torch.randint(0, 61, (3, 11))
    assert_same(model(tokens), oracle(tokens).logits)
    loss, expected = model.loss(tokens), oracle(tokens, labels=tokens).loss
    assert_same(loss, expected)
    loss.backward()
    expected.backward()
    assert_same(model.layers[1].attention.k.weight.grad, oracle.model.layers[1].self_attn.k_proj.weight.grad)
    assert_same(model.layers[0].attention_norm.weight.grad, oracle.model.layers[0].input_layernorm.weight.grad)


def test_dropout_and_label_smoothing_come_from_the_recipe() -> None:
    tokens = torch.randint(0, 61, (3, 11))
    graph = hand_models.gpt2()
    plain = compile_graph(graph, CompileOptions(seed=0))
    noisy = compile_graph(graph, CompileOptions(seed=0, dropout=0.5))
    assert torch.equal(noisy.eval()(tokens), plain(tokens))
    assert not torch.allclose(noisy.train()(tokens), plain(tokens))
    smooth = compile_graph(graph, CompileOptions(seed=0, label_smoothing=0.1))
    target = torch.cat([tokens[:, 1:], torch.full((3, 1), -100)], dim=1)
    expected = nn.functional.cross_entropy(plain(tokens).flatten(0, 1), target.flatten(), label_smoothing=0.1)
    assert_same(smooth.loss(tokens), expected)


def test_loss_without_any_target_is_zero_and_has_gradients() -> None:
    model = compile_graph(hand_models.bert(), CompileOptions(seed=0))
    tokens = torch.randint(0, 61, (2, 5))
    loss = model.loss(tokens, torch.zeros_like(tokens), torch.full_like(tokens, -100))
    loss.backward()
    assert loss == 0
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
