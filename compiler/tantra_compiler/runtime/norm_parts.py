"""A sum and its norm in one pass over memory, forward and backward: rows in parts that fit a core's cache.

Everything is computed in float32 (float64 for float64) and written in the precision of the result. ``centred`` tells
a layernorm from an rms norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

_NORM_PART = 2**18
"""Numbers of a part, for each thread."""


class NormCall(NamedTuple):
    """What is normed: ``x + y``, or x alone; ``dtype`` is the norm's."""

    x: Tensor
    y: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    centred: bool
    eps: float
    dtype: torch.dtype

    @property
    def sum_dtype(self) -> torch.dtype:
        """Precision of ``x + y``."""
        return self.x.dtype if self.y is None else torch.promote_types(self.x.dtype, self.y.dtype)

    @property
    def wide(self) -> torch.dtype:
        """Precision of the arithmetic and of what is kept for each row."""
        return torch.promote_types(self.sum_dtype, torch.float32)


class NormGradient(NamedTuple):
    """What the backward pass knows: gradients of the sum and of the norm, and what the forward pass gave.

    ``dtype`` is x's, ``other`` is y's where it is another.
    """

    dsum: Tensor | None
    dnormal: Tensor
    total: Tensor
    weight: Tensor | None
    mean: Tensor
    scale: Tensor
    centred: bool
    for_weight: bool
    for_bias: bool
    dtype: torch.dtype
    other: torch.dtype | None

    @property
    def dtypes(self) -> list[torch.dtype]:
        """Of the gradients of x and y."""
        return [self.dtype] if self.other is None else [self.dtype, self.other]


NormResult = tuple[Tensor, Tensor, Tensor, Tensor]
"""The sum, its norm, and for each row its mean and 1 / its spread; empty where there is no such thing."""

NormGradients = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of x, of y, of the weight and of the bias; empty where it is not wanted, and y's where it is x's."""


def norm_forward(call: NormCall) -> NormResult:
    """``NormResult`` of a call."""
    x, y = _norm_rows(call.x), None if call.y is None else _norm_rows(call.y)
    weight, bias = (None if each is None else each.to(call.wide) for each in (call.weight, call.bias))
    if call.centred and call.dtype == call.sum_dtype == call.wide:
        total = x if y is None else x + y
        found = torch.native_layer_norm(total, x.shape[-1:], weight, bias, call.eps)
    else:
        total = x if y is None else x.new_empty(x.shape, dtype=call.sum_dtype)
        found = _NormParts(call, weight, bias).result(x, y, total)
    shape, normal, rows = call.x.shape, found[0], (*call.x.shape[:-1], 1)
    mean = found[1].view(rows) if call.centred else found[1]
    return x.new_empty(0) if y is None else total.view(shape), normal.view(shape), mean, found[2].view(rows)


def norm_backward(given: NormGradient) -> NormGradients:
    """The gradients of a norm, with those of the sum itself added."""
    return _NormGradientParts(given).result()


def _norm_rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _norm_slices(rows: Tensor) -> Iterator[slice]:
    """Slices of whole rows; all of them at once on GPUs."""
    count, width = rows.shape
    step = max(1, _NORM_PART * torch.get_num_threads() // max(1, width)) if rows.is_cpu else max(1, count)
    return (slice(start, min(count, start + step)) for start in range(0, count, step))


def _sum_into(total: Tensor, x: Tensor, y: Tensor) -> None:
    """``x + y``; torch converts a whole tensor faster than it adds tensors of two precisions."""
    if x.dtype == y.dtype:
        torch.add(x, y, out=total)
    elif x.dtype == total.dtype:
        total.copy_(y).add_(x)
    else:
        torch.add(x.to(total.dtype), y.to(total.dtype), out=total)


class _NormRoom:
    """Memory for one part in ``dtype``, which all parts use."""

    def __init__(self, rows: Tensor, dtype: torch.dtype) -> None:
        self.rows, self.dtype = rows, dtype

    @cached_property
    def memory(self) -> Tensor:
        """As many rows as the first part has; taken when it is first used."""
        first = next(_norm_slices(self.rows), slice(0, 0))
        return self.rows.new_empty(first.stop, self.rows.shape[1], dtype=self.dtype)

    def of(self, part: Tensor) -> Tensor:
        """Memory for as many rows as ``part`` has."""
        return self.memory[: len(part)]

    def wide(self, part: Tensor) -> Tensor:
        """``part`` in this precision: itself where it is."""
        return part if part.dtype == self.dtype else self.of(part).copy_(part)


class _NormParts:
    """The forward pass by parts."""

    def __init__(self, call: NormCall, weight: Tensor | None, bias: Tensor | None) -> None:
        self.call, self.weight, self.bias = call, weight, bias

    def result(self, x: Tensor, y: Tensor | None, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fills ``total``, where it is not x; the norm, mean and scale of each row."""
        call = self.call
        normal = x.new_empty(x.shape, dtype=call.dtype)
        scale = x.new_empty(len(x), 1, dtype=call.wide)
        mean = x.new_empty(len(x) if call.centred else 0, 1, dtype=call.wide)
        sums, results = _NormRoom(x, call.wide), _NormRoom(x, call.wide)
        for part in _norm_slices(x):
            if y is not None:
                _sum_into(total[part], x[part], y[part])
            wide = sums.wide(total[part])
            if call.centred:
                made, mean[part], scale[part] = torch.native_layer_norm(
                    wide, wide.shape[-1:], self.weight, self.bias, call.eps
                )
            else:
                out = normal[part] if call.dtype == call.wide else results.of(wide)
                made = self._rms(wide, scale[part], out)
            if made.data_ptr() != normal[part].data_ptr():
                normal[part] = made
        return normal, mean, scale

    def _rms(self, wide: Tensor, scale: Tensor, out: Tensor) -> Tensor:
        torch.linalg.vector_norm(wide, dim=-1, keepdim=True, out=scale)
        scale.square_().mul_(1 / wide.shape[-1]).add_(self.call.eps).rsqrt_()
        torch.mul(wide, scale, out=out)
        return out if self.weight is None else out.mul_(self.weight)


class _NormGradientParts:
    """The backward pass by parts."""

    def __init__(self, given: NormGradient) -> None:
        self.given = given
        self.total, self.dnormal = _norm_rows(given.total), _norm_rows(given.dnormal)
        self.dsum = None if given.dsum is None else _norm_rows(given.dsum)
        self.dtype = given.scale.dtype
        self.mean, self.scale = given.mean.reshape(-1, 1), given.scale.reshape(-1, 1)
        self.weight = None if given.weight is None else given.weight.to(self.dtype)
        self.grads = [self.total.new_empty(self.total.shape, dtype=dtype) for dtype in given.dtypes]
        width = self.total.shape[1]
        self.dweight = self.total.new_zeros(width if given.for_weight else 0, dtype=self.dtype)
        self.dbias = self.total.new_zeros(width if given.for_bias else 0, dtype=self.dtype)

    def result(self) -> NormGradients:
        """Goes through all rows."""
        totals, gradients, products = (_NormRoom(self.total, self.dtype) for _ in range(3))
        for part in _norm_slices(self.total):
            wide, gradient = totals.wide(self.total[part]), gradients.wide(self.dnormal[part])
            if self.given.centred:
                made = self._centred(wide, gradient, part)
            else:
                made = self._rms(wide, gradient, part, products)
            self._write(made, part)
        dx, *dy = (each.view(self.given.total.shape) for each in self.grads)
        return dx, dy[0] if dy else dx.new_empty(0), self.dweight, self.dbias

    def _centred(self, wide: Tensor, gradient: Tensor, part: slice) -> Tensor:
        given, ones = self.given, self.weight
        wanted = [True, given.for_weight, given.for_bias]
        rows = self.mean[part], self.scale[part]
        made, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
            gradient, wide, wide.shape[-1:], *rows, ones, self._bias(), wanted
        )
        if given.for_weight:
            self.dweight += dweight
        if given.for_bias:
            self.dbias += dbias
        return made  # type: ignore[no-any-return]

    def _bias(self) -> Tensor | None:
        return self.dbias if self.given.for_bias else None

    def _rms(self, wide: Tensor, gradient: Tensor, part: slice, room: _NormRoom) -> Tensor:
        scale = self.scale[part]
        product = torch.mul(gradient, wide, out=room.of(wide))
        if self.given.for_weight:
            self.dweight.addmv_(product.t(), scale.squeeze(1))
        share = product.sum(-1) if self.weight is None else product.mv(self.weight)
        share = share.unsqueeze(1).mul_(scale.pow(3)).mul_(-1 / wide.shape[1])
        made = self.grads[0][part] if self.grads[0].dtype == self.dtype else product
        torch.mul(gradient, scale, out=made)
        return (made if self.weight is None else made.mul_(self.weight)).addcmul_(wide, share)

    def _write(self, made: Tensor, part: slice) -> None:
        """Adds the sum's own gradient and writes the whole in every precision that is wanted."""
        first = self.grads[0][part]
        if self.dsum is not None:
            into = first if first.dtype == self.dtype else made
            made = torch.add(made, self.dsum[part], out=into)
        for grad in self.grads:
            if grad[part].data_ptr() != made.data_ptr():
                grad[part] = made
