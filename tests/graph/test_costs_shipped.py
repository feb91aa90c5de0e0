"""FLOPs and activation memory of shipped specs at small sizes, against what torch counts and keeps."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import tantra_dsl
from tantra_compiler import CompileOptions, compile_graph
from tantra_compiler.runtime import operators
from tantra_compiler.runtime.norms import RmsNorm
from tantra_dsl.graph.costs import cost, saved, training
from tantra_dsl.graph.model import Graph
from tests.counted import counted_calls

BATCH, SEQ = 2, 32
SMALL = {
    "gpt2": "dim: 32 blocks: 2 layers.attention.heads: 4 vocab: 61",
    "llama3_8b": """dim: 32 layers: 2 of same layers.attention.heads: 4 layers.attention.kv_heads: 2
                    layers.ffn.hidden: 80 vocab: 61""",
    "bert_base": "dim: 32 blocks: 2 heads: 4 vocab: 61",
    "transformer_base": "dim: 32 heads: 4 hidden: 64 vocab: 61",
    "gemma3_4b": """dim: 32 vocab: 61 local.attention.heads: 4 local.attention.kv_heads: 2
                    local.attention.head_dim: 8 local.ffn.hidden: 48""",
    "t5_base": "dim: 32 heads: 4 hidden: 64 blocks: 2 vocab: 61",
    "deepseek_v3": """dim: 32 vocab: 61 dense.attention.heads: 4 dense.attention.q_rank: 24 dense.attention.kv_rank: 16
                      dense.attention.nope_dim: 16 dense.attention.rope_dim: 8 dense.attention.v_dim: 16
                      dense.ffn.hidden: 48 sparse.ffn.hidden: 32 sparse.ffn.experts: 16
                      layers: (dense * 1, sparse * 2)""",
}
MAMBA = "layers: 2 of same dim: 32 vocab: 61"
APART = frozenset({"fuse_linear_loss"})
"""Without this pass, no gradient is made in the forward pass."""
ALIBI = "layers.attention.score: alibi layers.attention.heads: 4 dim: 32 blocks: 2 vocab: 61"


@cache
def small(name: str, changes: str = "") -> Graph:
    text = f'use "{name}"\nmodel small extends {name} {{ {changes or SMALL[name]} expect params > 0 }}'
    return tantra_dsl.loads(text).graph()


def inputs(graph: Graph) -> dict[str, torch.Tensor]:
    made = {}
    for node in graph.main.inputs:
        shape = [BATCH if dim.name == "batch" else SEQ for dim in node.type.dims]
        made[node.attr("name")] = torch.randint(node.attr("spec").limit or 2, shape)
    return made


class Whole(nn.Module):
    """The loss of a model as a module, because torch's counter is lost where a block is called ``Global``."""

    def __init__(self, graph: Graph, without: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.model = compile_graph(graph, CompileOptions(seed=0, without=without)).train()

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.model.loss(**inputs)  # type: ignore[operator]
        return result


def torch_rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, x.shape[-1:], weight, eps)


@pytest.mark.parametrize("name", SMALL)
def test_flops_are_those_that_torch_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's own attention and norms, whose sums torch's counter does not take for products of the model."""
    monkeypatch.setattr(RmsNorm, "apply", torch_rms_norm)
    graph = small(name)
    report = cost(graph, seq=SEQ, batch=BATCH)
    masked = (report["flops_attention_dense"].value or 0) - (report["flops_attention"].value or 0)
    apart, whole = Whole(graph, APART), Whole(graph)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        apart(**inputs(graph))
    assert forward.get_total_flops() == (report["flops_forward"].value or 0) + masked
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as step:
        whole(**inputs(graph)).backward()
    assert step.get_total_flops() == (report["flops_training_step"].value or 0) + 3 * masked


def kept_bytes(graph: Graph, autocast: bool) -> int:
    """Bytes that the backward pass holds, weights and gradients of weights apart."""
    compiled = compile_graph(graph, CompileOptions(seed=0)).train()
    weights = {weight.untyped_storage().data_ptr() for weight in compiled.parameters()}
    shapes = {weight.shape for weight in compiled.parameters() if weight.shape[0] == 61}
    held: dict[int, torch.Tensor] = {}

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights and (tensor.shape not in shapes or tensor.dtype != torch.float32):
            held.setdefault(address, tensor)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        compiled.loss(**inputs(graph))  # type: ignore[operator]
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("fused", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("name", [*SMALL, "alibi", "mamba2_130m"])
def test_activation_memory_is_what_is_kept(
    name: str, fused: bool, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 2%: norms' weights, counters and single numbers are left out.

    What a model of larger size computes again, a small one does too, where it pays at any size.
    """
    if fused:
        monkeypatch.setattr(operators, "_SMALLEST_FUSED", 0)
        for module in (training, saved):
            monkeypatch.setattr(module, "SMALLEST_REMADE", 0)
    changed = {"alibi": ("gpt2", ALIBI), "mamba2_130m": ("mamba2_130m", MAMBA)}
    graph = small(*changed.get(name, (name,)))
    stated = cost(graph, seq=SEQ, batch=BATCH, precision="bf16" if autocast else "float32")["activation_bytes"].value
    assert stated == pytest.approx(kept_bytes(graph, autocast), rel=0.02)


def test_costing_does_not_depend_on_the_size() -> None:
    """About as much work for 126 layers as for one."""
    large, small = (tantra_dsl.load("llama3_405b", sets=sets).graph() for sets in ((), ("layers=1 of same",)))
    assert counted_calls(lambda: cost(large)) < 1.5 * counted_calls(lambda: cost(small))


def test_published_figures() -> None:
    """Llama 3.1 report, table 3; DeepSeek-V3 report: 37B active; Gemma 3 keeps five windows to one full cache."""
    llama = cost(tantra_dsl.load("llama3_405b").graph(), seq=8192)
    assert llama["kv_bytes_per_token"].value == 126 * 2 * 8 * 128 * 2
    gemma = cost(tantra_dsl.load("gemma3_4b").graph(), seq=32_768)
    assert gemma["kv_bytes"].value == (29 * 1024 + 5 * 32_768) * 2 * 4 * 256 * 2
    deepseek = cost(tantra_dsl.load("deepseek_v3").graph(), seq=4096)
    assert 36.5e9 < (deepseek["active_params"].value or 0) < 38e9


def test_training_as_the_recipe_says() -> None:
    from tantra_dsl.show import recipe_cost

    def report(recipe: str) -> dict[str, int | None]:
        rest = f"expect params > 0 train {{ {recipe} }}"
        loaded = tantra_dsl.loads(f'use "gpt2"\nmodel small extends gpt2 {{ {SMALL["gpt2"]} {rest} }}')
        figures = recipe_cost(loaded.graph(), loaded.recipe(), seq=SEQ).figures
        return {name: figure.value for name, figure in figures.items()}

    plain = report("dropout: 0")
    assert report("optimizer: sgd(momentum: 0)")["optimizer_bytes"] == 0
    assert report("optimizer: sgd(momentum: 0.9)")["optimizer_bytes"] == plain["weight_bytes"]
    assert plain["optimizer_bytes"] == 2 * (plain["weight_bytes"] or 0)
    assert (report("dropout: 0.1")["activation_bytes"] or 0) > (plain["activation_bytes"] or 0)
    half = cost(small("gpt2"), seq=SEQ, precision="bf16")["activation_bytes"].value
    assert report("precision: bfloat16")["activation_bytes"] == half != plain["activation_bytes"]
