"""``tantra diff --git``: what git asks of an external diff driver."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

from tantra_dsl.cli.comparing import rendered
from tantra_dsl.cli.outcome import FINE, USAGE, complain, report
from tantra_dsl.diagnostics.core import Sink, SpecError

if TYPE_CHECKING:
    from tantra_dsl.api import Spec
    from tantra_dsl.semantics.library import Unit


def git_diff(arguments: Sequence[str], *, form: str, seq: int | None) -> int:
    """Answer ``PATH OLD-FILE OLD-HEX OLD-MODE NEW-FILE NEW-HEX NEW-MODE`` and, for a renamed file, two more.

    Every model of the file is compared; what cannot be compared as models is compared as text.
    """
    if len(arguments) not in (7, 9):
        return complain("--git takes what git gives to a diff driver: seven arguments, or nine", USAGE)
    path, old, new = arguments[0], arguments[1], arguments[4]
    other = arguments[7] if len(arguments) == 9 else path
    print(f"diff --tantra a/{path} b/{other}")
    if os.devnull in (old, new):
        _tell_text(old, new)
        return FINE
    try:
        _tell_models(_models(old, path, "a"), _models(new, other, "b"), form, seq)
    except SpecError as error:
        sys.stdout.flush()
        report(error.diagnostics)
        _tell_text(old, new)
    return FINE


def _tell_models(before: dict[str, Spec], after: dict[str, Spec], form: str, seq: int | None) -> None:
    from tantra_dsl.diff.report import diff

    for name in dict.fromkeys((*before, *after)):
        if name not in before or name not in after:
            print(f"model {name} is {'new' if name in after else 'removed'}")
            continue
        found = diff(before[name], after[name], seq=seq)
        if found.empty:
            print(f"model {name}: no difference")
        else:
            sys.stdout.write(rendered(found, form, before[name], after[name]))


def _models(file: str, path: str, side: str) -> dict[str, Spec]:
    """The models of a version of ``path`` that git put into ``file``, with the files that it uses as they are now.

    Raises SpecError where it cannot be read, or holds no model.
    """
    from tantra_dsl.api import spec_of

    sink = Sink()
    unit = _unit(file, path, side, sink)
    if unit is None or sink.errors:
        raise SpecError(sink.sorted())
    if not unit.models():
        raise SpecError([])
    return {name: spec_of(unit, name, (), Sink()) for name in unit.models()}


def _unit(file: str, path: str, side: str, sink: Sink) -> Unit | None:
    from tantra_dsl.semantics.library import Reader
    from tantra_dsl.syntax.read import read_source
    from tantra_dsl.syntax.source import Source

    source = read_source(Path(file), sink)
    if source is None:
        return None
    there = Path(path).resolve()
    language = "yaml" if path.endswith((".yaml", ".yml")) else "text"
    return Reader(sink).take(Source(f"{side}/{path}", source.text, language), there, there.parent)


def _tell_text(old: str, new: str) -> None:
    """The two versions as text, in lines."""
    for line in unified_diff(_lines(old), _lines(new), "before", "after"):
        sys.stdout.write(line if line.endswith("\n") else f"{line}\n")


def _lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
