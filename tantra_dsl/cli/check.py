"""``tantra check``: every mistake of some specs at once.

It imports neither typer nor rich: this command runs in editors and hooks, where a tenth of a second counts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tantra_dsl.cli.outcome import FINE, report, status_of
from tantra_dsl.diagnostics.core import Diagnostic, SpecError

if TYPE_CHECKING:
    from tantra_dsl import Spec


@dataclass(frozen=True)
class Request:
    """What to check: paths or names, overrides in the order given, and the form of the answer."""

    specs: tuple[str, ...]
    sets: tuple[str, ...] = ()
    json: bool = False


def parse(arguments: Sequence[str]) -> Request | None:
    """The request that ``arguments`` state, or None where typer should answer: help and wrong usage."""
    specs: list[str] = []
    sets: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--set" and rest:
            sets.append(rest.pop(0))
        elif word.startswith("--set="):
            sets.append(word.removeprefix("--set="))
        elif not word.startswith("-"):
            specs.append(word)
        elif word != "--json":
            return None
    return Request(tuple(specs), tuple(sets), "--json" in arguments) if specs else None


def run(request: Request) -> int:
    """Check each spec of ``request``; the exit status."""
    found = {spec: diagnose(spec, request.sets) for spec in request.specs}
    if request.json:
        return _tell_json([item for items in found.values() for item in items])
    statuses = [_tell(spec, items) for spec, items in found.items()]
    return max(statuses)


def diagnose(spec: str, sets: Sequence[str]) -> list[Diagnostic]:
    """All that is wrong with ``spec`` under the overrides ``sets``; each mistake once.

    A file is checked with all its models; overrides are made only to the one that it stands for, where there is one.
    """
    found: list[Diagnostic] = []
    try:
        for model in _models(spec, sets):
            found += model.check()
    except SpecError as error:
        found += error.diagnostics
    return list({(item.code, item.span.location, item.title): item for item in found}.values())


def _models(spec: str, sets: Sequence[str]) -> Iterator[Spec]:
    import tantra_dsl

    try:
        first = tantra_dsl.load(spec, sets=sets)
    except SpecError as error:
        others = _choices(error)
        if not others:
            raise
    else:
        yield first
        alone = bool(sets) or not os.path.exists(spec)
        others = () if alone else tuple(name for name in first.model_names if name != first.name)
    for name in others:
        yield tantra_dsl.load(f"{spec}:{name}", sets=sets)


def _choices(error: SpecError) -> tuple[str, ...]:
    """The models of a file that holds several and stands for none of them."""
    from tantra_dsl.diagnostics.semantics import NoModel

    return next((item.models for item in error.diagnostics if isinstance(item, NoModel) and not item.wanted), ())


def _tell(spec: str, found: list[Diagnostic]) -> int:
    status = report(found)
    if status == FINE:
        print(f"{spec}: ok")
    return status


def _tell_json(found: list[Diagnostic]) -> int:
    from tantra_dsl.diagnostics.render import render_json

    sys.stdout.write(render_json(found).rstrip("\n") + "\n")
    return status_of(found)
