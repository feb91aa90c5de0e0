"""Diagnostics of files that cannot be read as a spec (F01xx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tantra_dsl.diagnostics.core import Diagnostic


@dataclass(frozen=True, kw_only=True)
class FileMissing(Diagnostic):
    """No file of that name."""

    code: ClassVar[str] = "F0101"
    path: str

    @property
    def title(self) -> str:
        return f"there is no file {self.path}"


@dataclass(frozen=True, kw_only=True)
class NotAFile(Diagnostic):
    """A directory, a device, a pipe: anything but a plain file."""

    code: ClassVar[str] = "F0102"
    path: str
    what: str

    @property
    def title(self) -> str:
        return f"{self.path} is {self.what}, not a spec file"

    @property
    def help(self) -> str:
        return "give the path of a .tantra or .yaml file"


@dataclass(frozen=True, kw_only=True)
class FileTooLarge(Diagnostic):
    """More bytes than a spec may have."""

    code: ClassVar[str] = "F0103"
    path: str
    size: int
    limit: int

    @property
    def title(self) -> str:
        return f"{self.path} has {self.size / 1e6:.1f} MB; a spec has at most {self.limit / 1e6:.0f} MB"

    @property
    def help(self) -> str:
        return "specs are small; is this a data file?"


@dataclass(frozen=True, kw_only=True)
class NotUtf8(Diagnostic):
    """Bytes that are not UTF-8; the span points at the first of them in the decodable text."""

    code: ClassVar[str] = "F0104"
    byte: int
    offset: int

    @property
    def title(self) -> str:
        return f"not UTF-8 text: byte 0x{self.byte:02x} at offset {self.offset}"

    @property
    def help(self) -> str:
        return "save the file as UTF-8"


@dataclass(frozen=True, kw_only=True)
class FileUnreadable(Diagnostic):
    """The operating system refuses to give the file's contents."""

    code: ClassVar[str] = "F0105"
    path: str
    reason: str

    @property
    def title(self) -> str:
        return f"cannot read {self.path}: {self.reason}"


__all__ = ["FileMissing", "FileTooLarge", "FileUnreadable", "NotAFile", "NotUtf8"]
