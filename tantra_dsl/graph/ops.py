"""The primitives: everything that a compiler of this language has to know.

Each entry says what the op reads, its attributes, what it computes and on what shapes. Shapes are named
dimensions; ``...`` stands for any leading ones. ``weight`` inputs come from ``param`` nodes (or from a ``param`` input, when the
weight is shared). A trailing ``?`` marks an optional input: which optional inputs are present is told by attr ``has``
(a tuple of their names), in the order listed here. ``*`` marks any number of inputs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpSpec:
    """Contract of a primitive."""

    name: str
    inputs: tuple[str, ...]
    attrs: tuple[str, ...]
    doc: str


_TABLE = (
    # --- projections -------------------------------------------------------------------
    OpSpec("linear", ("x", "weight", "bias?"), ("has",), "[..., in] x weight [out, in] (+ bias [out]) -> [..., out]."),
    OpSpec("embedding", ("ids", "weight"), (), "int [...] rows of weight [count, dim] -> [..., dim]."),
    OpSpec("conv1d", ("x", "weight", "bias?"), ("causal", "groups", "stride", "dilation", "has"),
           "[batch, time, in] along time, weight [out, in / groups, width] -> [batch, time / stride, out]. Causal pads "
           "width - 1 on the left (times dilation), otherwise both sides so that length is kept (the larger half left)."),
    OpSpec("expert_linear", ("x", "experts", "weight", "bias?"), ("has",),
           "x [batch, time, in] or [batch, time, slots, in]; experts int [batch, time, slots]; weight [experts, out, in], bias "
           "[experts, out] -> [batch, time, slots, out]: each slot through its own expert."),
    # --- shape -------------------------------------------------------------------------
    OpSpec("split", ("x",), ("sizes",), "Cuts the last dimension into ``sizes``; one output each."),
    OpSpec("concat", ("*xs",), ("axis",), "Joins along the dimension named ``axis`` (a dimension name, or ``last``). Where an "
           "operand lacks a leading ``batch`` dimension it is repeated over the batch."),
    OpSpec("split_heads", ("x",), ("heads",), "[..., heads * head_dim] -> [..., heads, head_dim]."),
    OpSpec("merge_heads", ("x",), (), "[..., heads, head_dim] -> [..., heads * head_dim]."),
    OpSpec("repeat_heads", ("x",), ("times",), "[..., heads, d] -> [..., heads * times, d], each head repeated in place "
           "(head j of the result is head j // times)."),
    OpSpec("patches", ("x",), ("size",), "pixels [batch, c, H, W] -> [batch, (H/size)*(W/size), c*size*size], rows first, each patch "
           "flattened channel first; or [batch, time, d] -> [batch, time/size, size*d]."),
    OpSpec("unpatch", ("x",), ("size",), "[batch, n, size*d] -> [batch, n*size, d]."),
    OpSpec("shift", ("x",), ("by", "fill"), "Along time: out[t] = x[t - by]; places without a source hold ``fill`` (0, or -100 for labels)."),
    OpSpec("select", ("x",), ("axis", "index"), "Takes element ``index`` (may be negative) of the dimension named ``axis``, dropping it."),
    OpSpec("gather_time", ("x", "index"), (), "x [batch, time, ...], index int [batch] -> [batch, ...]."),
    OpSpec("slice", ("x",), ("axis", "start", "stop"), "Keeps start:stop (Python rules; stop None = to the end) of dimension ``axis``."),
    OpSpec("pool", ("x", "weights?"), ("axis", "kind", "has"), "Reduces the dimension named ``axis`` by kind mean, sum or max; with weights "
           "[axis] or [..., axis], kind sum is the weighted sum."),
    OpSpec("stack_depth", ("*xs",), (), "Stacks equal-typed tensors along a new first dimension ``depth``."),
    OpSpec("argmax_time", ("ids",), (), "int [batch, time] -> int [batch]: position of the largest id, the first where several."),
    OpSpec("expand_time", ("x", "like"), (), "[...,] without time -> repeated along the time axis of ``like``, put after batch."),
    # --- scalar and statistics ---------------------------------------------------------
    OpSpec("map", ("*xs", "*captures"), ("program", "arity"), "Applies an ``fn`` program elementwise; operands broadcast from the right, "
           "as in NumPy. ``arity`` operands come first, then the program's captures."),
    OpSpec("normalize", ("x",), ("kind", "eps", "groups"), "Over the last dimension (cut into ``groups`` equal parts): layernorm "
           "(x - mean) / sqrt(var + eps); rms x / sqrt(mean(x^2) + eps); l2 x / sqrt(sum(x^2) + eps). No weights."),
    OpSpec("softmax", ("x",), ("axis",), "Softmax along the dimension named ``axis`` (or ``last``)."),
    OpSpec("dropout", ("x",), ("rate",), "Inverted dropout while training; rate None means the recipe's."),
    OpSpec("stop_gradient", ("x",), (), "Identity forward, no gradient."),
    # --- positions ---------------------------------------------------------------------
    OpSpec("positions", ("x",), ("offset",), "int [time]: absolute positions of x's time axis, plus ``offset``."),
    OpSpec("tabulate", ("x",), ("program", "width"), "float [time, width]: a ``table`` program over position p of x's time axis and "
           "channel c; also knows ``width``."),
    OpSpec("rope", ("x",), ("frequency", "width", "interleaved", "factor"),
           "Rotary embedding (Su et al. 2021) of x [batch, time, heads, head_dim] by absolute position. Only the first ``width`` channels "
           "turn. frequency: a ``frequency`` program of the pair index j giving the angle per position. interleaved: pairs are "
           "(2j, 2j+1), else (j, j + width/2). cos and sin are multiplied by ``factor``."),
    # --- attention and scans -----------------------------------------------------------
    OpSpec("attend", ("q", "k", "v", "sink?", "*captures"), ("mask", "score", "scale", "dropout", "has", "causal"),
           "Softmax attention. q [batch, tq, heads, d], k [batch, tk, kv_heads, d], v [batch, tk, kv_heads, dv] -> "
           "[batch, tq, heads, dv]; head h reads kv head h // (heads / kv_heads). s = scale * q.k, then score(s), then masked "
           "softmax. mask: a ``mask`` Program or None (all). score: a ``score`` Program or None. Captures: the mask's, then the score's. "
           "Queries are the last tq of the tk positions (bottom-right aligned). sink [heads]: a logit that joins the "
           "denominator only. A row without a key gives zeros. dropout: rate on the probabilities, None = none. "
           "``causal`` is True when the mask is exactly ``k <= q``."),
    OpSpec("additive_attend", ("q", "k", "v", "weight", "*captures"), ("mask", "has"),
           "Bahdanau et al. 2014: score = sum(weight * tanh(q + k)); shapes as attend, weight [d]."),
    OpSpec("linear_scan", ("q", "k", "v", "decay?"), ("has",), "S_t = decay_t * S_{t-1} + k_t v_t^T; y_t = q_t S_t. q, k [batch, time, heads, n], v "
           "[batch, time, heads, p] -> [batch, time, heads, p]; decay [batch, time, heads], [batch, time, heads, n] or [heads]; absent = 1. "
           "q and k may have fewer heads (groups): head h reads group h // (heads / groups)."),
    OpSpec("selective_scan", ("x", "delta", "a", "b", "c"), (), "Mamba (Gu & Dao 2023): h_t = exp(delta*a) h_{t-1} + delta*b_t x_t; y = c_t h. "
           "x, delta [batch, time, dim]; a [dim, n]; b, c [batch, time, n] -> [batch, time, dim]."),
    OpSpec("delta_scan", ("q", "k", "v", "beta", "decay?"), ("has",), "Gated delta rule (Yang et al. 2024): "
           "S_t = decay_t S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T; y_t = S_t q_t."),
    # --- experts -----------------------------------------------------------------------
    OpSpec("route", ("scores", "bias?"), ("top_k", "groups", "kept_groups", "normalize", "scale", "after", "has"),
           "scores [batch, time, experts] -> (experts int [batch, time, top_k], weights [batch, time, top_k]). bias joins the choice, not "
           "the weights. groups > 1: only the ``kept_groups`` groups with the largest sum of their two best are open. after: "
           "``softmax`` = softmax over the chosen, None = the scores as they are; normalize: divide by their sum; then times scale."),
    OpSpec("combine_experts", ("y", "weights"), (), "[batch, time, slots, d], [batch, time, slots] -> [batch, time, d]."),
    OpSpec("balance_loss", ("scores", "experts"), ("count",), "Load balance (Switch, Fedus et al. 2021): count * sum(share * mean score) -> []."),
    # --- products and losses -----------------------------------------------------------
    OpSpec("matmul", ("a", "b"), ("transpose",), "Batched product of the last two dims; ``transpose``: b's last two swapped."),
    OpSpec("similarity", ("a", "b"), (), "[batch, d], [batch, d] -> [batch, batch]: all dot products."),
    OpSpec("indices", ("x",), (), "int [batch]: 0, 1, ... along x's first dimension."),
    OpSpec("transpose", ("x",), (), "Swaps the last two dimensions."),
    OpSpec("cross_entropy", ("logits", "target"), ("label_smoothing", "ignore", "z_loss"),
           "Mean over targets that are not ``ignore`` (-100) of -log softmax(logits)[target], in nats, -> []. Label smoothing None means "
           "the recipe's. z_loss adds z_loss * mean(logsumexp^2)."),
    OpSpec("mean_squared_error", ("x", "target"), (), "Mean of (x - target)^2 -> []."),
)  # fmt: skip

OPS: dict[str, OpSpec] = {spec.name: spec for spec in _TABLE}
STRUCTURE = frozenset({"input", "param", "call", "instance", "weight", "stack"})
