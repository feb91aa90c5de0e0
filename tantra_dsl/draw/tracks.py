"""Tracks: which sideways pieces of lines lie at which height in the gap between two rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class Piece:
    """A sideways piece in the gap below a row, on a track; pieces with one ``key`` or one ``goal`` may lie together.

    ``ups`` and ``downs``: where it is joined from above and from below.
    """

    key: str
    goal: str
    gap: int
    start: float
    end: float
    ups: tuple[float, ...]
    downs: tuple[float, ...]
    track: int = 0

    @property
    def span(self) -> tuple[float, float]:
        """Its left and its right end."""
        return min(self.start, self.end), max(self.start, self.end)


def assigned(pieces: list[Piece]) -> int:
    """Gives each piece a track so that no two lines lie on each other; how many tracks there are.

    A piece that comes down where another goes down must be above it (Hashimoto and Stevens 1971).
    """
    waiting = list(pieces)
    done: list[Piece] = []
    while waiting:
        free = [p for p in waiting if not any(_must_precede(o, p) for o in waiting if o is not p)]
        piece = min(free or waiting, key=lambda p: (abs(p.end - p.start), p.span))
        waiting.remove(piece)
        least = max((o.track + 1 for o in done if _must_precede(o, piece)), default=0)
        while any(o.track == least and not _together(o, piece) and _overlap(o, piece) for o in done):
            least += 1
        piece.track = least
        done.append(piece)
    return 1 + max(piece.track for piece in pieces)


def _must_precede(upper: Piece, lower: Piece) -> bool:
    return not _together(upper, lower) and any(abs(up - down) < 2 for up in upper.ups for down in lower.downs)


def _together(one: Piece, other: Piece) -> bool:
    return one.key == other.key or (one.goal == other.goal != "")


def _overlap(one: Piece, other: Piece) -> bool:
    return one.span[0] <= other.span[1] + 2 and other.span[0] <= one.span[1] + 2
