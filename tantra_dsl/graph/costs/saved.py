"""What each primitive keeps for the backward pass, as the emitted code runs on torch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from tantra_dsl.graph.costs.elementwise import saved_by_program
from tantra_dsl.graph.costs.flops import Lengths, Shape, shape
from tantra_dsl.graph.linear_loss import LINEAR_LOSS
from tantra_dsl.graph.model import Node


@dataclass(frozen=True, slots=True)
class Operand:
    """An input of an op: its shape, bytes per element, and whether a gradient flows into it.

    ``strided`` tells whether it lies in larger memory, as a part of a product does.
    """

    shape: Shape
    width: int
    grad: bool
    strided: bool = False

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return prod(self.shape) * self.width


@dataclass(frozen=True, slots=True)
class Saves:
    """What one op keeps: which inputs and outputs (by number), and how many bytes that are neither.

    ``views`` pairs an output with the input whose memory it is. ``width`` is the bytes per element of the outputs.
    ``shared`` is memory that every op with an equal key uses together.
    """

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    extra: int = 0
    views: tuple[tuple[int, int], ...] = ()
    width: int = 4
    shared: tuple[Hashable, int] | None = None


Rule = Callable[[Node, Sequence[Operand], Sequence[Shape]], Saves]
_FLOAT: Final = 4
_HALF: Final = 2
_INDEX: Final = 8


def saves_of(node: Node, operands: Sequence[Operand], lengths: Lengths, autocast: bool) -> Saves:
    """What ``node`` keeps for its backward pass. Nothing where no gradient flows into it."""
    outs = [shape(t, lengths) for t in node.types]
    if autocast and node.op in _HALVED:
        return _HALVED[node.op](node, operands, outs)
    found = _RULES.get(node.op, _nothing)(node, operands, outs)
    if any(operand.grad for operand in operands):
        return found
    return Saves(views=found.views, width=found.width)


def _widest(operands: Sequence[Operand]) -> int:
    return max((operand.width for operand in operands), default=_FLOAT)


def _nothing(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    return Saves(width=_INDEX if node.types[0].dtype != "float" else _widest(operands))


def _view(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    return Saves(views=tuple((out, 0) for out in range(len(outs))), width=operands[0].width)


def _both(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """A product keeps each side that the other's gradient needs."""
    first, second = operands[:2]
    kept = [slot for slot, other in ((0, second), (1, first)) if other.grad]
    return Saves(tuple(kept), width=_widest(operands[:2]))


def _halved(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """A product under autocast: it keeps half-width copies of what is not of half width already."""
    first, second = operands[:2]
    kept = [(slot, operands[slot]) for slot, other in ((0, second), (1, first)) if other.grad]
    copies = sum(prod(operand.shape) * _HALF for _, operand in kept if operand.width != _HALF)
    return Saves(tuple(slot for slot, operand in kept if operand.width == _HALF), (), copies, width=_HALF)


def _embedding(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    return Saves((0,), width=operands[1].width)


def _conv1d(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """The padded input, which is a copy."""
    batch, time, channels = operands[0].shape
    padded = time + (operands[1].shape[-1] - 1) * node.attr("dilation", 1)
    return Saves(extra=batch * padded * channels * operands[0].width, width=operands[0].width)


def _expert_linear(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """What goes into and comes out of the experts, sorted by expert, and the order."""
    return Saves(extra=_expert_rows(operands, outs, operands[0].width), width=operands[0].width)


def _halved_experts(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """The same in half width under autocast, and a half-width copy of every expert."""
    weights = prod(operands[2].shape) * _HALF
    return Saves(extra=_expert_rows(operands, outs, _HALF) + weights, width=_HALF)


def _expert_rows(operands: Sequence[Operand], outs: Sequence[Shape], width: int) -> int:
    *rows, wide = outs[0]
    return prod(rows) * ((operands[0].shape[-1] + wide) * width + _INDEX)


def _pool(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    if len(operands) > 1:
        return _both(node, operands, outs)
    return Saves((0,), (0,)) if node.attr("kind") == "max" else Saves(width=operands[0].width)


def _map(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    width = _widest(operands[: node.attr("arity")])
    shapes = [operand.shape for operand in operands]
    found = saved_by_program(node.attr("program"), shapes, [operand.grad for operand in operands])
    return Saves(found.inputs, (0,) if found.output else (), found.elements * width, width=width)


def _normalize(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """The input, and per row (and group) the mean and the inverse deviation; rms has no mean.

    Without a weight, the rms of half-width numbers is taken of a float32 copy.
    """
    rows = prod(outs[0][:-1]) * node.attr("groups", 1)
    kept = rows * {"layernorm": 2, "rms": 1, "l2": 1}[node.attr("kind")] * _FLOAT
    if node.attr("kind") == "rms" and operands[0].width != _FLOAT:
        return Saves((), (), kept + prod(outs[0]) * _FLOAT, width=operands[0].width)
    return Saves((0,), (), kept, width=operands[0].width)


def weighted_norm_saves(node: Node, operands: Sequence[Operand], lengths: Lengths) -> Saves:
    """What the parts of a norm with a weight keep: the norm, its input and float32 statistics; its maps, nothing."""
    normal = max(operands, key=lambda operand: len(operand.shape))
    if node.op == "map":
        return Saves(width=normal.width)
    if node.attr("kind") == "layernorm" or not normal.grad:
        return saves_of(node, operands, lengths, False)
    return Saves((0,), (), prod(normal.shape[:-1]) * _FLOAT, width=normal.width)


SMALLEST_REMADE: Final = 2**15
"""Smaller values are kept: the operator that computes them again costs more than they do."""


def remade_saves(operands: Sequence[Operand], inner: Sequence[bool], autocast: bool = False) -> Saves:
    """What is kept for a step of a function that is computed again: operands from outside, nothing of ``inner`` steps.

    For the linear layer of such a function, which reads the weight itself, nothing.
    """
    kept = tuple(slot for slot, inside in enumerate(inner) if not inside)
    return Saves(kept, width=_HALF if autocast and not operands else _widest(operands))


def packed_saves(x: Operand, first: bool, autocast: bool) -> Saves:
    """What a linear layer of one product with others keeps: the first its input, in the product's precision."""
    width = _HALF if autocast else x.width
    if x.width == width:
        return Saves((0,), width=width)
    return Saves(extra=prod(x.shape) * width * first, width=width)


def _result(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    return Saves((), (0,), width=operands[0].width)


def _dropout(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """One number per element: the factor, zero where it was dropped."""
    if not node.attr("rate"):
        return _view(node, operands, outs)
    return Saves(extra=operands[0].bytes, width=operands[0].width)


_SHORTEST_TABLE: Final = 256
_EXPANDED: Final = 2**20


def _rope(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """Tables of cosines and sines, for every head unless they grow too large."""
    return _turning(node, operands[0], operands[0].shape[2], operands[0].width)


def turned_saves(node: Node, x: Operand) -> Saves:
    """What a rotation of heads cut from a product keeps: where there are many, float32 tables for all heads."""
    return _rope(node, [x], []) if prod(x.shape) < SMALLEST_REMADE else _turning(node, x, 1, _FLOAT)


def _turning(node: Node, x: Operand, heads: int, table: int) -> Saves:
    """Tables with ``table`` bytes for a number, up to a power of two of positions."""
    time, turned = x.shape[1], node.attr("width")
    length = max(_SHORTEST_TABLE, 1 << (time - 1).bit_length())
    numbers = length * turned * (heads if length * heads * turned <= _EXPANDED else 1)
    settings = (node.attr("frequency"), turned, node.attr("factor", 1.0), node.attr("interleaved", False))
    return Saves(width=x.width, shared=(("rope", *settings, heads, length, table), 2 * numbers * table))


def _attend(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """Queries, keys, values, the result, and one log-sum-exp per query and head; torch's own ways on CPUs keep more."""
    mask, score = node.attr("mask"), node.attr("score")
    batch, queries, heads, _ = outs[0]
    by_torch = score is None and "sink" not in node.attr("has", ()) and (mask is None or node.attr("causal"))
    shared = heads > operands[1].shape[2]
    short = _SHORT if operands[0].width == _HALF else _SHORT // 2 * shared
    if by_torch and mask is not None and not node.attr("dropout") and queries == operands[1].shape[1] <= short:
        return _attend_by_blocks(node, operands, outs)
    if by_torch and operands[0].width == _HALF and queries > 1 and operands[1].shape[1] <= _SHORT:
        return _attend_by_products(node, operands, outs)
    if by_torch and not _is_fused(node, operands):
        return _attend_by_matrices(node, operands, outs)
    return Saves((0, 1, 2), (0,), batch * queries * heads * _FLOAT, width=operands[2].width)


_SHORT: Final = 512
"""Up to so many keys, half-width attention goes by products on CPUs.

Causal attention that learns does so in blocks; in full width only where heads share keys, and up to half as many.
"""

_BLOCK: Final = 64


def _attend_by_blocks(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """Every probability up to the end of its block; queries, keys and values by shared head, as copies where needed."""
    (batch, queries, heads, _), kv_heads = outs[0], operands[1].shape[2]
    apart = batch > 1 and kv_heads > 1
    copied = (apart or heads > kv_heads > 1 or (operands[0].strided and heads > kv_heads), apart, apart)
    width = operands[0].width
    kept = tuple(slot for slot in range(3) if not copied[slot])
    copies = sum(prod(x.shape) for x, copy in zip(operands[:3], copied, strict=True) if copy)
    blocks = [min(start + _BLOCK, queries) for start in range(0, queries, _BLOCK)]
    pairs = sum(stop * (stop - before) for before, stop in zip((0, *blocks), blocks, strict=False))
    return Saves(kept, (), (copies + batch * heads * pairs) * width, width=width)


def _attend_by_products(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """Every probability, and queries, keys and values by head, all of half width; copies unless the layout allows."""
    (batch, queries, heads, _), keys = outs[0], operands[1].shape[1]
    times, apart = heads // operands[1].shape[2], batch > 1 and heads > 1
    scaled = node.attr("mask") is None and node.attr("score") is None
    made_anew = (scaled, times > 1, times > 1)
    copied = [apart or new or x.width != _HALF for x, new in zip(operands[:3], made_anew, strict=True)]
    sizes = [prod(x.shape) * count for x, count in zip(operands[:3], (1, times, times), strict=True)]
    kept = tuple(slot for slot in range(3) if not copied[slot])
    copies = sum(size for size, copy in zip(sizes, copied, strict=True) if copy)
    weights = _dropped(node) * batch * heads * queries * keys
    return Saves(kept, (), (copies + weights) * _HALF, width=_HALF)


def _dropped(node: Node) -> int:
    """How often the probabilities are kept: with dropout also its factors, and what comes of both."""
    return 3 if node.attr("dropout") else 1


def _is_fused(node: Node, operands: Sequence[Operand]) -> bool:
    """Whether torch's fused kernel for CPUs takes it: equal widths, no learned bias, no dropout."""
    learned = any(operand.grad for operand in operands[3:])
    return operands[1].shape[-1] == operands[2].shape[-1] and not learned and not node.attr("dropout")


def _attend_by_matrices(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """What torch does where its fused kernel does not take it: float32 copies by head, and every probability."""
    (batch, queries, heads, _), keys = outs[0], operands[1].shape[1]
    times = heads // operands[1].shape[2]
    copies = prod(operands[0].shape) + times * (prod(operands[1].shape) + prod(operands[2].shape))
    weights = _dropped(node) * batch * heads * queries * keys
    return Saves((), (), (copies + weights) * _FLOAT, width=operands[2].width)


def _additive_attend(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """tanh(q + k) for every pair, the weights' three steps, and keys and values repeated over heads."""
    (batch, queries, heads, width), keys = operands[0].shape, operands[1].shape[1]
    pairs = batch * queries * heads * keys
    return Saves((0,), (), (pairs * (width + 3) + prod(outs[0])) * _FLOAT)


def _linear_scan(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """The state before each step and after it, in float32; keys and queries repeated over heads.

    Queries of half width read half-width copies of the states.
    """
    batch, time, heads, values = outs[0]
    width, keys = operands[1].width, batch * time * heads * operands[1].shape[-1]
    steps = time * (_FLOAT + _HALF) if operands[0].width == _HALF else (time + 1) * _FLOAT
    state_bytes = keys // time * values * steps
    if heads == operands[1].shape[2]:
        return Saves((0, 1, 2), (), state_bytes)
    return Saves((2,), (), state_bytes + 2 * keys * width)


def _selective_scan(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """Per token and channel, the state and its decay; and the inputs."""
    return Saves((0, 1, 3, 4), (), 2 * prod(outs[0]) * operands[2].shape[-1] * _FLOAT)


def _route(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """The choice, and the chosen scores before they are normalised."""
    return Saves((), (0, 1), prod(outs[1]) * _FLOAT)


def _cross_entropy(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """Log probabilities of every class, always in float32, and the targets."""
    copy = prod(operands[0].shape) * _FLOAT if operands[0].width != _FLOAT else 0
    z_loss = (0,) if node.attr("z_loss") else ()
    return Saves((1, *z_loss), (), prod(operands[0].shape) * _FLOAT + (copy if z_loss else 0))


def _linear_loss(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """The gradient of x, made with the loss. That of the weight, made then too, is no activation but its gradient."""
    return Saves(extra=operands[0].bytes * operands[0].grad)


def _halved_loss(node: Node, operands: Sequence[Operand], outs: Sequence[Shape]) -> Saves:
    """The same in half width under autocast."""
    return Saves(extra=prod(operands[0].shape) * _HALF * operands[0].grad)


_RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("split", "split_heads", "merge_heads", "slice", "select", "transpose", "stop_gradient"), _view),
    **dict.fromkeys(("unpatch", "expand_time"), _view),
    **dict.fromkeys(("linear", "matmul", "similarity", "combine_experts", "mean_squared_error"), _both),
    "embedding": _embedding,
    "conv1d": _conv1d,
    "expert_linear": _expert_linear,
    "pool": _pool,
    "map": _map,
    "normalize": _normalize,
    "softmax": _result,
    "dropout": _dropout,
    "rope": _rope,
    "attend": _attend,
    "additive_attend": _additive_attend,
    "linear_scan": _linear_scan,
    "delta_scan": _linear_scan,
    "selective_scan": _selective_scan,
    "route": _route,
    "cross_entropy": _cross_entropy,
    LINEAR_LOSS: _linear_loss,
}
_HALVED: Final[dict[str, Rule]] = {
    **dict.fromkeys(("linear", "matmul", "similarity", "combine_experts"), _halved),
    "expert_linear": _halved_experts,
    LINEAR_LOSS: _halved_loss,
}

FORMULA: Final = (
    "what the backward pass reads, each once: inputs of products, norms and activations; queries, keys, values and "
    "result or weights of attention; of a loss over classes, the gradient of what its linear layer reads"
)
