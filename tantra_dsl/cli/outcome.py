"""How a command ends: diagnostics, failures of files, interruptions, exit statuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from io import TextIOWrapper
from typing import TextIO

from tantra_dsl.cli import INTERRUPTED
from tantra_dsl.diagnostics.core import Diagnostic, SpecError

FINE = 0
MISTAKES = 1
USAGE = 2
PIPE_CLOSED = 141


def guarded(action: Callable[[], int]) -> int:
    """Run ``action`` and return the exit status, with every expected failure told without a traceback."""
    try:
        status = action()
        sys.stdout.flush()
        return status
    except SpecError as error:
        return report(error.diagnostics)
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except OSError as error:
        if error.filename is None:  # standard output itself: a full disk behind a redirection
            _discard_output()
        return complain(describe(error))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED


def report(diagnostics: Iterable[Diagnostic]) -> int:
    """Write ``diagnostics`` to standard error; 1 if one of them is an error, else 0."""
    from tantra_dsl.diagnostics.render import render_terminal

    found = list(diagnostics)
    if found:
        print(render_terminal(found, color=colored(sys.stderr)).rstrip("\n"), file=sys.stderr)
    return status_of(found)


def status_of(diagnostics: Iterable[Diagnostic]) -> int:
    """1 if an error is among ``diagnostics``, else 0: warnings do not fail a command."""
    return MISTAKES if any(item.severity == "error" for item in diagnostics) else FINE


def complain(message: str, status: int = MISTAKES) -> int:
    """Write ``error: message`` to standard error and return ``status``."""
    print(f"error: {message}", file=sys.stderr)
    return status


def describe(error: OSError) -> str:
    """What the operating system refused, in one line: ``model.py: no space left on device``."""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def colored(stream: TextIO) -> bool:
    """Whether ``stream`` wants colour: a terminal that is not dumb, and NO_COLOR is not set (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def prepare_streams() -> None:
    """Let an output that cannot show a character escape it, and one that is closed swallow everything."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (lives as long as the process)
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    # The interpreter flushes standard output once more at exit; that must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
