"""No leak: each way for a position to see its target is caught and its sublayer named."""

from __future__ import annotations

import pytest
import torch

import tantra_dsl
from tantra_dsl.diagnostics.core import Diagnostic
from tests.guarantees.components import model

PROBE = "module probe(x) = "
LEAKS: dict[str, tuple[dict[str, str], str]] = {
    "a mask that is not causal": ({"sublayer": "attention { heads: 2 }"}, "layers.0.attention"),
    "a mask of blocks": ({"sublayer": "attention { heads: 2, mask: block_causal(4) }"}, "layers.0.attention"),
    "a prefix": ({"sublayer": "attention { heads: 2, mask: prefix(4) }"}, "layers.0.attention"),
    "a prefix of each sequence": (
        {"sublayer": "attention { heads: 2, mask: prefix(n) }", "inputs": "input n: per_sequence"},
        "layers.0.attention",
    ),
    "documents alone": (
        {"sublayer": "attention { heads: 2, mask: same_document }", "inputs": "input doc: per_token"},
        "layers.0.attention",
    ),
    "the opposite of causal": ({"sublayer": "attention { heads: 2, mask: k >= q }"}, "layers.0.attention"),
    "one layer of many": (
        {"sublayer": "attention { heads: 2, mask: if i == 1 then all else causal }"},
        "layers.1.attention",
    ),
    "one head of many": ({"sublayer": "attention { heads: 2, mask: causal or h == 1 }"}, "layers.0.attention"),
    "a score instead of a mask": (
        {"sublayer": "attention { heads: 2, score: s - 1e9 * max(k - q, 0) }"},
        "layers.0.attention",
    ),
    "a shared attention": (
        {"sublayer": "mix", "facts": "share mix: attention(heads: 2, mask: all)"},
        "layers.0.mix",
    ),
    "a memory from the future": (
        {
            "sublayer": "probe",
            "definitions": PROBE + "attention(x, shift(x, -1); heads: 2, mask: causal)",
        },
        "layers.0.probe",
    ),
    "a centred convolution": (
        {"sublayer": "probe", "definitions": PROBE + "conv1d(x; width: 3, causal: false)"},
        "layers.0.probe",
    ),
    "a shift of the wrong sign": ({"sublayer": "probe", "definitions": PROBE + "shift(x, -1)"}, "layers.0"),
    "a shift back too far": ({"sublayer": "probe", "definitions": PROBE + "shift(shift(x, 1), -2)"}, "layers.0"),
    "a mean over time": (
        {"sublayer": "probe", "definitions": PROBE + "expand_time(linear(pool(x, mean), dim), x)"},
        "layers.0.probe",
    ),
    "the last position": (
        {"sublayer": "probe", "definitions": PROBE + "expand_time(linear(select(x, -1), dim), x)"},
        "layers.0.probe",
    ),
    "a softmax over time": ({"sublayer": "probe", "definitions": PROBE + "softmax(x; axis: time)"}, "layers.0"),
    "attention by hand": (
        {"sublayer": "probe", "definitions": PROBE + "matmul(softmax(matmul(x, x; transpose: true)), x)"},
        "layers.0",
    ),
}
SOUND: dict[str, dict[str, str]] = {
    "causal": {"sublayer": "attention { heads: 2, mask: causal }"},
    "a window within causal": {"sublayer": "attention { heads: 2, mask: longformer(4, 1) and causal }"},
    "documents within causal": {
        "sublayer": "attention { heads: 2, mask: causal and same_document }",
        "inputs": "input doc: per_token",
    },
    "forth and back": {"sublayer": "probe", "definitions": PROBE + "shift(shift(x, 2), -1)"},
    "the first position": {
        "sublayer": "probe",
        "definitions": PROBE + "expand_time(linear(select(x, 0), dim), x)",
    },
    "a memory of the past": {
        "sublayer": "probe",
        "definitions": PROBE + "attention(x, shift(x, 1); heads: 2, mask: causal)",
    },
    "a causal convolution": {"sublayer": "probe", "definitions": PROBE + "conv1d(x; width: 3, dilation: 2)"},
    "a scan": {
        "sublayer": "probe",
        "definitions": "module probe(x) { h = split_heads(x, 2)  return merge_heads(linear_scan(h, h, h)) }",
    },
    "experts": {"sublayer": "moe { experts: 4, top_k: 2, hidden: 8 }"},
    "experts with latent attention": {
        "sublayer": "mla { heads: 2, q_rank: 4, kv_rank: 4, nope_dim: 4, rope_dim: 4, v_dim: 4, position: rope }"
    },
}


def leaks(parts: dict[str, str]) -> list[Diagnostic]:
    found = tantra_dsl.loads(model(**parts)).check()
    assert all(item.code[0] == "L" or item.severity == "warning" for item in found), found
    return [item for item in found if item.code[0] == "L"]


@pytest.mark.parametrize("what", LEAKS)
def test_a_leak_is_caught_and_its_sublayer_named(what: str) -> None:
    parts, path = LEAKS[what]
    found = leaks(parts)
    assert found
    assert all(item.title.startswith(path) for item in found)


@pytest.mark.parametrize("what", LEAKS)
def test_masked_tokens_may_be_seen_from_both_sides(what: str) -> None:
    assert leaks(LEAKS[what][0] | {"objective": "masked_token"}) == []


@pytest.mark.parametrize("what", SOUND)
def test_what_does_not_leak_passes(what: str) -> None:
    assert leaks(SOUND[what]) == []


PAIR = """model pair {{
  vocab: 64
  dim: 16
  {source}
  input target: tokens
  memory = embed({read}) |> 2 of block {{
    wiring: residual
    attention {{ heads: 2 }}
  }}
  out = attention(embed(target), memory; heads: 2, mask: {mask})
  objective: next_token(tied(out), target)
}}
"""


def test_a_decoder_may_see_all_of_the_source_but_not_of_the_target() -> None:
    assert tantra_dsl.loads(PAIR.format(source="input source: tokens", read="source", mask="all")).check() == []
    (found,) = tantra_dsl.loads(PAIR.format(source="", read="target", mask="causal")).check()
    assert (found.code, found.title.partition(" ")[0]) == ("L0101", "memory_layers.0.attention")


SEEN_FIRST = """model captions {{
  vocab: 64
  dim: 16
  input image: pixels[1, 8, 8]
  input tokens: tokens
  seen = linear(patches(image, 4), dim)
  both = concat(seen, embed(tokens), axis: time)
  y = both |> block {{
    wiring: pre(rms)
    attention {{ heads: 2, mask: {mask} }}
    {other}
  }} * 3
  logits = linear(rms(slice(y, 4, axis: time)), vocab)
  objective: next_token(logits, tokens)
  return logits
}}
"""


@pytest.mark.parametrize("mask", ["causal", "prefix(4)", "k <= q or k < 3", "k < 4 or (k <= q and q - k < 5)"])
def test_every_text_position_may_see_the_whole_image_before_it(mask: str) -> None:
    spec = tantra_dsl.loads(SEEN_FIRST.format(mask=mask, other="ffn { hidden: 32 }"))
    assert spec.check() == []
    model = spec.compile(seed=0).double()
    image, tokens = torch.randn(1, 1, 8, 8, dtype=torch.float64), torch.arange(9).unsqueeze(0)
    before = model(image=image, tokens=tokens)
    tokens[0, 6:] = 33
    after = model(image=image, tokens=tokens)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.equal(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize(
    ("mask", "other"),
    [
        ("prefix(5)", "ffn { hidden: 32 }"),
        ("k <= q + 1 or k < 4", "ffn { hidden: 32 }"),
        ("prefix(4)", "conv: conv1d(width: 3, causal: false)"),
    ],
)
def test_what_comes_after_the_image_is_text(mask: str, other: str) -> None:
    found = tantra_dsl.loads(SEEN_FIRST.format(mask=mask, other=other)).check()
    assert found
    assert {item.code[0] for item in found} == {"L"}


CALLED = """
block mix(x) = x + attention(rms(x); heads: 2, mask: prefix({seen}))
model captions {{
  vocab: 64
  dim: 16
  input image: pixels[1, 8, 8]
  input tokens: tokens
  seen = linear(patches(image, 4), dim)
  both = concat(seen, embed(tokens), axis: time)
  a = mix(both)
  b = a + attention(a; heads: 2, mask: prefix({seen}))
  logits = linear(rms(slice(b, 4, axis: time)), vocab)
  objective: next_token(logits, tokens)
}}
"""


def test_blocks_and_attention_outside_a_stack_may_see_the_image_too() -> None:
    assert tantra_dsl.loads(CALLED.format(seen=4)).check() == []
    found = tantra_dsl.loads(CALLED.format(seen=5)).check()
    assert [item.title.partition(" ")[0] for item in found] == ["a.attention", "b"]


BYTES = """model patched {{
  vocab: 256
  dim: 16
  input bytes: tokens
  patch = linear(patches(embed(bytes), 4), dim)
  hidden = {stream} |> 2 of block {{
    wiring: residual
    attention {{ heads: 2, mask: causal }}
  }}
  out = unpatch(linear(hidden, 4 * dim), 4) + embed(bytes)
  objective: next_token(tied(out), bytes)
}}
"""


def test_patches_must_be_shifted_by_one() -> None:
    assert tantra_dsl.loads(BYTES.format(stream="shift(patch, 1)")).check() == []
    assert [item.code for item in tantra_dsl.loads(BYTES.format(stream="patch")).check()] == ["L0104"]
