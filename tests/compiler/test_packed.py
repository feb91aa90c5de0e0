"""Linear layers of one input: packed by the graph's structure, and right wherever their weights lie."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import tantra_dsl
from tantra_compiler.compile import pipeline
from tantra_compiler.options import CompileOptions
from tantra_compiler.passes.base import Step, run_passes
from tantra_compiler.passes.packed import PackLinears
from tantra_compiler.runtime.linear import Linear
from tantra_compiler.runtime.packed import Packed, packed_linear, side_by_side
from tantra_dsl.graph.reader import parse_graph
from tantra_dsl.graph.text import format_graph

HEAD = """graph tiny {
  root main

  body main of model {
    x: [batch, time, dim=8] = input(kind="tensor", name="x", spec=spec features(8))
"""
WEIGHT = (
    '    {name}_weight: [{dim}={size}, dim=8] = param(decay=true, init=init normal(0.0, 0.02), name="{name}.weight")\n'
)
BEFORE = (
    HEAD
    + WEIGHT.format(name="q", dim="dim", size=8)
    + "    linear: [batch, time, dim=8] = linear(x, q_weight) @0:q\n"
    + WEIGHT.format(name="k", dim="kv", size=4)
    + """    linear_2: [batch, time, kv=4] = linear(x, k_weight) @1:k
    joined: [batch, time, dim=12] = concat(linear, linear_2, axis="last") @2
    return output=joined
  }
}
"""
)
AFTER = (
    HEAD
    + WEIGHT.format(name="q", dim="dim", size=8)
    + WEIGHT.format(name="k", dim="kv", size=4)
    + """    linear_packed: [batch, time, packed=12] = packed_linear(x, q_weight, k_weight, count=2)
    linear_parts: [batch, time, dim=8], [batch, time, kv=4] = parts(linear_packed,
        names=("dim", "kv"), sizes=(8, 4)) @-:"q, k"
    joined: [batch, time, dim=12] = concat(linear_parts, linear_parts[1], axis="last") @2
    return output=joined
  }
}
"""
)


def test_layers_of_one_input_become_one_product_and_its_parts() -> None:
    made = format_graph(PackLinears()(parse_graph(BEFORE)))
    assert made.split() == AFTER.split()


def test_the_pass_is_named_and_can_be_left_out() -> None:
    assert "pack_linears" in [each.name for each in pipeline(CompileOptions())]
    without = CompileOptions(without=frozenset({"pack_linears"}))
    assert "pack_linears" not in [each.name for each in pipeline(without)]


SPEC = """
module net(x) {
  a = linear(x, dim)
  %s
}
model tiny {
  vocab: 16
  dim: 8
  embed: tokens
  layers: 1 of block {
    wiring: residual
    net
  }
  head: language_model
  objective: next_token
}
"""


def decided(lines: str) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []

    def watch(step: Step) -> None:
        if step.name == "pack_linears":
            found.extend((each.path, each.choice, each.reason) for each in step.decisions)

    run_passes(tantra_dsl.loads(SPEC % lines).graph(), pipeline(CompileOptions()), watch)
    return found


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("b = linear(x, dim)\n  return x + a * b", [("layers.*.net.a/b", "packed_linear")]),
        ("b = linear(x + 1, dim)\n  return x + a * b", []),
        (
            "b = linear(x, dim, true)\n  return x + a * b",
            [("layers.*.net.a", "linear"), ("layers.*.net.b", "linear")],
        ),
        (
            "b = linear(x, dim)\n  c = linear(x, 4)\n  d = linear(x, 4)\n"
            "  return x + a * b + linear(concat(c, d), dim)",
            [("layers.*.net.a/b", "packed_linear"), ("layers.*.net.c/d", "packed_linear")],
        ),
    ],
)
def test_what_is_packed_is_told(lines: str, told: list[tuple[str, str]]) -> None:
    assert [each[:2] for each in decided(lines)] == told


# --- what runs -----------------------------------------------------------------------------


class Two(Packed):
    packed = (("a", "b"),)

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.a, self.b = Linear(24, 40, bias=bias), Linear(24, 8, bias=bias)
        self._apply(lambda tensor: tensor)

    def forward(self, x: Tensor) -> Tensor:
        return packed_linear(x, self.a, self.b)


def apart(module: Two) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.cat(
        [nn.functional.linear(x, layer.weight, layer.bias) for layer in (module.a, module.b)], -1
    )


def lies(module: Two) -> bool:
    return side_by_side([module.a.weight, module.b.weight]) is not None


def results(module: Two, run: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    given = [x.clone().requires_grad_(), *module.parameters()]
    out = run(given[0])
    weight = torch.linspace(-1, 1, out.numel()).view_as(out)
    return [out, *torch.autograd.grad((out * weight).sum(), given)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 24), (24,), (0, 24), (3, 24)])
def test_one_product_is_the_products_of_the_layers(bias: bool, shape: tuple[int, ...]) -> None:
    module, x = Two(bias), torch.randn(shape)
    for mine, plain in zip(results(module, module, x), results(module, apart(module), x), strict=True):
        torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("bias", [False, True])
def test_under_autocast_it_is_as_near_as_the_layers_are(bias: bool) -> None:
    module, x = Two(bias), torch.randn(64, 24)
    exact = results(module, apart(module), x)
    with torch.autocast("cpu", torch.bfloat16):
        mine, plain = results(module, module, x), results(module, apart(module), x)
    for own, other, true in zip(mine, plain, exact, strict=True):
        assert own.dtype == other.dtype
        assert (own - true).abs().max() <= 2 * (other - true).abs().max()


def test_weights_lie_side_by_side_wherever_the_module_is_moved() -> None:
    module = Two(bias=True)
    assert lies(module)
    assert lies(module.to(torch.float64))
    assert module.a.weight.dtype == torch.float64
    assert lies(Two(bias=False).to("meta").to_empty(device="cpu"))


def test_weights_that_lie_apart_give_the_same() -> None:
    module, x = Two(bias=True), torch.randn(5, 24)
    other = copy.deepcopy(module)
    assert not lies(other)
    for mine, plain in zip(results(other, other, x), results(module, module, x), strict=True):
        torch.testing.assert_close(mine, plain)
    with torch.no_grad():
        torch.testing.assert_close(other(x), module(x))


def test_parameters_keep_their_names_and_their_identity_and_learn_in_place(tmp_path: Path) -> None:
    module = Two(bias=True)
    before = dict(module.named_parameters())
    assert list(before) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    module.to(torch.float32)
    assert all(module.get_parameter(name) is weight for name, weight in before.items())
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    x, old = torch.randn(5, 24), module(torch.ones(24)).detach()
    module(x).square().sum().backward()
    optimizer.step()
    assert lies(module)
    assert not torch.equal(module(torch.ones(24)), old)
    save_file(module.state_dict(), tmp_path / "two.safetensors")
    other = Two(bias=True)
    other.load_state_dict(load_file(tmp_path / "two.safetensors"))
    assert lies(other)
    torch.testing.assert_close(other(x), module(x))


def test_a_layer_with_a_hook_or_in_other_hands_is_called() -> None:
    module, x = Two(bias=False), torch.randn(5, 24)
    plain = module(x)
    handle = module.b.register_forward_hook(lambda _, __, out: out * 2)
    torch.testing.assert_close(module(x)[:, 40:], 2 * plain[:, 40:])
    handle.remove()

    class Adapted(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + 1  # type: ignore[no-any-return]

    module.a = Adapted(module.a)  # type: ignore[assignment]
    torch.testing.assert_close(module(x), torch.cat([plain[:, :40] + 1, plain[:, 40:]], -1))
    assert isinstance(module.to(torch.float32).a, Adapted)


def test_some_weights_may_stand_still() -> None:
    module, x = Two(bias=True), torch.randn(5, 24)
    module.a.requires_grad_(False)
    module(x).sum().backward()
    assert module.a.weight.grad is None
    assert module.a.bias.grad is None
    torch.testing.assert_close(module.b.weight.grad, x.sum(0).expand(8, 24))


@pytest.mark.parametrize("grad", [False, True])
def test_it_compiles_as_one_graph(grad: bool) -> None:
    torch._dynamo.reset()
    module, x = Two(bias=True), torch.randn(5, 24)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(compiled(x), apart(module)(x))
