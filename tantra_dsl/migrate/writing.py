"""The result: a folder that is written beside and renamed, so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.migration import OutputExists
from tantra_dsl.diagnostics.training import at_path
from tantra_dsl.migrate.source import WEIGHTS
from tantra_dsl.train.files import flush_folder, told, write_durably, write_tensors
from tantra_dsl.train.folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

    from tantra_dsl.api import Spec


def require_free(out: Path) -> None:
    """Raises SpecError with W0301 where anything but an empty folder is at ``out``."""
    with told(out):
        if out.is_symlink() or out.is_file() or (out.exists() and any(out.iterdir())):
            raise SpecError([OutputExists(span=at_path(out), path=str(out))])


def write(
    out: Path, spec: Spec, weights: Mapping[str, Tensor], record: dict[str, Any], run: RunFolder | None, seed: int
) -> None:
    """Writes ``spec``, its weights and the record of the migration; what came from a ``run`` is one again.

    Raises SpecError with R0302 or R0303, and leaves nothing then.
    """
    with _beside(out) as folder:
        write_durably(folder / "migration.json", json.dumps(record, indent=1).encode())
        if run is None:
            write_durably(folder / "spec.tantra", spec.resolved_text().encode())
            write_tensors(folder / WEIGHTS, weights)
        else:
            _write_run(RunFolder(folder), spec, weights, run, seed)
        flush_folder(folder)


def _write_run(new: RunFolder, spec: Spec, weights: Mapping[str, Tensor], old: RunFolder, seed: int) -> None:
    """A run that has taken no step: the old one's data and tokenizer, the new spec and its weights."""
    import torch

    from tantra_dsl.train import checkpoint
    from tantra_dsl.train.checkpoint import Checkpoint, Position

    torch.manual_seed(seed)
    state = checkpoint.random_state(torch.device("cpu"))
    digest = spec.hash()
    checkpoint.save(new.checkpoints, Checkpoint(Position(0, None, None, 0.0, digest), weights, state))
    started = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {**old.read_facts(), "name": spec.name, "hash": digest, "started": started, "migrated_from": str(old.path)}
    new.write_facts(facts, spec.resolved_text(), old.tokenizer.read_text())


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``out`` at the end, or is removed where anything fails."""
    beside = out.parent / f".{out.name}.new-{os.getpid()}"
    missing = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    with told(out):
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            beside.mkdir()
            yield beside
            os.rename(beside, out)
            flush_folder(out.parent)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            _remove(missing)
            raise


def _remove(folders: list[Path]) -> None:
    """Removes folders that were made on the way, the inner ones first, as far as nothing else is in them."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
