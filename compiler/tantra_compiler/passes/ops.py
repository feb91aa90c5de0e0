"""Ops that only the compiler makes, told to the graph's own tables so that it verifies and prints them."""

from __future__ import annotations

from tantra_dsl.graph.linear_loss import LINEAR_LOSS
from tantra_dsl.graph.ops import OPS, OpSpec
from tantra_dsl.graph.rules import RULES, Attrs, Types, need
from tantra_dsl.graph.types import Dim, Size, TensorType

ADD_NORM = "add_norm"
SEEDED = "seeded_dropout"
TURNED_HEADS = "turned_heads"
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

_PACKED = OpSpec(
    "packed_linear",
    ("x", "*weights"),
    ("count",),
    "``count`` linear layers of one input side by side: their weights, then their biases if they have any.",
)
_MAPPED = OpSpec(
    "mapped",
    ("*operands",),
    ("program", "width", "dim"),
    "An elementwise function of variables, which the operands hold side by side; each is ``dim=width`` or broadcast.",
)
_MAPPED_LINEAR = OpSpec(
    "mapped_linear",
    ("weight", "bias?", "*operands"),
    ("has", "program", "width", "dim"),
    "linear(mapped(*operands), weight, bias), whose backward pass computes the function again.",
)
_SEEDED = OpSpec(SEEDED, ("x",), ("rate",), "dropout that keeps a seed, not what it drew.")
_PARTS = OpSpec("parts", ("x",), ("sizes", "names"), "The last dimension cut into ``sizes``, called ``names``.")


_TURNED = OpSpec(
    TURNED_HEADS,
    ("packed", "*vectors"),
    ("heads", "widths", "names", "norms", "eps", "turned", "vectors", "frequency", "width", "interleaved", "factor"),
    "The parts of ``packed`` as heads, each through its norm and then turned as ``rope`` does; 0 heads: a part as it "
    'is. ``vectors`` names the operands: "0.weight", "0.bias" of the first part. Nothing else reads ``packed``.',
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


def _packed_linear(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, *given = types
    weights, biases = given[: attrs["count"]], given[attrs["count"] :]
    need(len(biases) in (0, len(weights)), f"{len(weights)} weights do not go with {len(biases)} biases")
    total = 0
    for slot, weight in enumerate(weights, start=1):
        need(weight.rank == 2 and weight.dims[1].size == x.dims[-1].size, f"{weight} does not fit {x}", 0, slot)
        total += weight.dims[0].size.known or 0
    return (x.with_last(Dim("packed", Size.of(total))),)


def _parts(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    sizes, names = attrs["sizes"], attrs["names"]
    need(sum(sizes) == types[0].dims[-1].size.known, f"{sizes} do not make {types[0].dims[-1]}", 0)
    return tuple(types[0].with_last(Dim(name, Size.of(size))) for name, size in zip(names, sizes, strict=True))


def _mapped(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    """Of all variables together; a packed operand has the extents of each of its variables but the last."""
    width = Dim(attrs["dim"], Size.of(attrs["width"]))
    dims = [type.dims if not _is_packed(type, attrs) else (*type.dims[:-1], width) for type in types]
    longest = max(dims, key=len)
    for slot, own in enumerate(dims):
        pairs = zip(reversed(own), reversed(longest), strict=False)
        fits = all(a.size == b.size or a.size.known == 1 or b.size.known == 1 for a, b in pairs)
        need(fits, f"{types[slot]} does not fit {TensorType(longest)}", slot)
    return (TensorType((*longest[:-1], width)),)


def _is_packed(type: TensorType, attrs: Attrs) -> bool:
    return bool(type.rank) and (type.dims[-1].size.known or 0) > attrs["width"]


def _mapped_linear(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    weight, *operands = types
    (value,) = _mapped(operands[len(attrs["has"]) :], attrs)
    need(weight.dims[1].size.known == attrs["width"], f"{weight} does not fit a width of {attrs['width']}", 0)
    return (value.with_last(weight.dims[0]),)


def _turned_heads(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    packed, *vectors = types
    sizes = list(zip(attrs["heads"], attrs["widths"], strict=True))
    total = sum(max(1, heads) * width for heads, width in sizes)
    need(packed.dims[-1].size.known == total, f"parts of {total} columns do not make {packed}", 0)
    for slot, (name, vector) in enumerate(zip(attrs["vectors"], vectors, strict=True), start=1):
        width = attrs["widths"][int(name.partition(".")[0])]
        need(vector.rank == 1 and vector.dims[0].size.known == width, f"{vector} is not {width} wide", slot)
    return tuple(_part(packed, *size, name) for size, name in zip(sizes, attrs["names"], strict=True))


def _part(packed: TensorType, heads: int, width: int, name: str) -> TensorType:
    last = Dim(name, Size.of(width))
    return TensorType((*packed.dims[:-1], *([Dim("heads", Size.of(heads))] if heads else []), last))


OPS.update(
    {
        spec.name: spec
        for spec in (*_FUSED, _ADD_NORM, _LOSS, _PACKED, _PARTS, _MAPPED, _MAPPED_LINEAR, _SEEDED, _TURNED)
    }
)
RULES.update({spec.name: _weighted_norm for spec in _FUSED})
RULES.update({ADD_NORM: _add_norm, LINEAR_LOSS: _linear_loss, "packed_linear": _packed_linear, "parts": _parts})
RULES.update({SEEDED: RULES["dropout"], "mapped": _mapped, "mapped_linear": _mapped_linear})
RULES.update({TURNED_HEADS: _turned_heads})
