"""Decoding with a cache gives what recomputing everything gives."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hand_cases import CASES, example_inputs
from hypothesis import given, settings
from hypothesis import strategies as st

from tantra_compiler import CompileOptions, compile_graph

CACHEABLE = sorted(CASES.keys() - {"bert", "vit", "encoder_decoder", "many_fields"})


def cuts(length: int) -> st.SearchStrategy[list[int]]:
    inner = st.lists(st.integers(1, length - 1), unique=True, max_size=4)
    return inner.map(lambda places: [0, *sorted(places), length])


@pytest.mark.parametrize("name", CACHEABLE)
@settings(max_examples=8, deadline=None)
@given(places=cuts(12), seed=st.integers(0, 99))
def test_any_split_gives_the_same_outputs(name: str, places: list[int], seed: int) -> None:
    graph = CASES[name]
    model = compile_graph(graph, CompileOptions(seed=seed)).double().eval()
    inputs = example_inputs(graph, batch=2, length=12, seed=seed)
    with torch.no_grad():
        whole = model(**inputs)
        cache = model.new_cache(2, 12)
        parts = [
            model(**{key: value[:, start:stop] for key, value in inputs.items()}, cache=cache)
            for start, stop in pairwise(places)
        ]
    assert cache.length == 12
    assert (torch.cat(parts, dim=1) - whole).abs().max() < 1e-6 * whole.abs().max()


def test_encoder_runs_once() -> None:
    graph = CASES["encoder_decoder"]
    model = compile_graph(graph, CompileOptions(seed=0)).eval()
    calls: list[int] = []
    model.encoder[0].register_forward_hook(lambda *_: calls.append(1))
    inputs = example_inputs(graph, length=6)
    source, target = inputs["source"], inputs["target"]
    with torch.no_grad():
        whole = model(source, target)
        calls.clear()
        cache = model.new_cache(2, target.shape[1])
        parts = [model(source, target[:, t : t + 1], cache) for t in range(target.shape[1])]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-6)
    assert len(calls) == 1


@pytest.mark.parametrize(("name", "reason"), [("bert", "later positions"), ("vit", "no time axis")])
def test_models_that_see_everything_say_so(name: str, reason: str) -> None:
    model = compile_graph(CASES[name], CompileOptions(seed=0))
    assert reason in model.cacheable
    with pytest.raises(ValueError, match=reason):
        model.new_cache(1, 8)


def test_a_full_cache_is_an_error() -> None:
    model = compile_graph(CASES["gpt2"], CompileOptions(seed=0))
    cache = model.new_cache(1, 4)
    tokens = torch.zeros(1, 3, dtype=torch.int64)
    with torch.no_grad():
        model(tokens, cache)
        with pytest.raises(ValueError, match="3 are taken, 3 do not fit"):
            model(tokens, cache)


def test_training_after_sampling_in_inference_mode() -> None:
    model = compile_graph(CASES["alibi"], CompileOptions(seed=0))
    tokens = torch.randint(0, 61, (1, 9))
    with torch.inference_mode():
        model(tokens)
    model.loss(tokens).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
