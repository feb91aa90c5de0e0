"""Heads normalised and turned on a CPU: a part of the rows after the other, each small enough for the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tantra_compiler.runtime.positions import partners
from tantra_compiler.runtime.shape import split_heads

_HEADS_PART = 2**17
"""So many numbers in float32, and what is made of them, fit the cache of one core."""


class HeadsLayout(NamedTuple):
    """What the parts of a projection are, as operators are told it: one entry for each part."""

    counts: list[int]
    widths: list[int]
    norms: list[int]
    eps: list[float]
    turned: list[bool]
    interleaved: bool

    @property
    def sizes(self) -> list[int]:
        """Columns of each part."""
        return [max(1, count) * width for count, width in zip(self.counts, self.widths, strict=True)]

    @property
    def changed(self) -> list[int]:
        """Numbers of the parts that do not come out as they went in."""
        return [at for at, (norm, turned) in enumerate(zip(self.norms, self.turned, strict=True)) if norm or turned]

    def views(self, packed: Tensor) -> list[Tensor]:
        """The parts of ``packed`` [batch, time, columns]: [batch, time, count, width], or as they are if count is 0."""
        columns = zip(torch.split(packed, self.sizes, -1), self.counts, strict=True)
        return [split_heads(x, count) if count else x for x, count in columns]

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """First column, count and width of heads that turn and lie side by side, where no norm is asked for."""
        starts = [sum(self.sizes[:at]) for at in range(len(self.counts))]
        begun: tuple[int, int, int] | None = None
        for start, count, width, turned in zip(starts, self.counts, self.widths, self.turned, strict=True):
            if begun is not None and turned and width == begun[2] and start == begun[0] + begun[1] * width:
                begun = (begun[0], begun[1] + count, width)
                continue
            if begun is not None:
                yield begun
            begun = (start, count, width) if turned else None
        if begun is not None:
            yield begun

    def memory(self, packed: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Room for the changed parts, and for the statistics [1 or 2, batch, time, count, 1] of those with a norm.

        The statistics are in float32 (or float64): 1 / the deviation of each head, and with a layernorm the mean.
        """
        shapes = [(*packed.shape[:2], self.counts[at], self.widths[at]) for at in self.changed]
        wide = torch.promote_types(packed.dtype, torch.float32)
        rows = [(self.norms[at], *packed.shape[:2], self.counts[at], 1) for at in self.changed if self.norms[at]]
        return [packed.new_empty(shape) for shape in shapes], [packed.new_empty(row, dtype=wide) for row in rows]


class _Canvas(NamedTuple):
    """Heads of one part, in wide precision and to be written to; their turning channels, and views that turning needs.

    ``halves`` are the first and the second half of those channels, ``pairs`` neighbours seen as complex numbers.
    """

    heads: Tensor
    turning: Tensor
    halves: tuple[Tensor, Tensor]
    pairs: Tensor | None


class _Table(NamedTuple):
    """Cosine and signed sine of the positions of one part; together as complex numbers where neighbours turn."""

    cos: Tensor
    sin: Tensor
    turns: Tensor | None


class _Walk:
    """The way through the heads ``like`` [batch, time, count, width], part by part; ``rooms`` are its buffers.

    All views of a tensor are made at once, since one at a time costs as much as the arithmetic.
    """

    def __init__(self, like: Tensor, tables: Tables, interleaved: bool, back: bool = False) -> None:
        self.batch, self.time, count, self.width = like.shape
        most = max(1, _HEADS_PART * torch.get_num_threads() // max(1, count * self.width))
        self.times = min(self.time, most)
        self.batches = max(1, most // max(1, self.time)) if self.times == self.time else 1
        self.wide = torch.promote_types(like.dtype, torch.float32)
        self.interleaved, self.sign = interleaved, -1 if back else 1
        self.turning = self.width if tables[0] is None else tables[0].shape[-1]
        self.tables = self._tables(*tables)
        self._rooms: dict[tuple[int, torch.Size], Tensor] = {}
        self._canvases: dict[torch.Size, _Canvas] = {}
        self._like = like

    def pieces(self, x: Tensor, dim: int = 0) -> list[Tensor]:
        """The parts of x, whose batch is dimension ``dim`` and whose time is the one after it."""
        if self.times == self.time:
            return list(torch.split(x, self.batches, dim))
        return [piece for row in torch.split(x, 1, dim) for piece in torch.split(row, self.times, dim + 1)]

    def _tables(self, cos: Tensor | None, sin: Tensor | None) -> list[_Table]:
        if cos is None or sin is None:
            return []
        turns = torch.complex(cos[..., ::2], self.sign * sin[..., 1::2]) if self.interleaved else None
        step = max(1, self.times)
        of_turns = [None] * self.time if turns is None else torch.split(turns, step)
        found = [_Table(*each) for each in zip(torch.split(cos, step), torch.split(sin, step), of_turns, strict=False)]
        return found * (self.batch if self.times < self.time else -(-self.batch // self.batches))

    def room(self, number: int, shape: torch.Size) -> Tensor:
        """A buffer, the same for every part of that shape."""
        key = number, shape
        if key not in self._rooms:
            self._rooms[key] = self._like.new_empty(shape, dtype=self.wide)
        return self._rooms[key]

    def canvases(self, out: Tensor) -> list[_Canvas]:
        """One for each part of ``out``: in its own memory where that is wide, else in a buffer."""
        if out.dtype != self.wide:
            return [self._buffer(piece.shape) for piece in self.pieces(out)]
        views = self._views(out)
        pairs = [None] * len(self.pieces(out)) if views.pairs is None else self.pieces(views.pairs)
        halves = zip(*map(self.pieces, views.halves), strict=True)
        found = zip(self.pieces(out), self.pieces(views.turning), halves, pairs, strict=True)
        return [_Canvas(*each) for each in found]

    def _buffer(self, shape: torch.Size) -> _Canvas:
        if shape not in self._canvases:
            self._canvases[shape] = self._views(self.room(0, shape))
        return self._canvases[shape]

    def _views(self, x: Tensor) -> _Canvas:
        turning = x if self.turning == self.width else x[..., : self.turning]
        half = self.turning // 2
        pairs = torch.view_as_complex(split_heads(turning, half)) if self._in_pairs(turning) else None
        return _Canvas(x, turning, (turning[..., :half], turning[..., half:]), pairs)

    def _in_pairs(self, x: Tensor) -> bool:
        """Whether neighbours turn, and can be seen as complex numbers."""
        even = x.storage_offset() % 2 == 0 and all(stride % 2 == 0 for stride in x.stride()[:-1])
        return self.interleaved and even

    def turn(self, canvas: _Canvas, table: _Table) -> None:
        """Turns the heads in place; back, where the walk goes back."""
        if canvas.pairs is not None and table.turns is not None:
            canvas.pairs.mul_(table.turns)
            return
        x, room = canvas.turning, self.room(1, canvas.turning.shape)
        if self.interleaved:
            room.copy_(partners(x, True))
        else:
            torch.cat(canvas.halves[::-1], -1, out=room)
        x.mul_(table.cos).addcmul_(room, table.sin, value=self.sign)


Tables = tuple[Tensor | None, Tensor | None]


# --- forward -------------------------------------------------------------------------------


@torch.no_grad()
def turn_parts(packed: Tensor, cos: Tensor, sin: Tensor, layout: HeadsLayout) -> None:
    """Turns the heads of ``packed`` [batch, time, columns] where they lie."""
    for start, count, width in layout.runs():
        heads = split_heads(packed[..., start : start + count * width], count)[..., : cos.shape[-1]]
        walk = _Walk(heads, (cos, sin), layout.interleaved)
        for x, canvas, table in zip(walk.pieces(heads), walk.canvases(heads), walk.tables, strict=True):
            if x.dtype == walk.wide:
                walk.turn(canvas, table)
            else:
                canvas.heads.copy_(x)
                walk.turn(canvas, table)
                x.copy_(canvas.heads)


@torch.no_grad()
def norm_parts(
    packed: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    weights: list[Tensor | None],
    biases: list[Tensor | None],
    layout: HeadsLayout,
) -> tuple[list[Tensor], list[Tensor]]:
    """The changed parts of ``packed``, normalised and turned, and the statistics; see ``HeadsLayout.memory``."""
    made, stats = layout.memory(packed)
    views, pending = layout.views(packed), iter(stats)
    for at, out in zip(layout.changed, made, strict=True):
        walk = _Walk(out, (cos, sin) if layout.turned[at] else (None, None), layout.interleaved)
        kept = next(pending) if layout.norms[at] else None
        statistics = [None] * len(walk.pieces(out)) if kept is None else walk.pieces(kept, 1)
        weight, bias = (None if v is None else v.to(walk.wide) for v in (weights[at], biases[at]))
        parts = zip(walk.pieces(views[at]), walk.pieces(out), walk.canvases(out), statistics, strict=True)
        for number, (x, result, canvas, stat) in enumerate(parts):
            canvas.heads.copy_(x)
            if stat is not None:
                _normalise(canvas.heads, stat, layout.eps[at], weight, bias)
            if walk.tables:
                walk.turn(canvas, walk.tables[number])
            if result.dtype != walk.wide:
                result.copy_(canvas.heads)
    return made, stats


def _normalise(x: Tensor, stats: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None) -> None:
    """Normalises ``x`` in place; its statistics are put into ``stats``."""
    if len(stats) == 2:
        x.sub_(torch.mean(x, -1, keepdim=True, out=stats[1]))
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    x.mul_(stats[0].copy_(scale.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()))
    if weight is not None:
        x.mul_(weight)
    if bias is not None:
        x.add_(bias)


# --- backward ------------------------------------------------------------------------------


@torch.no_grad()
def backward_parts(
    grads: list[Tensor],
    packed: Tensor | None,
    stats: list[Tensor],
    cos: Tensor | None,
    sin: Tensor | None,
    weights: list[Tensor | None],
    biases: list[Tensor | None],
    layout: HeadsLayout,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The gradient of the projection, and of each part's weight and bias (empty where it has none)."""
    whole = grads[0].new_empty(*grads[0].shape[:2], sum(layout.sizes))
    outs, pending = layout.views(whole), iter(stats)
    before = [None] * len(grads) if packed is None else layout.views(packed)
    of_weights, of_biases = ([whole.new_empty(0) for _ in grads] for _ in range(2))
    for at, (grad, out) in enumerate(zip(grads, outs, strict=True)):
        if at not in layout.changed:
            out.copy_(grad)
            continue
        walk = _Walk(out, (cos, sin) if layout.turned[at] else (None, None), layout.interleaved, back=True)
        norm = _NormGradient(walk, before[at], next(pending), weights[at], biases[at]) if layout.norms[at] else None
        for number, (given, result, canvas) in enumerate(
            zip(walk.pieces(grad), walk.pieces(out), walk.canvases(out), strict=True)
        ):
            canvas.heads.copy_(given)
            if walk.tables:
                walk.turn(canvas, walk.tables[number])
            if norm is not None:
                norm.through(canvas.heads, number)
            if result.dtype != walk.wide:
                result.copy_(canvas.heads)
        if norm is not None:
            of_weights[at], of_biases[at] = norm.of_vectors(whole)
    return whole, of_weights, of_biases


class _NormGradient:
    """The way back through the norm of one part, whose heads were ``x``."""

    def __init__(
        self, walk: _Walk, x: Tensor | None, stats: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> None:
        assert x is not None
        self.walk, self.x = walk, walk.pieces(x)
        self.scales = walk.pieces(stats[0])
        self.means = walk.pieces(stats[1]) if len(stats) == 2 else None
        self.vectors = weight, bias
        self.weight = None if weight is None else weight.to(walk.wide)
        self.grad_weight = None if weight is None else torch.zeros_like(weight, dtype=walk.wide)
        self.grad_bias = None if bias is None else torch.zeros_like(bias, dtype=walk.wide)

    def of_vectors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of weight and bias, in their precision."""
        pairs = zip(self.vectors, (self.grad_weight, self.grad_bias), strict=True)
        of_weight, of_bias = (like.new_empty(0) if g is None or v is None else g.to(v.dtype) for v, g in pairs)
        return of_weight, of_bias

    def through(self, grad: Tensor, number: int) -> None:
        """Turns ``grad`` into scale * (g - y mean(g y) - mean(g)): y is the norm, g the gradient times the weight."""
        normal = self.walk.room(2, grad.shape).copy_(self.x[number])
        if self.means is not None:
            normal.sub_(self.means[number])
        scale = self.scales[number]
        normal.mul_(scale)
        share = self._share(grad, normal).view(scale.shape)
        if self.means is not None:
            grad.sub_(grad.mean(-1, keepdim=True))
        grad.addcmul_(normal, share, value=-1 / grad.shape[-1]).mul_(scale)

    def _share(self, grad: Tensor, normal: Tensor) -> Tensor:
        """The sum of g y of each head; ``grad`` becomes g, and what it teaches weight and bias is added up."""
        if self.grad_bias is not None:
            self.grad_bias += grad.sum((0, 1, 2))
        product = torch.mul(grad, normal, out=self.walk.room(1, grad.shape)).view(-1, grad.shape[-1])
        if self.weight is None or self.grad_weight is None:
            return product.sum(-1)
        self.grad_weight += product.sum(0)
        grad.mul_(self.weight)
        return product @ self.weight
