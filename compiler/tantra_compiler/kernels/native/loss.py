"""The loss of rows of scores and their gradient as a kernel in C: what a linear layer's loss calls on CPUs."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tantra_compiler.kernels.native.formula import CFormula
from tantra_compiler.kernels.native.toolchain import addresses, function, typed_source
from tantra_dsl.scalars.derivative import derivative
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Scalar


def row_losses(
    scores: Tensor, classes: Tensor, kept: Tensor, text: str, smoothing: float, z_loss: float, taught: bool
) -> Tensor | None:
    """The loss of each row of ``scores`` [rows, classes], 0 where it is not ``kept``; float32 [rows].

    The scores go through the function of one variable that ``text`` describes first. Where ``taught``, they become the
    gradient of the sum of all losses. None where there is no kernel, or a class that no row has.
    """
    kernel = _kernel(text, scores.dtype)
    if kernel is None or not scores.is_contiguous() or not _are_classes(classes, scores.shape[1]):
        return None
    losses = scores.new_empty(len(scores), dtype=torch.float32)
    tensors = [scores, classes.contiguous(), kept.contiguous(), losses]
    settings = (ctypes.c_float * 2)(smoothing, z_loss)
    kernel(addresses(tensors), settings, *scores.shape, taught, torch.get_num_threads())
    return losses


def _are_classes(classes: Tensor, count: int) -> bool:
    """Whether all may be looked up; torch says what is wrong with others."""
    if not classes.numel():
        return True
    least, most = torch.aminmax(classes)
    return classes.dtype == torch.int64 and int(least) >= 0 and int(most) < count


@cache
def _kernel(text: str, dtype: torch.dtype) -> Any:
    loop = typed_source("loss.c", (("S", dtype),))
    if loop is None:
        return None
    body = parse_scalar(text.partition(": ")[2])
    functions = _inline("value", body) + _inline("slope", derivative(body, "x0"))
    return function(functions + loop, "loss", ctypes.c_int64, ctypes.c_int64, ctypes.c_int, ctypes.c_int)


def _inline(name: str, body: Scalar) -> str:
    formula = CFormula()
    result = formula.name(body)
    steps = "".join(f"    {line}\n" for line in formula.lines)
    return f"static inline f32 {name}(f32 x0) {{\n{steps}    return {result};\n}}\n\n"
