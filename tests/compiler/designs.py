"""Designs that are on nobody's list, in the language: what a general compiler has to take."""

from __future__ import annotations

HEAD = "vocab: 61  context: 32  dim: 32\n  embed: tokens\n"
TAIL = "final_norm: layernorm\n  head: language_model\n  objective: next_token\n"
FFN = "ffn { hidden: 48, activation: gelu }"

DESIGNS: dict[str, str] = {
    # ALBERT's sharing, causal: one block's weights for all layers.
    "one_block": f"""
model one_block {{
  {HEAD}
  block layer {{ wiring: pre(layernorm)  attention {{ heads: 4, mask: causal, position: rope }}  {FFN} }}
  layers: 4 of share layer
  {TAIL}
}}
""",
    # Later layers attend to the keys and values of the layer before.
    "reused_keys": f"""
block reusing(x) {{
  h = layernorm(x)
  q = split_heads(linear(h, dim), 4)
  k = if i % 2 == 0 then split_heads(linear(h, dim), 4) else layers[i - 1].k
  v = if i % 2 == 0 then split_heads(linear(h, dim), 4) else layers[i - 1].v
  y = x + linear(merge_heads(attend(q, k, v; mask: causal)), dim)
  return y + ffn(layernorm(y); hidden: 48)
}}
model reused_keys {{
  {HEAD}
  layers: 4 of reusing
  {TAIL}
}}
""",
    # A mask with a number per sequence, a score that fades, a gate that opens from zero.
    "prefix": f"""
model prefix {{
  {HEAD}
  input n: per_sequence
  layers: 2 of block {{
    wiring: gated(layernorm)
    attention {{ heads: 4, mask: k <= q or k < n[b], score: s - 0.1 * abs(q - k) }}
    {FFN}
  }}
  final_norm: layernorm
  head: tied
  objective: masked_token
}}
""",
    # Sparse patterns by head and by layer.
    "sparse": f"""
model sparse {{
  {HEAD}
  layers: 4 of block {{
    wiring: sandwich(rms)
    attention {{
      heads: 4, kv_heads: 2
      mask: if i % 2 == 0 then (causal and (q - k < 4 or h == 0)) else strided(3)
      score: alibi then softcap(20)
    }}
    {FFN}
  }}
  {TAIL}
}}
""",
    # A recurrence and attention in turn, with a convolution and a shift before.
    "hybrid": f"""
block recurrent(x) {{
  h = layernorm(x)
  mixed = silu(conv1d(h; width: 3, groups: dim)) + 0.5 * shift(h, 1)
  q = split_heads(linear(mixed, dim), 4)
  k = l2_normalize(split_heads(linear(mixed, dim), 4))
  v = split_heads(linear(mixed, dim), 4)
  beta = sigmoid(linear(mixed, 4, true))
  y = delta_scan(q, k, v, beta)
  return x + linear(merge_heads(y), dim)
}}
block attending {{
  wiring: pre(layernorm)
  attention {{ heads: 4, mask: causal and window(4), position: rope }}
  {FFN}
}}
model hybrid {{
  {HEAD}
  layers: 5 of (recurrent * 2, attending)
  {TAIL}
}}
""",
    # A picture tower that a causal text tower looks at, its keys computed once while decoding.
    "captioner": """
model captioner {
  vocab: 61  context: 32  dim: 32
  input image: pixels[3, 8, 8]
  input tokens: tokens
  block picture { wiring: pre(layernorm)  attention { heads: 4 }  ffn { hidden: 48 } }
  block text(memory) {
    wiring: pre(layernorm)
    self: attention { heads: 4, mask: causal, position: rope }
    cross: attention { heads: 4, memory: memory }
    ffn { hidden: 48 }
  }
  seen = linear(patches(image, 4), dim) |> picture * 2
  memory = layernorm(seen)
  said = embed(tokens) |> text(memory) * 2
  logits = linear(layernorm(said), vocab)
  objective: next_token(logits, tokens)
}
""",
    # Several results, and a loss that reads more than they are.
    "two_heads": """
model two_heads {
  vocab: 61  context: 32  dim: 32
  input tokens: tokens
  input labels: labels
  block layer { wiring: post(layernorm)  attention { heads: 4 }  ffn { hidden: 48, activation: relu } }
  x = (embed(tokens) + sinusoidal) |> layer * 2
  logits = linear(x, vocab)
  size = pool(x, mean)
  objective: cross_entropy(logits, labels) + 0.01 * mean_squared_error(size, stop_gradient(pool(x, max)))
  return logits, size
}
""",
}
