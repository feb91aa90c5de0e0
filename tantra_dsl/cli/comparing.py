"""``tantra diff``, ``tantra patch`` and ``tantra explain SPEC PATH``.

A plain ``tantra diff`` imports neither typer nor rich, as ``tantra check``: it runs in hooks, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tantra_dsl.cli.outcome import FINE, USAGE, colored, complain, describe, report
from tantra_dsl.cli.revisions import load
from tantra_dsl.diagnostics.core import Diagnostic, SpecError

if TYPE_CHECKING:
    from tantra_dsl.api import Spec
    from tantra_dsl.diff.report import Diff

DIFFERENT = 1
ERROR = 2
FORMS = ("text", "json", "markdown", "html")
SECTIONS = ("architecture", "numerics", "recipe")


@dataclass(frozen=True)
class Request:
    """What to compare, and how to tell it."""

    specs: tuple[str, ...]
    form: str = "text"
    seq: int | None = None
    exit_code: bool = False
    only: str | None = None


def parse(arguments: Sequence[str]) -> Request | None:
    """The request that ``arguments`` state, or None where typer should answer: help, git and wrong usage."""
    specs: list[str] = []
    values: dict[str, str] = {}
    rest = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    while rest:
        word = rest.pop(0)
        if word in ("--format", "--seq", "--only") and rest:
            values[word] = rest.pop(0)
        elif word == "--exit-code":
            values[word] = ""
        elif word.startswith("-"):
            return None
        else:
            specs.append(word)
    return _request(tuple(specs), values)


def _request(specs: tuple[str, ...], values: dict[str, str]) -> Request | None:
    form, seq, only = values.get("--format", "text"), values.get("--seq"), values.get("--only")
    lengths = seq is None or (seq.isascii() and seq.isdigit() and int(seq) > 0)
    if len(specs) != 2 or form not in FORMS or only not in (None, *SECTIONS) or not lengths:
        return None
    return Request(specs, form, None if seq is None else int(seq), "--exit-code" in values, only)


def run(request: Request) -> int:
    """Print what is different between two specs; the exit status."""
    return diff_specs(request.specs, form=request.form, seq=request.seq, exit_code=request.exit_code, only=request.only)


def diff_specs(
    specs: Sequence[str], *, form: str, seq: int | None = None, exit_code: bool = False, only: str | None = None
) -> int:
    """Print what is different between two specs; the exit status: 2 where one cannot be read or does not check."""
    if len(specs) != 2:
        return complain(f"two specs are compared, but {len(specs)} were given", USAGE)
    try:
        sides = _both(specs)
    except SpecError as error:
        report(error.diagnostics)
        return ERROR
    except OSError as error:
        return complain(describe(error), ERROR)
    return _tell(*sides, form=form, seq=seq, exit_code=exit_code, only=only)


def _tell(before: Spec, after: Spec, *, form: str, seq: int | None, exit_code: bool, only: str | None) -> int:
    from tantra_dsl.diff.report import diff

    found = diff(before, after, seq=seq)
    shown = found.only(only) if only is not None else found
    sys.stdout.write(rendered(shown, form, before, after))
    return DIFFERENT if exit_code and found.verdict == "function" else FINE


def rendered(found: Diff, form: str, before: Spec, after: Spec) -> str:
    """A diff in one of the forms ``text``, ``json``, ``markdown`` and ``html``."""
    if form == "json":
        from tantra_dsl.diff.documents import render
        from tantra_dsl.diff.patches import patch

        return render(found, None if found.empty else patch(before, after).text)
    if form == "markdown":
        from tantra_dsl.diff.markdown import markdown

        return markdown(found)
    if form == "html":
        from tantra_dsl.diff.page import page

        return page(found, before, after)
    from tantra_dsl.diff.text import text

    return text(found, color=colored(sys.stdout))


def _both(specs: Sequence[str]) -> tuple[Spec, Spec]:
    """Both specs, checked; the mistakes of both together where there are any. Raises SpecError."""
    wrong: list[Diagnostic] = []
    sides: list[Spec] = []
    for spec in specs:
        try:
            sides.append(load(spec))
            wrong += [item for item in sides[-1].check() if item.severity == "error"]
        except SpecError as error:
            wrong += error.diagnostics
    if wrong:
        raise SpecError(list({(d.code, d.span.location, d.title): d for d in wrong}.values()))
    return sides[0], sides[1]


def patch_spec(before: str, after: str, output: Path | None) -> int:
    """Write the spec that turns ``before`` into ``after``; the exit status."""
    try:
        sides = _both((before, after))
    except SpecError as error:
        report(error.diagnostics)
        return ERROR
    except OSError as error:
        return complain(describe(error), ERROR)
    from tantra_dsl.cli.rewrite import write_text
    from tantra_dsl.diff.patches import patch

    write_text(patch(*sides, _used(sides[0], output)).text, output)
    return FINE


def _used(before: Spec, output: Path | None) -> str | None:
    """How a patch in ``output`` names the file that it builds on: None where the plain name will do."""
    path = before.unit.path
    if before.unit.shipped or path is None or output is None:
        return None
    return os.path.relpath(path, output.resolve().parent)


def explain_path(spec: str, path: str, sets: Sequence[str]) -> int:
    """Print where a value of a spec comes from; the exit status."""
    import tantra_dsl
    from tantra_dsl.diff.origins import explain, text

    loaded = tantra_dsl.load(spec, sets=sets) if sets else load(spec)
    sys.stdout.write(text(explain(loaded, path)))
    return FINE
