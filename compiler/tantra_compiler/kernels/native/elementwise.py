"""Elementwise functions of the language as kernels in C: what their operator calls on CPUs.

One loop reads every variable once and writes the value, or the value and all gradients; the slopes are derived from
the function's text and share its steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import Enum, auto
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from tantra_compiler.kernels.native.formula import CFormula
from tantra_compiler.kernels.native.toolchain import CODES, addresses, function, numbers
from tantra_compiler.runtime.elementwise import as_rows, gradient_places, like_result, summed_gradients, variables
from tantra_dsl.scalars.derivative import derivative, times
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Scalar, Var

_LOOP: Final = """
void kernel(void *const *at, const int64_t *row_stride, int64_t rows, int64_t width, int threads) {{
    const int64_t spans = (width + {span} - 1) / {span};
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < rows * spans; task++) {{
        const int64_t row = task / spans, begin = task % spans * {span}, end = least(begin + {span}, width);
{pointers}
        #pragma omp simd
        for (int64_t i = begin; i < end; i++) {{
{steps}
        }}
    }}
}}
"""
_SPAN: Final = 4096
"""Numbers of a row that a thread takes at once."""


class Results(Enum):
    """What a kernel writes."""

    VALUE = auto()
    GRADIENTS = auto()
    BOTH = auto()


Kinds = tuple[tuple[str, int], ...]
"""Of each tensor its type in C and the stride of its columns, 0 or 1."""


def forward(operands: list[Tensor], width: int, text: str) -> Tensor | None:
    """``runtime.elementwise.mapped_reference`` of these operands; None where there is no kernel for them."""
    found = variables(operands, width)
    out = like_result(operands, width)
    inputs = [as_rows(each, out.shape) for each in found]
    return out if _run(text, Results.VALUE, [as_rows(out, out.shape)], inputs) else None


def backward(value: Tensor | None, grad: Tensor, operands: list[Tensor], width: int, text: str) -> list[Tensor] | None:
    """The gradients of ``operands``; ``value`` becomes the function's value, where ``grad`` may have lain.

    None where there is no kernel for them, and then nothing was written.
    """
    found = variables(operands, width)
    wholes, places = gradient_places(operands, width, grad.shape)
    written = [as_rows(each, grad.shape) for each in ([] if value is None else [value]) + places]
    read = [as_rows(each, grad.shape) for each in (grad, *found)]
    results = Results.GRADIENTS if value is None else Results.BOTH
    return summed_gradients(operands, wholes) if _run(text, results, written, read) else None


def _run(text: str, wanted: Results, written: list[Tensor], read: list[Tensor]) -> bool:
    """Whether a kernel did the work."""
    tensors = _flat([*written, *read])
    if not all(each.dtype in CODES for each in tensors):
        return False
    kernel = _kernel(text, wanted, tuple(map(_kind, tensors)))
    if kernel is None:
        return False
    rows, width = tensors[0].shape
    strides = numbers([each.stride(0) for each in tensors])
    kernel(addresses(tensors), strides, rows, width, torch.get_num_threads())
    return True


def _kind(rows: Tensor) -> tuple[str, int]:
    return CODES[rows.dtype], rows.stride(1) if rows.shape[1] > 1 else 1


def _flat(tensors: list[Tensor]) -> list[Tensor]:
    """One row of everything, where all lie without gaps: short rows would leave vectors half empty."""
    if all(each.is_contiguous() for each in tensors):
        return [each.view(1, each.numel()) for each in tensors]
    return tensors


@cache
def _kernel(text: str, wanted: Results, kinds: Kinds) -> Any:
    return function(source(text, wanted, kinds), "kernel", ctypes.c_int64, ctypes.c_int64, ctypes.c_int)


def source(text: str, wanted: Results, kinds: Kinds) -> str:
    """The loop of a function that an emitted module describes by ``text``, over the tensors that ``kinds`` tells of.

    What is written comes first, the value and then the gradients; then what is read, the value's gradient first.
    """
    count, _, described = text.partition(": ")
    names = [f"x{number}" for number in range(int(count))]
    body = parse_scalar(described)
    results: dict[str, Scalar] = {} if wanted is Results.GRADIENTS else {"value": body}
    read = names
    if wanted is not Results.VALUE:
        results |= {f"d{x}": times(Var("grad"), derivative(body, x)) for x in names}
        read = ["grad", *names]
    formula = CFormula()
    made = {name: formula.name(each) for name, each in results.items()}
    places = dict(zip([*results, *read], kinds, strict=True))
    steps = [f"const f32 {x} = FROM({places[x][0]}, {x}_at[{_column(places[x])}]);" for x in read]
    steps += formula.lines
    steps += [f"{name}_at[i] = TO({places[name][0]}, {value});" for name, value in made.items()]
    pointers = [
        f"{'' if name in results else 'const '}{code} *{name}_at = ({code} *)at[{number}] + row * row_stride[{number}];"
        for number, (name, (code, _)) in enumerate(places.items())
    ]
    return _LOOP.format(span=_SPAN, pointers=_lines(pointers, 8), steps=_lines(steps, 12))


def _column(kind: tuple[str, int]) -> str:
    return "i" if kind[1] else "0"


def _lines(lines: Sequence[str], indent: int) -> str:
    return "\n".join(" " * indent + line for line in lines)
