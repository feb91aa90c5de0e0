"""Training and sampling. The tensor library is loaded when one of these functions is called, not before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from tantra_dsl.train.protocol import Loader, RunResult, SpecLike


def train(
    spec: SpecLike | None = None,
    *,
    data: str | None = None,
    out: str | PathLike[str] | None = None,
    resume: str | PathLike[str] | None = None,
    load: Loader | None = None,
    device: str = "auto",
    progress: TextIO | Literal["stdout"] | None = "stdout",
) -> RunResult:
    """Trains ``spec`` by its recipe into the folder ``out``, or goes on with the run in ``resume``.

    ``data`` replaces the recipe's. ``load`` reads the spec that a run folder holds (``tantra_dsl.load``) and is needed
    to resume; a ``spec`` given as well must be the run's. ``progress`` None shows nothing.
    Raises SpecError for everything that a user can get wrong, and ValueError for a misuse of this function.
    """
    from tantra_dsl.train import folder, request

    stream = sys.stdout if progress == "stdout" else progress
    if resume is not None:
        if load is None or data is not None or out is not None:
            raise ValueError("resume needs load, and takes neither data nor out: the run folder says both")
        asked = request.resume_request(Path(resume), spec, load, device, stream)
    elif spec is None:
        raise ValueError("train needs a spec, or a run folder to resume")
    else:
        asked = request.new_request(spec, data, None if out is None else Path(out), device, stream)
    request.check(asked)
    with folder.locked(asked.folder):
        if not asked.resumed:
            folder.require_empty(asked.folder)
        from tantra_dsl.train import start

        return start.run(asked)


def sample(
    run: str | PathLike[str],
    prompt: str,
    *,
    load: Loader,
    max_new: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    device: str = "auto",
) -> Iterator[str]:
    """Text that the run's best checkpoint writes after ``prompt``, piece by piece as it comes; always valid UTF-8.

    ``temperature`` 0 takes the likeliest token; ``top_k`` and ``top_p`` (Holtzman et al. 2020) limit the choice; a
    ``seed`` fixes the text. Raises SpecError for a folder, prompt or model that cannot be sampled from.
    """
    from tantra_dsl.train.sampling import Choice, sample_run

    choice = Choice(temperature, top_k, top_p, seed)
    return sample_run(Path(run), prompt, load, max_new, choice, device)


__all__ = ["sample", "train"]
