"""Small models with masks and scores of every kind, and batches for them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import tantra_dsl
from tantra_compiler.compile import compile_graph
from tantra_compiler.options import CompileOptions

_SPEC = """
model m {{
  vocab: 64  context: 256  dim: 64
  {inputs}
  embed: tokens
  layers: 1 of block {{
    wiring: pre(rms)
    attention {{ heads: 4, kv_heads: 2, {attention} }}
    ffn {{ hidden: 64 }}
  }}
  head: language_model
  objective: {objective}
}}
"""


@dataclass(frozen=True)
class AttentionCase:
    """What is written in the attention of a model, and the fields that it reads."""

    attention: str
    inputs: str = ""
    objective: str = "next_token"

    def graph(self) -> object:
        """The model's graph."""
        text = _SPEC.format(inputs=self.inputs, attention=self.attention, objective=self.objective)
        return tantra_dsl.loads(text).graph()

    def model(self, **options: object) -> torch.nn.Module:
        """The model, seeded."""
        return compile_graph(self.graph(), CompileOptions(seed=1, **options))  # type: ignore[arg-type]

    def fields(self, batch: int, keys: int) -> dict[str, Tensor]:
        """The fields of a batch."""
        generator = torch.Generator().manual_seed(0)
        places = torch.arange(keys)
        made = {
            "doc": torch.randint(0, 5, (batch, keys), generator=generator).sort(1).values,
            "image": torch.randint(0, 3, (batch, keys), generator=generator),
            "length": torch.randint(1, keys + 1, (batch,), generator=generator),
            "valid": (places < torch.tensor([[keys], [keys * 2 // 3 + 1]])[:batch]).long(),
        }
        return {name: value for name, value in made.items() if f"input {name}:" in self.inputs}


CASES = {
    "window": AttentionCase("mask: causal and window(40)"),
    "documents, capped": AttentionCase(
        "mask: causal and window(40) and same_document, score: softcap(20)", "input doc: per_token"
    ),
    "longformer": AttentionCase("mask: longformer(20, 3)", objective="masked_token"),
    "alibi, capped": AttentionCase("mask: causal, score: alibi then softcap(5)"),
    "t5": AttentionCase("mask: all, score: t5_bias(heads: 4)", objective="masked_token"),
    "strided": AttentionCase("mask: strided(64)"),
    "sinks": AttentionCase("mask: sinks(2, 30)"),
    "padding": AttentionCase("mask: causal and padding", "input length: per_sequence"),
    "by lengths": AttentionCase("mask: causal and q - k < keys / 2"),
    "images": AttentionCase(
        "mask: k <= q or (image[q] == image[k] and image[k] > 0)", "input image: per_token", "masked_token"
    ),
    "valid": AttentionCase("mask: k <= q and valid[k] > 0", "input valid: per_token"),
    "by head": AttentionCase("mask: causal and q - k < 8 * (h + 1)"),
    "blocks": AttentionCase("mask: block_causal(24)", objective="masked_token"),
}
