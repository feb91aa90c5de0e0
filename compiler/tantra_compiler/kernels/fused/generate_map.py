"""Elementwise functions of the language as Triton kernels: the source of a file that holds both directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tantra_compiler.kernels.formula import RealFormula
from tantra_dsl.scalars.derivative import derivative, times
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Var

_FILE: Final = '''\
"""An elementwise function and its gradients, generated from its text."""

import triton
import triton.language as tl

from tantra_compiler.kernels.arithmetic import power, sigmoid, softplus, tanh


@triton.jit
def value_kernel(value, {pointers}, rows: tl.int64, {strides}, {columns},
                 WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    inside = (row < rows) & (column < WIDTH)
{loads}
    tl.store(value + row * WIDTH + column, {body}, mask=inside)


@triton.jit
def gradient_kernel(value, {grads}, grad, {pointers}, rows: tl.int64, grad_row: tl.int64, {grad_strides}, {strides},
                    {columns},
                    WITH_VALUE: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    inside = (row < rows) & (column < WIDTH)
{loads}
    slope = tl.load(grad + row * grad_row + column, mask=inside, other=0.0).to(tl.float32)
    if WITH_VALUE:
        tl.store(value + row * WIDTH + column, {body}, mask=inside)
{stores}
'''
_LOAD: Final = "    {x} = tl.load({x}_at + row * {x}_row + column * {x}_column, mask=inside, other=0.0).to(tl.float32)"
_STORE: Final = "    tl.store(d{x} + row * d{x}_row + column, {slope}, mask=inside)"


@dataclass(frozen=True)
class MapSource:
    """The text of the kernels of a function of ``count`` variables."""

    count: int
    text: str


def generate_map(text: str) -> MapSource:
    """The kernels of the function that an emitted module describes by ``text``: ``2: x0 * sigmoid(x0) * x1``."""
    count, _, described = text.partition(": ")
    body, names = parse_scalar(described), [f"x{number}" for number in range(int(count))]
    formula = RealFormula({}, [], [])
    slopes = {x: formula.text(times(Var("slope"), derivative(body, x))) for x in names}
    source = _FILE.format(
        pointers=", ".join(f"{x}_at" for x in names),
        strides=", ".join(f"{x}_row: tl.int64" for x in names),
        columns=", ".join(f"{x}_column: tl.constexpr" for x in names),
        grads=", ".join(f"d{x}" for x in names),
        grad_strides=", ".join(f"d{x}_row: tl.int64" for x in names),
        loads="\n".join(_LOAD.format(x=x) for x in names),
        stores="\n".join(_STORE.format(x=x, slope=_block(slope)) for x, slope in slopes.items()),
        body=_block(formula.text(body)),
    )
    return MapSource(len(names), source)


def _block(text: str) -> str:
    """A block of the tile's shape, whatever ``text`` depends on."""
    return f"tl.zeros((ROWS, COLUMNS), tl.float32) + {text}"
