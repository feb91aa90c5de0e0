"""How weights start."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from hand_cases import CASES
from torch import nn

from tantra_compiler import CompileOptions, compile_graph
from tantra_compiler.runtime.weights import start_weight


def started(kind: str, *values: float, shape: tuple[int, ...] = (400, 300), seed: int = 0) -> torch.Tensor:
    weight = torch.empty(shape)
    start_weight(weight, kind, values, torch.Generator().manual_seed(seed))
    return weight


def test_seeded_starts_repeat_and_differ_by_seed() -> None:
    first, again, other = (compile_graph(CASES["gpt2"], CompileOptions(seed=seed)).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[path], again[path]) for path in first)
    assert not torch.equal(first["embed.tokens.weight"], other["embed.tokens.weight"])


def test_a_weight_starts_the_same_whatever_else_there_is() -> None:
    small = compile_graph(CASES["gpt2"], CompileOptions(seed=5)).state_dict()
    from hand_models import gpt2

    deeper = compile_graph(gpt2(layers=3, vocab=67), CompileOptions(seed=5)).state_dict()
    assert torch.equal(small["layers.1.ffn.up.weight"], deeper["layers.1.ffn.up.weight"])
    assert not torch.equal(deeper["layers.1.ffn.up.weight"], deeper["layers.2.ffn.up.weight"])


def test_init_weights_starts_every_weight_anew() -> None:
    for graph in CASES.values():
        model = compile_graph(graph, CompileOptions(seed=1))
        expected = {path: weight.clone() for path, weight in model.state_dict().items()}
        with torch.no_grad():
            for weight in model.state_dict().values():
                weight.fill_(torch.nan)
        model.init_weights(1)
        assert all(torch.equal(model.state_dict()[path], weight) for path, weight in expected.items())


def test_without_a_seed_torchs_generator_gives_it() -> None:
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(compile_graph(CASES["llama"]).state_dict())
    first, again, other = found
    assert all(torch.equal(first[path], again[path]) for path in first)
    assert any(not torch.equal(first[path], other[path]) for path in first)
    assert all(weight.isfinite().all() for weight in first.values())


def test_distributions() -> None:
    normal = started("normal", 0.5, 0.02)
    assert normal.mean().item() == pytest.approx(0.5, abs=5 * 0.02 / math.sqrt(normal.numel()))
    assert normal.std().item() == pytest.approx(0.02, rel=0.01)
    cut = started("truncated_normal", 0.0, 0.02, -2.0, 2.0)
    assert cut.abs().max() <= 0.04
    assert cut.std().item() == pytest.approx(0.02 * 0.87962566, rel=0.01)
    even = started("uniform", -0.5, 0.25)
    assert -0.5 <= even.min() < -0.49
    assert 0.24 < even.max() <= 0.25
    assert (started("constant", 3.0) == 3).all()
    assert started("identity", shape=(3, 3)).equal(torch.eye(3))
    assert started("values", 1.0, 2.0, 3.0, 4.0, shape=(2, 2)).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("kind", "values", "bound"),
    [("xavier_uniform", (1.0,), math.sqrt(6 / 700)), ("kaiming_uniform", (math.sqrt(5),), math.sqrt(1 / 300))],
)
def test_fans_are_torchs(kind: str, values: tuple[float, ...], bound: float) -> None:
    weight = started(kind, *values)
    assert bound * 0.999 < weight.abs().max() <= bound
    reference = nn.Linear(300, 400).weight
    if kind == "kaiming_uniform":
        assert weight.std().item() == pytest.approx(reference.std().item(), rel=0.01)


def test_decay_is_left_off_where_the_spec_says() -> None:
    model = compile_graph(CASES["gpt2"], CompileOptions(device="meta"))
    spared = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in getattr(module, "no_decay", ())
    }
    assert spared == {path for path in model.state_dict() if path.endswith("bias") or "norm" in path}


def test_meta_device_takes_no_memory() -> None:
    model = compile_graph(CASES["llama"], CompileOptions(device="meta"))
    assert all(weight.is_meta for weight in model.parameters())


def test_compiling_loads_no_tracing_compiler() -> None:
    program = (
        "import sys, tantra_dsl\n"
        "from tantra_compiler import CompileOptions, compile_graph\n"
        "compile_graph(tantra_dsl.load('llama3_405b').graph(), CompileOptions(device='meta'))\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert shown.stdout.decode() == "False\n", shown.stderr.decode()
