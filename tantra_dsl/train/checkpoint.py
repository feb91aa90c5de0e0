"""Checkpoints: written beside, flushed and renamed; read back only when every byte is what was written.

A checkpoint is a folder ``step-00001000`` with ``weights.safetensors`` (the module's ``state_dict``),
``state.safetensors`` (optimizer and random state), ``state.json`` (the position in the run) and ``manifest.json``
(sizes and SHA-256 of these).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tantra_dsl.diagnostics.core import Diagnostic, SpecError
from tantra_dsl.diagnostics.training import BadCheckpoint, NoCheckpoint, OtherSpec, at_path
from tantra_dsl.train.differences import weight_differences
from tantra_dsl.train.files import flush_folder, sha256, write_durably, write_tensors

Read = TypeVar("Read")
FILES = ("weights.safetensors", "state.safetensors", "state.json")


@dataclass(frozen=True)
class Position:
    """Where a run stands: steps done, losses in nats, seconds trained, and the architecture's hash."""

    step: int
    loss: float | None
    validation_loss: float | None
    seconds: float
    spec_hash: str


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to go on. ``state`` holds optimizer tensors and, under ``random/``, generator states."""

    position: Position
    weights: Mapping[str, Tensor]
    state: Mapping[str, Tensor]


class Damaged(Exception):
    """A checkpoint that does not hold what was saved."""


def folder_name(step: int) -> str:
    """Name of the checkpoint after ``step`` steps; names sort by step."""
    return f"step-{step:08d}"


def save(root: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint below ``root``; at every moment ``root`` holds whole checkpoints only. Raises OSError."""
    root.mkdir(exist_ok=True)
    final = root / folder_name(checkpoint.position.step)
    beside = root / f".new-{final.name}"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        _write(beside, checkpoint)
        _put(beside, final)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return final


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    digests = {
        "weights.safetensors": write_tensors(folder / "weights.safetensors", checkpoint.weights),
        "state.safetensors": write_tensors(folder / "state.safetensors", checkpoint.state),
    }
    write_durably(folder / "state.json", json.dumps(asdict(checkpoint.position)).encode())
    digests["state.json"] = sha256(folder / "state.json")
    sizes = {name: (folder / name).stat().st_size for name in FILES}
    manifest = {name: {"bytes": sizes[name], "sha256": digests[name]} for name in FILES}
    write_durably(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
    flush_folder(folder)


def _put(beside: Path, final: Path) -> None:
    """Renames into place; one of the same step that is there already (a damaged one, after falling back) goes first."""
    if final.exists():
        aside = final.with_name(f".old-{final.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(final, aside)
        os.rename(beside, final)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.rename(beside, final)
    flush_folder(final.parent)


def clear_leftovers(root: Path) -> None:
    """Removes what a killed process left half-written. Only the process that holds the run's lock may do this."""
    for entry in root.glob(".*-step-*"):
        shutil.rmtree(entry, ignore_errors=True)


def listed(root: Path) -> list[Path]:
    """The checkpoints below ``root``, newest first, unread."""
    return sorted((path for path in root.glob("step-*") if path.is_dir()), reverse=True)


def verify(folder: Path) -> None:
    """Raises Damaged, with the reason, unless every file is as it was written."""
    try:
        manifest: dict[str, dict[str, Any]] = json.loads((folder / "manifest.json").read_text())
        for name in FILES:
            path, entry = folder / name, manifest[name]
            if not path.is_file():
                raise Damaged(f"{name} is missing")
            if path.stat().st_size != entry["bytes"]:
                raise Damaged(f"{name} has {path.stat().st_size} of {entry['bytes']} bytes")
            if sha256(path) != entry["sha256"]:
                raise Damaged(f"{name} does not match its checksum")
    except (OSError, ValueError, KeyError, TypeError):
        raise Damaged("its manifest cannot be read") from None


def position(folder: Path) -> Position:
    """The position of a verified checkpoint."""
    return Position(**json.loads((folder / "state.json").read_text()))


def load(folder: Path) -> Checkpoint:
    """Reads a checkpoint after verifying it. Raises Damaged."""
    from safetensors.torch import load_file

    verify(folder)
    return Checkpoint(
        position(folder), load_file(folder / "weights.safetensors"), load_file(folder / "state.safetensors")
    )


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Only the weights, after verifying. Raises Damaged."""
    from safetensors.torch import load_file

    verify(folder)
    return load_file(folder / "weights.safetensors")


def _loss(folder: Path) -> float:
    """Validation loss of a checkpoint; infinite where there is none or it cannot be read."""
    try:
        found = position(folder).validation_loss
    except (OSError, ValueError, TypeError):
        return float("inf")
    return float("inf") if found is None else found


def by_loss(root: Path) -> list[Path]:
    """The checkpoints below ``root``, the lowest validation loss first, the newer of equals first."""
    return sorted(listed(root), key=_loss)


def prune(root: Path, keep: int) -> None:
    """Keeps the newest ``keep`` checkpoints and the best one."""
    found, best = listed(root), by_loss(root)[:1]
    for folder in found[keep:]:
        if folder not in best:
            aside = folder.with_name(f".old-{folder.name}")
            os.rename(folder, aside)
            shutil.rmtree(aside, ignore_errors=True)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Generator states that dropout draws from."""
    states = {"random/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random/cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Sets the generators to ``state``; a state of another kind of device is left out."""
    torch.set_rng_state(state["random/cpu"])
    if device.type == "cuda" and "random/cuda" in state:
        torch.cuda.set_rng_state(state["random/cuda"], device)


def first_good(folder: Path, order: list[Path], read: Callable[[Path], Read]) -> tuple[Read, Path, list[Diagnostic]]:
    """What ``read`` returns for the first undamaged one of ``order``, its place, and a warning for each before it.

    Raises SpecError with R0306 where none is good.
    """
    faults: list[tuple[Path, str]] = []
    for path in order:
        try:
            found = read(path)
        except Damaged as damage:
            faults.append((path, str(damage)))
            continue
        warnings: list[Diagnostic] = [_warning(bad, reason, path) for bad, reason in faults]
        return found, path, warnings
    damaged = tuple(f"{path.name}: {reason}" for path, reason in faults)
    raise SpecError([NoCheckpoint(span=at_path(folder), folder=str(folder), damaged=damaged)])


def _warning(bad: Path, reason: str, used: Path) -> BadCheckpoint:
    return BadCheckpoint(span=at_path(bad), checkpoint=str(bad), reason=reason, fallback=used.name)


def set_aside(folders: list[Path]) -> None:
    """Takes damaged checkpoints out of the count, under a name that keeps them for inspection."""
    for folder in folders:
        aside = folder.with_name(f"damaged-{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(folder, aside)


def put_weights(module: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Copies the weights of a run in ``folder`` into ``module``. Raises SpecError with R0304 where they do not fit."""
    found = weight_differences(module, weights)
    if found:
        raise SpecError([OtherSpec(span=at_path(folder), folder=str(folder), differences=found)])
    module.load_state_dict(dict(weights), strict=False)
