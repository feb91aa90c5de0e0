"""Constants are folded: text before, text after."""

from __future__ import annotations

import pytest

from tantra_compiler.passes.constants import FoldConstants
from tantra_dsl.graph.reader import parse_graph
from tantra_dsl.graph.text import format_graph

AROUND = """graph tiny {{
  root main

  body main of model {{
    x: [batch, time, dim=8] = input(kind="tensor", name="x", spec=spec features(8))
{lines}
  }}
}}
"""
STREAM = "[batch, time, dim=8]"


def text(*lines: str) -> str:
    return AROUND.format(lines="\n".join(f"    {line}" for line in lines))


def mapped(operand: str, program: str) -> str:
    return f'map({operand}, arity=1, program=fn(x) {{{program}}} as "it")'


def after(*lines: str) -> str:
    return format_graph(FoldConstants()(parse_graph(text(*lines))))


@pytest.mark.parametrize("idle", ["1 * x", "x + 0", "x ** 1", "x"])
def test_a_map_that_gives_back_what_it_reads_goes_away(idle: str) -> None:
    lines = (f"a: {STREAM} = {mapped('x', idle)} @0", f"b: {STREAM} = {mapped('a', 'exp(x)')} @1", "return output=b")
    assert after(*lines) == text(f"b: {STREAM} = {mapped('x', 'exp(x)')} @1", "return output=b")


def test_constants_are_computed_once() -> None:
    lines = (f"a: {STREAM} = {mapped('x', '2 * 3 * exp(x) + (1 - 1)')} @0", "return output=a")
    assert after(*lines) == text(f"a: {STREAM} = {mapped('x', '6 * exp(x)')} @0", "return output=a")


def attend(mask: str, score: str) -> str:
    return f"attend(h, h, h, causal=false, has=(), mask={mask}, scale=0.5, score={score})"


HEADS = "h: [batch, time, heads=2, head_dim=4] = split_heads(x, heads=2) @0"
OUT = "o: [batch, time, heads=2, head_dim=4] = "


def test_masks_that_hold_everywhere_and_scores_that_are_idle_go_away() -> None:
    mask, score = 'mask(q, k) {q - q < 1} as "all"', 'score(s, q, k) {s + 0} as "s"'
    lines = (HEADS, f"{OUT}{attend(mask, score)} @1", "return output=o")
    assert after(*lines) == text(HEADS, f"{OUT}{attend('none', 'none')} @1", "return output=o")


def test_what_says_something_stays() -> None:
    mask, score = 'mask(q, k) {k <= q} as "causal"', 'score(s, q, k) {2 * s} as "twice"'
    graph = parse_graph(text(HEADS, f"{OUT}{attend(mask, score)} @1", "return output=o"))
    assert FoldConstants()(graph) is graph
