"""Where the compiler puts an add into the norm behind it, and which norms it makes narrow: text before, text after."""

from __future__ import annotations

import hand_models
import pytest
import torch
from hand_cases import CASES, example_inputs
from torch import Tensor

import tantra_dsl
from tantra_compiler import CompileOptions, compile_graph, emit_source
from tantra_compiler.compile import pipeline
from tantra_compiler.passes.add_norm import FuseAddNorm
from tantra_compiler.passes.base import Decision, Step, run_passes
from tantra_compiler.passes.narrow_norms import NarrowNorms
from tantra_compiler.passes.norms import FuseNorms
from tantra_compiler.runtime import norm_operator, operators
from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.reader import parse_graph
from tantra_dsl.graph.text import format_graph

AROUND = """graph tiny {{
  root main

  body main of model {{
    x: [batch, time, dim=8] = input(kind="tensor", name="x", spec=spec features(8))
    y: [batch, time, dim=8] = input(kind="tensor", name="y", spec=spec features(8))
    w: [dim=8] = param(decay=false, init=init constant(1.0), name="w")
    b: [dim=8] = param(decay=false, init=init constant(0.0), name="b")
    out.weight: [dim=8, dim=8] = param(decay=true, init=init normal(0.0, 0.02), name="out.weight")
{lines}
  }}
}}
"""
STREAM = "[batch, time, dim=8]"
ADD = 'map({}, {}, arity=2, program=fn(x, y) {{x + y}} as "x + y")'
EXP = 'map({}, arity=1, program=fn(x) {{exp(x)}} as "exp(x)")'
WEIGHTED = 'layer_norm({}, w, b, eps=1e-05, has=("bias",))'
TOTAL = f"h: {STREAM} = {ADD.format('x', 'y')} @0:h"
NORM = f"n: {STREAM} = {WEIGHTED.format('h')} @1:n"


def text(*lines: str) -> str:
    return AROUND.format(lines="\n".join(f"    {line}" for line in lines))


def reasons(*lines: str) -> list[str]:
    graph = parse_graph(text(*lines))
    assert FuseAddNorm()(graph) is graph
    return [decision.reason for decision in FuseAddNorm().decisions(graph)]


@pytest.mark.parametrize(
    ("norm", "op"),
    [
        (WEIGHTED.format("h"), ', w, b, eps=1e-05, has=("weight", "bias"), kind="layernorm"'),
        ("rms_norm(h, w, eps=1e-05)", ', w, eps=1e-05, has=("weight",), kind="rms"'),
        ('normalize(h, eps=1e-05, groups=1, kind="rms")', ', eps=1e-05, has=(), kind="rms"'),
    ],
)
def test_an_add_and_its_norm_become_one_op(norm: str, op: str) -> None:
    rest = (f"e: {STREAM} = {EXP.format('n')} @2:e", f"o: {STREAM} = {ADD.format('h', 'e')} @3")
    before = text(TOTAL, f"n: {STREAM} = {norm} @1:n", *rest, "return output=o")
    made = format_graph(FuseAddNorm()(parse_graph(before)))
    rest = (f"e: {STREAM} = {EXP.format('h[1]')} @2:e", rest[1])
    assert made == text(f'h: {STREAM}, {STREAM} = add_norm(x, y{op}) @0:"h, n"', *rest, "return output=o")
    assert format_graph(parse_graph(made)) == made


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((f"n: {STREAM} = {WEIGHTED.format('x')} @0",), "what it norms is made outside of its block"),
        (
            (f"h: {STREAM} = {EXP.format('x')} @0", NORM),
            "it norms exp(x), not the sum of two tensors",
        ),
        (
            (f'h: {STREAM} = map(x, w, arity=2, program=fn(x, y) {{x + y}} as "x + y") @0', NORM),
            "the two tensors of the sum differ in shape",
        ),
        (
            (f'h: {STREAM} = map(x, y, arity=2, program=fn(x, y) {{x * y}} as "x * y") @0', NORM),
            "it norms x * y, not the sum of two tensors",
        ),
        (
            (f"h: {STREAM} = linear(x, out.weight, has=()) @0", NORM),
            "it norms what linear gives, not a sum",
        ),
    ],
)  # fmt: skip
def test_near_misses_are_told(lines: tuple[str, ...], reason: str) -> None:
    assert reasons(*lines, "return output=n") == [reason]


def test_of_two_norms_of_a_sum_the_first_takes_it() -> None:
    other = f'm: {STREAM} = normalize(h, eps=1e-05, groups=1, kind="rms") @2:m'
    graph = parse_graph(text(TOTAL, NORM, other, f"o: {STREAM} = {ADD.format('n', 'm')} @3", "return output=o"))
    first, second = FuseAddNorm().decisions(graph)
    assert (first.choice, second.choice) == ("add_norm", "normalize")
    assert second.reason == "another norm reads the same sum and takes it"
    body = FuseAddNorm()(graph).main
    assert [node.op for node in body.nodes if "norm" in node.op] == ["add_norm", "normalize"]


def compiled(graph: Graph, *without: str) -> str:
    return emit_source(graph, CompileOptions(without=frozenset(without)))


def test_a_norm_that_is_a_module_stays_one_and_lends_its_weights() -> None:
    source = compiled(CASES["gpt2"], "narrow_norms")
    assert "self.ffn_norm = nn.LayerNorm(32, eps=1e-5)" in source
    assert "add_layer_norm(x, attention, self.ffn_norm.weight, self.ffn_norm.bias, eps=1e-5)" in source
    assert "add_layer_norm(" not in compiled(CASES["gpt2"], "fuse_add_norm")


@pytest.mark.parametrize("name", CASES)
def test_weights_keep_names_starts_and_groups(name: str) -> None:
    ours, theirs = (
        compile_graph(CASES[name], CompileOptions(seed=1, without=frozenset(without)))
        for without in ((), ("fuse_add_norm", "narrow_norms"))
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in theirs.state_dict().items())
    assert undecayed(ours) == undecayed(theirs)


def undecayed(model: torch.nn.Module) -> set[str]:
    return {f"{path}.{name}" for path, part in model.named_modules() for name in getattr(part, "no_decay", ())}


ONE_PLUS = """
model one_plus {
  vocab: 61
  context: 16
  dim: 32
  embed: tokens
  layers: 2 of block { wiring: pre(rms(weight: one_plus))  attention { heads: 4, mask: causal }  ffn { hidden: 48 } }
  final_norm: rms(weight: one_plus)
  head: tied
  objective: next_token
}
"""
POST = """
model after {
  vocab: 61
  context: 16
  dim: 32
  embed: tokens
  layers: 2 of block { wiring: post(layernorm)  attention { heads: 4, mask: causal }  ffn { hidden: 48 } }
  head: tied
  objective: next_token
}
"""


def test_one_plus_weights_are_added_before() -> None:
    source = tantra_dsl.loads(ONE_PLUS).source()
    assert "1 + self.ffn_norm.weight" in source
    assert source.count("add_rms_norm(") == 1


def test_of_a_sum_that_its_norm_alone_reads_only_the_norm_is_named() -> None:
    source = tantra_dsl.loads(POST).source()
    assert source.count("add_layer_norm(") == 2
    assert source.count("_, ") == 2


def loss_and_gradients(graph: Graph, *without: str, autocast: bool, double: bool = False) -> dict[str, Tensor]:
    model = compile_graph(graph, CompileOptions(seed=1, without=frozenset(without)))
    inputs = example_inputs(graph)
    if double:
        model = model.double()
        inputs = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model.loss(**inputs)
    loss.backward()
    return {"loss": loss.detach()} | {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_without_the_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", 0)
    monkeypatch.setattr(norm_operator, "NORM_PAYS", dict.fromkeys(norm_operator.NORM_PAYS, 0))
    ours, theirs = (
        loss_and_gradients(CASES[name], *without, autocast=False, double=True) for without in ((), ("fuse_add_norm",))
    )
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert torch.allclose(ours[key], value, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("operator", [False, True], ids=["plain", "operator"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "experts"])
def test_narrow_norms_change_no_number(name: str, operator: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit under autocast, but that kernels in C add up numbers of two precisions in two orders."""
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", 0 if operator else 2**30)
    monkeypatch.setattr(norm_operator, "NATIVE_NORM_PAYS", 0)
    monkeypatch.setattr(norm_operator, "NORM_PAYS", dict.fromkeys(norm_operator.NORM_PAYS, 0))
    ours, theirs = (loss_and_gradients(CASES[name], *without, autocast=True) for without in ((), ("narrow_norms",)))
    for key, value in theirs.items():
        bits = 2**-22 * value.abs().max() if operator else 0.0
        assert (ours[key] - value).abs().max() <= bits


# --- narrow norms --------------------------------------------------------------------------


def narrow_of(*lines: str) -> tuple[str, str]:
    graph = parse_graph(text(NORM.replace("(h", "(x"), *lines))
    (decision,) = NarrowNorms().decisions(graph)
    marked = "narrow=true" in format_graph(NarrowNorms()(graph))
    assert marked == (decision.choice == "narrow")
    return decision.choice, decision.reason


LINEAR = f"o: {STREAM} = linear({{}}, out.weight, has=()) @2"
NARROW = ("narrow", "one product alone reads it, in autocast's precision")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((LINEAR.format("n"), "return output=o"), NARROW),
        ((LINEAR.format("n"), "return output=o, again=n"), ("wide", "it is a result of its block")),
        (
            (LINEAR.format("n"), f"p: {STREAM} = {ADD.format('o', 'n')} @3", "return output=p"),
            ("wide", "2 ops read it, whose gradients add up"),
        ),
        ((f"o: {STREAM} = {EXP.format('n')} @2", "return output=o"), ("wide", "map reads it")),
    ],
)
def test_norms_are_narrow_where_one_product_alone_reads_them(lines: tuple[str, ...], expected: tuple[str, str]) -> None:
    assert narrow_of(*lines) == expected


def test_what_the_loss_reads_counts_apart_from_what_results_read() -> None:
    steps: list[Step] = []
    run_passes(CASES["gpt2"], pipeline(CompileOptions()), steps.append)
    (step,) = (step for step in steps if step.name == "narrow_norms")
    found = {decision.path: decision.choice for decision in step.decisions}
    assert found["final_norm"] == "narrow"
    assert found["layers.*.ffn_norm"] == "narrow"


def test_a_norm_of_several_uses_is_narrow_where_it_may_be() -> None:
    lib = hand_models.Library()
    key = lib.rms(16)
    b = hand_models.BodyBuilder("main", "main")
    x = b.input("x", hand_models.stream(16), spec=hand_models.InputSpec("features"))
    weight = b.param("out.weight", [hand_models.dim("dim", 16)] * 2, hand_models.ONES)
    (out,) = b.add("linear", [lib.call(b, key, "first", x), weight], has=())
    graph = FuseNorms()(lib.graph("uses", b.finish([("output", lib.call(b, key, "second", out))])))
    made = NarrowNorms()(graph)
    assert sorted(made.bodies) == sorted([graph.root, key, f"{key}_narrow"])
    assert NarrowNorms().decisions(graph) == (
        Decision("first", "normalize", *NARROW),
        Decision("second", "normalize", "wide", "it is a result of its block"),
    )
    model = compile_graph(graph, CompileOptions(seed=0))
    assert list(model.state_dict()) == list(
        compile_graph(graph, CompileOptions(without=frozenset({"narrow_norms"}))).state_dict()
    )
