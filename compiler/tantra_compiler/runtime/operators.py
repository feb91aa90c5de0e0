"""Where registered operators live, and when one pays."""

from __future__ import annotations

import importlib
import re
import warnings
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

_SMALLEST_FUSED = 2**15
"""Numbers from which on an operator of our own, some 10 us, costs less than the passes over memory that it saves."""


def operator_namespace(module: str) -> str:
    """``tantra``; a copy of the runtime in another ``module`` registers operators of its own."""
    return "tantra" if module.startswith("tantra_compiler.") else "tantra_" + re.sub(r"\W", "_", module)


def fused_pays(x: Tensor, *others: Tensor | None) -> bool:
    """Whether to run a fused operator on ``x`` and ``others`` rather than the plain formula.

    Not under torch.compile and torch.export, which fuse what they see; nor under torch.func's transformations, nor for
    sharded and other tensors of their own kind, which know torch's functions only.
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or x.numel() < _SMALLEST_FUSED:
        return False
    plain = all(type(each) in PLAIN_TENSORS for each in (x, *others) if each is not None)
    return plain and not torch._C._are_functorch_transforms_active()


PLAIN_TENSORS = (Tensor, nn.Parameter)
"""Sharded and other tensors of their own kind know torch's functions only."""


@lru_cache(maxsize=256)
def native_kernels(name: str) -> Any:
    """The module ``name`` of kernels in C for CPUs; None in a model that stands alone, which leaves torch the work."""
    if not __name__.startswith("tantra_compiler."):
        return None
    return importlib.import_module(f"tantra_compiler.kernels.native.{name}")


@lru_cache(maxsize=256)
def triton_kernels(name: str, text: str, device: str, what: str) -> Any:
    """The module ``name`` of Triton kernels made from ``text``; None, with a warning about ``what``, if none builds."""
    try:
        kernels = importlib.import_module(f"tantra_compiler.kernels.fused.{name}")
        reason = kernels.obstacle(text, device)
    except ImportError as error:
        reason = str(error)
    if reason is not None:
        warnings.warn(f"{what} runs without its kernel, which is slow: {reason}", stacklevel=2)
    return None if reason is not None else kernels
