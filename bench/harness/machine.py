"""Where and with what a benchmark ran."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def chip() -> str:
    """The processor's model name, as the kernel tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] != "unknown" else platform.processor() or platform.machine()


def chip_flags() -> list[str]:
    """The instruction sets that decide how fast low precision is."""
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return sorted(words & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile"})


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions, ``missing`` where a package is not installed."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def facts(packages: Sequence[str]) -> dict[str, object]:
    """Date, machine and versions for the head of a result. Load is the machine's as the run ends."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "chip": chip(),
        "chip_flags": chip_flags(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions(packages),
    }
