"""Weights on disk, read by their headers alone: no tensor library is needed to know what a file holds.

The format is that of safetensors: eight bytes with the header's length, a JSON header with each tensor's type, shape
and place, and the numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST_HEADER = 100_000_000
INDEX = "model.safetensors.index.json"
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class Damaged(Exception):
    """A file that does not hold what its header says, or has none."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def tensors_of(file: Path) -> dict[str, Stored]:
    """The tensors of a file by name. Raises Damaged, and OSError where it cannot be read."""
    size = file.stat().st_size
    with open(file, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(LONGEST_HEADER, size - 8):
            raise Damaged("it has no header")
        header = _parsed(opened.read(length))
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    try:
        _check_places(entries, size - 8 - length)
        return {name: Stored(file, entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Damaged("its header does not describe tensors") from None


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged("its header is not JSON") from None
    if not isinstance(header, dict):
        raise Damaged("its header does not describe tensors")
    return header


def _check_places(entries: Mapping[str, Any], size: int) -> None:
    """Every tensor has the bytes that its shape needs, one after the other, up to the end of the file."""
    end = 0
    for start, stop, needed in sorted(_place(entry) for entry in entries.values()):
        if start != end or stop - start != needed:
            raise Damaged("its tensors do not lie one after the other")
        end = stop
    if end != size:
        raise Damaged(f"it has {size:,} of {end:,} bytes of numbers")


def _place(entry: Mapping[str, Any]) -> tuple[int, int, int]:
    start, stop = entry["data_offsets"]
    shape = entry["shape"]
    if not all(isinstance(number, int) and number >= 0 for number in (start, stop, *shape)):
        raise ValueError
    if entry["dtype"] not in _BYTES:
        raise Damaged(f"it has numbers of type {entry['dtype']}, which are not read")
    return start, stop, math.prod(shape) * _BYTES[entry["dtype"]]


def shards(folder: Path) -> list[Path]:
    """The files of weights in a folder: those that its index lists, or else all. Raises Damaged."""
    index = folder / INDEX
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    names = set(_listed(index))
    if any(Path(name).name != name for name in names):
        raise Damaged(f"{INDEX} names files outside the folder")
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise Damaged(f"{missing[0]} is missing")
    return sorted(folder / name for name in names)


def _listed(index: Path) -> Iterator[str]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(f"{INDEX} is no index of weights") from None
    yield from map(str, found)
