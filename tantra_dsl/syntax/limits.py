"""How much one source may hold, so that reading anything ends soon."""

from __future__ import annotations

from tantra_dsl.diagnostics.core import Diagnostic, Sink

MAX_DEPTH = 200  # brackets in brackets
MAX_TREE_DEPTH = 120  # nodes in nodes: whoever walks a tree may recurse, at up to eight frames a level
MAX_STATES = 2000  # of the automaton's stack
MAX_MISTAKES = 100  # in one source; reading stops there


class TooManyMistakes(Exception):
    """Raised by a capped sink; the reader that made the sink catches it."""


class CappedSink(Sink):
    """Passes diagnostics on to ``sink``, at most ``MAX_MISTAKES`` of them."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink

    def add(self, diagnostic: Diagnostic) -> None:
        """Pass ``diagnostic`` on; raises TooManyMistakes after the last that is wanted."""
        super().add(diagnostic)
        self.sink.add(diagnostic)
        if len(self.items) >= MAX_MISTAKES:
            raise TooManyMistakes


__all__ = ["MAX_DEPTH", "MAX_MISTAKES", "MAX_STATES", "MAX_TREE_DEPTH", "CappedSink", "TooManyMistakes"]
