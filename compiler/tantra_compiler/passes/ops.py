"""Ops that only the compiler makes, told to the graph's own tables so that it verifies and prints them."""

from __future__ import annotations

from tantra_dsl.graph.ops import OPS, OpSpec
from tantra_dsl.graph.rules import RULES, Attrs, Types, need
from tantra_dsl.graph.types import TensorType

_FUSED = (
    OpSpec(
        "layer_norm",
        ("x", "weight", "bias?"),
        ("eps", "has"),
        "layernorm over the last dimension, times weight, + bias.",
    ),
    OpSpec("rms_norm", ("x", "weight"), ("eps",), "rms over the last dimension, times weight."),
)


def _weighted_norm(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    for slot, weight in enumerate(types[1:], start=1):
        fits = weight.rank == 1 and weight.dims[0].size == types[0].dims[-1].size
        need(fits, f"{weight} does not fit {types[0]}", 0, slot)
    return (types[0],)


OPS.update({spec.name: spec for spec in _FUSED})
RULES.update({spec.name: _weighted_norm for spec in _FUSED})
