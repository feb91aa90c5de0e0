"""C01: what cannot be compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tantra_dsl.diagnostics.core import Diagnostic


@dataclass(frozen=True, kw_only=True)
class NotLowered(Diagnostic):
    """C0101: a primitive that the compiler cannot write yet. ``path`` is where the model uses it."""

    code: ClassVar[str] = "C0101"
    op: str
    path: str

    @property
    def title(self) -> str:
        return f"'{self.op}' in {self.path} cannot be compiled yet"

    @property
    def label(self) -> str:
        return "used here"

    @property
    def help(self) -> str:
        return "the spec itself is valid: check, fmt, convert and show work on it"
