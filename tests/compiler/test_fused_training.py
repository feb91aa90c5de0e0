"""Two hundred steps with all fused operators, and with none: the same curve."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import tantra_dsl
from tantra_compiler import CompileOptions, compile_graph
from tantra_compiler.compile import pipeline
from tantra_compiler.runtime import operators
from tantra_dsl.graph.model import Graph

SPEC = """
model small {
  vocab: 64
  context: 48
  dim: 32
  embed: tokens
  layers: 2 of block {
    wiring: pre(rms)
    attention { heads: 4, position: rope, qk_norm: rms, mask: causal }
    ffn { hidden: 96, gated: true, activation: silu }
  }
  final_norm: rms
  head: language_model
  objective: next_token
}
"""
STEPS, WINDOW = 200, 20
PLAIN = frozenset(each.name for each in pipeline(CompileOptions())) - {"apply_recipe", "choose_kernels"}


def text(generator: torch.Generator) -> Tensor:
    """Tokens that can be learned: each follows from the one before it, but for one in ten."""
    tokens = torch.randint(64, (4, 48), generator=generator)
    for place in range(1, 48):
        following = (tokens[:, place - 1] + 7) % 64
        follows = torch.rand(4, generator=generator) < 0.9
        tokens[:, place] = torch.where(follows, following, tokens[:, place])
    return tokens


def curve(model: nn.Module) -> Tensor:
    """The losses of training."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(STEPS):
        loss = model.loss(text(generator))  # type: ignore[operator]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def smooth(losses: Tensor) -> Tensor:
    return losses.unfold(0, WINDOW, 1).mean(-1)


def trained(graph: Graph, without: frozenset[str], nudged: bool = False) -> Tensor:
    model = compile_graph(graph, CompileOptions(seed=0, without=without))
    if nudged:
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1 + 1e-6)
    return curve(model)


@pytest.mark.slow
def test_curves_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """No further from the plain curve than that of weights that differ from the start by a few roundings."""
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", 0)
    graph = tantra_dsl.loads(SPEC).graph()
    plain, fused, nudged = trained(graph, PLAIN), trained(graph, frozenset()), trained(graph, PLAIN, nudged=True)
    assert plain[-WINDOW:].mean() < plain[:WINDOW].mean() - 0.5
    apart, usual = ((smooth(each) - smooth(plain)).abs().max() for each in (fused, nudged))
    assert apart <= 2 * usual + 1e-4
