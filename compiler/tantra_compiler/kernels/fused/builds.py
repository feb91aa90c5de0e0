"""What can be built ahead of time of the kernels around attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tantra_compiler.kernels.attention.resources import Resources, build_kernel, resources


@dataclass(frozen=True)
class KernelBuild:
    """One configuration of a kernel: tensors of ``dtype`` ("bf16", "fp16", "fp32"), and its constants as in a launch.

    ``pointers`` says what other parameters point to, as in ``{"scale": "*fp32"}``.
    """

    name: str
    kernel: Any
    dtype: str
    constants: Mapping[str, Any]
    warps: int
    stages: int = 1
    pointers: Mapping[str, str] = field(default_factory=dict)

    def built(self, target: str) -> Resources:
        """What it takes of a target such as "sm_90"; raises whatever Triton raises where it does not build."""
        constants = dict(self.constants)
        return resources(
            build_kernel(self.kernel, target, self.dtype, constants, (), self.warps, self.stages, self.pointers)
        )
