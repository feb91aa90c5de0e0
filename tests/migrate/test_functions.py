"""What is claimed to compute the same function does; what is not says why."""

from __future__ import annotations

import pytest
import torch

from tests.migrate.conftest import LLAMA, SMALL, carried, edited, loss_of, planned, random_weights

EXACT = 1e-10
FAR = """  block far extends near { attention.mask: causal and window(3) }
  layers: 3 of (near * 2, far)
"""
PATTERN = edited(("layers: 2 of block {", "block near {"), ("  final_norm", f"{FAR}  final_norm"))
EXPERTS = edited(("ffn { hidden: 24, activation: gelu_tanh, bias: true }",
                  "ffn: moe { experts: 4, top_k: 2, hidden: 8, shared: 1 }"))  # fmt: skip
BARE = edited(("pre(norm)", "residual"), ("  final_norm: norm\n", ""), ("  let norm: layernorm\n", ""),
              ("heads: 4,", "heads: 4, head_dim: 4,"))  # fmt: skip
GATED = edited(("pre(norm)", "gated(norm)"))
SCANS = edited(("attention { heads: 4, mask: causal, bias: true }", "mamba2 { heads: 4, head_dim: 4, state: 8 }"))
NORMED = "head_dim: 4, qk_norm: rms, sink: true"

SAME = {
    "nothing": (SMALL, SMALL),
    "more_layers": (SMALL, edited(("2 of", "5 of"))),
    "more_gated_layers": (LLAMA, edited(("2 of", "3 of"), text=LLAMA)),
    "sandwich": (
        edited(("pre(norm)", "sandwich(norm)")),
        edited(("pre(norm)", "sandwich(norm)"), ("2 of", "4 of")),
    ),
    "layers_in_a_pattern": (PATTERN, edited(("3 of (near", "7 of (near"), text=PATTERN)),
    "wider_ffn": (SMALL, edited(("hidden: 24", "hidden: 40"))),
    "wider_gated_ffn": (LLAMA, edited(("hidden: 24", "hidden: 25"), text=LLAMA)),
    "wider_experts": (EXPERTS, edited(("hidden: 8", "hidden: 13"), text=EXPERTS)),
    "more_heads": (
        edited(("heads: 4,", "heads: 4, head_dim: 4,")),
        edited(("heads: 4,", "heads: 7, head_dim: 4,")),
    ),
    "more_query_heads_in_groups": (
        edited(("heads: 4,", "heads: 4, head_dim: 4,"), text=LLAMA),
        edited(("heads: 4,", "heads: 8, head_dim: 4,"), text=LLAMA),
    ),
    "more_heads_of_both_kinds": (
        edited(("heads: 4, kv_heads: 2,", "heads: 4, kv_heads: 2, head_dim: 4,"), text=LLAMA),
        edited(("heads: 4, kv_heads: 2,", "heads: 6, kv_heads: 3, head_dim: 4,"), text=LLAMA),
    ),
    "keys_for_every_head": (LLAMA, edited((" kv_heads: 2,", ""), text=LLAMA)),
    "keys_and_heads": (
        edited(("heads: 4, kv_heads: 2,", "heads: 4, kv_heads: 2, head_dim: 4,"), text=LLAMA),
        edited(("heads: 4, kv_heads: 2,", "heads: 8, head_dim: 4,"), text=LLAMA),
    ),
    "normed_heads": (
        edited(("heads: 4, kv_heads: 2,", f"heads: 4, kv_heads: 2, {NORMED},"), text=LLAMA),
        edited(("heads: 4, kv_heads: 2,", f"heads: 8, kv_heads: 4, {NORMED},"), text=LLAMA),
    ),
    "wider_without_norms": (BARE, edited(("dim: 16", "dim: 20"), text=BARE)),
    "wider_without_norms_or_tied_head": (
        edited(("head: tied", "head: language_model"), text=BARE),
        edited(("head: tied", "head: language_model"), ("dim: 16", "dim: 20"), text=BARE),
    ),
    "gated_wiring": (GATED, edited(("2 of", "4 of"), text=GATED)),
    "parallel_wiring": (
        edited(("pre(norm)", "parallel(norm)")), edited(("pre(norm)", "parallel(norm)"), ("2 of", "4 of")),
    ),
    "mixed_scans": (SCANS, edited(("2 of", "3 of"), text=SCANS)),
    "scores_looked_up": (
        edited(("heads: 4, kv_heads: 2,", "heads: 4, kv_heads: 2, head_dim: 4, score: t5_bias(4, buckets: 8),"),
               text=LLAMA),
        edited(("heads: 4, kv_heads: 2,", "heads: 8, kv_heads: 2, head_dim: 4, score: t5_bias(8, buckets: 8),"),
               text=LLAMA),
    ),
    "layers_that_shared_weights": (edited(("2 of block {", "2 of share one\n  block one {")), SMALL),
    "biases": (
        LLAMA, edited(("gated: true", "gated: true, bias: true"), ("heads: 4,", "heads: 4, bias: true,"), text=LLAMA),
    ),
    "other_labels": (SMALL, edited(("    ffn {", "    mlp: ffn {"), ("    attention {", "    attn: attention {"))),
    "all_at_once": (
        edited(("heads: 4, kv_heads: 2,", "heads: 4, kv_heads: 2, head_dim: 4,"), text=LLAMA),
        edited(("heads: 4, kv_heads: 2,", "heads: 8, kv_heads: 4, head_dim: 4, bias: true,"),
               ("hidden: 24", "hidden: 32"), ("2 of", "4 of"), text=LLAMA),
    ),
    "a_head_of_its_own": (SMALL, edited(("head: tied", "head: language_model"))),
    "longer": (SMALL, edited(("context: 12", "context: 20"))),
    "shorter_recipe": (SMALL, SMALL.replace("objective: next_token", "objective: next_token\n  train { steps: 7 }")),
}  # fmt: skip


PLUS = LLAMA.replace("let norm: rms", "let norm: rms(weight: one_plus)").replace("language_model", "tied")


def widened(text: str, times: int = 2) -> str:
    """Several times the width of the stream, in heads of the width that they had."""
    heads = f"heads: {4 * times}, kv_heads: {2 * times}" if "kv_heads" in text else f"heads: {4 * times}"
    old = "heads: 4, kv_heads: 2" if "kv_heads" in text else "heads: 4"
    return edited(("dim: 16", f"dim: {16 * times}"), (old, heads), text=text)


WIDER = {
    "tied_to_the_table": (SMALL, widened(SMALL)),
    "thrice": (SMALL, widened(SMALL, 3).replace("hidden: 24", "hidden: 40")),
    "head_of_its_own": (LLAMA, widened(LLAMA)),
    "deeper_too": (LLAMA, widened(LLAMA, 4).replace("2 of", "4 of")),
    "wider_sandwich": tuple(text.replace("pre(norm)", "sandwich(norm)") for text in (LLAMA, widened(LLAMA))),
    "post": tuple(text.replace("pre(norm)", "post(norm)") for text in (SMALL, widened(SMALL))),
    "stored_minus_one": (PLUS, widened(PLUS)),
    "no_longer_tied": (PLUS, widened(PLUS).replace("tied", "language_model")),
    "experts": (EXPERTS, widened(EXPERTS)),
    "wider_gated_wiring": (GATED, widened(GATED)),
}


@pytest.mark.parametrize("name", WIDER)
def test_a_wider_stream_is_the_old_one_several_times_over(name: str) -> None:
    before, after = WIDER[name]
    found = carried(before, after)
    assert found.made.claim.kind == "rounding"
    assert found.made.claim.reasons == ("channels are repeated, and summed over in another order",)
    assert found.error < EXACT


def test_repeated_channels_learn_apart() -> None:
    """They are read by shares that differ, so that what makes them has other gradients."""
    from tests.migrate.conftest import loaded

    before, after = WIDER["head_of_its_own"]
    module = loaded(after, carried(before, after).new)
    module.zero_grad()
    module.loss(tokens=torch.randint(0, 31, (2, 9), generator=torch.Generator().manual_seed(2))).backward()  # type: ignore[operator]
    for name in ("embed.weight", "layers.0.ffn.out.weight", "layers.1.attention.out.weight"):
        grad = dict(module.named_parameters())[name].grad
        assert grad is not None
        halves = grad.chunk(2, 1 if name == "embed.weight" else 0)
        assert (halves[0] - halves[1]).abs().max() > 0.1 * grad.abs().max()


def test_shares_in_half_precision_sum_up_but_for_one_rounding() -> None:
    before, after = WIDER["head_of_its_own"]
    weights = {name: weight.bfloat16() for name, weight in random_weights(before).items()}
    new = planned(before, after).carry(weights, 5)["layers.0.ffn.up.weight"]
    old = weights["layers.0.ffn.up.weight"].double()
    assert new.dtype == torch.bfloat16
    wrong = (new.double().unflatten(1, (2, 16)).sum(1) - old).abs()
    assert (wrong <= 2**-8 * new[:, 16:].double().abs()).all()  # the last share's own rounding, and no other
    assert (new[:, :16] != new[:, 16:]).double().mean() > 0.9


def grown(text: str, eps: str = "3e-5") -> tuple[str, str]:
    """``text``, and the same with a stream of half as many channels more; ``eps`` of its norms against 3e-5 before."""
    wide = widened(text).replace("dim: 32", "dim: 24").replace("heads: 8", "head_dim: 4, heads: 8")
    return tuple(
        t.replace("let norm: rms", f"let norm: rms(eps: {e})")
        .replace(")(", ", ")
        .replace("let norm: layernorm", f"let norm: layernorm(eps: {e})")
        for t, e in ((text, "3e-5"), (wide, eps))
    )  # type: ignore[return-value]


UNTIED_PLUS = PLUS.replace("tied", "language_model")
NO_MULTIPLE = {
    "layernorm": SMALL,
    "rms": LLAMA,
    "one_plus": UNTIED_PLUS,
    "experts_and_more": EXPERTS,
    "rms_sandwich": LLAMA.replace("pre(norm)", "sandwich(norm)"),
    "layernorm_parallel": SMALL.replace("pre(norm)", "parallel(norm)"),
}


@pytest.mark.parametrize("name", NO_MULTIPLE)
def test_a_stream_that_is_no_multiple_wider_changes_what_eps_does_and_no_more(name: str) -> None:
    found = carried(*grown(NO_MULTIPLE[name]))
    assert found.made.claim.kind == "another"
    assert found.made.claim.reasons
    for reason in found.made.claim.reasons:
        assert reason.endswith(
            "norm: a normalisation over more channels, and eps is 3e-05, where 2e-05 would do what 3e-05 did"
        )
    assert 1e-9 < found.error < 1e-3


@pytest.mark.parametrize("name", NO_MULTIPLE)
def test_with_eps_to_match_it_is_the_same_function(name: str) -> None:
    found = carried(*grown(NO_MULTIPLE[name], "2e-5"))
    assert found.made.claim.kind == "rounding"
    assert found.made.claim.reasons == ("norms run over more channels, and their weights make up for it",)
    assert found.error < EXACT


@pytest.mark.parametrize("wiring", ["post(norm)", "sandwich(norm)"])
def test_layer_norms_whose_results_are_the_stream_cannot_be_grown_past(wiring: str) -> None:
    """New channels of what they give are zero, and not the mean that the next one would subtract."""
    found = carried(*grown(SMALL.replace("pre(norm)", wiring), "2e-5"))
    assert found.made.claim.kind == "another"
    assert found.error > 1e-6


def test_new_channels_of_a_grown_stream_learn() -> None:
    from tests.migrate.conftest import loaded

    before, after = grown(SMALL)
    module = loaded(after, carried(before, after).new)
    module.zero_grad()
    module.loss(tokens=torch.randint(0, 31, (2, 9), generator=torch.Generator().manual_seed(2))).backward()  # type: ignore[operator]
    grads = {name: weight.grad for name, weight in module.named_parameters()}
    for name in ("layers.0.ffn.out.weight", "layers.1.attention.out.weight"):
        assert grads[name][16:].abs().max() > 0  # type: ignore[index]


def test_channels_of_a_narrower_stream_are_left_out() -> None:
    after = edited(("dim: 16", "dim: 8"), ("heads: 4,", "heads: 4, head_dim: 4,"))
    assert "W0202" in {problem.code for problem in planned(SMALL, after).problems()}
    found = carried(SMALL, after, drop=True)
    assert found.made.claim.kind == "another"
    assert torch.equal(found.new["layers.0.ffn_norm.weight"], found.old["layers.0.ffn_norm.weight"][:8])


def test_heads_that_become_wider_have_no_rule_and_what_would() -> None:
    made = planned(SMALL, edited(("dim: 16", "dim: 32")))
    (problem,) = made.problems()
    assert problem.code == "W0201"
    assert {lack.why for lack in made.plan.lacks} == {
        "heads of 4 that become 8 wide (8 heads of 4 have a rule), 16 -> 32"
    }
    assert planned(SMALL, widened(SMALL)).problems() == []


@pytest.mark.parametrize("name", SAME)
def test_the_same_function(name: str) -> None:
    before, after = SAME[name]
    found = carried(before, after)
    assert (found.made.claim.kind, found.made.claim.reasons) == ("same", ())
    assert found.error < EXACT


@pytest.mark.parametrize("name", SAME)
def test_what_is_new_can_learn(name: str) -> None:
    """Zeros are set on one side of new units alone: a gradient reaches some weight of each."""
    before, after = SAME[name]
    found = carried(before, after)
    new = [entry for entry in found.made.plan.entries if entry.rule.words.startswith("zeros: the layer")]
    assert all(found.new[entry.new.path].count_nonzero() == 0 for entry in new)
    prefixes = {entry.new.path.rsplit(".", 2)[0] for entry in new}
    for prefix in prefixes:
        assert any(found.new[path].count_nonzero() for path in found.new if path.startswith(prefix))


PAIRS = """\
model pairs {
  vocab: 31
  context: 12
  dim: 16
  input source: tokens
  input target: tokens
  block encoder_layer { wiring: pre(rms)  attention { heads: 4 }  ffn { hidden: 24, activation: relu } }
  block decoder_layer(memory) {
    wiring: pre(rms)
    self: attention { heads: 4, mask: causal }
    cross: attention { heads: 4, memory: memory }
    ffn { hidden: 24, activation: relu }
  }
  embed: tokens
  encoded = (embed(source) + sinusoidal) |> encoder_layer * 2
  decoded = (embed(target) + sinusoidal) |> decoder_layer(encoded) * 2
  objective: next_token(tied(decoded), target)
}
"""
TAPS = """\
model dense extends gpt2_denseformer { vocab: 31  context: 12  dim: 24  blocks: 3 }
"""


def test_an_encoder_and_a_decoder() -> None:
    after = PAIRS.replace("encoder_layer * 2", "encoder_layer * 3").replace("(encoded) * 2", "(encoded) * 4")
    made = planned(PAIRS, after.replace("hidden: 24", "hidden: 30"))
    assert (made.claim.kind, made.claim.reasons) == ("same", ())
    weights = random_weights(PAIRS)
    tokens = torch.randint(0, 31, (2, 2, 9), generator=torch.Generator().manual_seed(1))
    losses = [
        loss_of(text, state, source=tokens[0], target=tokens[1])
        for text, state in ((PAIRS, weights), (after.replace("hidden: 24", "hidden: 30"), made.carry(weights, 0)))
    ]
    assert abs(losses[0] - losses[1]) < EXACT * losses[0]


def test_a_table_that_is_no_longer_shared_between_parts() -> None:
    """Where one model shares a part and the other does not, the walk goes on and says so."""
    alone = PAIRS.replace("embed(target)", "outer(target)").replace(
        "  embed: tokens\n", "  embed: tokens\n  share outer = tokens\n"
    )
    for before, after in ((PAIRS, alone), (alone, PAIRS)):
        made = planned(before, after, drop=True, start_missing=True)
        assert made.problems() == []
        assert made.claim.kind == "another"


def test_layers_that_read_tensors_of_earlier_ones() -> None:
    found = carried(TAPS, TAPS)
    assert found.made.claim.kind == "same"
    deeper = planned(TAPS, TAPS.replace("blocks: 3", "blocks: 4"))
    assert "W0203" in {problem.code for problem in deeper.problems()}


def test_swapped_labels_of_two_equal_parts_are_no_renaming() -> None:
    """Both models compute one function of weights under other names; copied by name it is another one."""
    first = edited(("    ffn {", "    one: ffn { hidden: 24, activation: relu2 }\n    two: ffn {"))
    second = first.replace("one: ffn", "three: ffn").replace("two: ffn", "one: ffn").replace("three: ffn", "two: ffn")
    found = carried(first, second, drop=True, start_missing=True)
    assert found.made.claim.kind == "another" or found.error < EXACT


def test_norms_stored_minus_one() -> None:
    plain, plus = LLAMA, edited(("let norm: rms", "let norm: rms(weight: one_plus)"), text=LLAMA)
    for before, after in ((plain, plus), (plus, plain)):
        found = carried(before, after)
        assert found.made.claim.kind == "rounding"
        assert found.error < EXACT


def test_a_sum_the_other_way_round() -> None:
    block = "block {\n    wiring: pre(norm)\n    attention { heads: 4, mask: causal, bias: true }"
    first = (
        edited((block, block.replace("pre(norm)", "mine(norm)"))) + "wiring mine(f, x; norm: module) = x + f(norm(x))\n"
    )
    second = first.replace("x + f(norm(x))", "f(norm(x)) + x")
    found = carried(first, second)
    assert found.made.claim.kind == "rounding"
    assert found.error < EXACT


ANOTHER = {
    "activation": (SMALL, edited(("gelu_tanh", "relu2")), {}, "another activation"),
    "theta": (LLAMA, edited(("position: rope", "position: rope(theta: 500)"), text=LLAMA), {}, "other rates"),
    "window": (SMALL, edited(("mask: causal", "mask: causal and window(3)")), {}, "queries see other keys"),
    "eps": (SMALL, edited(("let norm: layernorm", "let norm: layernorm(eps: 0.01)")), {}, "constant under the root"),
    "means": (SMALL, edited(("heads: 4,", "heads: 4, kv_heads: 2,")), {}, "means of groups of heads"),
    "stacked": (SMALL, edited(("2 of", "4 of")), {"layers": "stack"}, "2 further layers are no identity"),
    "vocabulary": (SMALL, edited(("vocab: 31", "vocab: 37")), {}, "37 entries"),
    "fewer_layers": (SMALL, edited(("2 of", "1 of")), {"drop": True}, "one layer is left out"),
    "fewer_units": (SMALL, edited(("hidden: 24", "hidden: 20")), {"drop": True}, "4 channels are left out"),
    "biases": (SMALL, SMALL.replace(", bias: true", ""), {"drop": True}, "a bias comes or goes"),
    "qk_norm": (
        SMALL, edited(("heads: 4,", "heads: 4, qk_norm: rms,")), {"start_missing": True}, "qk_norm: rms added",
    ),
    "sink": (
        SMALL, edited(("heads: 4,", "heads: 4, sink: true,")), {"start_missing": True}, "layers.attention.sink",
    ),
    "alibi": (
        edited(("heads: 4,", "heads: 4, head_dim: 4, score: alibi,")),
        edited(("heads: 4,", "heads: 8, head_dim: 4, score: alibi,")), {}, "scores change before the softmax",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANOTHER)
def test_another_function_and_why(name: str) -> None:
    before, after, options, why = ANOTHER[name]
    found = carried(before, after, **options)
    assert found.made.claim.kind == "another"
    assert any(why in reason for reason in found.made.claim.reasons), found.made.claim.reasons
    if name != "vocabulary":
        assert found.error > 1e-6


def test_heads_that_a_score_tells_apart_stay_or_the_function_is_another() -> None:
    """A slope per head: query heads that move to other numbers get other slopes."""
    score = "score tilted = s - 0.1 * h * abs(q - k)\n"
    before = score + edited(
        ("heads: 4, kv_heads: 2,", "heads: 4, kv_heads: 2, head_dim: 4, score: tilted,"), text=LLAMA
    )
    moved = carried(before, before.replace("heads: 4, kv_heads: 2", "heads: 8, kv_heads: 2"))
    assert moved.made.claim.kind == "another"
    assert moved.error > 1e-6


def test_means_of_groups_are_means() -> None:
    found = carried(SMALL, edited(("heads: 4,", "heads: 4, kv_heads: 2,")))
    old, new = (state["layers.1.attention.k.weight"] for state in (found.old, found.new))
    assert torch.allclose(new[:4], (old[:4] + old[4:8]) / 2)
    assert torch.allclose(new[4:], (old[8:12] + old[12:]) / 2)


def test_new_rows_of_the_vocabulary() -> None:
    after = edited(("vocab: 31", "vocab: 37"))
    found = carried(SMALL, after)
    table = found.new["embed.tokens.weight"]
    assert torch.equal(table[:31], found.old["embed.tokens.weight"])
    assert torch.allclose(table[31:], table[:31].mean(0).expand(6, 16))
    assert found.error < EXACT  # the scores of the old tokens are what they were
    started = carried(SMALL, after, new_rows="init").new["embed.tokens.weight"]
    assert started[31:].std(0).min() > 0


def test_a_bias_that_is_zero_may_go() -> None:
    after = SMALL.replace(", bias: true", "")
    weights = random_weights(SMALL)
    for path in weights:
        if path.endswith(".bias") and "norm" not in path:
            weights[path] = torch.zeros_like(weights[path])
    found = carried(SMALL, after, old=weights)
    assert found.made.claim.kind == "same"
    assert found.error < EXACT


def test_what_is_started_draws_from_the_seed() -> None:
    made = planned(SMALL, edited(("hidden: 24", "hidden: 40")))
    weights = random_weights(SMALL)
    first, again, other = (made.carry(weights, seed)["layers.0.ffn.up.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first[:24], other[:24])
    assert not torch.equal(first[24:], other[24:])


def test_a_step_of_training_after_a_migration_changes_new_weights() -> None:
    before, after = SAME["all_at_once"]
    found = carried(before, after)
    from tests.migrate.conftest import module_of

    module = module_of(after)
    tokens = torch.randint(0, 31, (2, 9), generator=torch.Generator().manual_seed(2))
    module.load_state_dict(found.new, strict=False)
    module.zero_grad()
    module.loss(tokens=tokens).backward()  # type: ignore[operator]
    grads = {name: weight.grad for name, weight in module.named_parameters()}
    assert all(grads[f"layers.{layer}.ffn.out.weight"].abs().max() > 0 for layer in range(4))  # type: ignore[union-attr]
    assert grads["layers.0.ffn.out.weight"][:, 24:].abs().max() > 0  # type: ignore[index]
