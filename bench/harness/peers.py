"""The same model in every library, with that library's own way to a loss.

Libraries get their fastest settings for the job: fused attention, fused tanh GELU, no dropout, no cache in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.shapes import Shape
from harness.weights import copy_weights

PEERS = ("transformers", "litgpt", "x_transformers")
LIBRARIES = ("tantra", *PEERS)
PACKAGES = ("torch", "transformers", "litgpt", "x-transformers")


@dataclass(frozen=True)
class Candidate:
    """A model, and its mean loss in nats on tokens int [batch, time], each predicting the next."""

    model: nn.Module
    loss: Callable[[Tensor], Tensor]

    @property
    def parameters(self) -> int:
        """Numbers that train, shared ones counted once."""
        return sum(weight.numel() for weight in self.model.parameters())


def build(library: str, shape: Shape, seed: int = 0) -> Candidate:
    """``shape`` in ``library``, starting from the weights that ``seed`` gives our own model.

    ``tantra-fuse_norms-pack_linears`` is our own without the passes of these names.
    """
    ours = tantra(shape, seed, frozenset(library.split("-")[1:] if library.startswith("tantra-") else ()))
    if library.startswith("tantra"):
        return ours
    candidate = _BUILDERS[library](shape)
    copy_weights(library, candidate.model, ours.model.state_dict(), shape)
    return candidate


TINY = {
    False: Shape("gpt2", llama=False, layers=1, dim=64, heads=1, kv_heads=1, hidden=64, vocab=64, context=8),
    True: Shape("llama", llama=True, layers=1, dim=64, heads=1, kv_heads=1, hidden=64, vocab=64, context=8),
}
_OURS = "model m { vocab: 64 context: 8 dim: 8 embed: tokens head: tied objective: next_token }"


def tiny(library: str, llama: bool) -> Candidate:
    """A model of no size, whose use imports and sets up all that a library needs."""
    if not library.startswith("tantra"):
        return _BUILDERS[library](TINY[llama])
    import tantra_dsl

    model: Any = tantra_dsl.loads(_OURS).compile(seed=0)
    return Candidate(model, model.loss)


def tantra(shape: Shape, seed: int, without: frozenset[str] = frozenset()) -> Candidate:
    """Our own, from the spec, compiled without some passes."""
    import tantra_dsl

    model: Any = tantra_dsl.load(shape.spec).compile(seed=seed, without=without)
    return Candidate(model, model.loss)


def transformers(shape: Shape) -> Candidate:
    """Through ``labels``, as its training loops do."""
    model = (_llama if shape.llama else _gpt2)(shape)
    return Candidate(model, lambda tokens: model(input_ids=tokens, labels=tokens, use_cache=False).loss)


def _gpt2(shape: Shape) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=shape.vocab, n_positions=shape.context, n_embd=shape.dim, n_layer=shape.layers, n_head=shape.heads,
        n_inner=shape.hidden, activation_function="gelu_pytorch_tanh", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=None, eos_token_id=None, attn_implementation="sdpa",
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def _llama(shape: Shape) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocab, max_position_embeddings=shape.context, hidden_size=shape.dim, head_dim=shape.head_dim,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.hidden, rms_norm_eps=1e-6, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=None, attn_implementation="sdpa", rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )  # fmt: skip
    return LlamaForCausalLM(config)


class LearnedEmbedding(nn.Module):
    """Tokens and positions, for litgpt, which has no positions of its own that are learned."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocab, shape.dim)
        self.positions = nn.Embedding(shape.context, shape.dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, time] -> [batch, time, dim]."""
        return self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]  # type: ignore[no-any-return]


def litgpt(shape: Shape) -> Candidate:
    """Through ``chunked_cross_entropy`` with its default chunks, as its pretraining does; the head is tied by us."""
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    family = (
        {"norm_class_name": "RMSNorm", "norm_eps": 1e-6, "mlp_class_name": "LLaMAMLP", "rotary_percentage": 1.0}
        if shape.llama
        else {"mlp_class_name": "GptNeoxMLP", "gelu_approximate": "tanh", "rotary_percentage": 0.0}
    )
    config = Config(
        name=shape.name, block_size=shape.context, vocab_size=shape.vocab, padded_vocab_size=shape.vocab,
        n_layer=shape.layers, n_head=shape.heads, n_query_groups=shape.kv_heads, n_embd=shape.dim,
        intermediate_size=shape.hidden, bias=not shape.llama, parallel_residual=False, **family,
    )  # fmt: skip
    model: Any = GPT(config)
    if not shape.llama:
        model.transformer.wte = LearnedEmbedding(shape)
    model.lm_head.weight = model.transformer.wte.weight if shape.llama else model.transformer.wte.tokens.weight

    def loss(tokens: Tensor) -> Tensor:
        return chunked_cross_entropy(model(tokens)[:, :-1], tokens[:, 1:])  # type: ignore[no-any-return]

    return Candidate(model, loss)


def x_transformers(shape: Shape) -> Candidate:
    """Through its ``AutoregressiveWrapper``."""
    from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

    family: dict[str, Any] = (
        {"use_rmsnorm": True, "rotary_pos_emb": True, "rotary_emb_dim": shape.head_dim, "ff_glu": True,
         "ff_swish": True, "ff_no_bias": True}
        if shape.llama
        else {"ff_custom_activation": nn.GELU("tanh")}
    )  # fmt: skip
    layers = Decoder(
        dim=shape.dim, depth=shape.layers, heads=shape.heads, attn_kv_heads=shape.kv_heads,
        attn_dim_head=shape.head_dim, ff_mult=shape.hidden / shape.dim, attn_flash=True, **family,
    )  # fmt: skip
    model = TransformerWrapper(
        num_tokens=shape.vocab, max_seq_len=shape.context, attn_layers=layers, tie_embedding=True,
        tie_embedding_scale=1.0, use_abs_pos_emb=not shape.llama,
    )  # fmt: skip
    wrapper = AutoregressiveWrapper(model)
    return Candidate(model, lambda tokens: wrapper(tokens))


_BUILDERS: dict[str, Callable[[Shape], Candidate]] = {
    "transformers": transformers,
    "litgpt": litgpt,
    "x_transformers": x_transformers,
}


def tokens(shape: Shape, batch: int, count: int, seed: int = 0) -> Tensor:
    """``count`` batches int [count, batch, context] that a model can learn: each token tells the next, with noise."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(shape.vocab, (count, batch, 1), generator=generator)
    steps = torch.randint(1, 9, (count, batch, shape.context), generator=generator)
    return (start + steps.cumsum(-1)) % shape.vocab
