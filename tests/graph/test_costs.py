"""Parameters, FLOPs and what decoding keeps, against counting by hand and against torch's own counter."""

from __future__ import annotations

import hand_built
import pytest
import torch
from hand_built import attention, block, ffn, model, tiny

import tantra_dsl
from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.costs import cost, expectations
from tantra_dsl.graph.model import Body, Graph, Init, InputSpec, Ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.ir import Capture, Gather, Op, Program, Var
from tests.counted import counted_calls

DOCUMENT = Program(
    "mask",
    ("q", "k", "b", "h"),
    Op("and", (hand_built.CAUSAL.body, Op("eq", (Gather(0, (Var("b"), Var("q"))), Gather(0, (Var("b"), Var("k"))))))),
    (Capture("doc", integer=True),),
)


def test_attention_counts_the_pairs_that_the_mask_allows() -> None:
    seq, heads, width = 16, 2, 4
    causal = sum(q + 1 for q in range(seq))
    windowed = sum(min(q + 1, 4) for q in range(seq))
    per_pair = 2 * heads * (width + width)
    assert cost(tiny(1), seq=seq)["flops_attention"].value == causal * per_pair
    assert cost(tiny(1, hand_built.WINDOW), seq=seq)["flops_attention"].value == windowed * per_pair
    assert cost(tiny(3), seq=seq, batch=5)["flops_attention"].value == 15 * causal * per_pair
    assert cost(tiny(1), seq=seq)["flops_attention_dense"].value == seq * seq * per_pair


def test_products_count_two_per_weight_and_token() -> None:
    graph, seq = tiny(3), 16
    report = cost(graph, seq=seq)
    biases = 3 * 8
    weights = report["params"].value
    assert weights is not None
    assert report["flops_products"].value == 2 * seq * (weights - biases)
    assert report["flops_per_token"].value == report["flops_forward"].value // seq  # type: ignore[operator]


def reading_documents() -> Graph:
    """One attention within documents, which the batch tells."""
    ids = TensorType((hand_built.BATCH, hand_built.TIME), "int")
    b = BodyBuilder("main", "model")
    x = b.input("x", hand_built.stream(), spec=InputSpec("features", 8))
    doc = b.input("doc", ids, spec=InputSpec("per_token"))
    q, k, v = (b.add("split_heads", (hand_built.linear(b, x, name, 8),), heads=2)[0] for name in "qkv")
    attrs = {"mask": DOCUMENT, "score": None, "scale": 1.0, "dropout": None, "has": (), "causal": False}
    return Graph("packed", "main", {"main": b.finish([("output", b.add("attend", (q, k, v, doc), **attrs)[0])])})


def test_a_mask_that_reads_the_batch_gives_an_upper_bound() -> None:
    report = cost(reading_documents(), seq=16)
    assert report["flops_attention"].bound == report["flops_forward"].bound == "upper"
    assert report["flops_attention"].value == cost(tiny(1), seq=16)["flops_attention"].value
    assert report["flops_products"].bound == "exact"


def experts(count: int = 8, top_k: int = 2) -> Body:
    b = BodyBuilder("experts", "moe")
    x = b.input("x", hand_built.stream())
    scores = hand_built.linear(b, x, "router", count)
    attrs = {"groups": 1, "kept_groups": 1, "normalize": True, "scale": 1.0, "after": "softmax", "has": ()}
    chosen, weights = b.add("route", (scores,), id="route", top_k=top_k, **attrs)  # type: ignore[arg-type]
    dims = (hand_built.dim(count, "experts"), hand_built.dim(8), hand_built.dim(8))
    weight = b.param("experts.weight", dims, Init("normal", (0.0, 0.02)))
    made = b.add("expert_linear", (x, chosen, weight), has=())[0]
    return b.finish([("out", b.add("combine_experts", (made, weights))[0])])


def test_a_token_uses_only_the_experts_it_is_routed_to() -> None:
    parts = [attention(), experts(count=8, top_k=2)]
    report = cost(model([(block(parts), 1)], 3, parts), seq=16)
    idle = 3 * 6 * 8 * 8
    assert report["params"].value == report["active_params"].value + idle  # type: ignore[operator]


def passed_experts() -> Graph:
    """The experts' weight is owned by the root and given to the body that uses it."""
    inner = BodyBuilder("inner", "moe")
    ids = TensorType((hand_built.BATCH, hand_built.TIME, hand_built.dim(2, "slots")), "int")
    dims = (hand_built.dim(8, "experts"), hand_built.dim(8), hand_built.dim(8))
    given = inner.input("weight", TensorType(dims), kind="param")
    x, chosen = inner.input("x", hand_built.stream()), inner.input("chosen", ids)
    body = inner.finish([("out", inner.add("expert_linear", (x, chosen, given), has=())[0])])
    b = BodyBuilder("main", "model")
    x = b.input("x", hand_built.stream(), spec=InputSpec("features", 8))
    chosen = b.input("chosen", ids, spec=InputSpec("per_token"))
    weight = b.param("experts", dims, Init("normal", (0.0, 0.02)))
    out: Ref = hand_built.call(b, body, "inner", weight, x, chosen)
    return Graph("passed", "main", {"main": b.finish([("output", out)]), "inner": body})


def test_a_weight_that_is_passed_on_counts_where_it_is_used() -> None:
    report = cost(passed_experts(), seq=16)
    assert (report["params"].value, report["active_params"].value) == (8 * 64, 2 * 64)


def test_a_window_keeps_no_more_keys_than_itself() -> None:
    full, windowed = cost(tiny(3), seq=16), cost(tiny(3, hand_built.WINDOW), seq=16)
    per_token = 3 * (4 + 4) * 2
    assert full["kv_bytes_per_token"].value == windowed["kv_bytes_per_token"].value == per_token
    assert full["kv_bytes"].value == 16 * per_token
    assert windowed["kv_bytes"].value == 4 * per_token


def test_an_encoder_keeps_nothing() -> None:
    everything = Program("mask", ("q", "k", "b", "h"), Op("ge", (Var("k"), Var("k"))))
    assert cost(tiny(3, everything), seq=16)["kv_bytes_per_token"].value == 0


def scanning() -> Graph:
    """A causal convolution and a linear scan."""
    b = BodyBuilder("main", "model")
    x = b.input("x", hand_built.stream(), spec=InputSpec("features", 8))
    dims = (hand_built.dim(8), hand_built.dim(1), hand_built.dim(4, "width"))
    weight = b.param("conv.weight", dims, Init("normal", (0.0, 0.02)))
    x = b.add("conv1d", (x, weight), causal=True, groups=8, stride=1, dilation=1, has=())[0]
    q, k, v = (b.add("split_heads", (x,), heads=heads)[0] for heads in (2, 2, 4))
    k = q = b.add("split_heads", (hand_built.linear(b, x, "k", 12),), heads=4)[0]
    return Graph("scan", "main", {"main": b.finish([("output", b.add("linear_scan", (q, k, v), has=())[0])])})


def test_scans_and_convolutions_keep_a_fixed_state() -> None:
    report = cost(scanning(), seq=16)
    assert report["state_bytes"].value == (4 * 3 * 2 + 3 * 8) * 4
    assert report["flops_scans"].value == 16 * 4 * (4 * 3 * 2)
    assert report["kv_bytes_per_token"].value == 0


def test_costs_do_not_depend_on_the_number_of_layers() -> None:
    few, many = tiny(2), tiny(10**9)
    assert counted_calls(lambda: cost(many, seq=16)) < 1.1 * counted_calls(lambda: cost(few, seq=16))
    report = cost(many, seq=16)
    assert report["flops_attention"].value == 10**9 * cost(tiny(1), seq=16)["flops_attention"].value  # type: ignore[operator]


@pytest.mark.parametrize("graph", [tiny(3), hand_built.alternating(7), hand_built.shared_module()])
def test_every_figure_says_how_it_was_found(graph: Graph) -> None:
    for figure in cost(graph, seq=8).figures.values():
        assert figure.formula
        assert (figure.value is None) == (figure.bound == "unknown")


def test_parts_sum_up_to_the_whole() -> None:
    for graph in (tiny(3), hand_built.alternating(7), hand_built.alternating(7, shared=True)):
        report = cost(graph, seq=16)
        assert sum(part.params for part in report.parts) == report["params"].value
        assert sum(part.flops.value or 0 for part in report.parts) == report["flops_forward"].value
        assert sum(part.kv_bytes_per_token for part in report.parts) == report["kv_bytes_per_token"].value
        (stack,) = (part for part in report.parts if part.kind == "stack")
        for layer in stack.parts:
            assert sum(part.params for part in layer.parts) == layer.params
            assert sum(part.flops.value or 0 for part in layer.parts) == layer.flops.value


def test_expectations_are_the_costs() -> None:
    graph = tiny(3)
    found = expectations(graph)
    report = cost(graph)
    for name in ("params", "active_params", "kv_bytes_per_token", "flops_per_token"):
        assert found[name] == report[name].value
    assert found["causal"] == 1
    assert expectations(tiny(3, hand_built.WINDOW))["causal"] == 1
    assert set(found) == {"params", "active_params", "kv_bytes_per_token", "flops_per_token", "causal"}


def test_a_model_without_time_has_no_cost_per_token() -> None:
    b = BodyBuilder("main", "model")
    x = b.input("x", TensorType((hand_built.BATCH, hand_built.dim(8))), spec=InputSpec("features", 8))
    graph = Graph("flat", "main", {"main": b.finish([("output", hand_built.linear(b, x, "out", 4))])})
    assert cost(graph)["flops_per_token"].value is None
    assert expectations(graph)["flops_per_token"] is None
    assert cost(graph, batch=3)["flops_forward"].value == 3 * 2 * 8 * 4


@pytest.mark.parametrize("wrong", [{"seq": 0}, {"batch": 0}, {"precision": "fp8"}, {"optimizer": "magic"}])
def test_misuse_is_told(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        cost(tiny(), **wrong)  # type: ignore[arg-type]


def test_optimizer_memory() -> None:
    figures = {name: cost(tiny(), optimizer=name)["optimizer_bytes"].value for name in ("adamw", "sgd")}
    weights = cost(tiny())["weight_bytes"].value
    assert weights is not None
    assert figures == {"adamw": 2 * weights, "sgd": 0}


def test_feed_forward_is_part_of_the_model() -> None:
    parts = [ffn()]
    without = cost(model([(block(parts), 1)], 3, parts), seq=16)
    assert without["flops_attention"].value == 0
    assert without["kv_bytes_per_token"].value == 0


def test_a_shared_part_costs_at_each_length_that_it_is_called_at() -> None:
    once = 2 * 2 * 8 * 16
    assert cost(hand_built.two_lengths(), seq=16)["flops_products"].value == 2 * 16 * once


def test_a_shared_table_is_shown_where_it_is_first_read() -> None:
    first, head = cost(hand_built.tied_instance(), seq=16).parts
    assert (first.name, first.params, head.name, head.params) == ("embed", 32 * 8, "logits", 0)


def test_muon_keeps_one_number_for_hidden_matrices_and_two_for_the_rest() -> None:
    """By torch's own optimizers, after one step."""
    from tantra_dsl.graph.roles import weight_roles
    from tantra_dsl.semantics.recipe import OptimizerChoice
    from tantra_dsl.train.optim import make_optimizers

    spec = tantra_dsl.loads(SMALL_MODEL)
    graph, module = spec.graph(), spec.compile(seed=0)
    made = make_optimizers(module, OptimizerChoice("muon"), weight_roles(graph), graph.fact("vocab"), None)
    module.loss(tokens=torch.zeros(1, 8, dtype=torch.int64)).backward()
    for member in made.members:
        member.step()
    kept = [state for member in made.members for states in member.state.values() for state in states.values()]
    stated = cost(graph, seq=8, optimizer="muon")
    assert stated["optimizer_bytes"].value == sum(4 * state.numel() for state in kept if state.numel() > 1)
    few, more, most = (cost(tiny(count), seq=8, optimizer="muon")["optimizer_bytes"].value for count in (1, 2, 10**9))
    assert most == few + (more - few) * (10**9 - 1)  # type: ignore[operator]


SMALL_MODEL = """
model small {
  vocab: 61
  context: 16
  dim: 32
  embed: tokens
  layers: 2 of block { wiring: pre(norm: rms), attention { heads: 4, mask: causal, bias: true }, ffn { hidden: 48 } }
  final_norm: rms
  head: linear(vocab)
  objective: next_token
}
"""
