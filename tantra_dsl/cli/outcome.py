"""How a command ends: diagnostics, failures of files, interruptions, exit statuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TextIO

from tantra_dsl.diagnostics.core import Diagnostic, SpecError

FINE = 0
MISTAKES = 1
USAGE = 2
INTERRUPTED = 130
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
        return _leave_pipe()
    except OSError as error:
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


def tolerate_narrow_terminals() -> None:
    """Let an output that cannot show a character escape it instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _leave_pipe() -> int:
    # The interpreter flushes standard output once more at exit; that must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
