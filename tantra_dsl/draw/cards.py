"""How large a box must be for its text, and where in it each line of the text stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from tantra_dsl.draw.measure import text_width, wrapped
from tantra_dsl.draw.picture import Box, Frame

TITLE: Final = 13.0
LINE: Final = 11.5
PAD: Final = 12.0
WIDEST: Final = 268.0
NARROWEST: Final = 64.0
JOIN: Final = 22.0
_LEAD: Final = 15.0
_TITLE_LEAD: Final = 17.0
_THIN: Final = 23.0

PILLS: Final = ("input", "tap")
STRETCHED: Final = ("mixer", "channel", "table", "norm", "objective")


@dataclass(frozen=True, slots=True)
class Text:
    """One line: its words, how far its baseline is below the top of the box, and how it is set."""

    said: str
    down: float
    size: float
    bold: bool

    @property
    def width(self) -> float:
        """At most how wide it is."""
        return text_width(self.said, self.size, bold=self.bold)


@dataclass(frozen=True, slots=True)
class Card:
    """A box's text and the room that it needs."""

    texts: tuple[Text, ...]
    width: float
    height: float


def card(box: Box) -> Card:
    """The card of a box as wide as its text."""
    if box.kind == "join" and len(box.title) == 1:
        return Card((Text(box.title, 16.5, 17.0, False),), JOIN, JOIN)
    if is_thin(box):
        return _thin(box)
    return _full(box.title, box.lines, 3)


def is_thin(box: Box) -> bool:
    """Whether a box has one line, in the size of remarks."""
    return not box.lines and box.kind in ("norm", "op", "scale", "join", "tap")


def head(frame: Frame, width: float = WIDEST) -> Card:
    """The strip at the top of a frame."""
    return _full(frame.title, frame.lines, 4, width)


def _thin(box: Box) -> Card:
    said = wrapped(box.title, LINE, WIDEST - 2 * PAD, most=2)
    texts = tuple(Text(line, 15.5 + _LEAD * place, LINE, False) for place, line in enumerate(said))
    return Card(texts, _room(texts), _THIN + _LEAD * (len(said) - 1))


def _full(title: str, lines: tuple[str, ...], most: int, width: float = WIDEST) -> Card:
    titles = wrapped(title, TITLE, width - 2 * PAD, bold=True, most=2)
    texts = [Text(line, 19.0 + _TITLE_LEAD * place, TITLE, True) for place, line in enumerate(titles)]
    down = 19.0 + _TITLE_LEAD * (len(titles) - 1)
    for line in lines:
        for said in wrapped(line, LINE, width - 2 * PAD, most=most):
            down += _LEAD
            texts.append(Text(said, down, LINE, False))
    return Card(tuple(texts), _room(texts), down + 9.0)


def _room(texts: list[Text] | tuple[Text, ...]) -> float:
    """A width in whole pixels to both sides of the middle."""
    wide = max((text.width for text in texts), default=0.0) + 2 * PAD
    return max(NARROWEST, 2.0 * math.ceil(wide / 2))
