"""What is fused, as functions that run in several ways: ours, torch's eager passes, and on GPUs liger-kernel's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tantra_compiler.emit.gradients import elementwise_text, gradients_function
from tantra_compiler.emit.programs import tensor_function
from tantra_compiler.runtime import elementwise
from tantra_compiler.runtime.add_norm import add_layer_norm, add_rms_norm
from tantra_compiler.runtime.elementwise import Elementwise
from tantra_compiler.runtime.linear import Linear
from tantra_compiler.runtime.linear_loss import linear_cross_entropy
from tantra_compiler.runtime.mapped_linear import mapped_linear
from tantra_compiler.runtime.packed import packed_linear, put_side_by_side
from tantra_compiler.runtime.positions import rope
from tantra_compiler.runtime.shape import split_heads
from tantra_compiler.runtime.turned_heads import Heads, turned_heads
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Program

Results = tuple[Tensor, ...]
Ways = dict[str, Callable[..., Results]]


@dataclass(frozen=True)
class Made:
    """A case at one size: tensors that a gradient is wanted of, and each way as a function of the first ``inputs``.

    ``moved`` counts the numbers that any way must read or write in both passes; products are not counted.
    """

    inputs: list[Tensor]
    ways: Ways
    moved: int
    weights: Sequence[Tensor] = ()


@dataclass(frozen=True)
class Place:
    """Where and in what a case runs, over ``rows`` positions of a model ``dim`` wide."""

    rows: int
    dim: int
    device: str
    dtype: torch.dtype

    def randn(self, *shape: int) -> Tensor:
        """A tensor that wants a gradient."""
        return torch.randn(shape, device=self.device, dtype=self.dtype, requires_grad=True)

    def linear(self, inner: int, outer: int) -> Linear:
        """A linear layer."""
        return Linear(inner, outer, bias=False, device=self.device, dtype=self.dtype)


def add_norm(kind: str) -> Callable[[Place], Made]:
    """A residual add and the norm behind it."""

    def make(at: Place) -> Made:
        x, y, weight = at.randn(at.rows, at.dim), at.randn(at.rows, at.dim), at.randn(at.dim)

        def fused(x: Tensor, y: Tensor) -> Results:
            return (add_rms_norm if kind == "rms" else add_layer_norm)(x, y, weight, eps=1e-6)

        def eager(x: Tensor, y: Tensor) -> Results:
            total = x + y
            norm = F.rms_norm if kind == "rms" else F.layer_norm
            return total, norm(total, (at.dim,), weight, eps=1e-6)  # type: ignore[operator]

        return Made([x, y], {"fused": fused, "eager": eager}, 9 * at.rows * at.dim, [weight])

    return make


def activation(text: str, variables: str, eager_form: Callable[..., Tensor]) -> Callable[[Place], Made]:
    """An elementwise function of what one product gives, and the linear layer behind it."""

    def make(at: Place) -> Made:
        names, hidden = variables.split(), 4 * at.dim
        packed, layer = at.randn(at.rows, hidden * len(names)), at.linear(hidden, at.dim)
        function = elementwise_of(text, names)

        def fused(packed: Tensor) -> Results:
            return (mapped_linear(function, layer, packed, width=hidden),)

        def eager(packed: Tensor) -> Results:
            return (layer(eager_form(*packed.split(hidden, -1))),)

        moved = (3 * len(names) + 3) * at.rows * hidden
        return Made([packed], {"fused": fused, "eager": eager}, moved, [layer.weight])

    return make


def elementwise_of(text: str, names: list[str]) -> Elementwise:
    """The function that an emitted module would hold."""
    program = Program("fn", tuple(names), parse_scalar(text))
    scope: dict[str, Any] = {**vars(elementwise), "torch": torch, "F": F, "Tensor": Tensor}
    exec(tensor_function("value", program, program.body, [], {}), scope)
    exec(gradients_function("gradients", program), scope)
    scope["value"].__qualname__ = f"value of {text}"
    return Elementwise(scope["value"], scope["gradients"], elementwise_text(program))


def projections(at: Place) -> Made:
    """Queries, keys and values of one input."""
    x, layers = at.randn(at.rows, at.dim), [at.linear(at.dim, at.dim) for _ in range(3)]
    put_side_by_side([layer.weight for layer in layers])

    def fused(x: Tensor) -> Results:
        return packed_linear(x, *layers).split(at.dim, -1)  # type: ignore[no-any-return]

    def eager(x: Tensor) -> Results:
        return tuple(F.linear(x, layer.weight) for layer in layers)

    return Made([x], {"fused": fused, "eager": eager}, 10 * at.rows * at.dim, [layer.weight for layer in layers])


def heads(normed: bool) -> Callable[[Place], Made]:
    """Queries and keys of a packed projection, normalised if asked for, and turned."""

    def make(at: Place) -> Made:
        width, count, time = 64, at.dim // 64, 256
        source = at.randn(at.rows // time, time, 3 * at.dim)
        weights = [at.randn(width), at.randn(width)] if normed else []

        def frequency(j: Tensor) -> Tensor:
            return 10000.0 ** (-2 * j / width)

        def fused(source: Tensor) -> Results:
            norm = {"norm": "rms_norm", "eps": 1e-6} if normed else {}
            parts = [Heads(count, width, turned=True, weight=w, **norm) for w in weights or (None, None)]
            return turned_heads(source.clone(), [*parts, Heads(count, width)], frequency, width)

        def eager(source: Tensor) -> Results:
            q, k, v = (split_heads(x, count) for x in source.clone().split(at.dim, -1))
            if normed:
                q, k = (F.rms_norm(x, (width,), w, 1e-6) for x, w in zip((q, k), weights, strict=True))
            return rope(q, frequency, width), rope(k, frequency, width), v

        return Made([source], {"fused": fused, "eager": eager}, 12 * at.rows * at.dim, weights)

    return make


def loss(at: Place) -> Made:
    """A linear layer to 32,768 classes and the cross-entropy of its scores."""
    x, weight = at.randn(at.rows, at.dim), at.randn(32_768, at.dim)
    target = torch.randint(32_768, (at.rows,), device=at.device)

    def fused(x: Tensor) -> Results:
        return (linear_cross_entropy(x, weight, target),)

    def eager(x: Tensor) -> Results:
        return (F.cross_entropy(F.linear(x, weight).float(), target),)

    return Made([x], {"fused": fused, "eager": eager}, 2 * at.rows * 32_768, [weight])


CASES: dict[str, Callable[[Place], Made]] = {
    "add + rms": add_norm("rms"),
    "add + layernorm": add_norm("layernorm"),
    "silu gate + linear": activation("a * sigmoid(a) * b", "a b", lambda a, b: F.silu(a) * b),
    "gelu by tanh + linear": activation(
        "0.5 * a * (1 + tanh(0.7978845608028654 * (a + 0.044715 * a ** 3)))", "a",
        lambda a: F.gelu(a, approximate="tanh"),
    ),
    "relu squared + linear": activation("max(a, 0) ** 2", "a", lambda a: F.relu(a) ** 2),
    "a function of one's own + linear": activation(
        "tanh(a) * b * sigmoid(a + b)", "a b", lambda a, b: torch.tanh(a) * b * torch.sigmoid(a + b)
    ),
    "q, k, v in one product": projections,
    "rope": heads(False),
    "qk-norm + rope": heads(True),
    "linear + cross-entropy": loss,
}  # fmt: skip

LIGER = {"silu gate + linear", "linear + cross-entropy", "add + rms"}
"""Cases for which liger-kernel has a kernel; they run where it and a GPU are at hand."""


def liger(case: str, made: Made) -> Callable[..., Results] | None:
    """liger-kernel's way of a case, or None where it has none or is not installed."""
    try:
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction
        from liger_kernel.ops.rms_norm import LigerRMSNormFunction
        from liger_kernel.ops.swiglu import LigerSiLUMulFunction
    except ImportError:
        return None
    weight = made.weights[0] if made.weights else None
    if case == "add + rms":
        return lambda x, y: (x + y, LigerRMSNormFunction.apply(x + y, weight, 1e-6))
    if case == "silu gate + linear":
        return lambda x: (F.linear(LigerSiLUMulFunction.apply(*x.chunk(2, -1)), weight),)
    if case == "linear + cross-entropy":
        target = torch.zeros(len(made.inputs[0]), dtype=torch.long, device=made.inputs[0].device)
        return lambda x: (LigerFusedLinearCrossEntropyFunction.apply(x, weight, target)[0],)
    return None
