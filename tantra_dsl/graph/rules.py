"""Type rules of the primitives: the shapes an op accepts, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from tantra_dsl.graph.types import Dim, Size, TensorType

Types = Sequence[TensorType]
Attrs = Mapping[str, Any]
Rule = Callable[[Types, Attrs], tuple[TensorType, ...]]

SCALAR = TensorType(())


class ShapeError(Exception):
    """Operands do not fit. ``reason`` is in the author's terms; ``inputs`` says which operands."""

    def __init__(self, reason: str, inputs: Sequence[int] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.inputs = tuple(inputs)


RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a type rule for the named ops."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def infer(op: str, types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    """Output types of ``op``. Raises ShapeError where operands do not fit, KeyError for an unknown op."""
    return RULES[op](types, attrs)


# --- helpers ---------------------------------------------------------------------------


def need(condition: bool, reason: str, *inputs: int) -> None:
    """Raise ShapeError unless ``condition``."""
    if not condition:
        raise ShapeError(reason, inputs)


def last(types: Types, which: int = 0) -> Dim:
    """Last dimension of operand ``which``."""
    need(types[which].rank > 0, f"needs at least one dimension, but got a single number {types[which]}", which)
    return types[which].dims[-1]


def extent(dim: Dim, what: str, which: int = 0) -> int:
    """The known extent of ``dim``."""
    known = dim.size.known
    if known is None:
        raise ShapeError(f"{what} must be known when the model is built, but {dim} depends on the input", (which,))
    return known


def axis_of(x: TensorType, name: str, which: int = 0) -> int:
    """Position of the dimension called ``name`` (or ``last``)."""
    if name == "last":
        need(x.rank > 0, "a single number has no last dimension", which)
        return x.rank - 1
    axis = x.axis(name)
    if axis is None:
        raise ShapeError(f"needs a dimension called {name}, but got {x}", (which,))
    return axis


def floating(types: Types, *which: int) -> None:
    """The operands named must hold numbers with a fraction, not ids."""
    for number in which:
        need(types[number].dtype == "float", f"needs a float tensor, but got {types[number]}; embed ids first", number)


def integral(types: Types, which: int) -> None:
    """The operand named must hold whole numbers."""
    need(types[which].dtype != "float", f"needs whole numbers (ids), but got {types[which]}", which)


def optional(types: Types, attrs: Attrs, required: int) -> dict[str, TensorType]:
    """The optional operands that are present, by name."""
    return dict(zip(attrs.get("has", ()), types[required:], strict=False))


def broadcast(types: Types) -> tuple[Dim, ...]:
    """Common dimensions of operands aligned from the right."""
    rank = max(t.rank for t in types)
    dims: list[Dim] = []
    for back in range(rank, 0, -1):
        dims.append(_common([(i, t.dims[-back]) for i, t in enumerate(types) if t.rank >= back]))
    return tuple(dims)


def _common(candidates: list[tuple[int, Dim]]) -> Dim:
    first_index, chosen = candidates[0]
    for index, dim in candidates[1:]:
        if chosen.size.known == 1:
            first_index, chosen = index, dim
        elif dim.size != chosen.size and dim.size.known != 1:
            reason = f"{chosen.name} is {chosen.size} on one side and {dim.name} is {dim.size} on the other"
            raise ShapeError(reason, (first_index, index))
        elif chosen.name == "dim" and dim.name != "dim" and dim.size == chosen.size:
            chosen = dim
    return chosen


# --- projections -----------------------------------------------------------------------


@rule("linear")
def _linear(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    x, weight = last(types), types[1]
    need(weight.rank == 2, f"a linear weight has two dimensions, but got {weight}", 1)
    need(x.size == weight.dims[1].size, f"the weight reads {weight.dims[1].size} channels, but the input has {x}", 0, 1)
    return (types[0].with_last(weight.dims[0]),)


@rule("embedding")
def _embedding(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    integral(types, 0)
    need(types[1].rank == 2, f"a table has two dimensions, but got {types[1]}", 1)
    return (TensorType((*types[0].dims, types[1].dims[1])),)


@rule("conv1d")
def _conv1d(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    x, weight = types[0], types[1]
    time = axis_of(x, "time")
    need(time == x.rank - 2, f"a convolution along time needs [batch, time, channels], but got {x}", 0)
    groups = attrs.get("groups", 1)
    channels = extent(last(types), "the number of channels")
    need(channels % groups == 0, f"{groups} groups do not divide {channels} channels", 0)
    need(
        weight.dims[1].size.known == channels // groups,
        f"the weight {weight} does not fit {channels} channels in {groups} groups",
        0,
        1,
    )
    dims = list(x.dims)
    stride = attrs.get("stride", 1)
    dims[time] = Dim("time", dims[time].size.scaled(Fraction(1, stride)))
    dims[-1] = weight.dims[0]
    return (TensorType(tuple(dims)),)


@rule("expert_linear")
def _expert_linear(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    integral(types, 1)
    experts, weight = types[1], types[2]
    need(experts.rank == 3, f"the choice of experts is [batch, time, slots], but got {experts}", 1)
    need(weight.rank == 3, f"expert weights are [experts, out, in], but got {weight}", 2)
    need(
        last(types).size == weight.dims[2].size,
        f"the experts read {weight.dims[2].size} channels, but the input has {last(types)}",
        0,
        2,
    )
    return (TensorType((*experts.dims, weight.dims[1])),)


# --- shape -----------------------------------------------------------------------------


@rule("split")
def _split(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    dim, sizes = last(types), attrs["sizes"]
    need(all(size > 0 for size in sizes), f"every part must be positive, but got {list(sizes)}", 0)
    width = extent(dim, "what is split")
    need(
        sum(sizes) == width, f"the parts {' + '.join(map(str, sizes))} make {sum(sizes)}, but {dim.name} is {width}", 0
    )
    return tuple(types[0].with_last(Dim(dim.name, Size.of(size))) for size in sizes)


@rule("concat")
def _concat(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    widest = max(types, key=lambda t: t.rank)
    axis = axis_of(widest, attrs["axis"])
    back = widest.rank - axis
    total = Size()
    for index, t in enumerate(types):
        need(t.rank >= back and widest.rank - t.rank <= 1, f"cannot join {t} with {widest}", index)
        total = total + t.dims[-back].size
        for place in range(1, t.rank + 1):
            same = place == back or t.dims[-place].size == widest.dims[-place].size
            need(same, f"{widest.dims[-place].name} differs: {widest} against {t}", index)
    need(len({t.dtype for t in types}) == 1, "cannot join whole numbers with fractions")
    dims = list(widest.dims)
    dims[axis] = Dim(dims[axis].name, total)
    return (TensorType(tuple(dims), widest.dtype),)


@rule("split_heads")
def _split_heads(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    width, heads = extent(last(types), "the width split into heads"), attrs["heads"]
    need(heads > 0, f"the number of heads must be positive, but is {heads}", 0)
    need(width % heads == 0, f"{heads} heads do not divide a width of {width}", 0)
    dims = (*types[0].dims[:-1], Dim("heads", Size.of(heads)), Dim("head_dim", Size.of(width // heads)))
    return (TensorType(dims, types[0].dtype),)


@rule("merge_heads")
def _merge_heads(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x = types[0]
    need(x.rank >= 2, f"needs [..., heads, head_dim], but got {x}", 0)
    width = extent(x.dims[-2], "the number of heads") * extent(x.dims[-1], "head_dim")
    return (TensorType((*x.dims[:-2], Dim("dim", Size.of(width))), x.dtype),)


@rule("repeat_heads")
def _repeat_heads(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x = types[0]
    need(x.rank >= 2, f"needs [..., heads, head_dim], but got {x}", 0)
    heads = Dim(x.dims[-2].name, x.dims[-2].size.scaled(Fraction(attrs["times"])))
    return (TensorType((*x.dims[:-2], heads, x.dims[-1]), x.dtype),)


@rule("patches")
def _patches(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, size = types[0], attrs["size"]
    need(size > 0, f"a patch must be positive, but is {size}", 0)
    if x.axis("height") is not None:
        return (_image_patches(x, size),)
    axis = axis_of(x, "time")
    need(axis == x.rank - 2, f"needs [batch, time, channels], but got {x}", 0)
    dims = list(x.dims)
    dims[axis] = Dim("time", dims[axis].size.scaled(Fraction(1, size)))
    dims[-1] = Dim("dim", dims[-1].size.scaled(Fraction(size)))
    return (TensorType(tuple(dims), x.dtype),)


def _image_patches(x: TensorType, size: int) -> TensorType:
    channels, height, width = (extent(dim, dim.name) for dim in x.dims[-3:])
    need(height % size == 0 and width % size == 0, f"patches of {size} do not divide an image of {height} x {width}", 0)
    count = (height // size) * (width // size)
    return TensorType((x.dims[0], Dim("time", Size.of(count)), Dim("dim", Size.of(channels * size * size))))


@rule("unpatch")
def _unpatch(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, size = types[0], attrs["size"]
    axis = axis_of(x, "time")
    need(extent(last(types), "the width") % size == 0, f"patches of {size} do not divide a width of {last(types)}", 0)
    dims = list(x.dims)
    dims[axis] = Dim("time", dims[axis].size.scaled(Fraction(size)))
    dims[-1] = Dim("dim", dims[-1].size.scaled(Fraction(1, size)))
    return (TensorType(tuple(dims), x.dtype),)


@rule("shift")
def _shift(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    axis_of(types[0], "time")
    return (types[0],)


def _without(x: TensorType, axis: int) -> TensorType:
    return TensorType((*x.dims[:axis], *x.dims[axis + 1 :]), x.dtype)


@rule("select")
def _select(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    axis = axis_of(types[0], attrs["axis"])
    known, index = types[0].dims[axis].size.known, attrs["index"]
    need(known is None or -known <= index < known, f"there is no element {index} among {known}", 0)
    return (_without(types[0], axis),)


@rule("gather_time")
def _gather_time(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    integral(types, 1)
    need(types[1].rank == 1, f"needs one position per sequence, int[batch], but got {types[1]}", 1)
    return (_without(types[0], axis_of(types[0], "time")),)


@rule("slice")
def _slice(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x = types[0]
    axis = axis_of(x, attrs["axis"])
    dim = x.dims[axis]
    dims = list(x.dims)
    dims[axis] = Dim(dim.name, _sliced(dim.size, attrs.get("start", 0), attrs.get("stop")))
    return (TensorType(tuple(dims), x.dtype),)


def _sliced(size: Size, start: int, stop: int | None) -> Size:
    if size.known is not None:
        return Size.of(len(range(size.known)[start:stop]))
    end = size if stop is None else (size + Size.of(stop) if stop < 0 else Size.of(stop))
    begin = size + Size.of(start) if start < 0 else Size.of(start)
    return end - begin


@rule("pool")
def _pool(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    axis = axis_of(types[0], attrs["axis"])
    weights = optional(types, attrs, 1).get("weights")
    if weights is not None:
        size = types[0].dims[axis].size
        need(
            weights.rank > 0 and weights.dims[-1].size == size,
            f"needs one weight for each of {size}, but got {weights}",
            1,
        )
    return (_without(types[0], axis),)


@rule("stack_depth")
def _stack_depth(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    for index, t in enumerate(types):
        same = [d.size for d in t.dims] == [d.size for d in types[0].dims]
        need(same, f"cannot stack {t} on {types[0]}", index)
    return (TensorType((Dim("depth", Size.of(len(types))), *types[0].dims), types[0].dtype),)


@rule("argmax_time")
def _argmax_time(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    return (TensorType((types[0].dims[0],), "int"),)


@rule("expand_time")
def _expand_time(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, like = types
    time = like.dims[axis_of(like, "time", 1)]
    need(x.axis("time") is None, f"{x} has a time axis already", 0)
    batch = 1 if x.axis("batch") == 0 else 0
    return (TensorType((*x.dims[:batch], time, *x.dims[batch:]), x.dtype),)


# --- scalar and statistics -------------------------------------------------------------


@rule("map")
def _map(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    return (TensorType(broadcast(types[: attrs["arity"]])),)


@rule("normalize")
def _normalize(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    width, groups = extent(last(types), "the normalised width"), attrs.get("groups", 1)
    need(width % groups == 0, f"{groups} groups do not divide a width of {width}", 0)
    return (types[0],)


@rule("softmax")
def _softmax(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    axis_of(types[0], attrs["axis"])
    return (types[0],)


@rule("dropout")
def _dropout(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    return (types[0],)


@rule("stop_gradient")
def _stop_gradient(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    return (types[0],)


# --- positions -------------------------------------------------------------------------


@rule("positions")
def _positions(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    return (TensorType((types[0].dims[axis_of(types[0], "time")],), "int"),)


@rule("tabulate")
def _tabulate(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    time = types[0].dims[axis_of(types[0], "time")]
    return (TensorType((time, Dim("dim", Size.of(attrs["width"])))),)


@rule("rope")
def _rope(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    x = types[0]
    time = axis_of(x, "time")
    need(time == x.rank - 3, f"rope turns [batch, time, heads, head_dim], but got {x}", 0)
    head_dim, width = extent(last(types), "head_dim"), attrs["width"]
    need(width % 2 == 0, f"rope turns pairs of channels, but {width} is odd", 0)
    need(0 < width <= head_dim, f"rope cannot turn {width} of {head_dim} channels", 0)
    return (x,)


# --- attention and scans ---------------------------------------------------------------


def _heads_first(types: Types, which: int, name: str) -> TensorType:
    x = types[which]
    need(x.rank == 4 and x.axis("time") == 1, f"{name} must be [batch, time, heads, head_dim], but is {x}", which)
    return x


def _check_heads(q: TensorType, k: TensorType, v: TensorType) -> None:
    heads, kv_heads = extent(q.dims[2], "heads"), extent(k.dims[2], "kv_heads")
    need(heads % kv_heads == 0, f"{kv_heads} kv heads do not divide {heads} heads", 0, 1)
    need(k.dims[2].size == v.dims[2].size, f"keys have {k.dims[2].size} heads, but values have {v.dims[2].size}", 1, 2)
    need(k.dims[1].size == v.dims[1].size, f"keys have length {k.dims[1].size}, but values have {v.dims[1].size}", 1, 2)


@rule("attend", "additive_attend")
def _attend(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0, 1, 2)
    q, k, v = (_heads_first(types, i, name) for i, name in enumerate(("queries", "keys", "values")))
    need(
        q.dims[3].size == k.dims[3].size,
        f"queries have head_dim {q.dims[3].size}, but keys have {k.dims[3].size}",
        0,
        1,
    )
    _check_heads(q, k, v)
    sink = optional(types, attrs, 3).get("sink")
    if sink is not None:
        need(
            sink.rank == 1 and sink.dims[0].size == q.dims[2].size,
            f"needs one sink for each of {q.dims[2].size} heads, but got {sink}",
            3,
        )
    return (TensorType((*q.dims[:3], v.dims[3])),)


@rule("linear_scan")
def _linear_scan(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0, 1, 2)
    q, k, v = (_heads_first(types, i, name) for i, name in enumerate(("queries", "keys", "values")))
    need(q.dims[3].size == k.dims[3].size, f"queries have width {q.dims[3].size}, but keys have {k.dims[3].size}", 0, 1)
    groups, heads = extent(k.dims[2], "the number of groups"), extent(v.dims[2], "heads")
    need(q.dims[2].size == k.dims[2].size and heads % groups == 0, f"{groups} groups do not divide {heads} heads", 1, 2)
    decay = optional(types, attrs, 3).get("decay")
    if decay is not None:
        fits = decay.rank == 1 or (decay.rank in (3, 4) and decay.dims[2].size == v.dims[2].size)
        need(fits, f"a decay is [heads], [batch, time, heads] or one per channel, but got {decay}", 3)
    return (TensorType(v.dims),)


@rule("selective_scan")
def _selective_scan(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0, 1, 2, 3, 4)
    x, delta, a, b, c = types
    need(x.rank == 3, f"needs [batch, time, dim], but got {x}", 0)
    need([d.size for d in x.dims] == [d.size for d in delta.dims], f"delta {delta} does not match {x}", 0, 1)
    need(a.rank == 2 and a.dims[0].size == x.dims[2].size, f"a must be [{x.dims[2].size}, state], but is {a}", 2)
    for index, t in ((3, b), (4, c)):
        need(t.rank == 3 and t.dims[2].size == a.dims[1].size, f"needs a state of {a.dims[1].size}, but got {t}", index)
    return (x,)


@rule("delta_scan")
def _delta_scan(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0, 1, 2, 3)
    q, k, v = (_heads_first(types, i, name) for i, name in enumerate(("queries", "keys", "values")))
    need(
        q.dims[2:] == k.dims[2:] or [d.size for d in q.dims] == [d.size for d in k.dims],
        f"queries {q} do not match keys {k}",
        0,
        1,
    )
    need(q.dims[2].size == v.dims[2].size, f"keys have {k.dims[2].size} heads, but values have {v.dims[2].size}", 1, 2)
    beta = types[3]
    need(beta.rank == 3 and beta.dims[2].size == v.dims[2].size, f"beta must be [batch, time, heads], but is {beta}", 3)
    return (TensorType(v.dims),)


# --- experts ---------------------------------------------------------------------------


@rule("route")
def _route(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    experts, top_k = extent(last(types), "the number of experts"), attrs["top_k"]
    need(0 < top_k <= experts, f"cannot choose {top_k} of {experts} experts", 0)
    groups = attrs.get("groups", 1)
    need(experts % groups == 0, f"{groups} groups do not divide {experts} experts", 0)
    kept = attrs.get("kept_groups", groups)
    need(0 < kept <= groups, f"cannot keep {kept} of {groups} groups", 0)
    need(top_k <= experts // groups * kept, f"{kept} groups of {experts // groups} hold fewer than {top_k} experts", 0)
    bias = optional(types, attrs, 1).get("bias")
    if bias is not None:
        need(bias.rank == 1 and bias.dims[0].size.known == experts, f"needs one bias per expert, but got {bias}", 1)
    slots = Dim("slots", Size.of(top_k))
    lead = types[0].dims[:-1]
    return TensorType((*lead, slots), "int"), TensorType((*lead, slots))


@rule("combine_experts")
def _combine_experts(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    y, weights = types
    need(
        y.rank == 4 and weights.rank == 3,
        f"needs [batch, time, slots, dim] and [batch, time, slots], but got {y} and {weights}",
        0,
        1,
    )
    need(
        y.dims[2].size == weights.dims[2].size,
        f"{y.dims[2].size} outputs cannot be weighed by {weights.dims[2].size} weights",
        0,
        1,
    )
    return (_without(y, 2),)


@rule("balance_loss")
def _balance_loss(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    return (SCALAR,)


# --- products and losses ---------------------------------------------------------------


@rule("matmul")
def _matmul(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0, 1)
    a, b = types
    need(a.rank >= 2 and b.rank >= 2, f"a product needs two matrices, but got {a} and {b}", 0, 1)
    inner, outer = (b.dims[-1], b.dims[-2]) if attrs.get("transpose") else (b.dims[-2], b.dims[-1])
    need(a.dims[-1].size == inner.size, f"cannot multiply {a} by {b}: {a.dims[-1]} against {inner}", 0, 1)
    lead = broadcast((TensorType(a.dims[:-2]), TensorType(b.dims[:-2]))) if a.rank > 2 or b.rank > 2 else ()
    return (TensorType((*lead, a.dims[-2], outer)),)


@rule("similarity")
def _similarity(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0, 1)
    a, b = types
    fits = a.rank == 2 and b.rank == 2 and a.dims[1].size == b.dims[1].size
    need(fits, f"needs two lists of vectors of one width, but got {a} and {b}", 0, 1)
    return (TensorType((a.dims[0], Dim("pairs", b.dims[0].size))),)


@rule("indices")
def _indices(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need(types[0].rank > 0, "a single number has no first dimension", 0)
    return (TensorType((types[0].dims[0],), "int"),)


@rule("transpose")
def _transpose(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x = types[0]
    need(x.rank >= 2, f"needs two dimensions, but got {x}", 0)
    return (TensorType((*x.dims[:-2], x.dims[-1], x.dims[-2]), x.dtype),)


@rule("cross_entropy")
def _cross_entropy(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0)
    integral(types, 1)
    logits, target = types
    need(logits.rank == target.rank + 1, f"logits {logits} need one dimension more than targets {target}", 0, 1)
    for a, b in zip(logits.dims, target.dims, strict=False):
        need(a.size == b.size, f"logits {logits} and targets {target} differ in {a.name}", 0, 1)
    return (SCALAR,)


@rule("mean_squared_error")
def _mean_squared_error(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    floating(types, 0, 1)
    broadcast(types)
    return (SCALAR,)
