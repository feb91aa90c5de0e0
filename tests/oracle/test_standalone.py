"""``--standalone`` source runs where the language is not installed, and computes the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_twins import FAMILIES, outputs, pair

ALONE = """
import importlib.util, sys, torch
sys.modules["tantra_dsl"] = sys.modules["tantra_compiler"] = None  # importing either raises ImportError
torch.set_num_threads(1)
for name in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location(name, f"{sys.argv[1]}/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (made,) = [value for value in vars(module).values() if hasattr(value, "spec_hash")]
    weights, inputs, labels = torch.load(f"{sys.argv[1]}/{name}.pt")
    model = made().eval()
    model.load_state_dict(weights)
    result = model(**inputs)
    result = tuple(result) if isinstance(result, tuple) else (result,)
    loss = model.loss(**inputs, **labels)
    torch.save((result, loss), f"{sys.argv[1]}/{name}.out.pt")
"""

LABELS = {"labels", "follows", "label"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source, weights and inputs of every family, and what another process made of them."""
    folder = tmp_path_factory.mktemp("standalone")
    for name in FAMILIES:
        both = pair(name)
        inputs = {key: value for key, value in both.inputs.items() if key not in LABELS}
        labels = {key: value for key, value in both.inputs.items() if key in LABELS}
        (folder / f"{name}.py").write_text(both.spec.source(standalone=True))
        torch.save((both.model.state_dict(), inputs, labels), folder / f"{name}.pt")
    (folder / "alone.py").write_text(ALONE)
    command = [sys.executable, "-I", str(folder / "alone.py"), str(folder), *FAMILIES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_standalone_source_computes_the_same(folder: Path, name: str) -> None:
    both = pair(name)
    alone, loss = torch.load(folder / f"{name}.out.pt")
    for ours, theirs in zip(outputs(both.model, both.inputs), alone, strict=True):
        assert (ours - theirs).abs().max() <= 1e-6 * ours.abs().max()
    assert (both.model.loss(**both.inputs) - loss).abs() <= 1e-6 * loss.abs()
