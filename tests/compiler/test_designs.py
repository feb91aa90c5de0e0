"""Unusual designs, from the text of a spec to a model that trains and decodes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from designs import DESIGNS
from hand_cases import example_inputs

import tantra_dsl
from tantra_compiler import CompileOptions, compile_graph, emit_source
from tantra_dsl.graph.model import Graph

DECODED = {"one_block", "reused_keys", "sparse", "hybrid", "captioner"}


def graph_of(name: str) -> Graph:
    return tantra_dsl.loads(DESIGNS[name]).graph()


@pytest.mark.parametrize("name", DESIGNS)
def test_every_weight_learns(name: str) -> None:
    graph = graph_of(name)
    model = compile_graph(graph, CompileOptions(seed=0))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    model.loss(**example_inputs(graph, length=8)).backward()
    idle = [path for path, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())


@pytest.mark.parametrize("name", DESIGNS)
def test_decoding_is_recomputing(name: str) -> None:
    graph = graph_of(name)
    model = compile_graph(graph, CompileOptions(seed=0)).eval()
    assert (model.cacheable is None) == (name in DECODED)
    if name not in DECODED:
        return
    inputs = example_inputs(graph, length=9)
    tokens = inputs.pop("tokens")
    with torch.no_grad():
        whole = model(tokens=tokens, **inputs)
        cache = model.new_cache(2, 9)
        parts = [model(tokens=tokens[:, a:b], **inputs, cache=cache) for a, b in ((0, 4), (4, 5), (5, 9))]
    assert (torch.cat(parts, dim=1) - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_sources_are_formatted(tmp_path: Path) -> None:
    for name in DESIGNS:
        (tmp_path / f"{name}.py").write_text(emit_source(graph_of(name), CompileOptions(dropout=0.1)))
    for check in (["format", "--diff"], ["check", "--select", "F,E,W,B"]):
        command = [sys.executable, "-m", "ruff", *check, "--isolated", "--line-length", "120", str(tmp_path)]
        shown = subprocess.run(command, capture_output=True)
        assert shown.returncode == 0, shown.stdout.decode()


def functions(source: str, name: str) -> dict[str, str]:
    """Source of the methods of class ``name``."""
    (found,) = (n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == name)
    return {n.name: ast.unparse(n) for n in found.body if isinstance(n, ast.FunctionDef)}


def test_what_results_and_loss_share_is_written_once() -> None:
    methods = functions(emit_source(graph_of("two_heads")), "TwoHeads")
    assert "for layer in self.x_layers" in methods["trunk"]
    assert all(
        "for layer" not in methods[name] and "self.trunk(tokens)" in methods[name] for name in ("forward", "loss")
    )


def test_a_loss_of_the_results_alone_calls_the_model() -> None:
    methods = functions(
        emit_source(graph_of("hybrid"), CompileOptions(without=frozenset({"fuse_linear_loss"}))), "Hybrid"
    )
    assert "self(tokens)" in methods["loss"]
    assert "trunk" not in methods


def test_layers_of_several_kinds_are_made_in_their_pattern() -> None:
    source = emit_source(graph_of("hybrid"))
    assert "nn.ModuleList(Recurrent() if i % 3 < 2 else Attending() for i in range(5))" in source


def test_shared_layers_are_made_once() -> None:
    graph = graph_of("one_block")
    model = compile_graph(graph, CompileOptions(device="meta"))
    assert {path.split(".")[1] for path in model.state_dict() if path.startswith("layers.")} == {"0"}
    assert "for _ in range(4):" in emit_source(graph)


def test_several_results_are_named() -> None:
    graph = graph_of("two_heads")
    made = compile_graph(graph, CompileOptions(seed=0))(example_inputs(graph)["tokens"])
    assert made._fields == ("logits", "size")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hybrid", "sparse", "captioner"])
def test_torch_compile_sees_one_graph(name: str) -> None:
    graph = graph_of(name)
    model = compile_graph(graph, CompileOptions(seed=0))
    inputs = example_inputs(graph)
    torch._dynamo.reset()
    made = torch.compile(model.loss, backend="aot_eager", fullgraph=True)(**inputs)
    assert torch.allclose(made, model.loss(**inputs))
