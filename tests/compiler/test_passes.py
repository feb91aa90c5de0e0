"""Passes: what goes in, what comes out, and that the model computes the same."""

from __future__ import annotations

import re

import hand_models
import pytest
import torch
from hand_cases import CASES, example_inputs
from hand_models import stream

from tantra_compiler import CompileOptions, compile_graph, emit_source
from tantra_compiler.compile import pipeline
from tantra_compiler.passes.base import Step, run_passes
from tantra_compiler.passes.norms import FuseNorms
from tantra_compiler.passes.recipe import ApplyRecipe
from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.reader import parse_graph
from tantra_dsl.graph.text import format_body, format_graph


def test_text_form_of_these_tests_is_the_graphs_own() -> None:
    text = format_graph(CASES["gpt2"])
    assert format_graph(parse_graph(text)) == text


@pytest.mark.parametrize("name", CASES)
def test_each_pass_leaves_the_outputs(name: str) -> None:
    graph = CASES[name]
    inputs = example_inputs(graph)
    full = compile_graph(graph, CompileOptions(seed=1)).double().loss(**to_double(inputs))
    for each in pipeline(CompileOptions()):
        if each.name == "apply_recipe":
            continue
        other = compile_graph(graph, CompileOptions(seed=1, without=frozenset({each.name})))
        assert torch.allclose(other.double().loss(**to_double(inputs)), full, rtol=1e-9, atol=0)


def to_double(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}


def norm_ops(graph: Graph) -> set[str]:
    return {node.op for body in graph.bodies.values() for node in body.nodes if "norm" in node.op}


def test_norms_take_their_weights_in() -> None:
    assert norm_ops(FuseNorms()(CASES["gpt2"])) == {"layer_norm"}
    assert norm_ops(FuseNorms()(CASES["llama"])) == {"rms_norm"}


def test_one_plus_weights_are_added_first() -> None:
    lib = hand_models.Library()
    key = lib.rms(16, one_plus=True)
    b = hand_models.BodyBuilder("main", "main")
    x = b.input("x", stream(16), spec=hand_models.InputSpec("features"))
    graph = lib.graph("one_plus", b.finish([("output", lib.call(b, key, "norm", x))]))
    body = FuseNorms()(graph).bodies[key]
    assert [node.op for node in body.nodes] == ["input", "param", "map", "rms_norm"]
    model = compile_graph(graph, CompileOptions(seed=0))
    with torch.no_grad():
        model.norm.weight.normal_()
    x = torch.randn(2, 3, 16)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + model.norm.weight)
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_a_norm_that_others_read_stays() -> None:
    lib = hand_models.Library()
    b = hand_models.BodyBuilder("main", "main")
    x = b.input("x", stream(8), spec=hand_models.InputSpec("features"))
    weight = b.param("weight", [hand_models.dim("dim", 8)], hand_models.ONES)
    (normal,) = b.add("normalize", [x], kind="rms", eps=1e-6, groups=1)
    (scaled,) = b.add("map", [normal, weight], program=hand_models.MUL, arity=2)
    (out,) = b.add("map", [scaled, normal], program=hand_models.ADD, arity=2)
    graph = lib.graph("twice", b.finish([("output", out)]))
    assert FuseNorms()(graph) is graph
    (decision,) = FuseNorms().decisions(graph)
    assert (decision.choice, decision.reason) == (
        "normalize", "what it gives is not read by one elementwise function alone",
    )  # fmt: skip


def test_every_norm_is_told_with_what_becomes_of_it() -> None:
    found = FuseNorms().decisions(CASES["gpt2"])
    assert {(each.path, each.choice, each.reason) for each in found} == {
        (path, "layer_norm", "one op with its weight and bias")
        for path in ("final_norm", "layers.*.attention_norm", "layers.*.ffn_norm")
    }


def test_the_recipe_fills_open_rates_and_removes_idle_dropout() -> None:
    graph = CASES["gpt2"]

    def rates(graph: Graph) -> list[float | None]:
        return [n.attr("rate") for body in graph.bodies.values() for n in body.nodes if n.op == "dropout"]

    assert set(rates(graph)) == {None}
    assert rates(ApplyRecipe(0.0, 0.0)(graph)) == []
    assert set(rates(ApplyRecipe(0.25, 0.0)(graph))) == {0.25}
    assert len(rates(ApplyRecipe(0.25, 0.0)(graph))) == len(rates(graph))


def test_passes_leave_their_input_alone_and_can_be_watched() -> None:
    graph = CASES["llama"]
    before = format_graph(graph)
    steps: list[Step] = []
    result = run_passes(graph, pipeline(CompileOptions()), steps.append)
    assert format_graph(graph) == before
    assert [step.name for step in steps] == [
        "apply_recipe", "fold_constants", "share_repeated", "drop_unread", "fuse_linear_loss", "pack_linears",
        "fuse_norms", "turn_heads", "fuse_add_norm", "narrow_norms", "fuse_activations", "seed_dropout",
        "choose_kernels",
    ]  # fmt: skip

    assert steps[-1].graph == result


def test_intermediate_graphs_read_back() -> None:
    steps: list[Step] = []
    run_passes(CASES["gpt2"], pipeline(CompileOptions(dropout=0.1)), steps.append)
    for step in steps:
        assert parse_graph(format_graph(step.graph)) == step.graph
    assert any("layer_norm" in format_body(body) for body in steps[-1].graph.bodies.values())


def test_attention_can_be_told_to_run_as_the_reference() -> None:
    graph = CASES["gpt2"]
    options = CompileOptions(seed=1, kernels={"layers.*.attention": "reference"})
    assert "attend_reference(" in emit_source(graph, options)
    assert "attend_reference(" not in emit_source(graph)
    inputs = example_inputs(graph)
    ours, theirs = (compile_graph(graph, each).loss(**inputs) for each in (options, CompileOptions(seed=1)))
    assert torch.allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernels", "reason"),
    [
        ({"layers.*.mixer": "reference"}, "there is no attention at 'layers.*.mixer'; it is at layers.*.attention"),
        ({"layers.*.attention": "fast"}, "there is no kernel 'fast'"),
    ],
)
def test_overrides_that_change_nothing_are_errors(kernels: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        emit_source(CASES["gpt2"], CompileOptions(kernels=kernels))
