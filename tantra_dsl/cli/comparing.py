"""``tantra diff``, ``tantra patch`` and ``tantra explain SPEC PATH``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tantra_dsl.cli.outcome import FINE, USAGE, colored, complain, describe, report
from tantra_dsl.cli.revisions import load
from tantra_dsl.diagnostics.core import Diagnostic, SpecError

if TYPE_CHECKING:
    from tantra_dsl.api import Spec
    from tantra_dsl.diff.diff import Diff

DIFFERENT = 1
ERROR = 2


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
    from tantra_dsl.diff.diff import diff

    found = diff(before, after, seq=seq)
    shown = found.only(only) if only is not None else found
    sys.stdout.write(_rendered(shown, form, before, after))
    return DIFFERENT if exit_code and found.verdict == "function" else FINE


def _rendered(found: Diff, form: str, before: Spec, after: Spec) -> str:
    if form == "json":
        from tantra_dsl.diff.document import render
        from tantra_dsl.diff.patch import patch

        return render(found, None if found.empty else patch(before, after).text)
    if form == "markdown":
        from tantra_dsl.diff.markdown import markdown

        return markdown(found)
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
    from tantra_dsl.diff.patch import patch

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
    from tantra_dsl.diff.explain import explain, text

    loaded = tantra_dsl.load(spec, sets=sets) if sets else load(spec)
    sys.stdout.write(text(explain(loaded, path)))
    return FINE


def git_diff(arguments: Sequence[str], *, form: str, seq: int | None) -> int:
    """Answer as git's external diff driver: ``PATH OLD-FILE OLD-HEX OLD-MODE NEW-FILE NEW-HEX NEW-MODE``.

    What cannot be compared as models is said in a line; git goes on with the next file.
    """
    if len(arguments) not in (7, 9):
        return complain("--git takes what git gives to a diff driver: seven arguments, or nine", USAGE)
    path, old, new = arguments[0], arguments[1], arguments[4]
    shown = arguments[7] if len(arguments) == 9 else path
    print(f"diff --tantra a/{path} b/{shown}")
    absent = [name for name in (old, new) if name == os.devnull]
    if absent:
        print("a new spec" if old == os.devnull else "the spec is removed")
        return FINE
    try:
        sides = [_beside(file, path) for file in (old, new)]
        _tell(sides[0], sides[1], form=form, seq=seq, exit_code=False, only=None)
    except SpecError as error:
        report(error.diagnostics)
        print("no diff of models: see the mistakes above")
    return FINE


def _beside(file: str, path: str) -> Spec:
    """A version of ``path`` that git put into ``file``, with the files that it uses as they are now.

    Raises SpecError.
    """
    from tantra_dsl.api import spec_of
    from tantra_dsl.diagnostics.core import Sink
    from tantra_dsl.semantics.library import Reader
    from tantra_dsl.syntax.read import read_source
    from tantra_dsl.syntax.source import Source

    sink = Sink()
    source = read_source(Path(file), sink)
    unit = None
    if source is not None:
        there = Path(path).resolve()
        language = "yaml" if path.endswith((".yaml", ".yml")) else "text"
        unit = Reader(sink).take(Source(path, source.text, language), there, there.parent)
    if unit is None or sink.errors:
        raise SpecError(sink.sorted())
    spec = spec_of(unit, "", (), sink)
    spec.graph()
    return spec
