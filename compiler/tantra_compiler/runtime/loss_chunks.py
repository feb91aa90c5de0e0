"""One linear layer and its loss on their way through the rows, a chunk after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from tantra_compiler.runtime.linear import onednn_product, through_onednn
from tantra_compiler.runtime.operators import fused_pays, native_kernels, triton_kernels

_LOSS_CHUNK = {"cpu": 2**23, "cuda": 2**28}
"""Bytes of scores held at once at least, by device; or half as many as the weight has, if these are more.

Every chunk reads the weight and adds to its gradient, which takes longer than the rows where they are few.
"""

_LOSS_PART = 2**18
"""So many scores in float32 fit the cache of one core; of a chunk, so many are worked on at once."""

_MOST_IN_USE = 0.9
"""Where fewer of the rows count, the others are left out on CPUs."""

_FEWEST_ROWS = 128
"""Rows of a chunk at least: with fewer, a product reads the weight more often than it pays."""


class Between:
    """An elementwise function between a linear layer and its loss, such as a softcap.

    ``value(scores, *vectors)`` with its ``slopes`` by the scores and by each vector; a vector has a number for each
    class or is a single one. ``text`` is the function in the language, ``1: ...``, for kernels to be made from.
    Operators know it by ``key``, the name of ``value``, which must be defined at the top of a module.
    """

    known: ClassVar[dict[str, Between]] = {}

    def __init__(self, value: Callable[..., Tensor], *slopes: Callable[..., Tensor], text: str = "") -> None:
        self.key = f"{value.__module__}.{value.__qualname__}"
        self.value = value
        self.slopes = slopes
        self.text = text
        self.known[self.key] = self


class LossCall(NamedTuple):
    """What the operator is given.

    Products are taken in ``dtype``, x's own where it is None. ``for_x``, ``for_weight`` and ``for_rest`` (bias and
    vectors) tell which gradients are wanted.
    """

    x: Tensor
    weight: Tensor
    target: Tensor
    bias: Tensor | None
    vectors: list[Tensor]
    between: str
    label_smoothing: float
    ignore: int
    z_loss: float
    for_x: bool
    for_weight: bool
    for_rest: bool
    dtype: torch.dtype | None

    @property
    def low(self) -> torch.dtype:
        """Precision of the products."""
        return self.dtype or self.x.dtype

    @property
    def wide(self) -> torch.dtype:
        """Precision of everything else: float32, or float64 where that is asked for."""
        return torch.promote_types(self.low, torch.float32)

    @property
    def rest(self) -> list[Tensor]:
        """Bias and vectors."""
        return [*([] if self.bias is None else [self.bias]), *self.vectors]


LossResult = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""The loss, 1 / the number of targets, and as many times the gradients: x's, the weight's, the rest's in a row.

On CPUs the weight's is whole, since there it costs nothing to scale the products that it is summed of.
"""


class LossChunks:
    """One call of the operator on its way through the rows."""

    def __init__(self, call: LossCall) -> None:
        self.call = call
        kept = call.target != call.ignore
        self.scale = 1 / kept.sum().clamp(min=1).to(call.wide)
        self.factor = float(self.scale) if call.x.is_cpu else 1.0
        self.chosen = self._rows_in_use(kept)
        x, kept, target = (t if self.chosen is None else t[self.chosen] for t in (call.x, kept, call.target))
        self.rows, self.kept = x.to(call.low), kept.unsqueeze(1)
        self.classes = target.where(kept, 0).unsqueeze(1)
        self.weight = call.weight.to(call.low)
        self.bias = None if call.bias is None else call.bias.to(call.low)
        self.vectors = [vector.to(call.wide) for vector in call.vectors]
        self.function = Between.known[call.between] if call.between else None
        self.text = "1: x0" if self.function is None else self.function.text
        self.row_losses = _row_losses(call, self.text)
        self._make_room(call)

    def _rows_in_use(self, kept: Tensor) -> Tensor | None:
        """Numbers of the rows that count, where leaving out the others saves work; asking a GPU would stop it."""
        if not kept.is_cpu or kept.sum() > _MOST_IN_USE * len(kept):
            return None
        return kept.nonzero().squeeze(1)

    def _make_room(self, call: LossCall) -> None:
        """Memory for one chunk, which all chunks use, and for what is made of all of them."""
        count, classes = len(self.rows), len(call.weight)
        self.step = rows_of_a_chunk(
            count, classes * self.rows.element_size(), call.x.device.type, self.weight.nbytes // 2
        )
        self.onednn = through_onednn(self.rows, self.weight)
        self.scores = self.rows.new_empty(0 if self.onednn else self.step, classes)
        self.part = min(self.step, max(1, _LOSS_PART // classes)) if call.x.is_cpu else self.step
        self.total = self.rows.new_zeros((), dtype=call.wide)
        self.grad_x = torch.empty_like(self.rows) if call.for_x else self.rows.new_empty(0)
        self.grad_weight = self.rows.new_empty(call.weight.shape if call.for_weight else 0, dtype=call.wide)
        self.product = self.grad_weight if call.low == call.wide else self.rows.new_empty(self.grad_weight.shape)
        sizes = [vector.numel() for vector in call.rest] if call.for_rest else []
        self.grad_rest = self.rows.new_zeros(sum(sizes), dtype=call.wide)
        self.parts = list(torch.split(self.grad_rest, sizes))

    def result(self) -> LossResult:
        """Goes through all rows."""
        for start in range(0, len(self.rows), self.step):
            self._chunk(slice(start, start + self.step))
        if len(self.rows) == 0:
            self.grad_weight.zero_()
        return self.total * self.scale, self.scale, self._whole_grad_x(), self.grad_weight, self.grad_rest

    # --- one chunk -----------------------------------------------------------------------

    def _chunk(self, rows: slice) -> None:
        x, kept, classes = self.rows[rows], self.kept[rows], self.classes[rows]
        scores, taught = self._products(x), self.call.for_x or self.call.for_weight or self.call.for_rest
        if not self._by_kernel(scores, classes, kept, taught):
            self._by_parts(scores, classes, kept, taught)
        if taught:
            self._take_gradients(scores, x, rows)

    def _by_kernel(self, scores: Tensor, classes: Tensor, kept: Tensor, taught: bool) -> bool:
        """Whether a kernel added the loss of a chunk, and made its ``scores`` their gradient if they are ``taught``."""
        call = self.call
        if self.row_losses is None or not fused_pays(scores):
            return False
        losses = self.row_losses(
            scores, classes.squeeze(1), kept.squeeze(1), self.text, call.label_smoothing, call.z_loss, taught
        )
        if losses is None:
            return False
        self.total += losses.sum()
        if call.for_rest and call.bias is not None:
            self.parts[0].add_(scores.sum(0, dtype=call.wide))
        return True

    def _by_parts(self, scores: Tensor, classes: Tensor, kept: Tensor, taught: bool) -> None:
        """The same by torch's own passes, some rows after the other."""
        for start in range(0, len(scores), self.part):
            part = slice(start, start + self.part)
            gradient = self._part(scores[part], classes[part], kept[part], taught)
            if taught:
                scores[part] = gradient

    def _part(self, raw: Tensor, classes: Tensor, kept: Tensor, taught: bool) -> Tensor:
        """Adds the loss of a part of a chunk; the gradient of its scores, in memory that the next part uses."""
        wide = self.call.wide
        scores = raw if self.function is None else self.function.value(raw.to(wide), *self.vectors)
        top, shares = self._softmax(scores)
        norm = top - shares.amax(-1, keepdim=True).log_()
        self._add_loss(scores, norm, classes, kept)
        if taught:
            self._make_gradient(shares, norm, classes, kept)
            self._through_function(raw, shares)
        return shares

    @cached_property
    def shares(self) -> Tensor:
        """Memory for the softmax of a part, where no kernel makes it row by row."""
        return self.rows.new_empty(self.part, len(self.weight), dtype=self.call.wide)

    def _softmax(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The largest score of each row, and the softmax; on CPUs in the same memory for every part."""
        wide = self.call.wide
        if not scores.is_cpu:
            return scores.amax(-1, keepdim=True).to(wide), torch.softmax(scores, -1, dtype=wide)
        shares = self.shares[: len(scores)].copy_(scores)
        top = shares.amax(-1, keepdim=True)
        return top, torch.softmax(shares, -1, out=shares)

    def _products(self, x: Tensor) -> Tensor:
        """Scores before the function between; torch's own products put them where the next chunk's will be."""
        if self.onednn:
            return onednn_product(x, self.weight, self.bias)
        out, weight = self.scores[: len(x)], self.weight.t()
        return torch.mm(x, weight, out=out) if self.bias is None else torch.addmm(self.bias, x, weight, out=out)

    def _add_loss(self, scores: Tensor, norm: Tensor, classes: Tensor, kept: Tensor) -> None:
        smoothing, z_loss = self.call.label_smoothing, self.call.z_loss
        each = norm - (1 - smoothing) * scores.gather(1, classes)
        if smoothing:
            each -= smoothing * scores.mean(-1, keepdim=True, dtype=norm.dtype)
        if z_loss:
            each += z_loss * norm.square()
        self.total += each.masked_fill_(~kept, 0).sum()

    def _make_gradient(self, shares: Tensor, norm: Tensor, classes: Tensor, kept: Tensor) -> None:
        """Turns ``shares``, the softmax, into the gradient of the scores; zero for rows that do not count."""
        smoothing, z_loss = self.call.label_smoothing, self.call.z_loss
        if z_loss:
            shares.mul_(1 + 2 * z_loss * norm)
        if smoothing:
            shares.sub_(smoothing / shares.shape[1])
        shares.scatter_add_(1, classes, shares.new_full((1, 1), smoothing - 1).expand_as(classes))
        if not shares.is_cpu:
            shares.masked_fill_(~kept, 0)
        elif self.chosen is None:
            shares.index_fill_(0, kept.logical_not().squeeze(1).nonzero().squeeze(1), 0)

    def _take_gradients(self, scores: Tensor, x: Tensor, rows: slice) -> None:
        """Products of the gradient of a chunk's ``scores``."""
        call = self.call
        if call.for_x and self.onednn:
            self.grad_x[rows] = onednn_product(scores, self.weight.t())
        elif call.for_x:
            torch.mm(scores, self.weight, out=self.grad_x[rows])
        if call.for_weight:
            self._add_grad_weight(scores.t(), x, first=rows.start == 0)

    def _add_grad_weight(self, scores: Tensor, x: Tensor, first: bool) -> None:
        """Sums the chunks' products; those in low precision are summed in a wide one, a few rows at a time."""
        if self.product is self.grad_weight:
            self.grad_weight.addmm_(scores, x, beta=0 if first else 1, alpha=self.factor)
            return
        torch.mm(scores, x, out=self.product)
        few = max(1, _LOSS_PART // x.shape[1]) if x.is_cpu else len(self.product)
        for total, product in zip(torch.split(self.grad_weight, few), torch.split(self.product, few), strict=True):
            if first:
                total.copy_(product).mul_(self.factor)
            else:
                total.add_(product, alpha=self.factor)

    def _through_function(self, raw: Tensor, shares: Tensor) -> None:
        """Adds the gradients of bias and vectors, and makes ``shares`` the gradient of what the linear layer gives."""
        call, parts = self.call, self.parts
        if self.function is not None:
            by_scores, *by_vectors = (slope(raw.to(call.wide), *self.vectors) for slope in self.function.slopes)
            for slope, part in zip(by_vectors, parts[call.bias is not None :], strict=False):
                product = shares * slope
                part.add_(product.sum(0) if part.numel() > 1 else product.sum())
            shares.mul_(by_scores)
        if call.for_rest and call.bias is not None:
            parts[0].add_(shares.sum(0))

    def _whole_grad_x(self) -> Tensor:
        if self.chosen is None or not self.call.for_x:
            return self.grad_x
        return self.grad_x.new_zeros(self.call.x.shape).index_copy_(0, self.chosen, self.grad_x)


def rows_of_a_chunk(rows: int, row_bytes: int, device: str, least: int = 0) -> int:
    """How many rows to take at once, so that all chunks are about equal and hold no more scores than they should.

    These may have ``least`` bytes on every device.
    """
    most = max(_FEWEST_ROWS, max(least, _LOSS_CHUNK.get(device, _LOSS_CHUNK["cuda"])) // row_bytes)
    return max(1, -(-rows // max(1, -(-rows // most))))


def _row_losses(call: LossCall, text: str) -> Callable[..., Tensor | None] | None:
    """``row_losses`` of the kernels that can do a call; None where there are none, or more than scores goes in."""
    if call.vectors or not text.startswith("1: "):
        return None
    if call.x.is_cpu:
        kernels = native_kernels("loss")
    elif call.x.is_cuda and call.wide == torch.float32:
        kernels = triton_kernels("loss", text, call.x.device.type, "the loss of a linear layer")
    else:
        kernels = None
    return None if kernels is None else kernels.row_losses
