"""Building one kernel without a GPU, and reading from the binary what it takes of one."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

POINTERS = dict.fromkeys(("lse", "dlse", "level", "delta", "sink", "parts", "part_level"), "*fp32")


@dataclass(frozen=True)
class Resources:
    """Registers of a thread, bytes of stack that it spills to, bytes of shared memory of a program."""

    registers: int
    spills: int
    shared: int


def gpu_target(name: str) -> GPUTarget:
    """The compiler's name of a target like "sm_90" or "gfx942"."""
    if name.startswith("sm_"):
        return GPUTarget("cuda", int(name[3:]), 32)
    return GPUTarget("hip", name, 64)


def build_kernel(
    kernel: Any,
    target: str,
    dtype: str,
    constants: dict[str, Any],
    captures: tuple[str, ...],
    warps: int,
    stages: int,
    pointers: Mapping[str, str] = POINTERS,
) -> Any:
    """The compiled kernel, for 16-byte aligned tensors of ``dtype`` ("bf16", ...); constants as in a launch.

    ``pointers`` says what the others point to.
    """
    signature: dict[str, Any] = {}
    constexprs: dict[Any, Any] = {}
    attributes: dict[Any, Any] = {}
    for i, parameter in enumerate(kernel.params):
        name = parameter.name
        given = constants.get(name)
        if parameter.is_constexpr:
            signature[name], constexprs[(i,)] = "constexpr", given
        elif name == "captures":
            signature[name] = captures
        elif isinstance(given, tuple):  # a tuple of types, or of functions
            signature[name] = tuple(x if isinstance(x, str) else "constexpr" for x in given)
            constexprs.update({(i, j): x for j, x in enumerate(given) if not isinstance(x, str)})
        elif parameter.annotation_type:
            signature[name] = parameter.annotation_type
        else:
            signature[name] = pointers.get(name, f"*{dtype}")
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constexprs, attributes)
    return triton.compile(source, target=gpu_target(target), options={"num_warps": warps, "num_stages": stages})


def resources(compiled: Any) -> Resources:
    """What a compiled kernel takes."""
    if "cubin" in compiled.asm:
        registers, spills = cuda_usage(compiled.asm["cubin"])
    else:
        registers, spills = amd_usage(compiled.asm["amdgcn"])
    return Resources(registers, spills, int(compiled.metadata.shared))


def cuda_usage(cubin: bytes) -> tuple[int, int]:
    """Registers and bytes of stack, as the tool that triton brings reads them."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([str(tool), "-res-usage", file.name], capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", done.stdout + done.stderr)
    assert found is not None, done.stdout + done.stderr
    return int(found[1]), int(found[2])


def amd_usage(assembly: str) -> tuple[int, int]:
    """Vector registers, those for accumulation among them, and bytes of scratch memory."""

    def number(field: str) -> int:
        found = re.search(rf"\.{field}:\s+(\d+)", assembly)
        return int(found[1]) if found else 0

    return number("vgpr_count"), number("private_segment_fixed_size")
