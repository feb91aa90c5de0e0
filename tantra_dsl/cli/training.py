"""``tantra train`` and ``tantra sample``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import tantra_dsl
from tantra_dsl import train as training
from tantra_dsl.cli import INTERRUPTED
from tantra_dsl.cli.outcome import FINE, USAGE, complain
from tantra_dsl.train.folder import RunFolder

if TYPE_CHECKING:
    from tantra_dsl.train.protocol import RunResult


def train(spec: str | None, *, data: str | None, sets: Sequence[str], out: Path | None, resume: Path | None) -> int:
    """Start a run of ``spec``, or go on with the one in ``resume``; the exit status."""
    if resume is not None and (data is not None or out is not None):
        return complain("--resume takes neither --data nor --out: the run folder says both", USAGE)
    if resume is None and spec is None:
        return complain("train needs a SPEC, or --resume DIR", USAGE)
    result = _start(spec, data, sets, out) if resume is None else _go_on(resume, spec, sets)
    return INTERRUPTED if result.interrupted else FINE


def _start(spec: str | None, data: str | None, sets: Sequence[str], out: Path | None) -> RunResult:
    assert spec is not None
    return training.train(tantra_dsl.load(spec, sets=sets), data=data, out=out)


def _go_on(folder: Path, spec: str | None, sets: Sequence[str]) -> RunResult:
    """Overrides without a spec are made to the one in the run folder: its recipe may change, its model may not."""
    RunFolder(folder).read_facts()
    chosen = str(RunFolder(folder).spec) if spec is None else spec
    return training.train(tantra_dsl.load(chosen, sets=sets), resume=folder, load=_load)


def sample(
    run: Path,
    prompt: str,
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    max_new: int,
) -> int:
    """Write ``prompt`` and what the run's model adds, piece by piece as it comes; the exit status."""
    try:
        pieces = training.sample(
            run, prompt, load=_load, max_new=max_new, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
        )
    except ValueError as misuse:
        return complain(str(misuse), USAGE)
    for piece in chain([prompt], pieces):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()
    return FINE


def _load(path: Path) -> tantra_dsl.Spec:
    return tantra_dsl.load(str(path))
