"""Shipped decoders, position by position with a cache, give what they give for the whole text at once."""

from __future__ import annotations

import pytest
import torch
from tiny_twins import pair
from torch import Tensor, nn

DECODERS = ["gpt2", "llama3", "gemma3", "deepseek", "mamba2", "denseformer"]


def in_pieces(model: nn.Module, lengths: list[int], text: Tensor, **given: Tensor) -> Tensor:
    """Outputs for ``text`` read in pieces of ``lengths``."""
    cache = model.new_cache(text.shape[0], text.shape[1])
    stream = "target" if given else "tokens"
    return torch.cat([model(**given, **{stream: piece}, cache=cache) for piece in text.split(lengths, dim=1)], dim=1)


def assert_equal(ours: Tensor, whole: Tensor) -> None:
    assert ours.shape == whole.shape
    assert (ours - whole).abs().max() <= 1e-5 * whole.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("prompt", [1, 7])
def test_pieces_give_what_the_whole_gives(name: str, prompt: int) -> None:
    both = pair(name)
    text = both.inputs["tokens"]
    lengths = [prompt, *[1] * (text.shape[1] - prompt)]
    assert_equal(in_pieces(both.model, lengths, text), both.model(text))


@torch.no_grad()
@pytest.mark.parametrize("name", ["transformer", "t5"])
def test_a_decoder_with_an_encoder(name: str) -> None:
    both = pair(name)
    source, target = both.inputs["source"], both.inputs["target"]
    lengths = [3, *[1] * (target.shape[1] - 3)]
    assert_equal(in_pieces(both.model, lengths, target, source=source), both.model(source, target))


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "llama3", "gemma3"])
def test_greedy_samples_are_the_same_tokens(name: str) -> None:
    model, tokens = pair(name).model, pair(name).inputs["tokens"][:, :3]
    cache, piece, again = model.new_cache(tokens.shape[0], 18), tokens, tokens
    cached = tokens
    while cached.shape[1] < 18:
        piece = model(piece, cache=cache)[:, -1:].argmax(-1)
        cached = torch.cat([cached, piece], dim=1)
        again = torch.cat([again, model(again)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(cached, again)
