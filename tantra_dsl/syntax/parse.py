"""Sources to trees, whichever way they are written."""

from __future__ import annotations

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.source import Source
from tantra_dsl.syntax.text import parse_text
from tantra_dsl.syntax.tree import File


def parse_source(source: Source, sink: Sink) -> File | None:
    """The tree of a source, by its language; None where part of it could not be read."""
    if source.language == "yaml":
        from tantra_dsl.syntax.yaml import parse_yaml

        return parse_yaml(source, sink)
    return parse_text(source, sink)


__all__ = ["parse_source"]
