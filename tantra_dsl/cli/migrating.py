"""``tantra migrate``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tantra_dsl
from tantra_dsl.cli.outcome import FINE, USAGE, complain, describe, report
from tantra_dsl.diagnostics.core import SpecError

if TYPE_CHECKING:
    from tantra_dsl.api import Spec
    from tantra_dsl.migrate import Migration, Options, Source

ERROR = 2


@dataclass(frozen=True)
class Request:
    """What to migrate, where to, and how."""

    weights: Path | None
    to: str
    out: Path | None
    origin: str | None
    sets: Sequence[str]
    options: Options
    seed: int
    dry_run: bool
    json: bool


def migrate(request: Request) -> int:
    """Print the plan and carry it out; the exit status: 2 where anything keeps it from being carried out."""
    if request.out is None and not request.dry_run:
        return complain("migrate needs a folder for the result: -o DIR (or --dry-run)", USAGE)
    if request.weights is None and (request.origin is None or not request.dry_run):
        return complain("migrate needs weights: a run, a file or a folder (or --from SPEC with --dry-run)", USAGE)
    try:
        return _migrate(request)
    except SpecError as error:
        report(error.diagnostics)
        return ERROR
    except OSError as error:
        return complain(describe(error), ERROR)


def _migrate(request: Request) -> int:
    from tantra_dsl import migrate

    source = None if request.weights is None else migrate.find(request.weights)
    made = migrate.plan(_checked(_origin(request, source)), _target(request), request.options)
    if source is not None:
        from tantra_dsl.migrate.source import check_fits

        check_fits(source, made.old_name, made.before.graph(), made.after.graph())
    if request.out is not None:
        from tantra_dsl.migrate.writing import require_free

        require_free(request.out)
    _print(made, request.json)
    problems = made.problems()
    if problems:
        raise SpecError(problems)
    if source is not None and request.out is not None and not request.dry_run:
        _carry_out(made, source, request.out, request)
    return FINE


def _carry_out(made: Migration, source: Source, out: Path, request: Request) -> None:
    from tantra_dsl import migrate
    from tantra_dsl.migrate.table import document

    migrate.carry_out(made, source, out, request.seed, {**document(made), "weights": source.name, "seed": request.seed})
    print(f"written to {out}{_next(out, source)}", file=sys.stderr)


def _next(out: Path, source: Source) -> str:
    return f"; train on with: tantra train --resume {out}" if source.run is not None else ""


def _print(made: Migration, as_json: bool) -> None:
    from tantra_dsl.migrate.table import document, text

    print(json.dumps(document(made), indent=1) if as_json else text(made).rstrip("\n"), flush=True)


def _origin(request: Request, source: Source | None) -> Spec:
    """The spec that the weights are of. Raises SpecError with W0104 where nothing tells."""
    from tantra_dsl.diagnostics.migration import UnknownOrigin
    from tantra_dsl.diagnostics.training import at_path

    if request.origin is not None:
        return tantra_dsl.load(request.origin)
    assert source is not None
    if source.spec is None:
        raise SpecError([UnknownOrigin(span=at_path(source.path), path=str(source.path))])
    return tantra_dsl.load(source.spec)


def _target(request: Request) -> Spec:
    return _checked(tantra_dsl.load(request.to, sets=tuple(request.sets)))


def _checked(spec: Spec) -> Spec:
    """A spec without mistakes. Raises SpecError with all of them."""
    spec.graph()
    return spec
