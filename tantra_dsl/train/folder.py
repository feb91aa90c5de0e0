"""The run folder: what lies where, who may write, and which checkpoint is good.

spec.tantra      the resolved spec            tokenizer.json   the tokenizer
run.json         hash, data, versions, chip   metrics.jsonl    one JSON object per logged step
checkpoints/     see checkpoint.py            loss.png/.svg    the loss curve
events.out.*     TensorBoard
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.training import FolderInUse, FolderNotEmpty, NotARun, at_path
from tantra_dsl.train.files import replace_text, told


@dataclass(frozen=True)
class RunFolder:
    """A run folder by its path."""

    path: Path

    @property
    def spec(self) -> Path:
        """The resolved spec."""
        return self.path / "spec.tantra"

    @property
    def facts(self) -> Path:
        """What the run was started with."""
        return self.path / "run.json"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer."""
        return self.path / "tokenizer.json"

    @property
    def metrics(self) -> Path:
        """The logged figures."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def is_run(self) -> bool:
        """Whether a training wrote this folder."""
        return self.facts.is_file() and self.spec.is_file()

    def read_facts(self) -> dict[str, Any]:
        """The content of ``run.json``. Raises SpecError with R0307 where this is no run folder."""
        try:
            facts: dict[str, Any] = json.loads(self.facts.read_text())
            self.spec.read_bytes()
            self.tokenizer.read_bytes()
        except (OSError, ValueError) as error:
            reason = self._fault(error)
            raise SpecError([NotARun(span=at_path(self.path), folder=str(self.path), reason=reason)]) from None
        return facts

    def _fault(self, error: OSError | ValueError) -> str:
        if not self.path.is_dir():
            return "there is no such folder"
        name = Path(error.filename or "run.json").name if isinstance(error, OSError) else "run.json"
        return f"it has no {name}" if isinstance(error, FileNotFoundError) else f"its {name} cannot be read"

    def write_facts(self, facts: dict[str, Any], spec: str, tokenizer: str) -> None:
        """Writes what describes the run; ``run.json`` comes last and makes it a run."""
        replace_text(self.tokenizer, tokenizer)
        replace_text(self.spec, spec)
        replace_text(self.facts, json.dumps(facts, indent=1))


def fresh(out: Path | None, name: str) -> RunFolder:
    """A folder for a new run: ``out``, or the first free of ``runs/<name>``, ``runs/<name>-2`` ..."""
    return RunFolder(_first_free(Path("runs") / name) if out is None else out)


_BEGINNINGS = frozenset({".lock", "data", "spec.tantra", "tokenizer.json", "run.json"})


def require_empty(folder: RunFolder) -> None:
    """Raises SpecError with R0308 where the folder holds a run, or anything but what a run killed at once leaves."""
    with told(folder.path):
        names = {entry.name for entry in folder.path.iterdir()}
    strange = {name for name in names - _BEGINNINGS if not name.endswith(".new")}
    if strange or folder.is_run:
        found = FolderNotEmpty(span=at_path(folder.path), folder=str(folder.path), is_run=folder.is_run)
        raise SpecError([found])


def _first_free(base: Path) -> Path:
    number, path = 1, base
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


@contextlib.contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Makes the folder and holds its lock; the system drops the lock when the process ends, however it ends.

    A failure before the folder is a run leaves nothing behind. Raises SpecError with R0301 while another process holds
    the lock, and with R0302 where the folder cannot be written.
    """
    is_new = not folder.path.exists()
    with told(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(handle, folder)
        with _undone(folder, is_new):
            yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _undone(folder: RunFolder, is_new: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if is_new and not folder.is_run:
            shutil.rmtree(folder.path, ignore_errors=True)
        elif not folder.is_run:
            (folder.path / ".lock").unlink(missing_ok=True)
        raise


def _take(handle: int, folder: RunFolder) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 32).decode(errors="replace").strip()
        shown = f"process {holder}" if holder else "another process"
        raise SpecError([FolderInUse(span=at_path(folder.path), folder=str(folder.path), holder=shown)]) from None
    with told(folder.path):
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
