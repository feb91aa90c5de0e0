"""Kernels in C for CPUs: built once by the machine's own compiler, kept, and called with addresses."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from tantra_compiler.compile import cache_folder

_FLAGS: Final = (
    "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-w",
    "-shared", "-fPIC",
)  # fmt: skip
_LIBRARIES: Final = ("-lmvec", "-lm")
_LONGEST: Final = 120
"""Seconds that a build may take."""

CODES: Final = {torch.float32: "f32", torch.bfloat16: "bf16"}
"""What the types are called in C that kernels read and write; they compute in float32."""


class NoToolchain(RuntimeError):
    """Kernels in C cannot be built here; the message says why."""


def prelude() -> str:
    """What every source begins with."""
    return (Path(__file__).parent / "prelude.h").read_text(encoding="utf-8")


@cache
def library(source: str) -> ctypes.CDLL:
    """The functions of ``prelude() + source``, built unless an earlier run has. Raises NoToolchain where that fails."""
    text = prelude() + source
    command = _command()
    digest = hashlib.blake2b("\0".join([text, *command, _processor()]).encode(), digest_size=12).hexdigest()
    try:
        path = cache_folder().parent / "native" / f"kernel_{digest}.so"
        if not path.exists():
            _build(text, command, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        raise NoToolchain(f"the kernel cannot be built or loaded: {error}") from error


def _command() -> list[str]:
    chosen = shlex.split(os.environ.get("CC", "")) or ["gcc"]
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise NoToolchain("kernels in C are built for Linux on x86-64")
    if shutil.which(chosen[0]) is None:
        raise NoToolchain(f"there is no C compiler called {chosen[0]}")
    return [*chosen, *_FLAGS]


@cache
def _processor() -> str:
    """What the processor is and can do: what is built for one may not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines if line.startswith(("vendor_id", "cpu family", "model", "flags")))


def _build(text: str, command: list[str], path: Path) -> None:
    """Built beside and renamed, so that many processes can build one at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source, made = Path(folder) / "kernel.c", Path(folder) / "kernel.so"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [*command, "-o", str(made), str(source), *_LIBRARIES],
            capture_output=True, text=True, errors="replace", timeout=_LONGEST, check=False,
        )  # fmt: skip
        if done.returncode:
            raise NoToolchain(f"{command[0]}: {_first_error(done.stderr)}")
        os.replace(made, path)


def _first_error(output: str) -> str:
    lines = output.splitlines()
    return next((line for line in lines if "error" in line), lines[0] if lines else "no message")


def function(source: str, name: str, *rest: Any) -> Any:
    """``name`` of ``library(source)``, which takes two addresses and then ``rest``; None where it cannot be built.

    Torch's own passes are no worse then than they were, so that only the log tells.
    """
    try:
        found = getattr(library(source), name)
    except NoToolchain as error:
        logging.getLogger(__name__).info("torch's own passes do the work of a kernel in C: %s", error)
        return None
    found.restype, found.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, *rest]
    return found


def obstacle() -> str | None:
    """Why kernels in C cannot be built here, or None. Builds an empty one."""
    try:
        library("")
    except NoToolchain as error:
        return str(error)
    return None


def typed_source(file: str, types: Sequence[tuple[str, torch.dtype]]) -> str | None:
    """``file`` of this folder with its types by their letters; None where one of them is none of ``CODES``."""
    if not all(dtype in CODES for _, dtype in types):
        return None
    defined = "".join(f"#define {letter} {CODES[dtype]}\n" for letter, dtype in types)
    return defined + (Path(__file__).parent / file).read_text(encoding="utf-8")


def addresses(tensors: Sequence[Tensor | None]) -> Any:
    """Where tensors begin, as the array that kernels take; nowhere for None."""
    places = (None if tensor is None else tensor.data_ptr() for tensor in tensors)
    return (ctypes.c_void_p * len(tensors))(*places)


def numbers(values: Sequence[int]) -> Any:
    """Whole numbers, as the array that kernels take."""
    return (ctypes.c_int64 * len(values))(*values)


def vector(given: Tensor | None, like: Tensor, otherwise: float) -> Tensor:
    """``given`` as kernels read it, or as many of a number as ``like`` has columns."""
    if given is None:
        return torch.full(like.shape[-1:], otherwise)
    return given.detach().to(torch.float32).contiguous()


def rows_of_task(rows: int) -> int:
    """Over how many rows one task sums gradients: few, since float32 adds them, but not so that there are many sums."""
    return max(_FEWEST_ROWS, -(-rows // _MOST_TASKS))


_FEWEST_ROWS, _MOST_TASKS = 64, 256
