"""Writing that survives a crash: everything is flushed to disk before a rename makes it visible."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.training import CannotWrite, DiskFull, at_path

if TYPE_CHECKING:
    from torch import Tensor


def flush_folder(folder: Path) -> None:
    """Makes the names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, content: bytes) -> None:
    """Writes a file and flushes it; the name becomes durable with ``flush_folder``."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_text(path: Path, text: str) -> None:
    """Replaces the content of ``path``: readers see the old or the new, never a part."""
    beside = path.with_name(f".{path.name}.new")
    write_durably(beside, text.encode())
    os.replace(beside, path)
    flush_folder(path.parent)


_TYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


class Described(Mapping[str, "Tensor"]):
    """Tensors that are made when they are asked for, and told of before."""

    @abstractmethod
    def described(self, path: str) -> Tensor:
        """A tensor of the same shape and type as the one at ``path``, on the device ``meta``."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Writes ``tensors`` in the safetensors format, one at a time, flushed; returns the file's SHA-256.

    The format is written here because its library can neither flush nor report a full disk as such.
    """
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        header = _header(tensors)
        for piece in (len(header).to_bytes(8, "little"), header):
            digest.update(piece)
            file.write(piece)
        for name in sorted(tensors):
            content = _content(tensors[name])
            digest.update(content)
            file.write(content)
            del content  # before the next one is made
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _content(tensor: Tensor) -> memoryview:
    import torch

    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    """The JSON header: type, shape and byte range of each tensor, padded so that the data is aligned to 8 bytes."""
    entries, start = {}, 0
    for name in sorted(tensors):
        tensor = tensors.described(name) if isinstance(tensors, Described) else tensors[name]
        end = start + tensor.numel() * tensor.element_size()
        kind = _TYPES[str(tensor.dtype).removeprefix("torch.")]
        entries[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries).encode()
    return text + b" " * (-len(text) % 8)


def sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turns a refusal of the operating system to write into ``folder`` into a diagnostic.

    R0303 for a full disk, which says how to resume where there is a checkpoint; else R0302.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        path = str(error.filename or folder)
        has_checkpoint = any((folder / "checkpoints").glob("step-*"))
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            full = DiskFull(span=at_path(folder), path=path, resumable=str(folder) if has_checkpoint else "")
            raise SpecError([full]) from None
        reason = (error.strerror or str(error)).lower()
        raise SpecError([CannotWrite(span=at_path(folder), path=path, reason=reason)]) from None
