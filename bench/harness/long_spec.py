"""A spec as long as one likes, in the style of the shipped ones."""

from __future__ import annotations

_PART = """\
# Family {i}: one block with its own norm, a variant, and a model of both
block local_{i} {{
  wiring: pre(rms(eps: 1e-{e}))
  attention {{
    heads: {heads}, kv_heads: {kv}, head_dim: 64
    position: rope(theta: {theta})
    mask: causal and window({window})
  }}
  ffn {{ hidden: {hidden}, activation: silu, gated: true }}
}}

block global_{i} extends local_{i} {{
  attention.mask: k <= q and (q - k < {window} or k % 64 == 0)
}}

wiring scaled_{i}(f, x; alpha = 1 / sqrt({heads})) = x + alpha * f(norm(x))

module mixer_{i}(x; width = 4 * dim) {{
  gate, value = split(linear(x, 2 * width), width, width)
  return linear(silu(gate) * value, dim)
}}

model family_{i} {{
  vocab: 50_257
  context: {context}
  dim: {dim}

  embed: tokens
  layers: {layers} of (local_{i} * 5, global_{i})
  final_norm: rms
  head: language_model
  objective: next_token
}}

"""


def long_spec(lines: int) -> str:
    """A ``.tantra`` text of ``lines`` lines; every family in it has other numbers."""
    parts = [_part(index) for index in range(lines // _PART.count("\n") + 1)]
    return "\n".join("".join(parts).split("\n")[: lines - lines % _PART.count("\n")]) + "\n"


def _part(index: int) -> str:
    heads = 4 + 4 * (index % 16)
    return _PART.format(
        i=index, e=5 + index % 3, heads=heads, kv=4, theta=10_000 * (1 + index % 50), window=256 + index,
        hidden=1024 + 64 * index, context=1024 + 128 * (index % 32), dim=64 * heads, layers=6 * (1 + index % 20),
    )  # fmt: skip
