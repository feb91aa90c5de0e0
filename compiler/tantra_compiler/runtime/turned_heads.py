"""Heads of a projection: normalised, turned by their positions, and handed out without another copy.

A packed projection [batch, time, columns] holds the heads of queries, keys and values side by side. Those that are only
turned (Su et al. 2021) are turned where they lie; those that are normalised first (Henry et al. 2020) get memory of
their own, since the gradient needs what was there before. All gradients go into one gradient of the projection.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

from tantra_compiler.runtime.cache import Cache
from tantra_compiler.runtime.norms import layer_norm, rms_norm
from tantra_compiler.runtime.operators import fused_pays, native_kernels, operator_namespace
from tantra_compiler.runtime.positions import Frequency, rope, rotation_between
from tantra_compiler.runtime.shape import split_heads
from tantra_compiler.runtime.turned_parts import HeadsLayout, backward_parts, norm_parts, turn_parts


class Heads(NamedTuple):
    """A part of a projection: ``heads`` heads of ``width`` numbers; 0 ``heads`` are one row of so many, as it is.

    ``norm`` is "rms_norm" or "layer_norm" with its ``weight``, ``bias`` (both [width]) and ``eps``; ``turned`` tells
    whether the heads turn by their positions, after the norm.
    """

    heads: int
    width: int
    norm: str | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 0.0
    turned: bool = False

    @property
    def size(self) -> int:
        """Columns that it takes."""
        return max(1, self.heads) * self.width

    @property
    def only_turned(self) -> bool:
        """Whether its heads turn and have no norm."""
        return self.turned and self.norm is None


_NORM_KINDS = {None: 0, "rms_norm": 1, "layer_norm": 2}
"""Numbers by which the operators know norms."""

_LARGE_LOW = 2**21
"""Numbers in low precision from which on turning them where they lie is faster than making others."""


def turned_heads(
    packed: Tensor,
    parts: Sequence[Heads],
    frequency: Frequency | None = None,
    width: int = 0,
    *,
    interleaved: bool = False,
    factor: float = 1.0,
    cache: Cache | None = None,
) -> tuple[Tensor, ...]:
    """``turned_heads_reference`` in one pass; ``packed`` [batch, time, columns] is overwritten, so nobody may read it.

    What comes out are views of ``packed`` wherever that can be. The gradients cannot be differentiated again.
    """
    vectors = [vector for part in parts for vector in (part.weight, part.bias)]
    if not (fused_pays(packed, *vectors) and _turning_pays(packed, parts)):
        return turned_heads_reference(
            packed, parts, frequency, width, interleaved=interleaved, factor=factor, cache=cache
        )
    cos = sin = None
    if frequency is not None:
        start, wide = 0 if cache is None else cache.start, torch.promote_types(packed.dtype, torch.float32)
        span = (start, start + packed.shape[1])
        cos, sin = rotation_between(*span, frequency, width, factor, interleaved, 1, packed.device, wide)
    layout = _layout_of(parts, interleaved)
    found: tuple[Tensor, ...] = TurnedHeads.apply(packed, cos, sin, layout, *vectors)  # type: ignore[no-untyped-call]
    return found


def turned_heads_reference(
    packed: Tensor,
    parts: Sequence[Heads],
    frequency: Frequency | None = None,
    width: int = 0,
    *,
    interleaved: bool = False,
    factor: float = 1.0,
    cache: Cache | None = None,
) -> tuple[Tensor, ...]:
    """The parts of ``packed`` as heads [batch, time, heads, width], each through its norm, then through ``rope``."""
    found: list[Tensor] = []
    runs = _alike(parts)
    sizes = [sum(part.size for part in run) for run in runs]
    for run, columns in zip(runs, torch.split(packed, sizes, -1), strict=True):
        part, counts = run[0], [part.heads for part in run]
        x = split_heads(columns, sum(counts)) if part.heads else columns
        if part.norm is not None:
            x = _normal(x, part).to(packed.dtype)
        if part.turned:
            assert frequency is not None
            x = rope(x, frequency, width, interleaved=interleaved, factor=factor, cache=cache)
        found += [x] if len(run) == 1 else torch.split(x, counts, -2)
    return tuple(found)


def _alike(parts: Sequence[Heads]) -> list[list[Heads]]:
    """Neighbours of one width that are only turned, which can be together; the others alone."""
    runs: list[list[Heads]] = []
    for part in parts:
        last = runs[-1][-1] if runs else None
        if last is not None and last.only_turned and part.only_turned and last.width == part.width:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _normal(x: Tensor, part: Heads) -> Tensor:
    if part.norm == "rms_norm":
        return rms_norm(x, part.weight, eps=part.eps)
    return layer_norm(x, part.weight, part.bias, eps=part.eps)


def _layout_of(parts: Sequence[Heads], interleaved: bool) -> HeadsLayout:
    counts, widths, norms, _, _, eps, turned = map(list, zip(*parts, strict=True))
    return HeadsLayout(counts, widths, [_NORM_KINDS[norm] for norm in norms], eps, turned, interleaved)


class TurnedHeads(torch.autograd.Function):
    """``turned_heads`` with its gradients; ``vectors`` are the weight and the bias of each part."""

    @staticmethod
    def forward(
        ctx: Any, packed: Tensor, cos: Tensor | None, sin: Tensor | None, layout: HeadsLayout, *vectors: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The parts; only norms keep ``packed``."""
        ctx.layout, ctx.columns, ctx.needed = layout, packed.shape, [v is not None and v.requires_grad for v in vectors]
        weights, biases = list(vectors[::2]), list(vectors[1::2])
        if not any(layout.norms):
            memory = packed.detach()
            TURN_HEADS(memory, cos, sin, *layout)
            if packed.requires_grad:
                torch.autograd.graph.increment_version(packed)
            ctx.save_for_backward(cos, sin)
            return tuple(layout.views(memory))
        made, stats = NORM_HEADS(packed, cos, sin, weights, biases, *layout)
        ctx.save_for_backward(cos, sin, packed, *weights, *biases, *stats)
        pending = iter(made)
        views = layout.views(packed.detach())
        return tuple(next(pending) if at in layout.changed else view for at, view in enumerate(views))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of ``packed``, the weights and the biases."""
        cos, sin, *kept = ctx.saved_tensors
        count = len(grads)
        packed, weights, biases, stats = None, [None] * count, [None] * count, []
        if kept:
            packed, weights, biases, stats = kept[0], kept[1:][:count], kept[1 + count :][:count], kept[1 + 2 * count :]
        found = TURN_HEADS_BACKWARD(list(grads), packed, stats, cos, sin, weights, biases, *ctx.layout)
        grad, *of_vectors = found
        pairs = [each for pair in zip(*of_vectors, strict=True) for each in pair]
        return grad, None, None, None, *[v if needed else None for v, needed in zip(pairs, ctx.needed, strict=True)]


# --- the operators -------------------------------------------------------------------------

_LAYOUT_SCHEMA = "int[] counts, int[] widths, int[] norms, float[] eps, bool[] turned, bool interleaved"
_TURN_SCHEMA = f"turn_heads(Tensor(a!) packed, Tensor cos, Tensor sin, {_LAYOUT_SCHEMA}) -> ()"
_NORM_HEADS_SCHEMA = (
    "norm_heads(Tensor packed, Tensor? cos, Tensor? sin, Tensor?[] weights, Tensor?[] biases, "
    f"{_LAYOUT_SCHEMA}) -> (Tensor[] heads, Tensor[] stats)"
)
_TURN_BACKWARD_SCHEMA = (
    "turn_heads_backward(Tensor[] grads, Tensor? packed, Tensor[] stats, Tensor? cos, Tensor? sin, Tensor?[] weights, "
    f"Tensor?[] biases, {_LAYOUT_SCHEMA}) -> (Tensor grad, Tensor[] grad_weights, Tensor[] grad_biases)"
)


def _turn_on_cpu(packed: Tensor, cos: Tensor, sin: Tensor, *layout: Any) -> None:
    kernels = native_kernels("heads")
    if kernels is None or not kernels.turn(packed, cos, sin, HeadsLayout(*layout)):
        turn_parts(packed, cos, sin, HeadsLayout(*layout))


def _norm_heads_on_cpu(
    packed: Tensor, cos: Tensor | None, sin: Tensor | None, weights: list[Tensor | None], biases: list[Tensor | None],
    *layout: Any,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    kernels, given = native_kernels("heads"), (packed, cos, sin, weights, biases, HeadsLayout(*layout))
    made = None if kernels is None else kernels.norm(*given)
    return norm_parts(*given) if made is None else made


def _turn_backward_on_cpu(
    grads: list[Tensor], packed: Tensor | None, stats: list[Tensor], cos: Tensor | None, sin: Tensor | None,
    weights: list[Tensor | None], biases: list[Tensor | None], *layout: Any,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    kernels, given = native_kernels("heads"), (grads, packed, stats, cos, sin, weights, biases, HeadsLayout(*layout))
    with torch.autocast("cpu", enabled=False):
        made = None if kernels is None else kernels.backward(*given)
        return backward_parts(*given) if made is None else made


def _turn_on_gpu(packed: Tensor, cos: Tensor, sin: Tensor, *layout: Any) -> None:
    from tantra_compiler.kernels.fused.rope import turn

    turn(packed, cos, sin, *layout)


def _norm_heads_on_gpu(
    packed: Tensor, cos: Tensor | None, sin: Tensor | None, weights: list[Tensor | None], biases: list[Tensor | None],
    *layout: Any,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    from tantra_compiler.kernels.fused.rope import norm

    return norm(packed, cos, sin, weights, biases, *layout)


def _turn_backward_on_gpu(
    grads: list[Tensor], packed: Tensor | None, stats: list[Tensor], cos: Tensor | None, sin: Tensor | None,
    weights: list[Tensor | None], biases: list[Tensor | None], *layout: Any,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    from tantra_compiler.kernels.fused.rope import backward

    return backward(grads, packed, stats, cos, sin, weights, biases, *layout)


def _turn_fake(packed: Tensor, *rest: Any) -> None:
    return None


def _norm_heads_fake(
    packed: Tensor, cos: Tensor | None, sin: Tensor | None, weights: Any, biases: Any, *layout: Any
) -> tuple[list[Tensor], list[Tensor]]:
    return HeadsLayout(*layout).memory(packed)


def _turn_backward_fake(
    grads: list[Tensor], packed: Tensor | None, stats: Any, cos: Any, sin: Any, weights: list[Tensor | None],
    biases: list[Tensor | None], *layout: Any,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    shape = (*grads[0].shape[:2], sum(HeadsLayout(*layout).sizes))
    of_weights, of_biases = (
        [grads[0].new_empty(0) if v is None else torch.empty_like(v) for v in each] for each in (weights, biases)
    )
    return grads[0].new_empty(shape), of_weights, of_biases


def _no_products(*_: Any, **__: Any) -> int:
    return 0


def _registered_heads(schema: str, on_cpu: Any, on_gpu: Any, fake: Any) -> Any:
    """An operator, as torch.compile, checkpointing and FLOP counters know it."""
    namespace, name = operator_namespace(__name__), schema.partition("(")[0]
    _HEADS_LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    _HEADS_LIBRARY.impl(name, on_cpu, "CPU")  # type: ignore[no-untyped-call]
    _HEADS_LIBRARY.impl(name, on_gpu, "CUDA")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{namespace}::{name}", fake, lib=_HEADS_LIBRARY)
    operator = getattr(getattr(torch.ops, namespace), name)
    register_flop_formula(operator)(_no_products)
    return operator.default


_HEADS_LIBRARY = torch.library.Library(operator_namespace(__name__), "FRAGMENT")  # type: ignore[no-untyped-call]
TURN_HEADS = _registered_heads(_TURN_SCHEMA, _turn_on_cpu, _turn_on_gpu, _turn_fake)
NORM_HEADS = _registered_heads(_NORM_HEADS_SCHEMA, _norm_heads_on_cpu, _norm_heads_on_gpu, _norm_heads_fake)
TURN_HEADS_BACKWARD = _registered_heads(
    _TURN_BACKWARD_SCHEMA, _turn_backward_on_cpu, _turn_backward_on_gpu, _turn_backward_fake
)


# --- kernels -------------------------------------------------------------------------------


def _turning_pays(packed: Tensor, parts: Sequence[Heads]) -> bool:
    """Whether there is a better form than the plain one; where a kernel is missing, a warning says why.

    On CPUs there is where C can be built or heads turn; see ``_low_pays`` for low precision.
    """
    if (packed.is_leaf and packed.requires_grad) or not packed.is_floating_point() or packed.stride(-1) != 1:
        return False
    if packed.is_cpu:
        if has_native_heads(packed):
            return True
        turned = any(part.turned for part in parts)
        return turned and (packed.dtype.itemsize >= 4 or _low_pays(packed, {part.norm for part in parts}))
    return packed.is_cuda and packed.dtype != torch.float64 and _heads_kernel_builds(packed.device)


def has_native_heads(packed: Tensor) -> bool:
    """Whether kernels in C take the heads of ``packed``."""
    kernels = native_kernels("heads")
    return kernels is not None and kernels.available(packed.dtype)


def _low_pays(packed: Tensor, norms: set[str | None]) -> bool:
    """Torch itself is as fast on CPUs at layernorms, and at turning what the cache holds, in low precision."""
    return "layer_norm" not in norms and ("rms_norm" in norms or packed.numel() >= _LARGE_LOW)


@lru_cache(maxsize=256)
def _heads_kernel_builds(device: torch.device) -> bool:
    try:
        from tantra_compiler.kernels.fused.rope import obstacle
    except ImportError:
        reason: str | None = "tantra's kernels or triton are not at hand"
    else:
        reason = obstacle(device)
    if reason is not None:
        warnings.warn(f"rotary embedding (turn_heads) runs without its kernel, which is slow: {reason}", stacklevel=2)
    return reason is None
