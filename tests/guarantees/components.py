"""A use of every key that ships, and a change of its value.

``LIBRARY`` maps ``owner.key`` to a :class:`Change`: a tiny model with the component, and the same with another value of
that one key.
"""

from __future__ import annotations

from dataclasses import dataclass

MODEL = """\
model tiny {{
  vocab: 64
  context: 16
  dim: 16
  {facts}
  {inputs}
  embed: {embed}
  layers: 2 of block {{
    wiring: {wiring}
    {sublayer}
  }}
  final_norm: {norm}
  head: {head}
  objective: {objective}
}}
{definitions}
"""
USUAL = {
    "facts": "",
    "inputs": "",
    "embed": "tokens",
    "wiring": "residual",
    "sublayer": "ffn { hidden: 32 }",
    "norm": "none",
    "head": "tied",
    "objective": "next_token",
    "definitions": "",
}


def model(**parts: str) -> str:
    """The tiny model with some of its parts replaced."""
    return MODEL.format(**(USUAL | parts))


@dataclass(frozen=True)
class Change:
    """A spec and the same spec with another value for one key."""

    before: str
    after: str


def changes(owner: str, wrap: str, given: str, **values: tuple[str, str] | tuple[str, str, str]) -> dict[str, Change]:
    """For each key two values, ``(before, after)``, with a third for what must be set beside them.

    ``wrap`` is the part of the model that a setting stands in, as ``part: text`` with ``@`` for the settings; of
    those in ``given``, the one of the key itself is left out.
    """
    part, _, text = wrap.partition(": ")
    found = {}
    for key, (before, after, *beside) in values.items():
        others = [item for item in _settings(given) if item.partition(":")[0] != key] + beside
        both = [", ".join([*others, f"{key}: {value}"]) for value in (before, after)]
        found[f"{owner}.{key}"] = Change(*(model(**{part: text.replace("@", setting)}) for setting in both))
    return found


def _settings(given: str) -> list[str]:
    return [item.strip() for item in given.split(",") if item.strip()]


ATTENTION = changes(
    "attention",
    "sublayer: attention { @ }",
    "heads: 4, mask: causal",
    heads=("4", "2"),
    kv_heads=("4", "2"),
    head_dim=("4", "8"),
    bias=("false", "true"),
    qkv_bias=("false", "true"),
    out_bias=("false", "true"),
    mask=("causal", "causal and window(4)"),
    score=("none", "alibi"),
    position=("none", "rope"),
    qk_norm=("none", "rms"),
    scale=("0.5", "1"),
    sink=("false", "true"),
    attention_dropout=("0", "0.1"),
    init=("normal(0.02)", "normal(0.01)"),
    q_init=("normal(0.02)", "zeros"),
    out_init=("normal(0.02)", "zeros"),
)

LATENT = changes(
    "mla",
    "sublayer: mla { @ }",
    "heads: 2, q_rank: 8, kv_rank: 8, nope_dim: 4, rope_dim: 4, v_dim: 4, mask: causal",
    heads=("2", "4"),
    q_rank=("8", "4"),
    kv_rank=("8", "4"),
    nope_dim=("4", "2"),
    rope_dim=("4", "2"),
    v_dim=("4", "8"),
    norm=("rms", "layernorm"),
    position=("none", "rope"),
    mask=("causal", "causal and window(4)"),
    scale=("0.5", "1"),
    bias=("false", "true"),
    init=("normal(0.02)", "normal(0.01)"),
    out_init=("normal(0.02)", "zeros"),
)

FEED_FORWARD = changes(
    "ffn",
    "sublayer: ffn { @ }",
    "hidden: 32",
    hidden=("32", "48"),
    activation=("gelu", "relu"),
    gated=("false", "true"),
    bias=("false", "true"),
    init=("normal(0.02)", "normal(0.01)"),
    out_init=("normal(0.02)", "zeros"),
) | changes(
    "mlp",
    "sublayer: mlp { @ }",
    "hidden: 32",
    hidden=("32", "48"),
    activation=("gelu", "relu"),
    bias=("true", "false"),
)

EXPERTS = changes(
    "moe",
    "sublayer: moe { @ }",
    "experts: 4, top_k: 2, hidden: 8",
    experts=("4", "8"),
    top_k=("2", "1"),
    hidden=("8", "16"),
    activation=("silu", "relu"),
    shared=("0", "1"),
    scoring=("softmax", "sigmoid"),
    groups=("1", "2"),
    kept_groups=("2", "1", "groups: 2"),
    normalize=("true", "false"),
    scale=("1", "2.5"),
    correction=("false", "true"),
    init=("normal(0.02)", "normal(0.01)"),
    out_init=("normal(0.02)", "zeros"),
)

SCANS = changes(
    "mamba2",
    "sublayer: mamba2 { @ }",
    "heads: 4, head_dim: 4, state: 8",
    heads=("4", "2"),
    head_dim=("4", "8"),
    state=("8", "4"),
    groups=("1", "2"),
    conv=("4", "2"),
    eps=("1e-5", "1e-6"),
    init=("normal(0.02)", "normal(0.01)"),
    out_init=("normal(0.02)", "zeros"),
)

NORMS = changes(
    "layernorm",
    "norm: layernorm(@)",
    "",
    eps=("1e-5", "1e-6"),
    weight=("true", "false"),
    bias=("true", "false"),
) | changes("rms", "norm: rms(@)", "", eps=("1e-5", "1e-6"), weight=("plain", "one_plus"))

POSITIONS = (
    changes("learned_positions", "embed: tokens + learned_positions(@)", "", count=("16", "32"), init=("zeros", "ones"))
    | changes(
        "sinusoidal", "embed: tokens + sinusoidal(@)", "", theta=("10_000", "500"), layout=("interleaved", "halves")
    )
    | changes(
        "rope",
        "sublayer: attention { heads: 2, mask: causal, position: rope(@) }",
        "",
        theta=("10_000", "500"),
        fraction=("1", "0.5"),
        interleaved=("false", "true"),
        scaling=("none", "linear(factor: 2)"),
        factor=("1", "1.5"),
    )
    | changes(
        "scaling_linear",
        "sublayer: attention { heads: 2, mask: causal, position: rope(scaling: linear(@)) }",
        "",
        factor=("2", "4"),
    )
    | changes(
        "scaling_llama3",
        "sublayer: attention { heads: 2, mask: causal, position: rope(scaling: llama3(@)) }",
        "original: 16",
        factor=("8", "4"),
        low=("1", "2"),
        high=("4", "8"),
        original=("16", "64"),
    )
    | changes(
        "scaling_yarn",
        "sublayer: attention { heads: 2, mask: causal, position: rope(theta: 100, scaling: yarn(@)) }",
        "factor: 4, original: 256",
        factor=("4", "8"),
        fast=("32", "2"),
        slow=("1", "2"),
        original=("256", "1024"),
        truncate=("true", "false"),
    )
)

WIRINGS = (
    changes("post", "wiring: post(@)", "", norm=("rms", "layernorm"))
    | changes("pre", "wiring: pre(@)", "", norm=("rms", "layernorm"))
    | changes("sandwich", "wiring: sandwich(@)", "", norm=("rms", "layernorm"))
    | changes("deepnorm", "wiring: deepnorm(@)", "norm: rms, alpha: 2", norm=("rms", "layernorm"), alpha=("2", "3"))
    | changes("parallel", "wiring: parallel(@)", "", norm=("rms", "layernorm"))
    | changes("gated", "wiring: gated(@)", "", norm=("rms", "layernorm"))
)

MASKS = (
    changes("window", "sublayer: attention { heads: 2, mask: causal and window(@) }", "", w=("4", "5"))
    | changes("strided", "sublayer: attention { heads: 2, mask: strided(@) }", "", s=("4", "5"))
    | changes("fixed", "sublayer: attention { heads: 2, mask: fixed(@) }", "s: 4, c: 1", s=("4", "8"), c=("1", "2"))
    | changes("sinks", "sublayer: attention { heads: 2, mask: sinks(@) }", "n: 2, w: 4", n=("2", "1"), w=("4", "5"))
    | {
        key: Change(
            *(
                model(
                    sublayer=f"attention {{ heads: 2, mask: {mask} }}", head="language_model", objective="masked_token"
                )
                for mask in masks
            )
        )
        for key, masks in {
            "prefix.n": ("prefix(4)", "prefix(5)"),
            "block_causal.s": ("block_causal(4)", "block_causal(8)"),
            "longformer.w": ("longformer(4, 1)", "longformer(5, 1)"),
            "longformer.g": ("longformer(4, 1)", "longformer(4, 2)"),
        }.items()
    }
)

SCORES = changes(
    "softcap", "sublayer: attention { heads: 2, mask: causal, score: softcap(@) }", "", c=("30", "50")
) | changes(
    "t5_bias",
    "sublayer: attention { heads: 2, mask: causal, score: t5_bias(@) }",
    "heads: 2",
    heads=("2", "4"),
    buckets=("32", "16"),
    max=("128", "64"),
    bidirectional=("true", "false"),
    init=("zeros", "ones"),
)

GATED = "module glu(x) { gate = linear(x, 8)  up = linear(x, 8)  return linear(clamped_glu(gate, up; @), dim) }"
FUNCTIONS = changes("swish", "sublayer: ffn { hidden: 32, activation: swish(@) }", "", beta=("1.5", "2")) | {
    f"clamped_glu.{key}": Change(*(model(sublayer="glu", definitions=GATED.replace("@", value)) for value in pair))
    for key, pair in {"alpha": ("alpha: 1.7", "alpha: 1"), "limit": ("limit: 7", "limit: 5")}.items()
}

HEADS = (
    changes("tokens", "embed: tokens(@)", "", scale=("1", "4"), count=("64", "128"), init=("zeros", "ones"))
    | changes("language_model", "head: language_model(@)", "", bias=("false", "true"), init=("zeros", "ones"))
    | changes(
        "masked_language_model",
        "head: masked_language_model(@)",
        "",
        activation=("gelu", "relu"),
        norm=("rms", "layernorm"),
    )
    | {
        key: Change(
            *(
                model(head=f"classifier({head})", objective="classification", sublayer="attention { heads: 2 }")
                for head in heads
            )
        )
        for key, heads in {
            "classifier.classes": ("classes: 3", "classes: 4"),
            "classifier.pool": ("classes: 3, pool: first", "classes: 3, pool: mean"),
            "classifier.bias": ("classes: 3", "classes: 3, bias: false"),
            "classifier.init": ("classes: 3, init: zeros", "classes: 3, init: ones"),
        }.items()
    }
)

OBJECTIVES = (
    changes("next_token", "objective: next_token(@)", "", label_smoothing=("none", "0.1"), z_loss=("0", "1e-4"))
    | changes("masked_token", "objective: masked_token(@)", "", label_smoothing=("none", "0.1"))
    | {
        "classification.label_smoothing": Change(
            *(
                model(head="classifier(classes: 3)", objective=f"classification({given})")
                for given in ("label_smoothing: 0.1", "label_smoothing: 0.2")
            )
        ),
        "contrastive.scale": Change(
            *(
                f"""model pair {{
  dim: 16
  input left: features[8]
  input right: features[8]
  a = linear(pool(left), dim)
  b = linear(pool(right), dim)
  objective: contrastive(a, b; scale: {scale})
  return a, b
}}
"""
                for scale in ("1", "2")
            )
        ),
    }
)

LIBRARY = {
    **ATTENTION,
    **LATENT,
    **FEED_FORWARD,
    **EXPERTS,
    **SCANS,
    **NORMS,
    **POSITIONS,
    **WIRINGS,
    **MASKS,
    **SCORES,
    **FUNCTIONS,
    **HEADS,
    **OBJECTIVES,
}
