"""All at once: one run tells every independent mistake, each once, with the nearest valid names."""

from __future__ import annotations

import pytest

import tantra_dsl
from tantra_dsl.diagnostics.core import Diagnostic, SpecError

SPEC = """\
model tiny {
  vocab: 64
  contxt: 16
  dim: 64 / 0
  let idle: 3
  embed: tokens
  layers: 2 of block {
    wiring: pre(layernrom)
    attention { heads: 4, kv_head: 2, mask: causl }
    ffn { hidden: 32, activation: reluu, bias: maybe }
    far: attention { mask: causal }
  }
  final_norm: layernorm(eps: "small")
  head: tied(bias: true)
  objective: next_token
}
"""


def found(text: str, language: str = "text") -> list[Diagnostic]:
    try:
        return tantra_dsl.loads(text, name="tiny", language=language).check()
    except SpecError as error:
        return error.diagnostics


def lines(items: list[Diagnostic]) -> list[tuple[int, str]]:
    return [(item.span.source.line_column(item.span.start)[0], item.code) for item in items]


def test_every_independent_mistake_is_told_once() -> None:
    """What hangs together (nothing can be said of `idle` while the rest is broken) waits; nothing else does."""
    assert lines(found(SPEC)) == [
        (3, "K0101"),
        (4, "T0102"),
        (8, "N0101"),
        (9, "K0101"),
        (9, "N0101"),
        (10, "N0101"),
        (10, "N0101"),
        (11, "K0103"),
        (13, "T0101"),
        (14, "K0101"),
    ]


ONE_MISTAKE = [
    "return layernorm(zz)",
    "z = zz + 1; return layernorm(z)",
    "z = layernorm(zz); return attention(z, heads: 2)",
    "a, b = split(zz, 4, 4); y = linear(layernorm(a), dim); return attention(y, heads: 2) + gelu(b)",
    "return x |> block { wiring: pre(rms), ffn { hidden: zz } } * 2",
    "y = linear(x, zz); z = attention(y, heads: 2); return dropout(z)",
]


@pytest.mark.parametrize("lines", ONE_MISTAKE)
def test_what_follows_from_a_mistake_is_not_told(lines: str) -> None:
    body = lines.replace("; ", "\n  ") if "|>" not in lines else lines
    text = f"model m {{\n  vocab: 10\n  dim: 8\n  input tokens: tokens\n  x = embed(tokens)\n  {body}\n}}\n"
    (found,) = tantra_dsl.loads(text).check()
    assert found.title == "`zz` is not defined"
