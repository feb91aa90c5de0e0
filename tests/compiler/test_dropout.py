"""Dropout that keeps a seed: what is dropped, how often, and the same in both directions."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import tantra_dsl
from tantra_compiler import CompileOptions, emit_source
from tantra_compiler.runtime.dropout import DROPOUT, seeded_dropout

X = torch.randn(300, 211)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_what_is_kept_is_scaled_and_its_share_is_right(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    out = seeded_dropout(X.to(dtype), rate, True)
    kept = out != 0
    share = float(kept.double().mean())
    assert abs(share - (1 - rate)) < 5 * (rate * (1 - rate) / X.numel()) ** 0.5
    near = 2e-2 if dtype == torch.bfloat16 else 2e-4
    torch.testing.assert_close(out[kept], (X.to(dtype) / (1 - rate))[kept], rtol=near, atol=0)


def test_gradients_are_dropped_where_values_are() -> None:
    x = X.clone().requires_grad_()
    out = seeded_dropout(x, 0.3, True)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (out / x).detach())


def test_a_seed_is_all_that_is_kept() -> None:
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):  # type: ignore[func-returns-value]
        seeded_dropout(X.clone().requires_grad_(), 0.3, True)
    assert kept == [1]


def test_torchs_seed_repeats_it_and_checkpointing_draws_the_same() -> None:
    torch.manual_seed(5)
    first, second = seeded_dropout(X, 0.3, True), seeded_dropout(X, 0.3, True)
    torch.manual_seed(5)
    assert torch.equal(seeded_dropout(X, 0.3, True), first)
    assert not torch.equal(first, second)
    x = X.clone().requires_grad_()
    out = checkpoint(lambda x: seeded_dropout(x, 0.3, True) ** 2, x, use_reentrant=False)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad != 0, out != 0)


@pytest.mark.parametrize(("rate", "training", "expected"), [(0.3, False, 1.0), (0.0, True, 1.0), (1.0, True, 0.0)])
def test_ends(rate: float, training: bool, expected: float) -> None:
    assert torch.equal(seeded_dropout(X, rate, training), X * expected)


@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (2, 5), ()])
def test_sizes_that_no_word_divides(shape: tuple[int, ...]) -> None:
    out = DROPOUT(torch.ones(shape), torch.tensor(3), 0.25)
    assert out.shape == shape
    assert all(each == 0 or each == pytest.approx(4 / 3, rel=1e-4) for each in out.flatten().tolist())


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (seeded_dropout(torch.ones(1_000_000), 0.5, True) != 0).double()
    for distance in (1, 2, 3, 4, 8):
        both = float((kept[:-distance] * kept[distance:]).mean())
        assert abs(both - 0.25) < 5 * (0.1875 / 1e6) ** 0.5


def test_the_operator_is_what_torch_expects() -> None:
    torch.library.opcheck(DROPOUT, (torch.randn(4, 5, requires_grad=True), torch.tensor(3), 0.25))
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: seeded_dropout(x, 0.5, True), fullgraph=True, backend="aot_eager")
    assert 0.4 < float((compiled(X) == 0).double().mean()) < 0.6


def test_models_drop_by_seeds_unless_told_not_to() -> None:
    graph = tantra_dsl.load("gpt2").graph()
    assert "seeded_dropout(" in emit_source(graph, CompileOptions(dropout=0.1))
    without = CompileOptions(dropout=0.1, without=frozenset({"seed_dropout"}))
    assert "F.dropout(" in emit_source(graph, without)
    assert "dropout" not in emit_source(graph, CompileOptions(dropout=0.0))
