"""Norms with and without an add before them: the operator against its plain form, in every precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tantra_compiler.runtime import norm_operator, norm_parts, operators
from tantra_compiler.runtime.add_norm import (
    add_layer_norm,
    add_layer_norm_reference,
    add_rms_norm,
    add_rms_norm_reference,
)
from tantra_compiler.runtime.norm_operator import NORM, NORM_BACKWARD
from tantra_compiler.runtime.norms import layer_norm, layer_norm_reference, rms_norm, rms_norm_reference

Tensors = list[Tensor]
Front = Callable[..., Any]
PAIRS: dict[str, tuple[Front, Front, int]] = {
    "add_layer_norm": (add_layer_norm, add_layer_norm_reference, 2),
    "add_rms_norm": (add_rms_norm, add_rms_norm_reference, 1),
    "layer_norm": (layer_norm, layer_norm_reference, 2),
    "rms_norm": (rms_norm, rms_norm_reference, 1),
}
PRECISIONS = {
    "float32": (torch.float32, torch.float32, False),
    "bfloat16": (torch.bfloat16, torch.bfloat16, False),
    "float16": (torch.float16, torch.float16, False),
    "mixed": (torch.float32, torch.bfloat16, False),
    "mixed the other way": (torch.bfloat16, torch.float32, False),
    "autocast": (torch.float32, torch.bfloat16, True),
}


@pytest.fixture(autouse=True, params=["in C", "by torch"])
def fused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator at any size, by kernels in C, or by torch's passes over seven rows at a time."""
    if request.param == "by torch":
        monkeypatch.setattr(norm_operator, "native_kernels", lambda name: None)
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", 0)
    monkeypatch.setattr(norm_operator, "NORM_PAYS", dict.fromkeys(norm_operator.NORM_PAYS, 0))
    monkeypatch.setattr(norm_operator, "NATIVE_NORM_PAYS", 0)
    monkeypatch.setattr(norm_parts, "_NORM_PART", 7 * 33)


def tensors(name: str, width: int = 33, rows: int = 41, weights: bool = True) -> Tensors:
    """x, y where one is added, and the weights."""
    generator = torch.Generator().manual_seed(0)
    count = PAIRS[name][2] if weights else 0
    shapes = [(2, rows, width)] * (1 + name.startswith("add")) + [(width,)] * count
    return [torch.randn(shape, generator=generator) for shape in shapes]


def lowered(name: str, made: Tensors, x: torch.dtype, y: torch.dtype) -> Tensors:
    """In the precisions of x and y; weights in x's."""
    return [each.to(y if slot == 1 and name.startswith("add") else x) for slot, each in enumerate(made)]


def result(function: Front, made: Tensors, autocast: bool = False, narrow: bool = False) -> Tensors:
    """What it gives, and the gradients of a sum that weighs every number of that differently."""
    leaves = [each.detach().clone().requires_grad_() for each in made]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        given = function(*leaves, eps=1e-5, narrow=narrow)
    given = list(given) if isinstance(given, tuple) else [given]
    grads = [torch.linspace(-1, 1, out.numel()).view(out.shape).sin().to(out.dtype) for out in given]
    return [*given, *torch.autograd.grad(given, leaves, grads)]


def error(ours: Tensor, exact: Tensor) -> float:
    return float(((ours.double() - exact).norm() / exact.norm()).detach())


@pytest.mark.parametrize("weights", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("name", PAIRS)
def test_is_its_plain_form_in_float64(name: str, weights: bool) -> None:
    made = [each.double() for each in tensors(name, weights=weights)]
    for our, their in zip(result(PAIRS[name][0], made), result(PAIRS[name][1], made), strict=True):
        assert our.dtype == their.dtype
        assert torch.allclose(our, their, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", PAIRS)
def test_errs_at_most_twice_as_much_as_the_plain_form(name: str, precision: str, narrow: bool) -> None:
    """Against float64 from the same numbers; a last bit of float32 is allowed in any case."""
    x, y, autocast = PRECISIONS[precision]
    made = lowered(name, tensors(name), x, y)
    if name == "add_layer_norm" and precision == "mixed the other way":
        made[2:] = [each.float() for each in made[2:]]
    exact = result(PAIRS[name][1], [each.double() for each in made])
    ours, theirs = (result(each, made, autocast, narrow) for each in PAIRS[name][:2])
    for our, their, right in zip(ours, theirs, exact, strict=True):
        assert our.dtype == their.dtype
        assert error(our, right) <= 2 * error(their, right) + 2**-22


@pytest.mark.parametrize("width", [1, 2, 127, 4097, 65_536])
@pytest.mark.parametrize("name", PAIRS)
def test_rows_of_any_width(name: str, width: int) -> None:
    made = tensors(name, width, rows=3)
    exact = result(PAIRS[name][1], [each.double() for each in made])
    ours, theirs = (result(each, made) for each in PAIRS[name][:2])
    for our, their, right in zip(ours, theirs, exact, strict=True):
        scale = max(float(right.detach().abs().max()), 1e-3)
        assert (our.double() - right).abs().max() <= 2 * (their.double() - right).abs().max() + 2**-20 * scale


@pytest.mark.parametrize("name", PAIRS)
def test_rows_may_be_none_or_lie_apart(name: str) -> None:
    none = [each[:, :0] if each.dim() == 3 else each for each in tensors(name)]
    for our, their in zip(result(PAIRS[name][0], none), result(PAIRS[name][1], none), strict=True):
        assert torch.equal(our, their)
    apart = [each.transpose(0, 1) if each.dim() == 3 else each for each in tensors(name)]
    leaves = [each.requires_grad_() for each in apart]
    ours, theirs = (each(*leaves, eps=1e-5) for each in PAIRS[name][:2])
    ours, theirs = (each if isinstance(each, tuple) else (each,) for each in (ours, theirs))
    grads = [torch.ones_like(out).transpose(0, 1).contiguous().transpose(0, 1) for out in ours]
    for our, their in zip(
        (*ours, *torch.autograd.grad(ours, leaves, grads)),
        (*theirs, *torch.autograd.grad(theirs, leaves, grads)),
        strict=True,
    ):
        assert torch.allclose(our, their, atol=2e-5)


@pytest.mark.parametrize("name", ["add_layer_norm", "add_rms_norm"])
@pytest.mark.parametrize("read", [0, 1], ids=["the sum", "the norm"])
def test_either_result_may_go_unread(name: str, read: int) -> None:
    def gradients(function: Front) -> Tensors:
        leaves = [each.requires_grad_() for each in tensors(name)]
        out = function(*leaves, eps=1e-5)[read]
        found = torch.autograd.grad(out.square().sum(), leaves, allow_unused=True)
        return [torch.zeros_like(x) if grad is None else grad for x, grad in zip(leaves, found, strict=True)]

    for our, their in zip(gradients(PAIRS[name][0]), gradients(PAIRS[name][1]), strict=True):
        assert torch.allclose(our, their, atol=2e-5)


@pytest.mark.parametrize("frozen", range(4))
def test_only_gradients_that_are_wanted_are_made(frozen: int) -> None:
    def gradients(function: Front) -> Tensors:
        made = tensors("add_layer_norm")
        leaves = [each.requires_grad_(slot != frozen) for slot, each in enumerate(made)]
        total, normal = function(*leaves, eps=1e-5)
        (total.sum() + normal.square().sum()).backward()
        assert leaves[frozen].grad is None
        return [each.grad for each in leaves if each.grad is not None]

    for our, their in zip(gradients(add_layer_norm), gradients(add_layer_norm_reference), strict=True):
        assert torch.allclose(our, their, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PAIRS)
def test_a_narrow_norm_is_what_a_product_would_round_it_to(name: str) -> None:
    """Bit for bit; of the gradients, those of the rows."""
    made = tensors(name)

    def step(narrow: bool) -> Tensors:
        leaves = [each.clone().requires_grad_() for each in made]
        projection = torch.randn(8, made[0].shape[-1], generator=torch.Generator().manual_seed(1)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            given = PAIRS[name][0](*leaves, eps=1e-5, narrow=narrow)
            total, normal = given if isinstance(given, tuple) else (leaves[0], given)
            out = torch.nn.functional.linear(normal, projection)
        assert normal.dtype == (torch.bfloat16 if narrow else torch.float32)
        rows = [leaf for leaf in leaves if leaf.dim() == 3]
        return [out, *torch.autograd.grad(out.float().square().sum() + total.sum(), [*rows, projection])]

    assert all(torch.equal(ours, theirs) for ours, theirs in zip(step(True), step(False), strict=True))


def test_nothing_is_narrow_without_autocast_nor_in_float64() -> None:
    made = tensors("add_rms_norm")
    assert add_rms_norm(*made, eps=1e-5, narrow=True)[1].dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert add_rms_norm(*(each.double() for each in made), eps=1e-5, narrow=True)[1].dtype == torch.float64


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("name", PAIRS)
def test_torch_compile_sees_one_graph(name: str, autocast: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(PAIRS[name][0], backend="aot_eager", fullgraph=True)
    exact = result(PAIRS[name][1], [each.double() for each in tensors(name)])
    ours, theirs = (result(each, tensors(name), autocast, autocast) for each in (compiled, PAIRS[name][1]))
    for our, their, right in zip(ours, theirs, exact, strict=True):
        assert our.dtype == their.dtype
        assert error(our, right) <= 2 * error(their, right) + 2**-22


CALLS: dict[str, tuple[bool, bool, bool, torch.dtype]] = {
    "added": (True, True, True, torch.float32),
    "narrow": (True, False, True, torch.bfloat16),
    "alone": (False, True, True, torch.float32),
    "bare": (False, False, False, torch.float32),
}


@pytest.mark.parametrize("name", CALLS)
def test_operators_keep_the_rules_of_torch(name: str) -> None:
    added, centred, weighted, dtype = CALLS[name]
    x, y, weight, bias = tensors("add_layer_norm", rows=5)
    other = y.bfloat16() if added else None
    given = (x, other, weight if weighted else None, bias if centred and weighted else None, centred, 1e-5, dtype)
    total, normal, mean, scale = NORM(*given)
    back = (total if added else None, normal, total if added else x, given[2], mean, scale, centred, weighted,
            given[3] is not None, torch.float32, torch.bfloat16 if added else None)  # fmt: skip
    for operator, arguments in ((NORM, given), (NORM_BACKWARD, back)):
        assert set(torch.library.opcheck(operator, arguments).values()) == {"SUCCESS"}


def test_without_kernels_gpus_take_all_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"no {name} here")

    norm_operator._norm_kernels.cache_clear()
    monkeypatch.setattr(norm_operator.importlib, "import_module", missing)
    x, y, weight, bias = tensors("add_layer_norm")
    with pytest.warns(UserWarning, match="norms on cpu run without their kernels, which is slow: no tantra_compiler"):
        made = norm_operator._norm_on_gpu(x, y, weight, bias, True, 1e-5, torch.float32)
    norm_operator._norm_kernels.cache_clear()
    for one, other in zip(made, NORM(x, y, weight, bias, True, 1e-5, torch.float32), strict=True):
        torch.testing.assert_close(one, other)
