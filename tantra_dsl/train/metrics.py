"""What a run logs: ``metrics.jsonl``, TensorBoard events, and the curve drawn from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tantra_dsl.train.files import replace_text

Entry = dict[str, Any]


def read_metrics(path: Path) -> list[Entry]:
    """The entries of a ``metrics.jsonl``; a line cut short by a crash is left out."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    entries = [_parsed(line) for line in lines]
    return [entry for entry in entries if entry is not None]


def _parsed(line: str) -> Entry | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None


class Metrics:
    """Appends entries; ``step`` is the number of steps done. Reopened at a step, it forgets what came after it."""

    def __init__(self, path: Path, step: int) -> None:
        self.entries = [entry for entry in read_metrics(path) if entry["step"] <= step] if step else []
        replace_text(path, "".join(json.dumps(entry) + "\n" for entry in self.entries))
        self._file: IO[str] = open(path, "a")  # noqa: SIM115 (closed by close)
        self._board = _Board(path.parent, step)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds an entry. Raises OSError."""
        entry: Entry = {"step": step, **figures}
        self.entries.append(entry)
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        self._board.log(step, figures)

    def close(self) -> None:
        """Flushes everything. Raises OSError."""
        self._file.close()
        self._board.close()


class _Board:
    """TensorBoard events, under ``train/`` and ``validation/``."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            part = "validation" if "validation" in name else "train"
            self._writer.add_scalar(f"{part}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()
