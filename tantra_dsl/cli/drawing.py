"""``tantra show --format``: a model as a diagram or as a page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tantra_dsl.cli.outcome import FINE

if TYPE_CHECKING:
    from tantra_dsl.api import Spec

FORMS = ("svg", "html", "dot")


def draw(
    spec: str, sets: Sequence[str], form: str, output: Path | None, *, seq: int | None = None, batch: int = 1
) -> int:
    """Draw ``spec`` in one of ``FORMS``; the exit status. The lengths are those of the costs that a page tells."""
    import tantra_dsl

    loaded = tantra_dsl.load(spec, sets=sets)
    write(drawing(loaded, form, seq=seq, batch=batch), output)
    return FINE


def drawing(spec: Spec, form: str, *, seq: int | None = None, batch: int = 1) -> str:
    """A spec in one of ``FORMS``. Raises SpecError."""
    if form == "html":
        from tantra_dsl.draw.page import page

        return page(spec, seq=seq, batch=batch)
    from tantra_dsl.draw import dot, picture, svg

    drawn = picture(spec.graph())
    return svg(drawn) if form == "svg" else dot(drawn)


def write(said: str, output: Path | None) -> None:
    """Write a drawing to ``output``, or to standard output. Raises OSError."""
    if output is None:
        sys.stdout.write(said)
        return
    from tantra_dsl.cli.rewrite import write_text

    write_text(said, output)
