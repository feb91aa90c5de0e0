"""Ops that only the compiler makes, told to the graph's own tables so that it verifies and prints them."""

from __future__ import annotations

from tantra_dsl.graph.linear_loss import LINEAR_LOSS
from tantra_dsl.graph.ops import OPS, OpSpec
from tantra_dsl.graph.rules import RULES, Attrs, Types, need
from tantra_dsl.graph.types import TensorType

ADD_NORM = "add_norm"
_FUSED = (
    OpSpec(
        "layer_norm",
        ("x", "weight", "bias?"),
        ("eps", "has", "narrow"),
        "layernorm over the last dimension, times weight, + bias.",
    ),
    OpSpec("rms_norm", ("x", "weight"), ("eps", "narrow"), "rms over the last dimension, times weight."),
)
_ADD_NORM = OpSpec(
    ADD_NORM,
    ("x", "y", "weight?", "bias?"),
    ("kind", "eps", "has", "narrow"),
    "(x + y, its norm of kind layernorm or rms over the last dimension, times weight, + bias).",
)
_LOSS = OpSpec(
    LINEAR_LOSS,
    ("x", "weight", "target", "bias?", "*vectors"),
    ("program", "label_smoothing", "ignore", "z_loss", "has"),
    "cross_entropy of program(linear(x, weight, bias), *vectors); without a program, of the linear layer itself.",
)


def _weighted_norm(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    for slot, weight in enumerate(types[1:], start=1):
        fits = weight.rank == 1 and weight.dims[0].size == types[0].dims[-1].size
        need(fits, f"{weight} does not fit {types[0]}", 0, slot)
    return (types[0],)


def _add_norm(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need(types[0] == types[1], f"{types[0]} and {types[1]} differ", 0, 1)
    (normal,) = _weighted_norm((types[0], *types[2:]), attrs)
    return (types[0], normal)


def _linear_loss(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, weight, target, *vectors = types
    need(weight.rank == 2 and weight.dims[1].size == x.dims[-1].size, f"{weight} does not fit {x}", 0, 1)
    need([d.size for d in x.dims[:-1]] == [d.size for d in target.dims], f"{x} and targets {target} differ", 0, 2)
    for slot, vector in enumerate(vectors, start=3):
        fits = vector.rank == 0 or (vector.rank == 1 and vector.dims[0].size == weight.dims[0].size)
        need(fits, f"{vector} does not fit {weight}", 1, slot)
    return (TensorType(()),)


OPS.update({spec.name: spec for spec in (*_FUSED, _ADD_NORM, _LOSS)})
RULES.update({spec.name: _weighted_norm for spec in _FUSED} | {ADD_NORM: _add_norm, LINEAR_LOSS: _linear_loss})
