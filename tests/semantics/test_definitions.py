"""Definitions inside a model: in any order, by the model's own names, and what is said of those that are wrong."""

from __future__ import annotations

import tantra_dsl
from tantra_dsl import SpecError
from tantra_dsl.graph.costs import cost

MODEL = """
{outside}
model m {{
  vocab: 32
  context: 16
  dim: 32
  {inside}
  block plain {{
    wiring: pre(norm: rms)
    attention {{ heads: 4, mask: causal{score} }}
    other: attention {{ heads: 4, mask: causal{score} }}
    ffn {{ hidden: 64 }}
  }}
  embed: embedding(vocab, dim)
  layers: 2 of {block}
  final_norm: rms
  {head}
}}
"""


def written(outside: str = "", inside: str = "", score: str = "", block: str = "plain", head: str = "") -> str:
    return MODEL.format(outside=outside, inside=inside, score=score, block=block, head=head)


def told(text: str) -> list[str]:
    """Codes and titles of all that is wrong with a text."""
    try:
        found = tantra_dsl.loads(text).check()
    except SpecError as error:
        found = error.diagnostics
    return [f"{item.code}: {item.title}" for item in found]


def params(text: str) -> int:
    return cost(tantra_dsl.loads(text).graph())["params"].value or 0


def test_a_block_may_extend_one_that_stands_below_it() -> None:
    wider = "block wide extends plain { ffn.hidden: 128 }"
    assert params(written(inside=wider, block="wide")) - params(written()) == 2 * 2 * 32 * 64


def test_chains_of_extends_in_any_order() -> None:
    chain = """block third extends second { ffn.activation: relu }
    block second extends plain { ffn.hidden: 128 }"""
    assert params(written(inside=chain, block="third")) == params(
        written(inside="block third extends plain { ffn.hidden: 128, ffn.activation: relu }", block="third")
    )


def test_a_definition_may_extend_the_one_of_its_name_further_out() -> None:
    biased = "module attention(x, memory = x; bias: bool = true) extends attention {}"
    assert params(written(inside=biased)) - params(written()) == 2 * 2 * 4 * 32
    assert params(written(outside=biased)) == params(written(inside=biased))


def test_a_circle_of_extends_is_told_once() -> None:
    circle = "block a extends b {}\n block b extends a {}"
    assert told(written(inside=circle)) == ["N0102: block b depends on itself"]
    assert told(written(inside="block a extends a {}")) == ["N0102: block a depends on itself"]


def test_a_misspelt_base_has_a_nearest_name() -> None:
    text = written(inside="block wide extends plane {}", block="wide")
    (found, *_) = tantra_dsl.loads(text).check()
    assert (found.title, found.help) == ("`plane` is not defined", "did you mean `plain`?")


def test_names_of_the_model_go_before_those_of_the_short_form() -> None:
    named = "let hidden = 64\n let logits = 48"
    assert params(written(inside=named, head="head: linear(logits + hidden)")) - params(written()) == 32 * 112


def test_a_score_without_return_is_told_wherever_it_is_used() -> None:
    broken = "score broken(x) { w = x }"
    needs = ["K0103: score broken needs `return`"]
    assert told(written(outside=broken, score=", score: broken(3)")) == needs
    assert told(written(outside=broken, inside="share one = broken(3)", score=", score: one")) == needs


def test_paths_that_people_try_are_answered_with_what_works() -> None:
    def helps(line: str) -> list[str]:
        text = f'use "gpt2"\nmodel other extends gpt2 {{ {line} }}'
        try:
            return [item.help for item in tantra_dsl.loads(text).check()]
        except SpecError as error:
            return [item.help for item in error.diagnostics]

    assert helps("train.steps: 5") == ["what it extends has no recipe; begin one: `train { steps: ... }`"]
    by_index = "layers are set together, by their index where they differ: `if i == 0 then ...`"
    assert helps("layers[0].attention.heads: 2") == [by_index]
    assert helps("layers.1.attention.heads: 2") == ["references count layers in brackets: `layers[1]`"]


def test_a_mask_or_score_without_its_values_is_told_where_it_is_used() -> None:
    for use, needs in {
        "mask: window": "mask window needs `w`",
        "mask: causal and window": "mask window needs `w`",
        "mask: causal, score: alibi then softcap": "score softcap needs `c`",
    }.items():
        text = written().replace("mask: causal", use)
        (first, *_) = tantra_dsl.loads(text).check()
        assert first.title == needs
        assert text[first.span.start : first.span.end] == needs.split()[1]
