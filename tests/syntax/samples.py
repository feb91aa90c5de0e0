"""Specs in the language's own terms, used by several tests."""

GPT2 = """\
model gpt2 {
  vocab: 50257
  context: 1024
  dim: 768

  embed: tokens + learned_positions
  layers: 12 of block {
    wiring: pre(layernorm)
    attention { heads: 12, mask: causal, bias: true }
    ffn { hidden: 4 * dim, activation: gelu_tanh, bias: true }
  }
  final_norm: layernorm
  head: tied
  objective: next_token

  expect params == 124_439_808
}

model gpt2_medium extends gpt2 { dim: 1024  layers: 24 of same  layers.attention.heads: 16 }
"""

GPT2_YAML = """\
model: gpt2
vocab: 50257
context: 1024
dim: 768
embed: tokens + learned_positions
layers:
  count: 12
  block:
    wiring: pre(layernorm)
    attention: {heads: 12, mask: causal, bias: true}
    ffn: {hidden: 4 * dim, activation: gelu_tanh, bias: true}
final_norm: layernorm
head: tied
objective: next_token
expect: [params == 124_439_808]
"""

GEMMA3 = """\
model gemma3_4b {
  vocab: 262_208   context: 131_072   dim: 2560
  let norm: rms(eps: 1e-6, weight: one_plus)

  block local {
    wiring: sandwich(norm)
    attention {
      heads: 8, kv_heads: 4, head_dim: 256, qk_norm: norm
      position: rope(theta: 10_000)
      mask: causal and window(1024)
    }
    ffn { hidden: 10_240, activation: gelu_tanh, gated: true }
  }
  block global extends local {
    attention.position: rope(theta: 1_000_000, scaling: linear(8))
    attention.mask: causal
  }

  embed: tokens(scale: sqrt(dim))
  layers: 34 of (local * 5, global)
  head: tied
}
"""

EQUATIONS = """\
wiring pre(f, x)      = x + f(norm(x))
wiring post(f, x)     = norm(x + f(x))
wiring sandwich(f, x) = x + norm(f(norm(x)))
wiring deepnorm(f, x; alpha) = norm(alpha * x + f(x))
wiring tanh_gated(f, x) = x + tanh(param(init: 0)) * f(norm(x))     # Flamingo

block parallel(x) {                                                  # GPT-J, PaLM
  h = norm(x)
  return x + attention(h; heads: 16) + ffn(h; hidden: 4 * dim)
}

module attention(x, memory = x; heads, kv_heads = heads, head_dim = dim / heads, bias = false,
                 mask = all, score = none, position = none, qk_norm = none, scale = 1 / sqrt(head_dim)) {
  q = split_heads(linear(x, heads * head_dim, bias))
  k = split_heads(linear(memory, kv_heads * head_dim, bias))
  v = split_heads(linear(memory, kv_heads * head_dim, bias))
  q, k = position(qk_norm(q), qk_norm(k))
  out = merge_heads(attend(q, k, v; mask, score, scale))
  return linear(out, dim, bias)
}

module mla(x; heads, q_rank, kv_rank, nope_dim, rope_dim, v_dim) {   # DeepSeek
  q_down = rms(linear(x, q_rank))
  q_nope, q_rope = split(split_heads(linear(q_down, heads * (nope_dim + rope_dim))), nope_dim, rope_dim)
  kv_down, k_rope = split(linear(x, kv_rank + rope_dim), kv_rank, rope_dim)
  return linear(merge_heads(attend(concat(q_nope, rope(q_rope)), concat(k_nope, rope(k_rope)), v; mask)), dim)
}
"""

SCALARS = """\
mask causal          = k <= q
mask window(w)       = q - k < w
mask longformer(w, g) = abs(q - k) <= w or k < g or q < g
mask prefix(n)       = k <= q or k < n                # n: a number, or one per sequence at run time
mask strided(s)      = k <= q and (q - k < s or k % s == s - 1)
mask same_document   = doc[q] == doc[k]               # doc: a run-time field of the batch
score alibi          = s - slope(h) * (q - k)
score softcap(c)     = c * tanh(s / c)
score t5_bias(buckets = 32, max = 128) = s + table[bucket(k - q), h]     # table: learned, with its gradient
fn gelu_tanh(x)      = 0.5 * x * (1 + tanh(0.7978845608 * (x + 0.044715 * x ** 3)))
fn relu2(x)          = max(x, 0) ** 2
"""

TRANSFORMER = """\
model transformer_base {                       # Vaswani et al. 2017
  vocab: 37_000   context: 512   dim: 512
  input source: tokens   input target: tokens
  block encoder_layer { wiring: post(layernorm)  attention { heads: 8 }  ffn { hidden: 2048, activation: relu } }
  block decoder_layer(memory) {
    wiring: post(layernorm)
    self: attention { heads: 8, mask: causal }
    cross: attention { heads: 8, memory: memory }
    ffn { hidden: 2048, activation: relu }
  }
  encoded = (embed(source) + sinusoidal) |> encoder_layer * 6
  decoded = (embed(target) + sinusoidal) |> decoder_layer(encoded) * 6
  objective: next_token(tied(decoded), target, label_smoothing: 0.1)
  train {
    data: pairs("europarl.tsv")   optimizer: adam(betas: [0.9, 0.98])   schedule: noam(warmup: 4000)
  }
}
"""

FRAGMENTS = """\
model odd extends gpt2(x) {
  use "common.tantra"
  share embedding: tokens
  layers: (dense * 3, moe * 58)
  mask: if i % 2 == 0 then causal and window(4096) else causal
  reused: layers[i-1].attention.k
  taps: outputs[0..i]
  layers[3].attention.heads: 4
  mixed: share attention { heads: 4 }
  activation: fn(x) = x * 2
  remove layers.attention.bias
  cap: alibi then softcap(30)
  same: 12 of same { attention.heads: 4 }
  expect params <= 50M
  expect causal
  betas: [0.9, 0.98]
  input image: pixels[3, 224, 224]
}
"""

ALL = {
    "gpt2": GPT2, "gemma3": GEMMA3, "equations": EQUATIONS, "scalars": SCALARS, "transformer": TRANSFORMER,
    "fragments": FRAGMENTS,
}  # fmt: skip
