"""A use of every setting of every primitive, and a change of its value; ``KEYS`` is as in ``components``."""

from __future__ import annotations

from collections.abc import Callable

from tests.guarantees.components import Change, model

Build = Callable[[str], str]


def probe(equations: str) -> str:
    """A model whose sublayer is a module of these equations."""
    return model(sublayer="probe", definitions=f"module probe(x) {{ {equations} }}")


def summary(equations: str) -> str:
    """A model that classifies sequences, so that equations may look along time, at keys or at the whole."""
    return model(head="probe", objective="classification", definitions=f"module probe(x) {{ {equations} }}")


def embedding(equations: str) -> str:
    """A model whose embedding of the token ids is a module of these equations."""
    return model(embed="probe", head="language_model", definitions=f"module probe(ids) {{ {equations} }}")


def picture(equations: str) -> str:
    """A model of an image."""
    return f"""model picture {{
  dim: 16
  input image: pixels[3, 32, 32]
  embed: probe
}}
module probe(image) {{ {equations} }}
"""


def keys(build: Build, equations: str, **values: tuple[str, str]) -> dict[str, Change]:
    """Changes of several keys; ``@`` in the equations stands for the settings, written out in both values."""
    return {key: Change(*(build(equations.replace("@", value)) for value in pair)) for key, pair in values.items()}


def owned(owner: str, *groups: dict[str, Change]) -> dict[str, Change]:
    """Changes under ``owner.key``."""
    return {f"{owner}.{key}": change for group in groups for key, change in group.items()}


ROUTED = "scores = softmax(linear(x, 8))  chosen, weights = route(scores; %s)  "
EXPERTS = "y = combine_experts(expert_linear(x, chosen; %s), weights)  return linear(y, dim)"
HEADED = "q = split_heads(linear(x, 16), 4)  k = split_heads(linear(x, 16), 4)  v = split_heads(linear(x, 16), 4)  "

KEYS = {
    **owned(
        "linear",
        keys(
            probe,
            "y = linear(x; @)  return linear(y, dim)",
            out=("8", "4"),
            bias=("8, bias: false", "8, bias: true"),
            init=("8, init: zeros", "8, init: ones"),
            bias_init=("8, bias: true, bias_init: zeros", "8, bias: true, bias_init: ones"),
        ),
        keys(
            probe,
            "a = param([dim, dim])  b = param([dim, dim])  "
            "return linear(x; @) + linear(linear(x; weight: a); weight: b)",
            weight=("weight: a", "weight: b"),
        ),
    ),
    **owned(
        "embedding",
        keys(
            embedding,
            "y = embedding(ids; @)  return linear(y, dim)",
            count=("64, 8", "65, 8"),
            width=("64, 8", "64, 4"),
            init=("64, 8, init: zeros", "64, 8, init: ones"),
        ),
    ),
    **owned(
        "param",
        keys(
            probe,
            "w = param(@)  return x * w",
            shape=("1", "dim"),
            init=("dim, init: zeros", "dim, init: ones"),
            decay=("dim, decay: false", "dim, decay: true"),
            trained=("dim, trained: true", "dim, trained: false"),
        ),
    ),
    **owned(
        "conv1d",
        keys(
            summary,
            "y = conv1d(x; @)  return linear(pool(y), 3)",
            width=("3", "5"),
            out=("3, out: 16", "3, out: 8"),
            causal=("3, causal: true", "3, causal: false"),
            groups=("3, groups: 1", "3, groups: 4"),
            stride=("3, stride: 1", "3, stride: 2"),
            dilation=("3, dilation: 1", "3, dilation: 2"),
            bias=("3, bias: true", "3, bias: false"),
            init=("3, init: zeros", "3, init: ones"),
        ),
    ),
    **owned(
        "expert_linear",
        keys(
            probe,
            ROUTED % "top_k: 2" + EXPERTS % "@",
            count=("8, 8", "9, 8"),
            out=("8, 8", "8, 4"),
            bias=("8, 8, bias: false", "8, 8, bias: true"),
            init=("8, 8, init: zeros", "8, 8, init: ones"),
        ),
    ),
    **owned(
        "split",
        keys(probe, "a, b = split(x; @)  return x + linear(a * 2, dim) + linear(b, dim)", sizes=("8, 8", "4, 12")),
    ),
    **owned(
        "concat",
        keys(
            summary,
            "y = softmax(split_heads(x, 4))  both = concat(y, y; @)  return linear(merge_heads(pool(both)), 3)",
            axis=("axis: time", "axis: heads"),
        ),
    ),
    **owned("split_heads", keys(probe, "y = softmax(split_heads(x; @))  return merge_heads(y)", heads=("4", "2"))),
    **owned(
        "repeat_heads",
        keys(
            probe,
            "y = repeat_heads(softmax(split_heads(x, 4)); @)  return linear(merge_heads(y), dim)",
            times=("2", "3"),
        ),
    ),
    **owned("patches", keys(picture, "return linear(patches(image; @), dim)", size=("8", "16"))),
    **owned("unpatch", keys(summary, "y = unpatch(linear(x, 48); @)  return linear(pool(y), 3)", size=("4", "2"))),
    **owned("shift", keys(probe, "return shift(x; @)", by=("1", "2"))),
    **owned(
        "select",
        keys(
            summary,
            "y = select(softmax(split_heads(x, 4)); @)  return linear(pool(y, axis: time), 3)",
            index=("0, axis: heads", "1, axis: heads"),
        ),
        keys(
            summary,
            "y = linear(softmax(split_heads(x, 4)), 4)  z = select(y; @)  return linear(pool(z, axis: time), 3)",
            axis=("0, axis: heads", "0, axis: last"),
        ),
    ),
    **owned(
        "slice",
        keys(
            summary,
            "y = slice(x; @)  return linear(pool(y), 3)",
            start=("1", "2"),
            stop=("0, 4", "0, 5"),
            axis=("0, 4, axis: time", "0, 4, axis: last"),
        ),
    ),
    **owned(
        "pool",
        keys(
            summary,
            "y = split_heads(x, 4)  return linear(merge_heads(pool(y; @)), 3)",
            kind=("mean", "max"),
        ),
        keys(
            summary,
            "y = softmax(split_heads(x, 4))  z = pool(y; @)  return linear(pool(z, axis: time), 3)",
            axis=("mean, axis: heads", "mean, axis: head_dim"),
        ),
        keys(
            probe,
            "a = param(2)  b = param(2)  y = concat(split_heads(x, 2); axis: heads)  "
            "return linear(pool(y, axis: heads; @), dim) * pool(a * b, axis: last)",
            weights=("weights: a", "weights: b"),
        ),
    ),
    **owned(
        "standardize", keys(probe, "return standardize(x; @)", eps=("1e-5", "1e-6"), groups=("1e-5, 1", "1e-5, 2"))
    ),
    **owned(
        "rms_normalize", keys(probe, "return rms_normalize(x; @)", eps=("1e-5", "1e-6"), groups=("1e-5, 1", "1e-5, 2"))
    ),
    **owned(
        "l2_normalize", keys(probe, "return l2_normalize(x; @)", eps=("1e-5", "1e-6"), groups=("1e-5, 1", "1e-5, 2"))
    ),
    **owned(
        "softmax",
        keys(
            probe,
            "y = softmax(split_heads(x, 4); @)  return merge_heads(y)",
            axis=("axis: last", "axis: heads"),
        ),
    ),
    **owned("dropout", keys(probe, "return dropout(x; @)", rate=("0.1", "0.2"))),
    **owned(
        "positions",
        keys(
            embedding,
            "table = param([32, dim])  return tokens(ids) + lookup(positions(ids; @), table)",
            offset=("0", "1"),
        ),
    ),
    **owned(
        "tabulate",
        keys(
            probe,
            "t = tabulate(x; @)  return x + linear(t, dim)",
            table=("table: p + c, width: dim", "table: p - c, width: dim"),
            width=("table: p, width: 8", "table: p, width: 4"),
        ),
    ),
    **owned(
        "rotate",
        keys(
            probe,
            "y = rotate(split_heads(x, 2); @)  return merge_heads(y)",
            frequency=("10 ** -j, 8", "9 ** -j, 8"),
            width=("10 ** -j, 8", "10 ** -j, 4"),
            interleaved=("10 ** -j, 8, interleaved: false", "10 ** -j, 8, interleaved: true"),
            factor=("10 ** -j, 8, factor: 1", "10 ** -j, 8, factor: 2"),
        ),
    ),
    **owned(
        "attend",
        keys(
            probe,
            HEADED + "a = param(4)  b = param(4)  "
            "c = attend(q, k, v; mask: causal, sink: a) * pool(a * b, axis: last)  "
            "return merge_heads(attend(q, k, v; @) + c)",
            mask=("mask: causal", "mask: causal and window(4)"),
            score=("mask: causal, score: none", "mask: causal, score: alibi"),
            scale=("mask: causal, scale: 1", "mask: causal, scale: 2"),
            sink=("mask: causal, sink: a", "mask: causal, sink: b"),
            dropout=("mask: causal, dropout: 0.1", "mask: causal, dropout: 0.2"),
        ),
    ),
    **owned(
        "additive_attend",
        keys(
            summary,
            HEADED + "a = param([4, 4])  b = param([4, 4])  c = additive_attend(q, k, v; weight: a)  "
            "d = additive_attend(q, k, v; weight: b)  "
            "return linear(pool(merge_heads(additive_attend(q, k, v; @) + c * d)), 3)",
            weight=("weight: a", "weight: b"),
            mask=("weight: a", "weight: a, mask: window(4)"),
        ),
    ),
    **owned(
        "linear_scan",
        keys(
            probe,
            HEADED + "a = param(4)  b = param(4)  c = a * b  "
            "return merge_heads(linear_scan(q, k, v; @)) * pool(c, axis: last)",
            decay=("decay: sigmoid(a)", "decay: sigmoid(b)"),
        ),
    ),
    **owned(
        "delta_scan",
        keys(
            probe,
            HEADED + "beta = sigmoid(linear(x, 4))  a = sigmoid(linear(x, 4))  b = sigmoid(linear(x, 4))  "
            "return merge_heads(delta_scan(q, k, v, beta; @)) + linear(a * b, dim)",
            decay=("decay: a", "decay: b"),
        ),
    ),
    **owned(
        "route",
        keys(
            probe,
            "scores = softmax(linear(x, 8))  chosen, weights = route(scores; @)  " + EXPERTS % "8, 8",
            top_k=("2", "3"),
            groups=("2", "2, groups: 2"),
            kept_groups=("2, groups: 4, kept_groups: 2", "2, groups: 4, kept_groups: 3"),
            normalize=("2, normalize: false", "2, normalize: true"),
            scale=("2, scale: 1", "2, scale: 2"),
            after=("2", "2, after: softmax"),
        ),
        keys(
            probe,
            "scores = softmax(linear(x, 8))  a = param(8)  b = param(8)  chosen, weights = route(scores; @)  "
            "y = combine_experts(expert_linear(x, chosen; 8, 8), weights)  "
            "return linear(y, dim) * pool(a * b, axis: last)",
            bias=("2, bias: a", "2, bias: b"),
        ),
    ),
    **owned(
        "balance_loss",
        keys(
            summary,
            ROUTED % "top_k: 2" + "y = combine_experts(expert_linear(x, chosen; 8, 3), weights)  "
            "return pool(y) + balance_loss(scores, chosen; @)",
            count=("8", "9"),
        ),
    ),
    **owned(
        "matmul",
        keys(probe, "w = param([dim, dim])  return matmul(x, w; @)", transpose=("transpose: true", "transpose: false")),
    ),
    **owned(
        "cross_entropy",
        keys(
            lambda objective: model(inputs="input ids: tokens", objective=objective),
            "cross_entropy(logits, shift(ids, -1); @)",
            label_smoothing=("label_smoothing: 0.1", "label_smoothing: 0.2"),
            z_loss=("z_loss: 0.1", "z_loss: 0.2"),
        ),
    ),
}
