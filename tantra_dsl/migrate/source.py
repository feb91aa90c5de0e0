"""Where weights come from: a run, a file, or a folder of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.migration import DamagedWeights, NoWeights, OtherWeights
from tantra_dsl.diagnostics.training import at_path
from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.paths import weights as weights_of
from tantra_dsl.migrate.stored import Damaged, Stored, shards, tensors_of
from tantra_dsl.train.files import sha256
from tantra_dsl.train.folder import RunFolder

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Source:
    """Weights that were found: their tensors by name, the run that they are of, and its checkpoint."""

    path: Path
    tensors: Mapping[str, Stored]
    run: RunFolder | None = None
    checkpoint: Path | None = None

    @property
    def spec(self) -> Path | None:
        """The spec that lies beside the weights."""
        beside = (self.path if self.path.is_dir() else self.path.parent) / "spec.tantra"
        return beside if beside.is_file() else None

    @property
    def name(self) -> str:
        """The source as it is shown."""
        return str(self.path if self.checkpoint is None else self.checkpoint)

    def check_content(self) -> None:
        """Compares a checkpoint with its checksum. Raises SpecError with W0102."""
        if self.checkpoint is None:
            return
        try:
            expected = _manifest(self.checkpoint)[WEIGHTS].get("sha256")
        except Damaged as damage:
            raise _damaged(self.checkpoint, str(damage)) from None
        if sha256(self.checkpoint / WEIGHTS) != expected:
            raise _damaged(self.checkpoint, f"{WEIGHTS} does not match its checksum")


def find(path: Path) -> Source:
    """The weights at ``path``, their headers read. Raises SpecError with W0101 or W0102."""
    run = RunFolder(path)
    if run.is_run:
        return _of_run(run)
    if not path.exists():
        raise _none(path, "there is no such file or folder")
    try:
        files = shards(path) if path.is_dir() else [path]
        return Source(path, _read(files, path))
    except Damaged as damage:
        raise _damaged(path, str(damage)) from None
    except OSError as error:
        raise _none(path, (error.strerror or str(error)).lower()) from None


def _read(files: list[Path], path: Path) -> dict[str, Stored]:
    if not files:
        raise _none(path, "it holds no run and no .safetensors file")
    found: dict[str, Stored] = {}
    for file in files:
        try:
            tensors = tensors_of(file)
        except Damaged as damage:
            raise _damaged(file, str(damage)) from None
        twice = sorted(found.keys() & tensors.keys())
        if twice:
            raise Damaged(f"{twice[0]} is in two files")
        found |= tensors
    return found


# --- runs --------------------------------------------------------------------------------


def _of_run(run: RunFolder) -> Source:
    """The best checkpoint of a run that is whole, as for sampling."""
    faults: list[str] = []
    for folder in _by_loss(run.checkpoints):
        try:
            return Source(run.path, _whole(folder), run, folder)
        except (Damaged, OSError) as fault:
            faults.append(f"{folder.name}: {fault}")
    raise _none(run.path, "; ".join(faults) or "the run has no checkpoint")


def _by_loss(root: Path) -> list[Path]:
    """Checkpoints, the lowest validation loss first, the newer of equals first."""
    newest = sorted((path for path in root.glob("step-*") if path.is_dir()), reverse=True)
    return sorted(newest, key=_loss)


def _loss(folder: Path) -> float:
    try:
        loss = json.loads((folder / "state.json").read_text())["validation_loss"]
    except (OSError, ValueError, TypeError, KeyError):
        return float("inf")
    return loss if isinstance(loss, int | float) else float("inf")


def _whole(folder: Path) -> dict[str, Stored]:
    size, expected = (folder / WEIGHTS).stat().st_size, _manifest(folder)[WEIGHTS].get("bytes")
    if size != expected:
        raise Damaged(f"{WEIGHTS} has {size} of {expected} bytes")
    return tensors_of(folder / WEIGHTS)


def _manifest(folder: Path) -> dict[str, dict[str, object]]:
    try:
        found = json.loads((folder / "manifest.json").read_text())
        return {WEIGHTS: dict(found[WEIGHTS])}
    except (OSError, ValueError, TypeError, KeyError):
        raise Damaged("its manifest cannot be read") from None


# --- whose weights they are ----------------------------------------------------------------


def check_fits(source: Source, name: str, before: Graph, after: Graph) -> None:
    """Raises SpecError with W0103, and what differs, unless the weights are those of ``before``, called ``name``."""
    found = differences(before, source.tensors)
    if found:
        fits = not differences(after, source.tensors)
        problem = OtherWeights(
            span=at_path(source.path), path=source.name, model=name, differences=found, fits_target=fits
        )
        raise SpecError([problem])


def differences(graph: Graph, tensors: Mapping[str, Stored]) -> tuple[str, ...]:
    """Weights that are missing, too many, or of another shape."""
    wanted = {weight.path: weight.shape for weight in weights_of(graph)}
    shapes = [
        f"weight {name} is {list(shape)} in the spec, in the file {list(tensors[name].shape)}"
        for name, shape in wanted.items()
        if name in tensors and tensors[name].shape != shape
    ]
    missing = [f"weight {name} is not in the file" for name in wanted if name not in tensors]
    more = [f"weight {name} is only in the file" for name in tensors if name not in wanted]
    return (*shapes, *missing, *more)


def _none(path: Path, reason: str) -> SpecError:
    return SpecError([NoWeights(span=at_path(path), path=str(path), reason=reason)])


def _damaged(path: Path, reason: str) -> SpecError:
    return SpecError([DamagedWeights(span=at_path(path), path=str(path), reason=reason)])


__all__ = ["Source", "check_fits", "differences", "find"]
