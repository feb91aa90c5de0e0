"""L: models in which a position sees what it is asked to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tantra_dsl.diagnostics.core import Diagnostic, Note
from tantra_dsl.syntax.source import Span


@dataclass(frozen=True, kw_only=True)
class LeakThrough(Diagnostic):
    """Base of L0101 to L0104: a sublayer that hands later tokens to earlier positions.

    ``path`` names the sublayer, ``reason`` says what it lets position t see, ``others`` counts further layers with the
    same sublayer, and ``target`` says what position t must predict.
    """

    path: str
    reason: str
    target: str
    advice: str
    others: int = 0
    objective: Span | None = None

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"{self.path} leaks the target: {self.reason}"

    @property
    def label(self) -> str:
        """What stands under the caret."""
        return "later tokens come in here"

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the objective asks for, and where else this happens."""
        notes = [Note(self.target, self.objective)]
        if self.others:
            notes.append(Note(f"so do {self.others} other layers" if self.others > 1 else "so does one other layer"))
        return tuple(notes)

    @property
    def help(self) -> str:
        """What to do."""
        return self.advice


@dataclass(frozen=True, kw_only=True)
class LeakThroughAttention(LeakThrough):
    """L0101: an attention whose mask lets a query see later keys."""

    code: ClassVar[str] = "L0101"


@dataclass(frozen=True, kw_only=True)
class LeakThroughConvolution(LeakThrough):
    """L0102: a convolution that reads on both sides."""

    code: ClassVar[str] = "L0102"


@dataclass(frozen=True, kw_only=True)
class LeakOverTime(LeakThrough):
    """L0103: a pooling, softmax, normalisation, product or choice over the whole time axis."""

    code: ClassVar[str] = "L0103"


@dataclass(frozen=True, kw_only=True)
class LeakThroughShift(LeakThrough):
    """L0104: a shift, slice or patch that brings later positions forward."""

    code: ClassVar[str] = "L0104"


@dataclass(frozen=True, kw_only=True)
class TargetAlreadySeen(Diagnostic):
    """L0105: an objective whose target is not ahead of what the position has read."""

    code: ClassVar[str] = "L0105"
    input: str
    offset: int
    advice: str

    @property
    def title(self) -> str:
        """What is wrong."""
        token = "its own token" if self.offset == 0 else f"the token {_places(-self.offset)} before it"
        return f"the target of position t is {token}, which position t has read"

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the proof needs."""
        return (Note(f"a next-token target is {self.input}[t + 1]; this one is {self.input}[{_index(self.offset)}]"),)

    @property
    def help(self) -> str:
        """What to do."""
        return self.advice


def _places(count: int) -> str:
    return "one place" if count == 1 else f"{count} places"


def _index(offset: int) -> str:
    return "t" if offset == 0 else f"t + {offset}" if offset > 0 else f"t - {-offset}"
