"""What a diagnostic is, and the sink that collects them.

One small frozen class per code: typed fields, with title, label, notes and help made from them.
Codes are stable: S = syntax, N = names, T = types and shapes, K = keys, M = masks, scores and
functions, L = leaks, R = recipe and training, F = files, E = expectations, W = weights that migrate,
C = compiling.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tantra_dsl.syntax.source import Span


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """Base of every diagnostic.

    Subclasses set ``code`` and override ``title`` (what is wrong), and where they help ``label``
    (said under the caret), ``notes`` (why; each with an optional span) and ``help`` (what to do).
    Messages are lowercase and without a full stop.
    """

    code: ClassVar[str]
    severity: ClassVar[Literal["error", "warning"]] = "error"
    span: Span

    @property
    def title(self) -> str:
        """One line: what is wrong."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What is said under the caret."""
        return ""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Why: facts with their places."""
        return ()

    @property
    def help(self) -> str:
        """What to do."""
        return ""


@dataclass(frozen=True)
class Note:
    """A fact behind a diagnostic, with the place that it comes from."""

    text: str
    span: Span | None = None


@dataclass
class Sink:
    """Collects diagnostics; the same mistake at the same place is kept once."""

    items: list[Diagnostic] = field(default_factory=list)
    _seen: set[tuple[str, int, int, int, str]] = field(default_factory=set)

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep ``diagnostic`` unless an equal one (code, place, title) is here."""
        span = diagnostic.span
        key = (diagnostic.code, id(span.source), span.start, span.end, diagnostic.title)
        if key not in self._seen:
            self._seen.add(key)
            self.items.append(diagnostic)

    @property
    def errors(self) -> list[Diagnostic]:
        """Those that make the spec invalid."""
        return [item for item in self.items if item.severity == "error"]

    def sorted(self) -> list[Diagnostic]:
        """All, by file and position."""
        return sorted(self.items, key=lambda item: (item.span.source.name, item.span.start, item.code))

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self.items)


class SpecError(Exception):
    """Raised by the public API when a spec has mistakes; holds all of them."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = list(diagnostics)
        lines = [f"{d.span.location}: error[{d.code}]: {d.title}" for d in self.diagnostics]
        super().__init__("\n".join(lines))


def nearest(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """The valid names closest to ``name``, best first, at most ``limit``."""
    return difflib.get_close_matches(name, sorted(set(candidates)), n=limit, cutoff=0.6)


def one_of(names: Iterable[str]) -> str:
    """``a, b or c``."""
    listed = list(names)
    if len(listed) <= 1:
        return "".join(listed)
    return ", ".join(listed[:-1]) + " or " + listed[-1]
