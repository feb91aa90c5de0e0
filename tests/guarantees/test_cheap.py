"""Cheap: reading, checking and costing load no tensor library, and cost what the distinct blocks cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tantra_dsl
from tests.guarantees.components import model

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "networkx", "typer", "rich", "tokenizers", "safetensors", "matplotlib", "transformers")
LOADED = f"""
import sys
import tantra_dsl
spec = tantra_dsl.load(sys.argv[1])
%s
print(*[name for name in {HEAVY} if name in sys.modules])
"""
USES = {
    "check": "assert spec.check() == []",
    "hash": "spec.hash()",
    "cost": "from tantra_dsl.graph.costs import cost; cost(spec.graph())",
    "text": "spec.to_text(); spec.resolved_text(); spec.to_yaml()",
    "recipe": "spec.recipe()",
}


@pytest.mark.parametrize("use", USES)
def test_no_tensor_library_is_loaded(use: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/compiler"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED % USES[use], "llama3_8b"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_command_loads_no_tensor_library() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/compiler", "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tantra_dsl", "check", "gpt2"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tantra_dsl.semantics.model" in imported
    assert imported.isdisjoint(HEAVY)


def steps(count: int) -> tuple[int, int]:
    """Steps of evaluation and nodes that checking took."""
    spec = tantra_dsl.loads(model().replace("layers: 2", f"layers: {count}"))
    assert spec.check() == []
    frame = spec.elaborated.frame
    assert frame is not None
    return frame.session.steps_left, frame.session.nodes_left


def test_equal_layers_cost_what_one_costs() -> None:
    assert steps(2) == steps(5_000)


def test_the_graph_holds_equal_layers_once() -> None:
    few, many = (tantra_dsl.loads(model().replace("layers: 2", f"layers: {n}")).graph() for n in (2, 5_000))
    assert len(few.bodies) == len(many.bodies)
    assert few.bodies.keys() == many.bodies.keys()
