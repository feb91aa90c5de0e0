"""Dropout that keeps a seed instead of what it dropped: the backward pass draws the same numbers again."""

from __future__ import annotations

import importlib
import warnings
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tantra_compiler.runtime.operators import fused_pays, operator_namespace

_STEPS = 2**16
"""On CPUs one draw of the generator decides for four numbers, with 16 bits for each."""


def seeded_dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """``F.dropout`` (Srivastava et al. 2014) with a seed from torch's CPU generator; ``rate`` to 16 bits on CPUs.

    What is kept is scaled so that its mean stays exact. Not torch's own stream of random numbers.
    """
    if not (training and fused_pays(x) and 0 < rate < 1 and dropout_share(rate) > 0):
        return F.dropout(x, rate, training)
    result: Tensor = DROPOUT(x, torch.randint(2**62, ()), rate)
    return result


def dropout_share(rate: float) -> int:
    """How many of ``_STEPS`` equally likely numbers let a value through."""
    return round((1 - rate) * _STEPS)


def _dropout_on_cpu(x: Tensor, seed: Tensor, rate: float) -> Tensor:
    share = dropout_share(rate)
    generator = torch.Generator().manual_seed(int(seed.item()))
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) < share - _STEPS // 2
    return (x * kept).mul_(_STEPS / share)


def _dropout_on_gpu(x: Tensor, seed: Tensor, rate: float) -> Tensor:
    kernels = _dropout_kernels(x.device.type)
    if kernels is not None:
        return kernels.dropout(x, int(seed.item()), rate)  # type: ignore[no-any-return]
    generator = torch.Generator(x.device).manual_seed(int(seed.item()))
    kept = torch.empty(x.shape, device=x.device).uniform_(generator=generator) >= rate
    return (x * kept).mul_(1 / (1 - rate))


@lru_cache(maxsize=256)
def _dropout_kernels(device: str) -> Any:
    """The module of the Triton kernel; None, with one warning, where it cannot be built."""
    try:
        kernels = importlib.import_module("tantra_compiler.kernels.fused.dropout")
        reason = kernels.obstacle(device)
    except ImportError as error:
        reason = str(error)
    if reason is not None:
        warnings.warn(f"dropout runs without its kernel: {reason}", stacklevel=2)
    return None if reason is not None else kernels


def _keep_seed(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.rate = inputs[2]


@once_differentiable
def _dropped_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    (seed,) = ctx.saved_tensors
    return DROPOUT(grad, seed, ctx.rate), None, None


def _registered_dropout(namespace: str) -> Any:
    _DROPOUT_LIBRARY.define("dropout(Tensor x, Tensor seed, float rate) -> Tensor")  # type: ignore[no-untyped-call]
    _DROPOUT_LIBRARY.impl("dropout", _dropout_on_cpu, "CPU")  # type: ignore[no-untyped-call]
    _DROPOUT_LIBRARY.impl("dropout", _dropout_on_gpu, "CUDA")  # type: ignore[no-untyped-call]
    name = f"{namespace}::dropout"
    torch.library.register_fake(name, lambda x, seed, rate: x.new_empty(x.shape), lib=_DROPOUT_LIBRARY)
    torch.library.register_autograd(name, _dropped_gradient, setup_context=_keep_seed, lib=_DROPOUT_LIBRARY)
    return getattr(torch.ops, namespace).dropout.default


_DROPOUT_LIBRARY = torch.library.Library(operator_namespace(__name__), "FRAGMENT")  # type: ignore[no-untyped-call]
DROPOUT = _registered_dropout(operator_namespace(__name__))
