"""Heads of a projection, normalised and turned as one operator: what it computes, and how it keeps to torch's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tantra_compiler.runtime import operators, turned_heads, turned_parts
from tantra_compiler.runtime.cache import Cache
from tantra_compiler.runtime.positions import rotation_between
from tantra_compiler.runtime.turned_heads import Heads, turned_heads_reference
from tantra_compiler.runtime.turned_parts import HeadsLayout

BATCH, TIME = 3, 29


def frequency(j: Tensor) -> Tensor:
    return 100 ** (-j / 4)


def vector(width: int, seed: int) -> Tensor:
    return torch.rand(width, generator=torch.Generator().manual_seed(seed)) + 0.5


def rms(count: int, width: int, seed: int, turned: bool = True) -> Heads:
    return Heads(count, width, "rms_norm", vector(width, seed), None, 1e-6, turned)


CASES: dict[str, list[Heads]] = {
    "turned": [Heads(4, 16, turned=True), Heads(2, 16, turned=True), Heads(2, 16)],
    "one part": [Heads(4, 16, turned=True)],
    "one head for all": [Heads(4, 16, turned=True), Heads(1, 16, turned=True), Heads(1, 16)],
    "keys and values": [Heads(2, 16, turned=True), Heads(2, 16)],
    "values of another width": [Heads(0, 33), Heads(4, 16, turned=True), Heads(2, 5), Heads(2, 16, turned=True)],
    "rms": [rms(4, 16, 0), rms(2, 16, 1), Heads(2, 16)],
    "rms, not turned": [rms(4, 16, 0, turned=False), rms(2, 16, 1, turned=False), Heads(2, 16)],
    "rms of keys alone": [Heads(4, 16, turned=True), rms(2, 16, 1), Heads(2, 16)],
    "no weights": [
        Heads(4, 16, "rms_norm", eps=1e-6, turned=True), rms(2, 16, 1), Heads(2, 16, "rms_norm", eps=1e-2)
    ],
    "layernorm": [
        Heads(4, 16, "layer_norm", vector(16, 0), vector(16, 1), 1e-5, True),
        Heads(2, 16, "layer_norm", vector(16, 2), None, 1e-5, True),
        Heads(2, 16),
    ],
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "halves": {"width": 16},
    "neighbours": {"width": 16, "interleaved": True},
    "some channels": {"width": 6},
    "some neighbours, scaled": {"width": 6, "interleaved": True, "factor": 1.5},
}


@pytest.fixture(params=[None, 2**17, 100], ids=["in C", "one part", "many parts"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator runs whatever the sizes: by kernels in C, or by torch on all rows at once or on few at a time."""
    if request.param is not None:
        monkeypatch.setattr(turned_heads, "native_kernels", lambda name: None)
        monkeypatch.setattr(turned_parts, "_HEADS_PART", request.param)
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", 1)
    monkeypatch.setattr(turned_heads, "_turning_pays", lambda packed, parts: True)


def projection(parts: list[Heads], dtype: torch.dtype, spare: int = 0) -> Tensor:
    """A packed projection; ``spare`` columns of what lies in memory belong to something else."""
    width = sum(part.size for part in parts)
    x = torch.randn(BATCH, TIME, width + spare, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return (2 * x).to(dtype)[..., :width]


def results(
    function: Callable[..., tuple[Tensor, ...]], parts: list[Heads], x: Tensor, to: torch.dtype, **settings: Any
) -> list[Tensor]:
    """The heads, and the gradients of the projection, the weights and the biases; all given in precision ``to``."""
    x = x.to(to).requires_grad_()
    made = [
        part._replace(**{
            name: None if each is None else each.to(to).requires_grad_()
            for name, each in (("weight", part.weight), ("bias", part.bias))
        })
        for part in parts
    ]  # fmt: skip
    found = function(x * 1, made, frequency, **settings)
    generator = torch.Generator().manual_seed(5)
    # as attention gives them: heads before time in memory
    grads = [torch.randn(y.transpose(1, -2).shape, generator=generator).to(to).transpose(1, -2) for y in found]
    leaves = [x, *(each for part in made for each in (part.weight, part.bias) if each is not None)]
    return [*(y.detach() for y in found), *torch.autograd.grad(found, leaves, grads)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_is_its_reference_in_float64(case: str, way: str) -> None:
    parts, double = CASES[case], torch.float64
    ours, theirs = (
        results(function, parts, projection(parts, double), double, **WAYS[way])
        for function in (turned_heads.turned_heads, turned_heads_reference)
    )
    for our, their in zip(ours, theirs, strict=True):
        assert our.shape == their.shape
        assert torch.allclose(our, their, rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_errs_at_most_twice_as_much_as_the_plain_path(case: str, way: str, dtype: torch.dtype) -> None:
    """Against float64 from the same numbers; a last bit of float32 is allowed in any case."""
    parts = [
        part._replace(**{
            name: None if each is None else each.to(dtype)
            for name, each in (("weight", part.weight), ("bias", part.bias))
        })
        for part in CASES[case]
    ]  # fmt: skip
    x = projection(parts, dtype)
    exact = results(turned_heads_reference, parts, x, torch.float64, **WAYS[way])
    ours, theirs = (
        results(function, parts, x, dtype, **WAYS[way])
        for function in (turned_heads.turned_heads, turned_heads_reference)
    )
    for our, their, right in zip(ours, theirs, exact, strict=True):
        assert our.dtype == their.dtype
        error, plain = ((each.double() - right).norm() / right.norm() for each in (our, their))
        assert error <= 2 * plain + 2**-22


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("case", ["turned", "rms"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spare", [0, 3])
def test_memory_of_others_stays_as_it_is(case: str, dtype: torch.dtype, spare: int) -> None:
    parts = CASES[case]
    x = projection(parts, dtype, spare)
    whole = torch.as_strided(x, (BATCH, TIME, x.shape[-1] + spare), x.stride())
    before, expected = whole.clone(), turned_heads_reference(x.clone(), parts, frequency, 16, interleaved=True)
    found = turned_heads.turned_heads(x, parts, frequency, 16, interleaved=True)
    assert torch.equal(whole[..., x.shape[-1] :], before[..., x.shape[-1] :])
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    assert all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in zip(found, expected, strict=True))


@pytest.mark.usefixtures("small")
def test_what_is_only_turned_stays_where_it_lies() -> None:
    x = projection(CASES["turned"], torch.float32)
    found = turned_heads.turned_heads(x, CASES["turned"], frequency, 16)
    assert {y.untyped_storage().data_ptr() for y in found} == {x.untyped_storage().data_ptr()}


@pytest.mark.usefixtures("small")
def test_a_projection_that_someone_needs_again_is_refused() -> None:
    """Nothing in a compiled model does; a changed module might."""
    x = projection(CASES["turned"], torch.float32).requires_grad_()
    kept = torch.sigmoid(x)
    found = turned_heads.turned_heads(kept, CASES["turned"], frequency, 16)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(found, [torch.ones_like(y) for y in found])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("case", ["turned", "rms"])
@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (1, 1), (5, 1)])
def test_few_rows(case: str, shape: tuple[int, int]) -> None:
    parts = CASES[case]
    x = torch.randn(*shape, sum(part.size for part in parts), requires_grad=True)
    found = turned_heads.turned_heads(x * 1, parts, frequency, 16)
    expected = turned_heads_reference(x * 1, parts, frequency, 16)
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(found, expected, strict=True))
    grads = [torch.ones_like(y) for y in found]
    (ours,), (theirs,) = (torch.autograd.grad(each, x, grads) for each in (found, expected))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("case", ["turned", "rms"])
def test_positions_start_where_the_cache_ends(case: str) -> None:
    parts, x = CASES[case], projection(CASES[case], torch.float32)
    whole = turned_heads.turned_heads(x.clone(), parts, frequency, 16)
    cache = Cache(BATCH, TIME)
    for start, stop in ((0, 20), (20, 21), (21, TIME)):
        cache.begin(stop - start)
        found = turned_heads.turned_heads(x[:, start:stop].clone(), parts, frequency, 16, cache=cache)
        assert all(torch.allclose(a, b[:, start:stop], rtol=1e-5, atol=1e-6) for a, b in zip(found, whole, strict=True))


@pytest.mark.parametrize("grad", [True, False])
def test_works_in_inference_mode_and_without_gradients(grad: bool, small: None) -> None:
    x = projection(CASES["turned"], torch.float32)
    expected = turned_heads_reference(x.clone(), CASES["turned"], frequency, 16)
    with torch.inference_mode(not grad), torch.set_grad_enabled(grad):
        found = turned_heads.turned_heads(x.clone(), CASES["turned"], frequency, 16)
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(found, expected, strict=True))


def layout_and_tables(case: str) -> tuple[HeadsLayout, Tensor, Tensor]:
    tables = rotation_between(0, TIME, frequency, 16, 1.0, False, 1, torch.device("cpu"), torch.float32)
    return (turned_heads._layout_of(CASES[case], False), *tables)


@pytest.mark.parametrize("case", ["turned", "rms", "no weights", "layernorm"])
def test_operators_keep_the_rules_of_torch(case: str) -> None:
    parts, x = CASES[case], projection(CASES[case], torch.float32)
    layout, cos, sin = layout_and_tables(case)
    weights, biases = [part.weight for part in parts], [part.bias for part in parts]
    grads, stats, packed = [torch.randn_like(y) for y in layout.views(x)], [], None
    if any(layout.norms):
        forward = (x, cos, sin, weights, biases, *layout)
        assert set(torch.library.opcheck(turned_heads.NORM_HEADS, forward).values()) == {"SUCCESS"}
        packed, stats = x, turned_heads.NORM_HEADS(*forward)[1]
    else:
        found = torch.library.opcheck(turned_heads.TURN_HEADS, (x, cos, sin, *layout))
        assert set(found.values()) == {"SUCCESS"}
    backward = (grads, packed, stats, cos, sin, weights, biases, *layout)
    assert set(torch.library.opcheck(turned_heads.TURN_HEADS_BACKWARD, backward).values()) == {"SUCCESS"}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("case", ["turned", "rms"])
def test_torch_compile_sees_one_graph(case: str) -> None:
    parts, x = CASES[case], projection(CASES[case], torch.float32).requires_grad_()
    torch._dynamo.reset()

    def heads(x: Tensor) -> tuple[Tensor, ...]:
        return turned_heads.turned_heads(x * 1, parts, frequency, 16)

    compiled = torch.compile(heads, backend="aot_eager", fullgraph=True)
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(compiled(x), heads(x), strict=True))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("case", ["turned", "rms"])
def test_activation_checkpointing_computes_it_again(case: str, reentrant: bool) -> None:
    parts, x = CASES[case], projection(CASES[case], torch.float32).requires_grad_()

    def total(x: Tensor) -> Tensor:
        return sum((y * y).flatten()[::3].sum() for y in turned_heads.turned_heads(x * 1, parts, frequency, 16))  # type: ignore[return-value]

    (plain,) = torch.autograd.grad(total(x), x)
    again = checkpoint(total, x, use_reentrant=reentrant)
    again.backward()
    assert x.grad is not None
    assert torch.equal(x.grad, plain)


@pytest.mark.usefixtures("small")
def test_autocast_changes_nothing() -> None:
    parts, x = CASES["rms"], projection(CASES["rms"], torch.bfloat16)
    plain = results(turned_heads.turned_heads, parts, x, torch.bfloat16, width=16)
    with torch.autocast("cpu", torch.bfloat16):
        cast = results(turned_heads.turned_heads, parts, x, torch.bfloat16, width=16)
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


def test_the_plain_form_runs_where_it_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the operator ran")

    monkeypatch.setattr(turned_heads.TurnedHeads, "apply", fail)
    monkeypatch.setattr(turned_heads, "native_kernels", lambda name: None)
    large = torch.randn(4, 512, 128)
    for parts, x in (
        (CASES["turned"], torch.randn(1, 1, 128)),
        (CASES["rms, not turned"], large),
        (CASES["layernorm"], large.bfloat16()),
        (CASES["turned"], large.bfloat16()),
        (CASES["turned"], large.clone().requires_grad_()),
    ):
        turned_heads.turned_heads(x, parts, frequency, 16)
    for parts, x in (
        (CASES["turned"], large.clone()),
        (CASES["rms"], large.bfloat16()),
        (CASES["turned"], large.repeat(8, 1, 1).bfloat16()),
    ):
        with pytest.raises(AssertionError, match="the operator ran"):
            turned_heads.turned_heads(x, parts, frequency, 16)
