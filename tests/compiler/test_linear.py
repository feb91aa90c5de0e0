"""Linear layers through oneDNN: torch's own results and gradients, under every transformation of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tantra_compiler.runtime import linear as lin
from tantra_compiler.runtime.linear import Linear, linear
from tantra_compiler.runtime.linear_loss import linear_cross_entropy, linear_cross_entropy_reference

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch is built without oneDNN"
)


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On every processor as where oneDNN is chosen, for products of any size."""
    monkeypatch.setattr(lin, "ONEDNN", True)
    for name in ("_LARGE_WEIGHT", "_LARGE_PRODUCT", "_LARGE_COMPILED"):
        monkeypatch.setattr(lin, name, 1)
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


def layers(bias: bool = True) -> tuple[Linear, nn.Linear]:
    """Ours and torch's, with the same weights."""
    ours, theirs = Linear(16, 24, bias=bias), nn.Linear(16, 24, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(16,), (7, 16), (3, 5, 16), (2, 3, 4, 16), (2, 0, 16)], ids=str)
def test_results_and_gradients(shape: tuple[int, ...], bias: bool) -> None:
    ours, theirs = layers(bias)
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    out, expected = ours(x), theirs(y)
    torch.testing.assert_close(out, expected)
    grad = torch.randn_like(out)
    out.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(x.grad, y.grad)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.skipif(not lin.ONEDNN_LOW, reason="this processor has no bfloat16 products by oneDNN")
@pytest.mark.parametrize("shape", [(16,), (7, 16), (3, 5, 16), (2, 0, 16)], ids=str)
def test_bfloat16_with_a_bias(shape: tuple[int, ...]) -> None:
    x, weight, bias = (torch.randn(each, dtype=torch.bfloat16) for each in (shape, (24, 16), (24,)))
    assert lin.through_onednn(x, weight, bias)
    assert not lin.through_onednn(x, weight)
    every: list[list[Tensor]] = []
    for dtype, run in ((torch.bfloat16, linear), (torch.bfloat16, F.linear), (torch.float64, F.linear)):
        given = [each.to(dtype).requires_grad_() for each in (x, weight, bias)]
        out = run(*given)
        grad = torch.linspace(-1, 1, out.numel(), dtype=dtype).view(out.shape)
        every.append([out.detach(), *torch.autograd.grad(out, given, grad)])
    for ours, theirs, exact in zip(*every, strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours - exact).norm() <= 2 * (theirs - exact).norm() + 2**-9 * exact.norm()


@pytest.mark.parametrize("taught", ["x", "weight", "bias", "x weight", "x bias", "weight bias"])
def test_wanted_gradients_are_made_and_no_others(taught: str) -> None:
    given = {"x": torch.randn(3, 16), "weight": torch.randn(24, 16), "bias": torch.randn(24)}
    for name, tensor in given.items():
        tensor.requires_grad_(name in taught.split())
    linear(**given).sum().backward()
    assert [name for name, tensor in given.items() if tensor.grad is not None] == taught.split()


def test_strided_inputs() -> None:
    ours, theirs = layers()
    x = torch.randn(16, 5, 3).permute(2, 1, 0)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
        turned = torch.randn(16, 24)
        torch.testing.assert_close(linear(x, turned.t()), x @ turned)


def test_gradients_of_gradients() -> None:
    ours, theirs = layers()
    x = torch.randn(4, 16, requires_grad=True)
    for layer in (ours, theirs):
        (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        slope.square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_compiled_for_any_length_as_one_graph() -> None:
    ours, theirs = layers()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(ours, fullgraph=True, dynamic=True)
    for length in (4, 9, 17):
        x, y = (torch.full((length, 16), 0.5).requires_grad_() for _ in range(2))
        compiled(x).sum().backward()
        theirs(y).sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_other_precisions_and_autocast_stay_with_torch() -> None:
    ours, theirs = layers()
    x = torch.randn(3, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))
    for dtype in (torch.float64, torch.bfloat16):
        assert torch.equal(ours.to(dtype)(x.to(dtype)), theirs.to(dtype)(x.to(dtype)))


def test_function_transforms() -> None:
    ours, theirs = layers()
    x = torch.randn(4, 16)

    def per_sample(layer: nn.Module) -> Tensor:
        def loss(weights: dict[str, Tensor], row: Tensor) -> Tensor:
            return torch.func.functional_call(layer, weights, (row,)).square().sum()

        grads = torch.func.vmap(torch.func.grad(loss), (None, 0))(dict(layer.named_parameters()), x)
        return grads["weight"]

    torch.testing.assert_close(per_sample(ours), per_sample(theirs))
    torch.testing.assert_close(torch.func.jvp(ours, (x,), (x,)), torch.func.jvp(theirs, (x,), (x,)))


def test_an_exported_layer_is_torchs() -> None:
    exported = torch.export.export(layers()[0], (torch.randn(4, 16),))
    assert [str(node.target) for node in exported.graph.nodes if node.op == "call_function"] == ["aten.linear.default"]


@pytest.mark.parametrize("taught", [True, False])
def test_flops_are_counted(taught: bool) -> None:
    ours = layers()[0]
    x = torch.randn(3, 5, 16, requires_grad=taught)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(taught):
        out = ours(x)
        if taught:
            out.sum().backward()
    assert counter.get_total_flops() == 2 * 15 * 16 * 24 * (3 if taught else 1)


def test_the_operator_is_sound() -> None:
    torch.library.opcheck(lin.PRODUCT, (torch.randn(3, 16), torch.randn(24, 16), None))


def test_loss_over_the_scores_of_a_layer() -> None:
    x, weight, target = torch.randn(50, 16), torch.randn(30, 16), torch.randint(30, (50,))
    found = []
    for loss in (linear_cross_entropy, linear_cross_entropy_reference):
        given = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        value = loss(*given, target)
        value.backward()
        found.append([value.detach(), *(each.grad for each in given)])
    torch.testing.assert_close(*found)


def test_where_it_does_not_pay_torch_takes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lin, "ONEDNN", False)
    ours, theirs = layers()
    x = torch.randn(3, 16)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(linear(x, theirs.weight), F.linear(x, theirs.weight))


def test_small_products_stay_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lin, "_LARGE_WEIGHT", 16 * 24 + 1)
    monkeypatch.setattr(lin, "_LARGE_PRODUCT", 5 * 16 * 24)
    weight = torch.randn(24, 16)
    assert not lin.through_onednn(torch.randn(4, 16), weight)
    assert lin.through_onednn(torch.randn(5, 16), weight)
    assert lin.through_onednn(torch.randn(1, 16), torch.randn(25, 16))
