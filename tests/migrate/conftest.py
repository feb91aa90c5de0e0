"""Small models, and a migration of random weights between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

import tantra_dsl
from tantra_dsl.migrate import Migration, Options, plan
from tests.edits import replaced

SMALL = """\
model small {
  vocab: 31
  context: 12
  dim: 16
  let norm: layernorm

  embed: tokens + learned_positions
  layers: 2 of block {
    wiring: pre(norm)
    attention { heads: 4, mask: causal, bias: true }
    ffn { hidden: 24, activation: gelu_tanh, bias: true }
  }
  final_norm: norm
  head: tied
  objective: next_token
}
"""

LLAMA = """\
model small {
  vocab: 31
  context: 12
  dim: 16
  let norm: rms

  embed: tokens
  layers: 2 of block {
    wiring: pre(norm)
    attention { heads: 4, kv_heads: 2, mask: causal, position: rope }
    ffn { hidden: 24, activation: silu, gated: true }
  }
  final_norm: norm
  head: language_model
  objective: next_token
}
"""


def edited(*edits: tuple[str, str], text: str = SMALL) -> str:
    """``text`` with each first string, which must be there once, replaced by the second."""
    return replaced(text, edits)


@lru_cache(maxsize=64)
def module_of(text: str) -> nn.Module:
    """The model in float64, its weights as they start."""
    return tantra_dsl.loads(text).compile(seed=3).double().eval()


def random_weights(text: str, seed: int = 0) -> dict[str, Tensor]:
    """Weights that nothing was trained for: none is zero, one, or like another."""
    generator = torch.Generator().manual_seed(seed)
    state = module_of(text).state_dict()
    return {name: 0.4 * torch.randn(w.shape, generator=generator, dtype=torch.float64) for name, w in state.items()}


def result(text: str, weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Scores that the model gives with ``weights``."""
    with torch.no_grad():
        return loaded(text, weights)(tokens=tokens)


def loss_of(text: str, weights: dict[str, Tensor], **inputs: Tensor) -> float:
    """The model's loss with ``weights``."""
    with torch.no_grad():
        return float(loaded(text, weights).loss(**inputs))  # type: ignore[operator]


def loaded(text: str, weights: dict[str, Tensor]) -> nn.Module:
    """The model with ``weights``; tied ones are there under one name."""
    module = module_of(text)
    missing = module.load_state_dict(weights, strict=False).missing_keys
    tied = {id(t) for name, t in module.state_dict(keep_vars=True).items() if name in weights}
    assert all(id(module.state_dict(keep_vars=True)[name]) in tied for name in missing)
    return module


@dataclass
class Carried:
    """A migration of random weights, and the scores before and after it."""

    made: Migration
    old: dict[str, Tensor]
    new: dict[str, Tensor]
    before: Tensor
    after: Tensor

    @property
    def error(self) -> float:
        """Largest difference of two scores, by the largest score; over the old vocabulary."""
        after = self.after[..., : self.before.shape[-1]]
        return float((after - self.before).abs().max() / self.before.abs().max())


def planned(before: str, after: str, **options: object) -> Migration:
    """The migration between two texts."""
    return plan(tantra_dsl.loads(before), tantra_dsl.loads(after), Options(**options))  # type: ignore[arg-type]


def carried(before: str, after: str, *, old: dict[str, Tensor] | None = None, **options: object) -> Carried:
    """Random weights of one text carried over to another, and what both models make of some tokens."""
    made = planned(before, after, **options)
    weights = random_weights(before) if old is None else old
    new = made.carry(weights, 5)
    tokens = torch.randint(0, 31, (3, 9), generator=torch.Generator().manual_seed(1))
    return Carried(made, weights, new, result(before, weights, tokens), result(after, new, tokens))


def rules(made: Migration) -> dict[str, str]:
    """What becomes of each tensor, in words."""
    return {entry.new.path: entry.rule.words for entry in made.plan.entries}
