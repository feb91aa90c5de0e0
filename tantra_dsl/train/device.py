"""Where and in which precision a model trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch


def pick_device(name: str) -> torch.device:
    """``auto``: a GPU where there is one, else the CPU. Raises ValueError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device '{name}' is not there")
    return device


def pick_precision(asked: str, device: torch.device) -> Literal["float32", "bfloat16"]:
    """The precision of a recipe on ``device``; ``auto`` takes bfloat16 where the chip multiplies it in hardware."""
    if asked != "auto":
        return "float32" if asked == "float32" else "bfloat16"
    return "bfloat16" if _has_bfloat16(device) else "float32"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def cpu_flags() -> frozenset[str]:
    """Feature flags of the CPU (Linux; elsewhere none are known)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(found, "").split())


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Context of the forward pass."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Random state of its own, and tiny numbers flushed to zero (they slow CPUs down); both put back at the end."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    torch.set_flush_denormal(True)
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        torch.set_flush_denormal(False)
