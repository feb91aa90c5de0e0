"""Diagnostics of specs read from git (F03xx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tantra_dsl.diagnostics.core import Diagnostic


@dataclass(frozen=True, kw_only=True)
class NotARevision(Diagnostic):
    """What stands before the colon names no commit."""

    code: ClassVar[str] = "F0301"
    revision: str

    @property
    def title(self) -> str:
        return f"`{self.revision}` is not a git revision here"

    @property
    def help(self) -> str:
        return "name a commit, a branch or a tag before the colon, such as HEAD~1:specs/gpt2.tantra"


@dataclass(frozen=True, kw_only=True)
class NotInRevision(Diagnostic):
    """The revision holds no file of that name."""

    code: ClassVar[str] = "F0302"
    revision: str
    path: str

    @property
    def title(self) -> str:
        return f"revision {self.revision} has no file {self.path}"

    @property
    def help(self) -> str:
        return "paths count from the top of the repository; begin with ./ to count from this folder"


@dataclass(frozen=True, kw_only=True)
class NoRepository(Diagnostic):
    """Git cannot be asked: it is not installed, or this is no repository."""

    code: ClassVar[str] = "F0303"
    reason: str

    @property
    def title(self) -> str:
        return f"cannot read from git: {self.reason}"


__all__ = ["NoRepository", "NotARevision", "NotInRevision"]
