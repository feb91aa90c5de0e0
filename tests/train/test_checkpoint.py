"""Checkpoints are whole or absent, and what is damaged is noticed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.train import checkpoint
from tantra_dsl.train.checkpoint import Checkpoint, Damaged, Position
from tantra_dsl.train.files import told, write_tensors

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3), "half": torch.tensor([1.5, -2]).bfloat16(), "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 4), "long": torch.tensor([2**40]), "byte": torch.arange(5, dtype=torch.uint8),
    "flag": torch.tensor([True, False]), "turned": torch.arange(6.0).reshape(2, 3).T, "double": torch.ones(1).double(),
}  # fmt: skip


def at(step, loss=None):
    return Checkpoint(Position(step, 1.0, loss, 2.5, "hash"), TENSORS, {"random/cpu": torch.get_rng_state()})


def names(root):
    return sorted(path.name for path in root.iterdir())


def test_tensors_are_read_back_by_the_official_library(tmp_path):
    digest = write_tensors(tmp_path / "x.safetensors", TENSORS)
    again = load_file(tmp_path / "x.safetensors")
    assert set(again) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert again[name].dtype == tensor.dtype
        assert torch.equal(again[name], tensor), name
    assert digest == subprocess.check_output(["sha256sum", tmp_path / "x.safetensors"], text=True).split()[0]


def test_what_is_saved_is_loaded(tmp_path):
    folder = checkpoint.save(tmp_path / "checkpoints", at(7, 1.25))
    again = checkpoint.load(folder)
    assert again.position == Position(7, 1.0, 1.25, 2.5, "hash")
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in TENSORS.items())
    assert names(tmp_path / "checkpoints") == ["step-00000007"]
    assert names(folder) == ["manifest.json", "state.json", "state.safetensors", "weights.safetensors"]


def test_saving_the_same_step_again_replaces_it(tmp_path):
    checkpoint.save(tmp_path, at(7, 1.0))
    folder = checkpoint.save(tmp_path, at(7, 2.0))
    assert checkpoint.load(folder).position.validation_loss == 2.0
    assert names(tmp_path) == ["step-00000007"]


def harm_truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def harm_empty(path):
    path.write_bytes(b"")


def harm_remove(path):
    path.unlink()


def harm_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [harm_truncate, harm_empty, harm_remove, harm_flip])
@pytest.mark.parametrize("name", [*checkpoint.FILES, "manifest.json"])
def test_every_damage_to_every_file_is_noticed(tmp_path, name, harm):
    folder = checkpoint.save(tmp_path, at(1))
    harm(folder / name)
    with pytest.raises(Damaged):
        checkpoint.load(folder)
    with pytest.raises(Damaged):
        checkpoint.load_weights(folder)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"weights.safetensors": 3}', "{" * 10_000])
def test_a_strange_manifest_is_damage(tmp_path, content):
    folder = checkpoint.save(tmp_path, at(1))
    (folder / "manifest.json").write_text(content)
    with pytest.raises(Damaged):
        checkpoint.load(folder)


def test_the_newest_and_the_best_are_kept(tmp_path):
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 2.5), (5, None)):
        checkpoint.save(tmp_path, at(step, loss))
        checkpoint.prune(tmp_path, 2)
    assert names(tmp_path) == ["step-00000002", "step-00000004", "step-00000005"]
    assert [path.name[-1] for path in checkpoint.by_loss(tmp_path)] == ["2", "4", "5"]
    assert [path.name[-1] for path in checkpoint.listed(tmp_path)] == ["5", "4", "2"]


def test_the_first_good_one_is_used_and_the_others_named(tmp_path):
    folders = [checkpoint.save(tmp_path, at(step)) for step in (3, 2, 1)]
    harm_truncate(folders[0] / "weights.safetensors")
    harm_remove(folders[1] / "state.json")
    found, path, warnings = checkpoint.first_good(tmp_path, folders, checkpoint.load)
    assert (found.position.step, path) == (1, folders[2])
    assert [warning.code for warning in warnings] == ["R0305", "R0305"]
    assert [warning.severity for warning in warnings] == ["warning", "warning"]
    assert "bytes" in warnings[0].title
    assert "state.json is missing" in warnings[1].title
    assert "step-00000001" in warnings[0].help


def test_when_none_is_good_each_is_named(tmp_path):
    folders = [checkpoint.save(tmp_path, at(step)) for step in (2, 1)]
    for folder in folders:
        harm_flip(folder / "state.safetensors")
    with pytest.raises(SpecError) as caught:
        checkpoint.first_good(tmp_path, folders, checkpoint.load)
    assert caught.value.diagnostics[0].code == "R0306"
    assert [note.text[:13] for note in caught.value.diagnostics[0].notes] == ["step-00000002", "step-00000001"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("after", range(5))
def test_a_full_disk_leaves_the_last_checkpoint_and_no_part(tmp_path, monkeypatch, call, after):
    checkpoint.save(tmp_path, at(1))
    before, left = getattr(os, call), [after]

    def full(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return before(*arguments)

    monkeypatch.setattr(os, call, full)
    try:
        checkpoint.save(tmp_path, at(2))
        assert call == "rename"
    except OSError:
        assert checkpoint.load(tmp_path / "step-00000001").position.step == 1
    assert all(name.startswith("step-") for name in names(tmp_path))


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "R0303"),
        (errno.EDQUOT, "R0303"),
        (errno.EACCES, "R0302"),
        (errno.EROFS, "R0302"),
        (errno.EIO, "R0302"),
    ],
)
def test_refusals_of_the_system_are_told(tmp_path, number, code):
    with pytest.raises(SpecError) as caught, told(tmp_path):
        raise OSError(number, os.strerror(number), "some/file")
    assert caught.value.diagnostics[0].code == code
    assert "some/file" in caught.value.diagnostics[0].title


def test_leftovers_of_killed_processes_are_cleared(tmp_path):
    checkpoint.save(tmp_path, at(1))
    for name in (".new-step-00000002", ".old-step-00000001"):
        (tmp_path / name).mkdir()
    checkpoint.clear_leftovers(tmp_path)
    assert names(tmp_path) == ["step-00000001"]


def killed_runs(tmp_path, *mode):
    """Digests of an undisturbed run and of killed and resumed ones."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root}/compiler", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.train.kills", str(tmp_path), *mode]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.mark.slow
def test_killed_at_any_write_a_run_resumes_to_the_same_bit(tmp_path):
    digests = killed_runs(tmp_path, "calls", "3", "7")
    assert len(digests) > 8
    assert set(digests) == {digests[0]}
    assert len(digests[0]) == 64


@pytest.mark.slow
def test_killed_at_any_time_a_run_resumes_to_the_same_bit(tmp_path):
    digests = killed_runs(tmp_path, "times")
    assert len(digests) == 5
    assert set(digests) == {digests[0]}
    assert len(digests[0]) == 64


def test_positions_are_plain_json(tmp_path):
    folder = checkpoint.save(tmp_path, at(7, 1.25))
    assert json.loads((folder / "state.json").read_text())["step"] == 7
