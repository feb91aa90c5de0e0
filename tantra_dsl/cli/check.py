"""``tantra check``: every mistake of some specs at once.

It imports neither typer nor rich: this command runs in editors and hooks, where a tenth of a second counts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tantra_dsl.cli.outcome import FINE, report, status_of
from tantra_dsl.diagnostics.core import Diagnostic, SpecError


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

    A file is checked with all its models, but overrides are made to the one that it stands for.
    """
    import tantra_dsl

    try:
        loaded = tantra_dsl.load(spec, sets=sets)
    except SpecError as error:
        return error.diagnostics
    found = loaded.check()
    if os.path.exists(spec) and not sets:
        others = (name for name in loaded.model_names if name != loaded.name)
        found += [item for name in others for item in tantra_dsl.load(f"{spec}:{name}").check()]
    return list({(item.code, item.span.location, item.title): item for item in found}.values())


def _tell(spec: str, found: list[Diagnostic]) -> int:
    status = report(found)
    if status == FINE:
        print(f"{spec}: ok")
    return status


def _tell_json(found: list[Diagnostic]) -> int:
    from tantra_dsl.diagnostics.render import render_json

    sys.stdout.write(render_json(found).rstrip("\n") + "\n")
    return status_of(found)
