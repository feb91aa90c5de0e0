"""``tantra fmt`` and every other command that writes a text file: whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tantra_dsl.cli.outcome import FINE, MISTAKES, report
from tantra_dsl.diagnostics.core import Sink, SpecError


def format_files(paths: Sequence[Path], check: bool) -> int:
    """Put each file into canonical form, or with ``check`` only say which are not; the exit status."""
    return max([_format_file(path, check) for path in paths], default=FINE)


def _format_file(path: Path, check: bool) -> int:
    try:
        before, after = _canonical(path)
    except SpecError as error:
        return report(error.diagnostics)
    if after == before:
        return FINE
    if check:
        print(f"{path}: not in canonical form")
        return MISTAKES
    write_whole(path, after)
    print(f"{path}: rewritten")
    return FINE


def _canonical(path: Path) -> tuple[str, str]:
    """The text of a file and its canonical form. Raises SpecError where it cannot be read."""
    from tantra_dsl.syntax.format import format_text, format_yaml
    from tantra_dsl.syntax.parse import parse_source
    from tantra_dsl.syntax.read import read_source

    sink = Sink()
    source = read_source(path, sink)
    file = None if source is None else parse_source(source, sink)
    if source is None or file is None or sink.errors:
        raise SpecError(sink.sorted())
    form = format_yaml if source.language == "yaml" else format_text
    return source.text, form(file, source)


def write_text(text: str, path: Path | None) -> None:
    """Write ``text`` to ``path``, or to standard output where that is None."""
    if path is None:
        sys.stdout.write(text)
    else:
        write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """Replace the content of ``path`` in one step, so that no reader and no failure meets half of it.

    Keeps the permissions of the file that was there; a link stays a link. Raises OSError.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():  # a device or a pipe cannot be replaced
        target.write_text(text, encoding="utf-8")
        return
    try:
        _replace(target, text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(target: Path, text: str) -> None:
    handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, _mode(target))
        os.replace(beside, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def _mode(path: Path) -> int:
    if path.exists():
        return path.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
