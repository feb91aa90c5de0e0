"""The ``tantra`` command: thin commands over the public API.

Exit status: 0 fine, 1 diagnostics or a file that cannot be read or written, 2 wrong usage,
70 a fault of tantra itself, 130 interrupted, 141 the reader of the output went away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

INTERNAL_FAULT = 70
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``arguments`` (those of the process by default) and return the exit status."""
    # Threads that spin while they wait for each other are ten times slower where other programs want the cores, too.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # while still importing; commands have a say of their own
        return INTERRUPTED
    except Exception as fault:
        if os.environ.get("TANTRA_TRACEBACK"):
            raise
        return _internal_fault(fault)


def _dispatch(arguments: list[str]) -> int:
    from tantra_dsl.cli import check
    from tantra_dsl.cli.outcome import guarded, prepare_streams

    prepare_streams()
    plain = check.parse(arguments[1:]) if arguments[:1] == ["check"] else None
    if plain is not None:
        return guarded(lambda: check.run(plain))
    if arguments[:1] == ["diff"]:
        from tantra_dsl.cli import comparing

        request = comparing.parse(arguments[1:])
        if request is not None:
            return guarded(lambda: comparing.run(request))
    from tantra_dsl.cli.app import run

    return run(arguments)


def _internal_fault(fault: Exception) -> int:
    print(f"internal error: {type(fault).__name__}: {fault}", file=sys.stderr)
    print("this is a fault of tantra, not of the spec; TANTRA_TRACEBACK=1 shows where", file=sys.stderr)
    return INTERNAL_FAULT


__all__ = ["main"]
