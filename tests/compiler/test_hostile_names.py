"""Whatever a spec calls its parts, the emitted module means the same by Python's, torch's and the runtime's names."""

from __future__ import annotations

import torch

import tantra_dsl

NAMES = """
fn max_of(x, y) = max(x, y)
fn sum(x) = x + 1
fn len(x) = x * 2
fn zip(x) = min(x, 3)
fn range(x) = abs(x)
fn torch(x) = x * x
fn math(x) = exp(x / 10)
fn enumerate(x) = x - 1
fn sorted(x) = x / 2
fn list(x) = max(x, 0)
module linear_(x) = linear(x, dim)
module Linear(x) = linear(x, dim)
module Cache(x) = sum(len(x))
module Part(x; F: number = 3) = zip(range(torch(x))) * F
module nn(x) = math(enumerate(sorted(list(x))))
module Tensor(x) = linear(x, dim)
model names {
  vocab: 12
  dim: 8
  context: 16
  input tokens: tokens
  input doc: per_token
  x = embed(tokens)
  self = Linear(x)
  cache = Cache(self)
  int = Part(cache)
  float = nn(int) + Tensor(int) + linear_(int)
  y = attention(float; heads: 2, mask: causal and window(5) and doc[q] == doc[k], score: softcap(20))
  logits = linear(y, vocab)
  objective: next_token(logits, tokens)
  return logits
}
"""


def test_names_of_python_torch_and_the_runtime_can_be_used() -> None:
    spec = tantra_dsl.loads(NAMES)
    inputs = {"tokens": torch.arange(32).view(2, 16) % 12, "doc": (torch.arange(16) // 4).expand(2, 16)}
    ours, alone = (spec.compile(seed=0, standalone=standalone).double() for standalone in (False, True))
    reference = spec.compile(seed=0, kernels={"*": "reference"}, without=frozenset({"fuse_linear_loss"})).double()
    found = [model.loss(**inputs) for model in (ours, alone, reference)]
    assert found[0] == found[1]
    torch.testing.assert_close(found[0], found[2])


def test_a_function_called_max_leaves_pythons_own_alone() -> None:
    """Spans of a window call it."""
    text = """
    model clamped {
      vocab: 12
      dim: 8
      context: 16
      input tokens: tokens
      x = max(embed(tokens), 0)
      y = attention(min(x, 3); heads: 2, mask: causal and window(5))
      objective: next_token(linear(y, vocab), tokens)
    }
    """
    model = tantra_dsl.loads(text).compile(seed=0)
    assert model.loss(tokens=torch.zeros(2, 16, dtype=torch.int64)).isfinite()
