"""How each primitive is written, attention and scalar maps apart."""

from __future__ import annotations

from tantra_compiler.emit.expr import MUL, UNARY, Expr, call, index, infix, listing, method, number
from tantra_compiler.emit.site import Site, lowers


@lowers("linear")
def _linear(site: Site) -> Expr:
    return site.run("linear", *site.args)


@lowers("embedding")
def _embedding(site: Site) -> Expr:
    return call("F.embedding", *site.args)


@lowers("conv1d")
def _conv1d(site: Site) -> Expr:
    causal = number(bool(site.node.attr("causal")))
    return site.run("conv1d", *site.args, causal=causal, **site.given(groups=1, stride=1, dilation=1), **site.cache())


@lowers("expert_linear")
def _expert_linear(site: Site) -> Expr:
    return site.run("expert_linear", *site.args)


# --- shape -----------------------------------------------------------------------------


@lowers("split")
def _split(site: Site) -> Expr:
    return method(site.args[0], "split", repr(list(site.node.attr("sizes"))), dim="-1")


@lowers("concat")
def _concat(site: Site) -> Expr:
    widest = max(range(len(site.args)), key=lambda slot: site.type(slot).rank)
    axis = repr(site.axis(widest))
    if len({site.type(slot).rank for slot in range(len(site.args))}) > 1:
        return site.run("join", *site.args, axis=axis)
    return call("torch.cat", listing(*site.args), dim=axis)


@lowers("split_heads")
def _split_heads(site: Site) -> Expr:
    return site.run("split_heads", site.args[0], repr(site.node.attr("heads")))


@lowers("merge_heads")
def _merge_heads(site: Site) -> Expr:
    return site.run("merge_heads", site.args[0])


@lowers("repeat_heads")
def _repeat_heads(site: Site) -> Expr:
    return site.run("repeat_heads", site.args[0], repr(site.node.attr("times")))


@lowers("patches")
def _patches(site: Site) -> Expr:
    function = "time_patches" if site.type(0).axis("height") is None else "image_patches"
    return site.run(function, site.args[0], repr(site.node.attr("size")))


@lowers("unpatch")
def _unpatch(site: Site) -> Expr:
    return site.run("unpatch", site.args[0], repr(site.node.attr("size")))


@lowers("shift")
def _shift(site: Site) -> Expr:
    by = repr(site.node.attr("by"))
    return site.run("shift", site.args[0], by=by, **site.given(fill=0), **site.cache())


@lowers("select")
def _select(site: Site) -> Expr:
    return _at(site, repr(site.node.attr("index")))


@lowers("slice")
def _slice(site: Site) -> Expr:
    start, stop = site.node.attr("start", 0), site.node.attr("stop")
    return _at(site, f"{start or ''}:{'' if stop is None else stop}")


def _at(site: Site, part: str) -> Expr:
    """Operand 0 indexed with ``part`` at the op's axis."""
    after = -site.axis() - 1
    before = site.type(0).rank - after - 1
    if before > after and after > 0:
        return index(site.args[0], "...", part, *[":"] * after)
    return index(site.args[0], *([":"] * before if after else ["..."] * bool(before)), part)


@lowers("gather_time")
def _gather_time(site: Site) -> Expr:
    return site.run("gather_time", *site.args)


@lowers("pool")
def _pool(site: Site) -> Expr:
    axis, kind = repr(site.axis()), site.node.attr("kind")
    if len(site.args) > 1:
        return site.run("weighted_sum", *site.args, axis=axis)
    return method(site.args[0], "amax" if kind == "max" else kind, axis)


@lowers("stack_depth")
def _stack_depth(site: Site) -> Expr:
    return call("torch.stack", listing(*site.args))


@lowers("argmax_time")
def _argmax_time(site: Site) -> Expr:
    return method(site.args[0], "argmax", "-1")


@lowers("expand_time")
def _expand_time(site: Site) -> Expr:
    return site.run("expand_time", *site.args, axis="1" if site.type(0).axis("batch") == 0 else "0")


@lowers("transpose")
def _transpose(site: Site) -> Expr:
    return method(site.args[0], "transpose", "-1", "-2")


# --- statistics ------------------------------------------------------------------------


@lowers("softmax")
def _softmax(site: Site) -> Expr:
    return method(site.args[0], "softmax", repr(site.axis()))


@lowers("dropout", "seeded_dropout")
def _dropout(site: Site) -> Expr:
    given = site.args[0], number(site.node.attr("rate")), "self.training"
    return call("F.dropout", *given) if site.node.op == "dropout" else site.run("seeded_dropout", *given)


@lowers("stop_gradient")
def _stop_gradient(site: Site) -> Expr:
    return method(site.args[0], "detach")


# --- positions -------------------------------------------------------------------------


@lowers("positions")
def _positions(site: Site) -> Expr:
    return site.run("positions", site.args[0], **site.given(offset=0), **site.cache())


@lowers("tabulate")
def _tabulate(site: Site) -> Expr:
    width = site.node.attr("width")
    program = site.program(site.node.attr("program"), width=width)
    return site.run("tabulate", site.args[0], program, repr(width), **site.cache())


@lowers("rope")
def _rope(site: Site) -> Expr:
    frequency = site.program(site.node.attr("frequency"))
    options = site.given(interleaved=False, factor=1.0)
    return site.run("rope", site.args[0], frequency, repr(site.node.attr("width")), **options, **site.cache())


# --- scans and experts -----------------------------------------------------------------


@lowers("linear_scan", "selective_scan", "delta_scan")
def _scan(site: Site) -> Expr:
    return site.run(site.node.op, *site.args, **site.cache())


@lowers("route")
def _route(site: Site) -> Expr:
    top_k = repr(site.node.attr("top_k"))
    options = site.given(groups=1, normalize=False, scale=1.0)
    if site.node.attr("groups", 1) > 1:
        options["kept_groups"] = number(site.node.attr("kept_groups", site.node.attr("groups")))
    if site.node.attr("after") == "softmax":
        options["softmax"] = number(True)
    bias = site.optional(1)
    return site.run("route", site.args[0], top_k, **bias, **options)


@lowers("combine_experts")
def _combine_experts(site: Site) -> Expr:
    return site.run("combine_experts", *site.args)


@lowers("balance_loss")
def _balance_loss(site: Site) -> Expr:
    return site.run("balance_loss", *site.args, repr(site.node.attr("count")))


# --- products and losses ---------------------------------------------------------------


@lowers("matmul")
def _matmul(site: Site) -> Expr:
    right = site.args[1]
    if site.node.attr("transpose"):
        right = method(right, "transpose", "-1", "-2")
    return infix("@", MUL, site.args[0], right)


@lowers("similarity")
def _similarity(site: Site) -> Expr:
    return infix("@", MUL, site.args[0], Expr(f"{site.args[1].at(UNARY)}.T"))


@lowers("indices")
def _indices(site: Site) -> Expr:
    size = f"{site.args[0].text}.shape[0]"
    return call("torch.arange", size, device=f"{site.args[0].text}.device")


@lowers("cross_entropy")
def _cross_entropy(site: Site) -> Expr:
    return site.run("cross_entropy", *site.args, **site.given(label_smoothing=0.0, ignore=-100, z_loss=0.0))


@lowers("mean_squared_error")
def _mean_squared_error(site: Site) -> Expr:
    return call("F.mse_loss", *site.args)
