"""Every shipped model and every unusual design: the same numbers with all fused operators as with none."""

from __future__ import annotations

import pytest
import torch
from designs import DESIGNS
from hand_cases import example_inputs
from torch import Tensor, nn

import tantra_dsl
from tantra_compiler import CompileOptions, compile_graph
from tantra_compiler.compile import pipeline
from tantra_compiler.runtime import operators
from tantra_dsl.graph.model import Graph
from tests.graph.test_costs_shipped import SMALL, small

ALWAYS = {"apply_recipe", "choose_kernels"}
ALL = frozenset(each.name for each in pipeline(CompileOptions())) - ALWAYS
WITH_NORMS = ALL - {"fuse_norms"}
"""A norm with its weight gives the precision of what it norms, as torch's and transformers' do; apart, float32."""
GPT2_OWN_ACTIVATION = """
fn odd(a, b) = tanh(a) * b + a * sigmoid(b) * exp(-(b * b))
module own(x) {
  a = linear(x, 48)
  b = linear(x, 48)
  return linear(odd(a, b), dim)
}
model mine {
  vocab: 61
  dim: 32
  embed: tokens
  layers: 2 of block { wiring: pre(layernorm)  attention { heads: 4, mask: causal, position: rope }
    own
  }
  final_norm: layernorm
  head: language_model
  objective: next_token
}
"""


def graph_of(name: str) -> Graph:
    if name == "own activation":
        return tantra_dsl.loads(GPT2_OWN_ACTIVATION).graph()
    return small(name) if name in SMALL else tantra_dsl.loads(DESIGNS[name]).graph()


NAMES = [*SMALL, *DESIGNS, "own activation"]


@pytest.fixture(autouse=True)
def every_size_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", 0)


def model_of(graph: Graph, without: frozenset[str] = frozenset()) -> nn.Module:
    model = compile_graph(graph, CompileOptions(seed=0, without=without))
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in dict(sorted(model.named_parameters())).values():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def learned(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss and the gradient of every weight."""
    loss = model.loss(**inputs)  # type: ignore[operator]
    loss.backward()
    found = {path: weight.grad for path, weight in model.named_parameters() if weight.grad is not None}
    return {"loss": loss.detach(), **found}


def differences(mine: dict[str, Tensor], true: dict[str, Tensor]) -> dict[str, float]:
    """Each in shares of its own size, or of the usual one where it is zero but for rounding, as a key's bias has it."""
    assert list(mine) == list(true)
    usual = max(float(grad.norm()) for path, grad in true.items() if path != "loss")
    return {
        path: float((mine[path] - grad).norm()) / max(float(grad.norm()), 1e-3 * usual) for path, grad in true.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_fused_operators_change_no_number(name: str) -> None:
    graph = graph_of(name)
    inputs = {key: x.double() if x.is_floating_point() else x for key, x in example_inputs(graph, length=8).items()}
    fused, plain = (model_of(graph, without).double() for without in (frozenset(), ALL))
    assert list(fused.state_dict()) == list(plain.state_dict())
    found = differences(learned(fused, inputs), learned(plain, inputs))
    assert max(found.values()) < 1e-9, found


def test_fused_operators_do_run() -> None:
    graph = small("llama3_8b")
    with torch.profiler.profile() as profile:
        learned(model_of(graph), example_inputs(graph, length=8))
    called = {event.name for event in profile.events()}
    assert {"PackedProduct", "MappedProduct", "tantra::mapped_backward", "tantra::linear_cross_entropy"} <= called


@pytest.mark.parametrize("name", NAMES)
def test_in_low_precision_they_are_as_near_as_plain_ones(name: str) -> None:
    graph = graph_of(name)
    inputs = example_inputs(graph, length=8)
    exact = learned(model_of(graph, ALL), inputs)
    with torch.autocast("cpu", torch.bfloat16):
        plain = differences(learned(model_of(graph, WITH_NORMS), inputs), exact)
        fused = differences(learned(model_of(graph), inputs), exact)
    total = sum(fused.values()), sum(plain.values())
    assert total[0] <= 1.25 * total[1], (fused, plain)
