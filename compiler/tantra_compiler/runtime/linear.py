"""Linear layers, with products through the library whose kernels are fast on the processor at hand."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from tantra_compiler.runtime.operators import PLAIN_TENSORS, operator_namespace


class Linear(nn.Linear):
    """torch's linear layer; its products are taken as ``linear`` takes them."""

    def forward(self, input: Tensor) -> Tensor:
        """``input weight^T + bias``; see ``linear``."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias``: x [..., width], weight [out, width], bias [out]."""
    if not through_onednn(x, weight, bias):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (x, weight, bias)):
        return OneDnnLinear.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]
    return onednn_product(x, weight, bias)


def through_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether to take ``onednn_product``: on a CPU where it pays, under no transformation that lacks it.

    It pays for float32 where ``ONEDNN`` says so, and for bfloat16 with a bias, which torch copies to every row first.
    """
    plain = type(x) in PLAIN_TENSORS and type(weight) in PLAIN_TENSORS and x.dtype == weight.dtype
    pays = _low_bias_pays(bias) if x.dtype == torch.bfloat16 else ONEDNN and x.dtype == torch.float32
    if not (pays and plain and x.is_cpu and _is_large(x, weight)) or torch.is_autocast_enabled("cpu"):
        return False
    return not (torch.compiler.is_exporting() or torch._C._are_functorch_transforms_active())


def _low_bias_pays(bias: Tensor | None) -> bool:
    """In compiled code inductor itself puts a bias behind the product."""
    low = bias is not None and type(bias) in PLAIN_TENSORS and bias.dtype == torch.bfloat16
    return ONEDNN_LOW and low and not torch.compiler.is_compiling()


def _is_large(x: Tensor, weight: Tensor) -> bool:
    """Whether the product outweighs the 15 us that oneDNN takes for any; in compiled code whatever the length of x."""
    if torch.compiler.is_compiling():
        return weight.numel() >= _LARGE_COMPILED
    return weight.numel() >= _LARGE_WEIGHT or x.numel() * weight.shape[0] >= _LARGE_PRODUCT


_LARGE_WEIGHT = 2**17
"""So many numbers come from beyond the cache when decoding, which oneDNN reads faster."""

_LARGE_PRODUCT = 2**24
"""Multiplications from which on oneDNN is faster on weights of any size."""

_LARGE_COMPILED = 2**14
"""Weights of this size meet enough rows in training."""


class OneDnnLinear(torch.autograd.Function):
    """``linear`` with its gradients; the weight's is one of torch's own products, which are as fast there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The product; both factors are kept."""
        ctx.save_for_backward(x, weight)
        return onednn_product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of x, of the weight and of the bias, those that are wanted."""
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2) if grad.dim() > 1 else grad.unsqueeze(0)
        grad_x = linear(grad, weight.t()) if for_x else None
        grad_weight = rows.t() @ x.reshape(-1, x.shape[-1]) if for_weight else None
        return grad_x, grad_weight, rows.sum(0) if for_bias else None


def onednn_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias`` by oneDNN, without gradients; ``weight`` may be a transposed view."""
    return PRODUCT(x, weight, bias)  # type: ignore[no-any-return]


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]


def _product_fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _product_flops(x: tuple[int, ...], weight: tuple[int, ...], *_: Any, out_shape: tuple[int, ...], **__: Any) -> int:
    return 2 * math.prod(out_shape) * weight[1]


def _is_amd() -> bool:
    """Whether this processor is one of AMD's; False where the system does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return "AuthenticAMD" in file.read(4096)
    except OSError:
        return False


def _onednn_pays() -> bool:
    """Torch takes float32 products from Intel's MKL, made for Intel's processors; elsewhere oneDNN's may be faster.

    On an AMD EPYC with AVX-512, those of a layer took 0.6 to 0.75 of MKL's time forward and for the gradient of its
    input, 0.4 to 0.7 when decoding. In other precisions torch itself takes oneDNN's.
    """
    known = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return known and hasattr(torch.ops.mkldnn, "_linear_pointwise") and _is_amd()


def _registered_product(namespace: str) -> Any:
    """The product as an operator, which torch.compile takes as it is, and its work for FLOP counters."""
    _PRODUCT_LIBRARY.define("onednn_product(Tensor x, Tensor weight, Tensor? bias) -> Tensor")  # type: ignore[no-untyped-call]
    _PRODUCT_LIBRARY.impl("onednn_product", _product, "CPU")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{namespace}::onednn_product", _product_fake, lib=_PRODUCT_LIBRARY)
    operator = getattr(torch.ops, namespace).onednn_product
    register_flop_formula(operator)(_product_flops)
    return operator.default


ONEDNN = _onednn_pays()
"""Whether float32 products on this processor are oneDNN's."""

ONEDNN_LOW = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
"""Whether oneDNN takes bfloat16 products on this processor."""

_PRODUCT_LIBRARY = torch.library.Library(operator_namespace(__name__), "FRAGMENT")  # type: ignore[no-untyped-call]
PRODUCT = _registered_product(operator_namespace(__name__))
