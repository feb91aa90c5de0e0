"""What is computed twice is computed once, and what nobody reads is not computed: text before, text after."""

from __future__ import annotations

import pytest
import torch

import tantra_dsl
from tantra_compiler import CompileOptions, emit_source
from tantra_compiler.passes.repeated import DropUnread, ShareRepeated
from tantra_dsl.graph.reader import parse_graph
from tantra_dsl.graph.text import format_graph

AROUND = """graph tiny {{
  root main

  body main of model {{
    x: [batch, time, dim=8] = input(kind="tensor", name="x", spec=spec features(8))
    weight: [dim=8, dim=8] = param(decay=true, init=init normal(0.0, 0.02), name="weight")
{lines}
  }}
}}
"""
EXP = 'map({}, arity=1, program=fn(x) {{exp(x)}} as "exp(x)")'
ADD = 'map({}, {}, arity=2, program=fn(x, y) {{x + y}} as "x + y")'
STREAM = "[batch, time, dim=8]"


def text(*lines: str) -> str:
    return AROUND.format(lines="\n".join(f"    {line}" for line in lines))


def after(change: ShareRepeated | DropUnread, *lines: str) -> str:
    return format_graph(change(parse_graph(text(*lines))))


def test_equal_ops_of_equal_operands_become_one() -> None:
    both = (f"a: {STREAM} = {EXP.format('x')} @0:a", f"b: {STREAM} = {EXP.format('x')} @1:b")
    rest = (f"c: {STREAM} = {EXP.format('a')} @2:c", f"d: {STREAM} = {EXP.format('b')} @3:d")
    before = (*both, *rest, f"out: {STREAM} = {ADD.format('c', 'd')} @4", "return output=out, again=d")
    expected = (both[0], rest[0], f"out: {STREAM} = {ADD.format('c', 'c')} @4", "return output=out, again=c")
    assert after(ShareRepeated(), *before) == text(*expected)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dropout(x, rate=0.5)", "dropout(x, rate=0.5)"),
        ('normalize(x, eps=1e-06, groups=1, kind="rms")', 'normalize(x, eps=1e-05, groups=1, kind="rms")'),
        (EXP.format("x"), EXP.format("a")),
    ],
)
def test_what_differs_or_draws_stays(one: str, other: str) -> None:
    lines = (f"a: {STREAM} = {one} @0", f"b: {STREAM} = {other} @1", f"out: {STREAM} = {ADD.format('a', 'b')} @2")
    graph = parse_graph(text(*lines, "return output=out"))
    assert ShareRepeated()(graph) is graph


def test_unread_ops_go_and_weights_stay() -> None:
    kept = (f"out: {STREAM} = {EXP.format('x')} @0", "return output=out")
    idle = (f"a: {STREAM} = linear(x, weight, has=()) @1", f"b: {STREAM} = {EXP.format('a')} @2")
    assert after(DropUnread(), *idle, *kept) == text(*kept)
    graph = parse_graph(text(*kept))
    assert DropUnread()(graph) is graph


REPEATING = """
model twice {
  dim: 16
  vocab: 32
  input tokens: tokens
  x = embedding(tokens; count: vocab, width: dim)
  norm = rms_normalize(x, 1e-6)
  again = rms_normalize(x, 1e-6)
  return linear(norm, dim) + exp(again)
}
"""


def test_a_model_that_repeats_itself_computes_the_same_with_less() -> None:
    spec = tantra_dsl.loads(REPEATING)
    without = frozenset({"share_repeated", "drop_unread"})
    assert spec.source().count("rms_norm(") == 1
    assert emit_source(spec.graph(), CompileOptions(without=without)).count("rms_norm(") == 2
    tokens = torch.arange(6).view(2, 3)
    assert torch.equal(spec.compile(seed=0)(tokens=tokens), spec.compile(seed=0, without=without)(tokens=tokens))
