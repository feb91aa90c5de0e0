"""What a run shows while it lasts: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True)
class Status:
    """Figures of one moment: steps done of all, losses in nats, learning rate, speed, and seconds left."""

    step: int
    total: int
    loss: float
    validation_loss: float | None
    lr: float
    tokens_per_second: float
    seconds_left: float

    def line(self) -> str:
        """The status in one line."""
        held = "" if self.validation_loss is None else f"  validation {self.validation_loss:.4f}"
        speed = f"{self.tokens_per_second:,.0f} tokens/s"
        width = len(str(self.total))
        head = f"step {self.step:>{width}}/{self.total}  loss {self.loss:.4f}{held}"
        return f"{head}  lr {self.lr:.2e}  {speed}  {clock(self.seconds_left)} left"


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Shows statuses on ``stream``; without a terminal only every ``every`` steps and at the end."""

    def __init__(self, stream: TextIO | None, every: int) -> None:
        self._stream = stream
        self._every = every
        self._live = stream is not None and stream.isatty()
        self._dirty = False

    def show(self, status: Status, last: bool = False) -> None:
        """Replaces the live line, or prints a plain one when it is time."""
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._put(f"\r\x1b[K{status.line()[:width]}")
            self._dirty = True
        elif status.step % self._every == 0 or last:
            self._put(status.line() + "\n")

    def say(self, text: str) -> None:
        """Prints lines that stay, below the live line."""
        self._put(("\n" if self._dirty else "") + text + "\n")
        self._dirty = False

    def end(self) -> None:
        """Leaves the live line as it is."""
        if self._dirty:
            self._put("\n")
        self._dirty = False

    def _put(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()
