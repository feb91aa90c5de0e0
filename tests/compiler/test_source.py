"""Emitted source: what a formatter, a type checker and a reader find in it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import hand_models
import pytest
import torch
from hand_cases import CASES, example_inputs

import tantra_dsl
from tantra_compiler import CompileOptions, compile_graph, emit_source
from tantra_compiler.compile import load_source
from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.paths import weights

ROOT = Path(__file__).parents[2]


def shipped() -> dict[str, Graph]:
    """Every model that ships."""
    return {spec.name: tantra_dsl.load(spec.name).graph() for spec in tantra_dsl.shipped()}


@pytest.mark.parametrize("standalone", [False, True], ids=["importing", "standalone"])
def test_is_formatted_and_lint_free(tmp_path: Path, standalone: bool) -> None:
    for name, graph in {**CASES, **shipped()}.items():
        (tmp_path / f"{name}.py").write_text(emit_source(graph, CompileOptions(dropout=0.1, standalone=standalone)))
    ruff = [sys.executable, "-m", "ruff"]
    shown = subprocess.run(
        [*ruff, "format", "--diff", "--isolated", "--line-length", "120", tmp_path], capture_output=True
    )
    assert shown.returncode == 0, shown.stdout.decode()
    lint = [*ruff, "check", "--isolated", "--line-length", "120", "--select", "F,E,W,B", tmp_path]
    shown = subprocess.run(lint, capture_output=True)
    assert shown.returncode == 0, shown.stdout.decode()


@pytest.mark.slow
def test_is_well_typed(tmp_path: Path) -> None:
    for name, graph in {**CASES, **shipped()}.items():
        (tmp_path / f"{name}_model.py").write_text(emit_source(graph, CompileOptions(dropout=0.1)))
        (tmp_path / f"{name}_alone.py").write_text(emit_source(graph, CompileOptions(standalone=True)))
    paths = {"MYPYPATH": f"{ROOT}:{ROOT / 'compiler'}"}
    check = [
        sys.executable,
        "-m",
        "mypy",
        "--python-version",
        "3.11",
        "--check-untyped-defs",
        "--follow-imports=silent",
    ]
    shown = subprocess.run(
        [*check, *tmp_path.glob("*.py")], capture_output=True, env={**os.environ, **paths}, cwd=tmp_path
    )
    assert shown.returncode == 0, shown.stdout.decode()


@pytest.mark.parametrize("name", CASES)
def test_state_dict_has_the_graphs_weight_paths(name: str) -> None:
    model = compile_graph(CASES[name], CompileOptions(device="meta"))
    found = {path: tuple(weight.shape) for path, weight in model.state_dict().items()}
    assert found == {weight.path: weight.shape for weight in weights(CASES[name])}
    assert set(dict(model.named_parameters())) == set(found)


@pytest.mark.parametrize("name", CASES)
def test_standalone_source_gives_the_same_numbers(name: str) -> None:
    graph = CASES[name]
    model = compile_graph(graph, CompileOptions(seed=3))
    alone = compile_graph(graph, CompileOptions(seed=3, standalone=True))
    inputs = example_inputs(graph)
    first, second = model.loss(**inputs), alone.loss(**inputs)
    assert torch.equal(first, second)
    assert torch.isfinite(first)


def test_standalone_runs_where_only_torch_is(tmp_path: Path) -> None:
    source = emit_source(hand_models.llama(), CompileOptions(standalone=True))
    (tmp_path / "model.py").write_text(source)
    program = (
        "import sys, torch, model\n"
        "m = model.Llama(); m.init_weights(1)\n"
        "tokens = torch.arange(12).view(2, 6)\n"
        "m.loss(tokens).backward()\n"
        "cache = m.new_cache(2, 6)\n"
        "parts = torch.cat([m(tokens[:, :2], cache), m(tokens[:, 2:], cache)], 1)\n"
        "assert torch.allclose(parts, m(tokens), atol=1e-6)\n"
        "assert not any(name.startswith('tantra') for name in sys.modules)\n"
        "print('ran')\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    shown = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True)
    assert shown.stdout.decode() == "ran\n", shown.stderr.decode()


def test_equal_bodies_share_a_class_whatever_their_length_is_called() -> None:
    source = emit_source(hand_models.encoder_decoder())
    classes = [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    assert len(classes) == len(set(classes))
    assert classes.count("Mlp") == 1


def test_imports_only_what_it_uses() -> None:
    source = emit_source(hand_models.gpt2())
    tree = ast.parse(source)
    bound = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import)
        for alias in node.names
    }
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert bound - read <= {"annotations", "torch.nn.functional"}
    assert "rope" not in source


def test_one_line_per_equation() -> None:
    source = emit_source(hand_models.gpt2(), CompileOptions(dropout=0.1))
    assert "return x + seeded_dropout(self.ffn(normal), 0.1, self.training)" in source
    assert "return mapped_linear(GELU_TANH, self.down, self.up(x), width=" in source
    plain = emit_source(hand_models.gpt2(), CompileOptions(dropout=0.1, without=frozenset({"fuse_activations"})))
    assert 'return self.down(F.gelu(self.up(x), approximate="tanh"))' in plain


def test_tracebacks_show_the_source() -> None:
    model = compile_graph(hand_models.gpt2(), CompileOptions(seed=0))
    with pytest.raises(Exception) as caught:
        model(torch.zeros(1, 2))
    lines = [str(entry.statement) for entry in caught.traceback]
    assert any("self.embed.tokens(tokens)" in line for line in lines)


def test_long_lines_are_cut_at_inner_values() -> None:
    source = emit_source(hand_models.many_fields())
    assert max(map(len, source.splitlines())) <= 120


def test_loading_twice_gives_one_class() -> None:
    source = emit_source(hand_models.gpt2())
    assert load_source(source, "gpt2") is load_source(source, "gpt2")


def test_cache_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    graph: Graph = hand_models.gpt2(vocab=67)
    model = compile_graph(graph, CompileOptions(seed=0))
    assert torch.isfinite(model.loss(**example_inputs(graph)))
