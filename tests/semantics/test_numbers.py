"""Numbers that compute nothing are told when a spec is checked, not when a model runs."""

from __future__ import annotations

import pytest

import tantra_dsl

MODEL = """
model m {{
  vocab: 10
  dim: 8
  context: 8
  embed: tokens
  layers: 2 of block {{
    wiring: pre({norm})
    attention {{ heads: 2, {attention} }}
    ffn {{ {ffn} }}
  }}
  head: linear(vocab)
  objective: next_token
}}
"""
USUAL = {"norm": "rms", "attention": "mask: causal", "ffn": "hidden: 8"}

WRONG = {
    ("norm", "rms(eps: -1)"): "T0101: `eps` of rms_normalize needs a number from 0, but got the number -1",
    ("norm", "layernorm(eps: -1)"): "T0101: `eps` of standardize needs a number from 0, but got the number -1",
    ("attention", "mask: causal, score: softcap(0)"): "T0102: division by zero in layers.0.attention",
    ("attention", "mask: causal and q % 0 == k"): "T0102: division by zero in layers.0.attention",
    ("attention", "mask: causal, position: rope(theta: -3)"): (
        "T0102: the angles of rope are no numbers: (-3) ** (-2 * j / 4) for pairs j in layers.0.attention.position"
    ),
    ("attention", "mask: causal, init: normal(-1)"): (
        "T0101: `std` of normal needs a number from 0, but got the number -1"
    ),
    ("ffn", "hidden: 8, init: uniform(3, 1)"): "T0101: `high` of uniform needs a number from 3, but got the number 1",
    ("ffn", "hidden: 8, activation: fn(x) = x / 0"): "T0102: division by zero in layers.0.ffn",
}


@pytest.mark.parametrize(("place", "text"), WRONG)
def test_numbers_that_compute_nothing(place: str, text: str) -> None:
    found = tantra_dsl.loads(MODEL.format(**USUAL | {place: text})).check()
    assert [f"{item.code}: {item.title}" for item in found] == [WRONG[place, text]]


def test_what_is_never_divided_may_be_divided_by_zero() -> None:
    ffn = "hidden: 8, activation: fn(x) = if 2 > 1 then x else x / 0"
    assert tantra_dsl.loads(MODEL.format(**USUAL | {"ffn": ffn})).check() == []
