"""Fenced examples of Markdown pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<ticks>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=ticks)\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """One fence: its language, the words after it (``file=x.tantra``), its text and its line on the page."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int

    def option(self, name: str) -> str | None:
        """The value of ``name=value`` among the words, or None."""
        return next((word.split("=", 1)[1] for word in self.words if word.startswith(f"{name}=")), None)


def examples(page: Path) -> list[Example]:
    """The fences of ``page``, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        found.append(Example(language, tuple(words), match["text"], text.count("\n", 0, match.start()) + 1))
    return found
