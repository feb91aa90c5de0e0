"""Edges of the kernels in the interpreter: lengths 0 and 1, strided views, dropout, large offsets, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import triton
import triton.language as tl

from tantra_compiler.kernels.attention import launch
from tantra_compiler.kernels.attention.configs import Config, pieces
from tantra_compiler.kernels.attention.programs import Programs, Unsupported
from tests.kernels.attention import test_backward, test_forward
from tests.kernels.attention.cases import MASKS, programs_of
from tests.kernels.attention.dense import EMPTY_LSE, Inputs, Problem, attend, make, within_budget


@pytest.mark.parametrize("mask", ["full", "documents", "longformer", "strided"])
@pytest.mark.parametrize(("queries", "keys"), [(1, 5), (5, 1)])
def test_one_query_or_one_key(mask: str, queries: int, keys: int) -> None:
    problem = Problem(mask, queries=queries, keys=keys, batch=2, sink=queries == 5)
    test_forward.check(problem)
    test_backward.check(problem)


@pytest.mark.parametrize("mask", ["full", "causal", "window", "documents", "longformer", "three", "strided"])
def test_the_only_key_gives_its_value(mask: str) -> None:
    problem = Problem(mask, queries=1, keys=1, heads=1)
    x, (dout, _) = make(problem), test_backward.output_gradients(problem)
    assert torch.equal(test_forward.run(problem)[0], x.v)
    dq, dk, dv = test_backward.kernel_gradients(problem, dout, None)
    torch.testing.assert_close(dv, dout)
    torch.testing.assert_close(dq, torch.zeros_like(dq), atol=1e-5, rtol=0)  # the weight is 1 whatever the query is
    torch.testing.assert_close(dk, torch.zeros_like(dk), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("queries", "keys"), [(0, 4), (4, 0), (0, 0)])
def test_length_zero(queries: int, keys: int) -> None:
    problem = Problem("causal", queries=queries, keys=keys, sink=True)
    out, lse = test_forward.run(problem)
    assert out.shape == (1, queries, 2, 16)
    assert (out == 0).all()
    assert (lse == EMPTY_LSE).all()
    gradients = test_backward.kernel_gradients(problem, *test_backward.output_gradients(problem))
    for x, g in zip(make(problem).leaves(), gradients, strict=True):
        assert g.shape == x.shape
        assert (g == 0).all()


@pytest.mark.parametrize("layout", ["bhtd", "bhdt"])
@pytest.mark.parametrize(("mask", "score"), [("causal", "none"), ("documents", "table")])
def test_any_strides_without_copies(layout: str, mask: str, score: str) -> None:
    problem = Problem(mask, score, torch.float16, 2, 17, 20, 2, 1, 24, 16, layout=layout)
    assert make(problem).q.is_contiguous() is False
    test_forward.check(problem)
    test_backward.check(problem)


def test_a_gradient_of_output_that_is_expanded() -> None:
    problem = Problem("window", queries=30, keys=30)
    dout = torch.ones(1, 1, 1, 1).expand(1, 30, 2, 16)
    dlse = torch.zeros(1, 2, 30)
    exact, plain = (test_backward.dense_gradients(problem, t, dout, dlse) for t in (torch.float64, torch.float32))
    within_budget(test_backward.kernel_gradients(problem, dout, None), plain, exact)


def test_offsets_beyond_32_bits() -> None:
    """Views whose rows lie 2**31 elements apart; the pages between are never touched."""
    storage = torch.empty(3 * 2**31 // 4, dtype=torch.float16)
    apart, small = 2**31 // 4 - 8, Problem("causal", "none", torch.float16, queries=5, keys=5, heads=1)
    x = make(small)
    views = [storage[i * 16 :].as_strided((1, 5, 1, 16), (0, apart // 4, 0, 1)) for i in range(3)]
    for view, t in zip(views, (x.q, x.k, x.v), strict=True):
        view.copy_(t)
    assert 4 * (apart // 4) * 5 > 2**31
    out, _ = launch.forward(*views, programs_of("causal", "none"), scale=0.25, config=Config(16, 16, 4, 1))
    want, _ = test_forward.run(small)
    assert torch.equal(out, want)


@triton.jit
def draw(out, seed, first: tl.int64, count, p, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out + at, (tl.rand(seed, first + at.to(tl.int64)) >= p).to(tl.float32), mask=at < count)


def kept_weights(problem: Problem) -> torch.Tensor:
    """The weights that dropout keeps, drawn one row at a time with triton's own generator."""
    p = problem
    kept = torch.empty(p.batch * p.heads * p.queries, p.keys)
    for row in range(kept.shape[0]):
        draw[(1,)](kept[row], 7, row * p.keys, p.keys, p.dropout, BLOCK=triton.next_power_of_2(p.keys))
    return kept.view(p.batch, p.heads, p.queries, p.keys)


def dropped(problem: Problem, x: Inputs, dtype: torch.dtype, kept: torch.Tensor) -> list[torch.Tensor]:
    leaves = [t.detach().to(dtype).requires_grad_() for t in (x.q, x.k, x.v)]
    out, lse = attend(problem, Inputs(*leaves, None, x.fields, ()), dtype, kept)
    return [out.detach(), lse.detach(), *torch.autograd.grad(out.sum(), leaves)]


@pytest.mark.parametrize("mask", ["causal"])
def test_dropout_drops_what_the_generator_says(mask: str) -> None:
    problem = Problem(mask, queries=21, keys=35, batch=2, dropout=0.4)
    x, kept = make(problem), kept_weights(problem)
    program = (programs_of(mask, "none"), (), MASKS[mask].numbers)
    options: dict[str, Any] = {"scale": 0.25, "dropout": 0.4, "seed": 7}
    out, lse = launch.forward(x.q, x.k, x.v, *program, **options)
    rest = launch.backward(torch.ones_like(out), x.q, x.k, x.v, out, lse, *program, **options)[:3]
    within_budget([out, lse, *rest], dropped(problem, x, torch.float32, kept), dropped(problem, x, torch.float64, kept))


@pytest.mark.parametrize("config", [Config(32, 16, 4, 1), Config(16, 64, 4, 1), Config(64, 32, 4, 1)])
@pytest.mark.parametrize("mask", ["window", "documents", "three", "strided"])
def test_results_do_not_depend_on_tiles(config: Config, mask: str) -> None:
    problem = Problem(mask, queries=70, keys=90, heads=1, kv_heads=1)
    test_forward.check(problem, config)


def test_gradients_are_the_same_in_every_run() -> None:
    problem = Problem("documents", "slopes", queries=33, keys=33, heads=2, kv_heads=1)
    dout, dlse = test_backward.output_gradients(problem)
    first, second = (test_backward.kernel_gradients(problem, dout, dlse) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_what_the_kernels_do_not_do_is_refused_with_a_reason() -> None:
    x = make(Problem("full"))
    with pytest.raises(Unsupported, match="head width 20"):
        launch.forward(x.q.new_empty(1, 4, 2, 20), x.k, x.v, Programs(), scale=1.0)
    with pytest.raises(Unsupported, match="float64"):
        launch.forward(x.q.double(), x.k.double(), x.v.double(), Programs(), scale=1.0)
    with pytest.raises(Unsupported, match="32 bits"):
        launch.forward(x.q, x.k, x.v, Programs(), (), (2**40,), scale=1.0)


@pytest.mark.parametrize("width", range(8, 257, 8))
def test_pieces_hold_a_width_and_waste_less_than_one_power_of_two(width: int) -> None:
    first, second = pieces(width)
    assert first + second >= width
    assert all(x == 0 or (x >= 16 and x & (x - 1) == 0) for x in (first, second))
    assert first + second <= max(16, triton.next_power_of_2(width))
    assert second < first


def test_a_window_larger_than_the_length_is_causal() -> None:
    wide, causal = Problem("wide window", queries=33, keys=50), Problem("causal", queries=33, keys=50)
    assert torch.equal(test_forward.run(wide)[0], test_forward.run(replace(causal))[0])
