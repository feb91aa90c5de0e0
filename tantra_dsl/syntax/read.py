"""Files to sources."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tantra_dsl.diagnostics.core import Diagnostic, Sink
from tantra_dsl.syntax.source import Source, Span

MAX_BYTES = 8_000_000


def read_source(path: Path, sink: Sink) -> Source | None:
    """The text of a spec file, at most 8 MB of UTF-8; None with a diagnostic where it cannot be read.

    ``.yaml`` and ``.yml`` are YAML, anything else is text. A byte-order mark is dropped.
    """
    data = _read_bytes(path, sink)
    if data is None:
        return None
    language = "yaml" if path.suffix.lower() in (".yaml", ".yml") else "text"
    try:
        return Source(str(path), data.decode("utf-8").removeprefix("\ufeff"), language)
    except UnicodeDecodeError as error:
        sink.add(_not_utf8(path, data, error.start))
        return None


def _read_bytes(path: Path, sink: Sink) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        problem = _not_a_spec(path, os.fstat(descriptor))
        if problem:
            os.close(descriptor)
            sink.add(problem)
            return None
        with open(descriptor, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        sink.add(_unreadable(path, error))
        return None
    if len(data) > MAX_BYTES:  # it grew while it was read
        sink.add(_too_large(path, len(data)))
        return None
    return data


def _nowhere(path: Path) -> Span:
    return Span(Source(str(path), ""), 0, 0)


def _not_a_spec(path: Path, status: os.stat_result) -> Diagnostic | None:
    from tantra_dsl.diagnostics.files import NotAFile

    if stat.S_ISREG(status.st_mode):
        return _too_large(path, status.st_size) if status.st_size > MAX_BYTES else None
    what = "a directory" if stat.S_ISDIR(status.st_mode) else "a device or pipe"
    return NotAFile(span=_nowhere(path), path=str(path), what=what)


def _too_large(path: Path, size: int) -> Diagnostic:
    from tantra_dsl.diagnostics.files import FileTooLarge

    return FileTooLarge(span=_nowhere(path), path=str(path), size=size, limit=MAX_BYTES)


def _unreadable(path: Path, error: OSError | ValueError) -> Diagnostic:
    from tantra_dsl.diagnostics.files import FileMissing, FileUnreadable

    span = _nowhere(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FileMissing(span=span, path=str(path))
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return FileUnreadable(span=span, path=str(path), reason=reason.lower())


def _not_utf8(path: Path, data: bytes, offset: int) -> Diagnostic:
    from tantra_dsl.diagnostics.files import NotUtf8

    text = data[:offset].decode("utf-8")
    line_end = data.find(b"\n", offset)
    rest = data[offset : line_end if line_end >= 0 else None].decode("utf-8", errors="replace")
    span = Span(Source(str(path), text + rest), len(text), len(text) + 1)
    return NotUtf8(span=span, byte=data[offset], offset=offset)


__all__ = ["MAX_BYTES", "read_source"]
