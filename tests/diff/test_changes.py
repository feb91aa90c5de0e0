"""One change at a time: what it is called, where, and whether it is of the function."""

from __future__ import annotations

import pytest

import tantra_dsl
from tantra_dsl.diff.operations import place
from tantra_dsl.diff.report import diff
from tests.diff.conftest import SMALL, between, edited, told

OWN = """
module glu(x; hidden: int, activation: module = silu) {
  gate = activation(linear(x, hidden))
  up = linear(x, hidden)
  return linear(gate * up, dim)
}
wiring around(f, x; norm: module) {
  before = norm(x)
  after = norm(f(before))
  return x + after
}
mask comb(near: int, every: int) = q - k < near or k % every == 0

model own {
  vocab: 256
  context: 128
  dim: 64
  block inner {
    wiring: around(layernorm)
    attention { heads: 4, mask: causal and comb(8, 4) }
    glu { hidden: 192 }
  }
  block parallel(x; hidden: int) {
    h = layernorm(x)
    return x + attention(h; heads: 4, mask: causal) + glu(h; hidden)
  }
  embed: tokens + learned_positions
  layers: (inner * 3, parallel(hidden: 96))
  final_norm: layernorm
  head: tied
  objective: next_token
}
"""
SUBLAYERS = (
    "    attention { heads: 4, mask: causal, bias: true }\n",
    "    ffn { hidden: 4 * dim, activation: gelu_tanh, bias: true }\n",
)


def in_small(old: str, new: str) -> list[str]:
    return told(between(SMALL, edited((old, new))))


def in_own(old: str, new: str) -> list[str]:
    assert old in OWN
    return told(between(OWN, OWN.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("dim: 64", "dim: 128", "dim: 64 -> 128"),
        ("heads: 4,", "heads: 8,", "layers.attention.heads: 4 -> 8"),
        ("4 * dim", "100", "layers.ffn.hidden: 4 * dim (256) -> 100"),
        ("4 of block", "7 of block", "layers: 4 -> 7"),
        ("mask: causal,", "mask: causal, score: alibi,", "layers.attention.score: None -> alibi"),
        ("mask: causal,", "mask: causal, qk_norm: rms,", "layers.attention.qk_norm: None -> rms"),
        ("pre(norm)", "post(norm)", "layers.wiring: pre(layernorm) -> post(layernorm)"),
        ("final_norm: norm", "final_norm: rms", "final_norm: layernorm -> rms"),
        ("tokens + learned_positions", "tokens", "embed: tokens + learned_positions -> tokens"),
        ("head: tied", "head: language_model", "head: tied -> language_model"),
        ("next_token", "next_token(z_loss: 0.1)", "objective.z_loss: 0 -> 0.1"),
    ],
)
def test_a_setting(old: str, new: str, line: str) -> None:
    assert in_small(old, new) == [line]


def test_a_let_is_told_where_it_is_used() -> None:
    assert in_small("let norm: layernorm", "let norm: layernorm(eps: 1e-6)") == [
        "final_norm.eps: 1e-5 -> 1e-6",
        "layers.wiring.norm.eps: 1e-5 -> 1e-6",
    ]


def test_what_follows_from_another_change_is_not_told() -> None:
    wide = edited(("dim: 64", "dim: 128"), ("heads: 4,", "heads: 8,"))
    assert told(between(SMALL, wide)) == ["dim: 64 -> 128", "layers.attention.heads: 4 -> 8"]


def test_what_does_not_follow_is_told_though_its_value_stays() -> None:
    kept = edited(("heads: 4,", "heads: 8, head_dim: 16,"))
    assert told(between(SMALL, kept)) == [
        "layers.attention.heads: 4 -> 8",
        "layers.attention.head_dim: dim / heads (16) -> 16",
    ]


# --- sublayers and layers --------------------------------------------------------------


def test_a_sublayer_more_or_less() -> None:
    more = edited((SUBLAYERS[1], "    second: attention { heads: 2, mask: causal }\n" + SUBLAYERS[1]))
    added, removed = between(SMALL, more).operations, between(more, SMALL).operations
    assert [(op.kind, op.path, op.new) for op in added] == [
        ("add", "layers.second", "attention { heads: 2, mask: causal }")
    ]
    assert [(op.kind, op.path, op.old) for op in removed] == [
        ("remove", "layers.second", "attention { heads: 2, mask: causal }")
    ]


def test_another_sublayer_under_the_same_label() -> None:
    (op,) = between(SMALL, edited((SUBLAYERS[1], "    ffn: moe { experts: 4, top_k: 2, hidden: 64 }\n"))).operations
    assert (op.kind, op.path) == ("replace", "layers.ffn")


def test_sublayers_in_another_order() -> None:
    (op,) = between(SMALL, edited(("".join(SUBLAYERS), "".join(SUBLAYERS[::-1])))).operations
    assert (op.kind, op.path, op.old, op.new) == ("move", "layers", "attention, ffn", "ffn, attention")


def test_a_label_renamed_is_the_same_function() -> None:
    found = between(SMALL, edited(("    attention {", "    attn: attention {")))
    assert found.verdict == "names"
    assert [(op.kind, op.path, op.concern) for op in found.operations] == [("rename", "layers.attention", "names")]
    renamed = {tensor.old_path: tensor.path for tensor in found.weights if tensor.fate == "renamed"}
    assert renamed["layers.*.attention.q.weight"] == "layers.*.attn.q.weight"
    assert renamed["layers.*.attention_norm.weight"] == "layers.*.attn_norm.weight"
    assert {tensor.fate for tensor in found.weights} == {"loads", "renamed"}


def test_layers_that_share_their_weights() -> None:
    shared = edited(("4 of block {", "4 of share one\n  block one {"))
    (op,) = between(SMALL, shared).operations
    assert (op.kind, op.path, op.concern) == ("share", "layers", "function")


@pytest.mark.parametrize(
    ("mask", "path"),
    [
        ("if i == 0 then causal and window(9) else causal", "layers[first].attention.mask"),
        ("if i == 3 then causal and window(9) else causal", "layers[last].attention.mask"),
        ("if i < 3 then causal and window(9) else causal", "layers[first 3].attention.mask"),
        ("if i > 1 then causal and window(9) else causal", "layers[last 2].attention.mask"),
        ("if i % 2 == 1 then causal and window(9) else causal", "layers[every 2nd].attention.mask"),
        ("if i % 2 == 0 then causal and window(9) else causal", "layers[every 2nd from 0].attention.mask"),
        ("if i == 2 then causal and window(9) else causal", "layers[2].attention.mask"),
    ],
)
def test_some_layers_are_named_as_a_pattern(mask: str, path: str) -> None:
    assert in_small("mask: causal,", f"mask: {mask},") == [f"{path}: causal -> causal and window(9)"]


def test_a_formula_of_the_layer_is_told_as_one() -> None:
    text = "heads: 2 + 2 * i, head_dim: 8,"
    before = edited(("heads: 4,", text), ("4 of", "6 of"))
    after = before.replace("2 + 2 * i", "4 + 2 * i")
    assert told(between(before, after)) == ["layers.attention.heads: 2 + 2 * i -> 4 + 2 * i"]


def test_a_pattern_spelled_out_with_other_counts() -> None:
    text = OWN.replace("(inner * 3, parallel(hidden: 96))", "(inner * 5, parallel(hidden: 96))")
    assert told(between(OWN, text)) == ["layers: (inner * 3, parallel) -> (inner * 5, parallel)"]


# --- definitions of one's own ----------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("up = linear", "up = 2 * linear", ["glu.up: linear(x, hidden) -> 2 * linear(x, hidden)"]),
        ("x + after", "x - after", ["around.return: x + after -> x - after"]),
        (
            "k % every == 0",
            "k % every == 1",
            ["comb.return: q - k < near or k % every == 0 -> q - k < near or k % every == 1"],
        ),
        ("module = silu", "module = relu", ["layers.glu.activation: silu -> relu"]),
        ("hidden: 192", "hidden: 128", ["layers[first 3].glu.hidden: 192 -> 128"]),
        ("hidden: 96", "hidden: 128", ["layers[last].hidden: 96 -> 128"]),
        (
            "comb(8, 4)",
            "comb(8, 2)",
            ["layers[first 3].attention.mask: causal and comb(8, 4) -> causal and comb(8, 2)"],
        ),
        ("(h; heads: 4,", "(h; heads: 2,", ["layers[last].attention.heads: 4 -> 2"]),
        ("h = layernorm(x)", "h = rms(x)", ["layers[last].h: layernorm(x) -> rms(x)"]),
    ],
)
def test_equations(old: str, new: str, lines: list[str]) -> None:
    assert in_own(old, new) == lines


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("comb", "rake"),
        ("(near: int, every: int) = q - k < near or k % every == 0", "(n: int, m: int) = q - k < n or k % m == 0"),
        ("parallel", "side_by_side"),
        ("around", "about"),
    ],
)
def test_renamed_definitions_are_no_difference(old: str, new: str) -> None:
    assert between(OWN, OWN.replace(old, new)).empty


@pytest.mark.parametrize(("old", "new"), [("x + after", "after + x"), ("gate * up", "up * gate")])
def test_sums_in_another_order_are_numerics(old: str, new: str) -> None:
    found = between(OWN, OWN.replace(old, new))
    assert found.verdict == "numerics"
    assert {op.concern for op in found.operations} == {"numerics"}


# --- starts and recipes ----------------------------------------------------------------


def test_starts_are_no_function() -> None:
    found = between(SMALL, edited(("dim: 64\n", "dim: 64\n  init: normal(0.1)\n")))
    assert found.verdict == "recipe"
    assert told(found) == ["init: None -> normal(0.1)"]


RECIPE = "next_token\n  train { data: shakespeare, steps: 10, optimizer: muon(lr: 0.01, momentum: 0.9) }"


def test_recipes() -> None:
    before = edited(("next_token", RECIPE))
    after = before.replace("steps: 10", "steps: 20, schedule: linear").replace("lr: 0.01, ", "")
    found = between(before, after)
    assert found.verdict == "recipe"
    assert told(found) == [
        "train.steps: 10 -> 20",
        "train.optimizer.lr: 0.01 -> 0.02",
        "train.schedule: cosine -> linear",
    ]


def test_precision_is_numerics() -> None:
    before = edited(("next_token", RECIPE))
    found = between(before, before.replace("steps: 10", "steps: 10, precision: bfloat16"))
    assert found.verdict == "numerics"
    assert [(op.path, op.concern) for op in found.operations] == [("train.precision", "numerics")]


def test_only_a_section() -> None:
    after = edited(("heads: 4,", "heads: 8,"), ("next_token", RECIPE + "\n"))
    found = between(SMALL, after)
    assert {op.path for op in found.only("architecture").operations} == {"layers.attention.heads"}
    assert {op.path for op in found.only("recipe").operations} == {"train.data", "train.steps", "train.optimizer"}
    assert found.only("numerics").operations == ()


# --- kinds of models and places --------------------------------------------------------


def test_different_kinds_of_model_are_said_to_be() -> None:
    found = diff(tantra_dsl.load("gpt2"), tantra_dsl.load("vit_base_16"))
    assert found.notes == (
        "different kinds of model: one from tokens to next_token, and one from pixels to classification; "
        "what both have is compared",
    )
    assert "layers.attention.mask: causal -> all" in told(found)


def test_encoders_and_decoders_of_other_names_are_aligned() -> None:
    lines = told(diff(tantra_dsl.load("t5_base"), tantra_dsl.load("transformer_base")))
    assert "encoded_layers.attention.heads: 12 -> 8" in lines
    assert "decoded_layers.cross.heads: 12 -> 8" in lines


def test_places_are_those_of_the_lines_that_set_the_values() -> None:
    found = diff(tantra_dsl.load("gpt2"), tantra_dsl.load("gpt2_medium"))
    heads = next(op for op in found.operations if op.path == "layers.attention.heads")
    lines = [span.source.line(span.source.line_column(span.start)[0]) for span in (heads.before, heads.after)]
    assert "heads: 12" in lines[0]
    assert "heads: 16" in lines[1]
    assert place(heads.before) != place(heads.after)


def test_a_default_is_marked() -> None:
    (op,) = between(SMALL, edited(("gelu_tanh, bias", "gelu_tanh, gated: true, bias"))).operations
    assert (op.path, op.old, op.defaulted) == ("layers.ffn.gated", "false", (True, False))
