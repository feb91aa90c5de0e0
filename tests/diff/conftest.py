"""Two specs side by side."""

from __future__ import annotations

import tantra_dsl
from tantra_dsl.diff.report import Diff, diff
from tests.edits import replaced

SMALL = """\
model small {
  vocab: 256
  context: 128
  dim: 64
  let norm: layernorm

  embed: tokens + learned_positions
  layers: 4 of block {
    wiring: pre(norm)
    attention { heads: 4, mask: causal, bias: true }
    ffn { hidden: 4 * dim, activation: gelu_tanh, bias: true }
  }
  final_norm: norm
  head: tied
  objective: next_token
}
"""


def edited(*edits: tuple[str, str], text: str = SMALL) -> str:
    """``text`` with each first string, which must be there once, replaced by the second."""
    return replaced(text, edits)


def between(before: str, after: str) -> Diff:
    """The diff of two texts."""
    return diff(tantra_dsl.loads(before), tantra_dsl.loads(after))


def told(found: Diff) -> list[str]:
    """The operations of a diff in one line each: ``layers.attention.heads: 4 -> 8``."""
    return [f"{op.path}: {op.old} -> {op.new}" for op in found.operations]
