"""Cross-entropy of the scores that a linear layer gives, never holding all scores at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

from tantra_compiler.runtime.linear import linear
from tantra_compiler.runtime.loss_chunks import Between, LossCall, LossChunks, LossResult
from tantra_compiler.runtime.losses import cross_entropy
from tantra_compiler.runtime.operators import PLAIN_TENSORS, operator_namespace


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    bias: Tensor | None = None,
    between: Between | None = None,
    vectors: Sequence[Tensor] = (),
    label_smoothing: float = 0.0,
    ignore: int = -100,
    z_loss: float = 0.0,
) -> Tensor:
    """``linear_cross_entropy_reference``, a chunk of rows after the other.

    The gradients are made together with the loss, where they are wanted, so that backward only scales them. They
    cannot be differentiated again.
    """
    taught = torch.is_grad_enabled()
    rest = any(vector.requires_grad for vector in (bias, *vectors) if vector is not None)
    wanted = [taught and each for each in (x.requires_grad, weight.requires_grad, rest)]
    settings = (between.key if between is not None else "", label_smoothing, ignore, z_loss, *wanted, None)
    loss: Tensor = LINEAR_LOSS(x.flatten(0, -2), weight, target.flatten(), bias, list(vectors), *settings)[0]
    return loss


def linear_cross_entropy_reference(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    bias: Tensor | None = None,
    between: Between | None = None,
    vectors: Sequence[Tensor] = (),
    label_smoothing: float = 0.0,
    ignore: int = -100,
    z_loss: float = 0.0,
) -> Tensor:
    """``cross_entropy`` of ``between(x weight^T + bias, *vectors)``.

    x [..., width], weight [classes, width], bias [classes], target int [...].
    """
    scores = linear(x, weight, bias)
    scores = scores if between is None else between.value(scores, *vectors)
    return cross_entropy(scores, target, label_smoothing=label_smoothing, ignore=ignore, z_loss=z_loss)


# --- the operator --------------------------------------------------------------------------

_LOSS_SCHEMA = (
    "linear_cross_entropy(Tensor x, Tensor weight, Tensor target, Tensor? bias, Tensor[] vectors, str between, "
    "float label_smoothing, int ignore, float z_loss, bool for_x, bool for_weight, bool for_rest, ScalarType? dtype) "
    "-> (Tensor loss, Tensor scale, Tensor grad_x, Tensor grad_weight, Tensor grad_rest)"
)


def _linear_loss(*inputs: Any) -> LossResult:
    call = LossCall(*inputs)
    with torch.autocast(call.x.device.type, enabled=False):
        return LossChunks(call).result()


def _linear_loss_fake(*inputs: Any) -> LossResult:
    call = LossCall(*inputs)
    empty, wide = call.x.new_empty, call.wide
    grad_x = empty(call.x.shape if call.for_x else 0, dtype=call.low)
    grad_weight = empty(call.weight.shape if call.for_weight else 0, dtype=wide)
    rest = sum(vector.numel() for vector in call.rest) if call.for_rest else 0
    return empty((), dtype=wide), empty((), dtype=wide), grad_x, grad_weight, empty(rest, dtype=wide)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: LossResult) -> None:
    call = LossCall(*inputs)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])
    ctx.for_x = call.x.dtype if call.for_x else None
    ctx.for_weight = call.weight.dtype if call.for_weight else None
    ctx.for_rest = [(vector.shape, vector.dtype) if call.for_rest else None for vector in call.rest]
    ctx.has_bias = call.bias is not None


@once_differentiable
def _scaled_gradients(ctx: Any, grad: Tensor, *_: None) -> tuple[Any, ...]:
    """One for each input of the operator."""
    scale, grad_x, grad_weight, grad_rest = ctx.saved_tensors
    for_weight = grad if grad_weight.is_cpu else scale * grad
    scale = scale * grad
    x = (grad_x * scale).to(ctx.for_x) if ctx.for_x else None
    weight = _scaled(grad_weight, for_weight).to(ctx.for_weight) if ctx.for_weight else None
    rest: list[Tensor | None] = [None] * len(ctx.for_rest)
    if all(ctx.for_rest):
        parts = (grad_rest * scale).split([shape.numel() for shape, _ in ctx.for_rest])
        rest = [part.view(shape).to(dtype) for part, (shape, dtype) in zip(parts, ctx.for_rest, strict=True)]
    bias = rest.pop(0) if ctx.has_bias else None
    return x, weight, None, bias, rest, *[None] * (len(LossCall._fields) - 5)


def _scaled(kept: Tensor, scale: Tensor) -> Tensor:
    """``kept`` times ``scale``; itself, as large as all weights of a head, where that is known to be 1."""
    known = type(kept) in PLAIN_TENSORS and kept.is_cpu and not torch.compiler.is_compiling()
    return kept if known and float(scale) == 1.0 else kept * scale


def _linear_loss_flops(x: Sequence[int], weight: Sequence[int], *inputs: Any, **_: Any) -> int:
    """Of the products, those for the gradients included."""
    for_x, for_weight, _for_rest, _dtype = inputs[-4:]
    return 2 * x[0] * weight[0] * weight[1] * (1 + int(for_x) + int(for_weight))


def _linear_loss_autocast(device: str) -> Callable[..., Any]:
    """The rule under autocast: products in its precision, gradients of the weights in theirs."""

    def rule(*inputs: Any) -> Any:
        call = LossCall(*inputs)
        double = call.x.dtype == torch.float64
        dtype = call.dtype or (None if double else torch.get_autocast_dtype(device))
        with torch.autocast(device, enabled=False):
            return LINEAR_LOSS(*call[:-1], dtype)

    return rule


def _registered_loss(namespace: str) -> Any:
    """The operator, as torch.compile, autocast, checkpointing and FLOP counters know it."""
    _LOSS_LIBRARY.define(_LOSS_SCHEMA)  # type: ignore[no-untyped-call]
    name = f"{namespace}::linear_cross_entropy"
    _LOSS_LIBRARY.impl("linear_cross_entropy", _linear_loss, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
        _LOSS_LIBRARY.impl("linear_cross_entropy", _linear_loss_autocast(device), key)  # type: ignore[no-untyped-call]
    torch.library.register_fake(name, _linear_loss_fake, lib=_LOSS_LIBRARY)
    torch.library.register_autograd(name, _scaled_gradients, setup_context=_keep_for_backward, lib=_LOSS_LIBRARY)
    operator = getattr(torch.ops, namespace).linear_cross_entropy
    register_flop_formula(operator)(_linear_loss_flops)
    return operator.default


_LOSS_LIBRARY = torch.library.Library(operator_namespace(__name__), "FRAGMENT")  # type: ignore[no-untyped-call]
LINEAR_LOSS = _registered_loss(operator_namespace(__name__))
