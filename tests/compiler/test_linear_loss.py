"""A linear layer and its cross-entropy as one operator: what it computes, and where the compiler puts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from designs import DESIGNS
from hand_cases import CASES, example_inputs
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import tantra_dsl
from tantra_compiler import CompileOptions, compile_graph, emit_source
from tantra_compiler.compile import pipeline
from tantra_compiler.kernels.fused import loss as triton_loss
from tantra_compiler.passes.base import Decision, Step, run_passes
from tantra_compiler.passes.linear_loss import FuseLinearLoss
from tantra_compiler.runtime import loss_chunks, operators
from tantra_compiler.runtime.linear_loss import (
    LINEAR_LOSS,
    linear_cross_entropy,
    linear_cross_entropy_reference,
)
from tantra_compiler.runtime.loss_chunks import Between, rows_of_a_chunk
from tantra_compiler.runtime.operators import native_kernels
from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.reader import parse_graph
from tantra_dsl.graph.text import format_graph

ROWS, WIDTH, CLASSES = 37, 16, 53
APART = frozenset({"fuse_linear_loss"})


def capped(x: Tensor, scale: Tensor) -> Tensor:
    return 5 * torch.tanh(x * scale / 5)


def capped_slope(x: Tensor, scale: Tensor) -> Tensor:
    return scale * (1 - torch.tanh(x * scale / 5) ** 2)


def capped_slope_scale(x: Tensor, scale: Tensor) -> Tensor:
    return x * (1 - torch.tanh(x * scale / 5) ** 2)


CAPPED = Between(capped, capped_slope, capped_slope_scale, text="2: 5 * tanh(x0 * x1 / 5)")


def soft(x: Tensor) -> Tensor:
    return 5 * torch.tanh(x / 5)


def soft_slope(x: Tensor) -> Tensor:
    return 1 - torch.tanh(x / 5) ** 2


SOFT = Between(soft, soft_slope, text="1: 5 * tanh(x0 / 5)")


@pytest.fixture(params=[("C", 8), ("C", 1), ("torch", 8), ("torch", 1), ("triton", 1)], ids=lambda x: f"{x[0]}{x[1]}")
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of all rows or of a few, by kernels or by torch in parts of five."""
    way, several = request.param
    found = {"C": native_kernels("loss"), "torch": None, "triton": triton_loss}[way]
    monkeypatch.setattr(loss_chunks, "native_kernels", lambda name: found)
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", 0)
    monkeypatch.setitem(loss_chunks._LOSS_CHUNK, "cpu", several * 120 * CLASSES)
    monkeypatch.setattr(loss_chunks, "_LOSS_PART", 5 * CLASSES)
    monkeypatch.setattr(loss_chunks, "_FEWEST_ROWS", 1)


def tensors(**changes: Tensor) -> dict[str, Tensor]:
    """x, weight, bias, one number and one for each class, all of which learn."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (3, ROWS, WIDTH), "weight": (CLASSES, WIDTH), "bias": (CLASSES,), "one": (), "each": (CLASSES,)}
    made = {name: torch.rand(shape, generator=generator) + 0.5 for name, shape in shapes.items()}
    made["x"] = torch.randn(shapes["x"], generator=generator)
    made["weight"] = torch.randn(shapes["weight"], generator=generator)
    return made | changes


def targets(kept: float) -> Tensor:
    """Targets of which so large a share counts."""
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(CLASSES, (3, ROWS), generator=generator)
    return target.masked_fill(torch.rand(3, ROWS, generator=generator) >= kept, -100)


Settings = dict[str, Any]
SETTINGS: dict[str, Settings] = {
    "plain": {},
    "bias": {"bias": True},
    "smoothed": {"label_smoothing": 0.1},
    "z loss": {"z_loss": 0.01},
    "softcap": {"between": SOFT, "label_smoothing": 0.1, "z_loss": 0.01},
    "capped by one": {"between": CAPPED, "vectors": ["one"]},
    "everything": {"bias": True, "between": CAPPED, "vectors": ["each"], "label_smoothing": 0.1, "z_loss": 0.01},
}


def result(
    function: Callable[..., Tensor], made: dict[str, Tensor], target: Tensor, settings: Settings, autocast: bool
) -> list[Tensor]:
    """The loss, seven times which is differentiated, and the gradients of all tensors in use."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in made.items()}
    given = dict(settings)
    names = [*(["bias"] if given.pop("bias", False) else []), *given.get("vectors", [])]
    if "bias" in names:
        given["bias"] = leaves["bias"]
    given["vectors"] = [leaves[name] for name in given.get("vectors", [])]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = function(leaves["x"], leaves["weight"], target, **given)
    return [loss.detach(), *torch.autograd.grad(7 * loss, [leaves[name] for name in ("x", "weight", *names)])]


def wide(made: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in made.items()}


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("kept", [1.0, 0.95, 0.3, 0.0])
@pytest.mark.parametrize("name", SETTINGS)
def test_is_its_reference_in_float64(name: str, kept: float) -> None:
    target, settings = targets(kept), SETTINGS[name]
    ours, theirs = (
        result(function, wide(tensors()), target, settings, False)
        for function in (linear_cross_entropy, linear_cross_entropy_reference)
    )
    for our, their in zip(ours, theirs, strict=True):
        assert our.shape == their.shape
        assert torch.allclose(our, their, rtol=1e-11, atol=1e-13)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "autocast"])
@pytest.mark.parametrize("name", SETTINGS)
def test_errs_at_most_twice_as_much_as_the_plain_path(name: str, precision: str) -> None:
    """Against float64 from the same numbers; a last bit of float32 is allowed in any case."""
    low = torch.bfloat16 if precision == "bfloat16" else torch.float32
    made = {key: tensor.to(low) for key, tensor in tensors().items()}
    target, settings = targets(0.95), SETTINGS[name]
    exact = result(linear_cross_entropy_reference, wide(made), target, settings, False)
    ours, theirs = (
        result(function, made, target, settings, precision == "autocast")
        for function in (linear_cross_entropy, linear_cross_entropy_reference)
    )
    for our, their, right in zip(ours, theirs, exact, strict=True):
        assert our.dtype == their.dtype or precision == "bfloat16"
        error, plain = ((each.double() - right).norm() / right.norm() for each in (our, their))
        assert error <= 2 * plain + 2**-22


def call(**changes: Any) -> tuple[Any, ...]:
    """Inputs of the operator itself."""
    made = {name: tensor.requires_grad_() for name, tensor in tensors().items()}
    given: dict[str, Any] = {
        "x": made["x"].detach().flatten(0, -2).requires_grad_(), "weight": made["weight"],
        "target": targets(0.9).flatten(), "bias": made["bias"], "vectors": [made["one"]], "between": CAPPED.key,
        "label_smoothing": 0.1, "ignore": -100, "z_loss": 0.01,
        "for_x": True, "for_weight": True, "for_rest": True, "dtype": None,
    }  # fmt: skip
    return tuple((given | changes).values())


PLAIN: dict[str, Any] = {
    "bias": None,
    "vectors": [],
    "between": "",
    "label_smoothing": 0.0,
    "z_loss": 0.0,
    "for_rest": False,
}


@pytest.mark.parametrize(
    "changes", [{}, PLAIN, {**PLAIN, "for_x": False}, {"dtype": torch.bfloat16}], ids=["all", "plain", "frozen", "half"]
)
def test_operator_keeps_the_rules_of_torch(changes: dict[str, Any]) -> None:
    found = torch.library.opcheck(LINEAR_LOSS, call(**changes))
    assert set(found.values()) == {"SUCCESS"}


def plain_call(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return linear_cross_entropy(x * 1, weight, target)


def step(function: Callable[..., Tensor], autocast: bool = False) -> list[Tensor]:
    made = tensors()
    x, weight = (made[name].requires_grad_() for name in ("x", "weight"))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = function(x, weight, targets(0.9))
    loss.backward()
    assert x.grad is not None
    assert weight.grad is not None
    return [loss.detach(), x.grad, weight.grad]


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert all(torch.equal(our, their) for our, their in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
def test_torch_compile_sees_one_graph(autocast: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(plain_call, backend="aot_eager", fullgraph=True)
    assert_equal(step(compiled, autocast), step(plain_call, autocast))


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_recomputes_it(reentrant: bool) -> None:
    def again(*inputs: Tensor) -> Tensor:
        loss = checkpoint(plain_call, *inputs, use_reentrant=reentrant)
        assert isinstance(loss, Tensor)
        return loss

    assert_equal(step(again), step(plain_call))


def test_backward_runs_twice_where_the_graph_is_kept() -> None:
    made = tensors()
    x, weight = (made[name].requires_grad_() for name in ("x", "weight"))
    loss = linear_cross_entropy(x, weight, targets(1.0))
    first = torch.autograd.grad(loss, (x, weight), retain_graph=True)
    second = torch.autograd.grad(3 * loss, (x, weight))
    assert all(torch.allclose(3 * a, b) for a, b in zip(first, second, strict=True))


def operations(function: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def test_only_gradients_that_are_wanted_are_made() -> None:
    made, target = tensors(), targets(1.0)
    x, weight = made["x"], made["weight"]
    once = operations(lambda: F.linear(x, weight))
    assert operations(lambda: linear_cross_entropy(x, weight, target)) == once
    x.requires_grad_()
    assert operations(lambda: linear_cross_entropy(x, weight, target)) == 2 * once
    weight.requires_grad_()
    assert operations(lambda: linear_cross_entropy(x, weight, target).backward()) == 3 * once
    with torch.no_grad():
        assert operations(lambda: linear_cross_entropy(x, weight, target)) == once
        assert not linear_cross_entropy(x, weight, target).requires_grad


def test_float16_gradients_do_not_vanish() -> None:
    """A million targets' share of a gradient is below float16's smallest number; scaled losses bring it back."""
    x = torch.randn(4096, 8, dtype=torch.float16, requires_grad=True)
    weight = torch.randn(11, 8, dtype=torch.float16, requires_grad=True)
    target = torch.arange(4096) % 11
    (ours,) = torch.autograd.grad(65536 * linear_cross_entropy(x, weight, target), x)
    wide_x = x.detach().double().requires_grad_()
    (exact,) = torch.autograd.grad(65536 * linear_cross_entropy_reference(wide_x, weight.double(), target), wide_x)
    assert ((ours.double() - exact).norm() / exact.norm()) < 2e-3


def test_chunks_are_about_equal_and_hold_no_more_than_they_should() -> None:
    budget = loss_chunks._LOSS_CHUNK["cpu"]
    assert rows_of_a_chunk(2048, budget // 256, "cpu") == 256
    assert rows_of_a_chunk(300, budget // 256, "cpu") == 150
    assert rows_of_a_chunk(5, 7, "cpu") == 5
    assert rows_of_a_chunk(4096, 10**9, "cpu") == loss_chunks._FEWEST_ROWS
    assert rows_of_a_chunk(0, 10, "cpu") == 1
    assert rows_of_a_chunk(4096, budget // 256, "cpu", least=4 * budget) == 1024


# --- the pass ------------------------------------------------------------------------------

HEAD = """
graph tiny {
  root main
  body main of tiny {
    x: [batch, time, dim=8] = input(kind="tensor", name="x", spec=spec features)
    target: int[batch, time] = input(kind="tensor", name="target", spec=spec labels(9))
    weight: [vocab=9, dim=8] = param(decay=true, init=init normal(0.0, 0.02), name="head.weight")
    @shift@
    scores: [batch, time, vocab=9] = linear(x, weight, has=()) @0:scores
    @between@
    loss: [] = cross_entropy(@logits@, target, ignore=-100, label_smoothing=none, z_loss=0.0) @4:loss
    return @results@
  }
}
"""
CAP_PROGRAM = 'program=fn(a) {30.0 * tanh(a / 30.0)} as "softcap"'
CAP = f"capped: [batch, time, vocab=9] = map(scores, arity=1, {CAP_PROGRAM}) @1:capped"
SHIFT = 'shift: [vocab=9] = param(decay=false, init=init constant(0.0), name="head.shift")'
ADD = "moved: [batch, time, vocab=9] = map(@x@, shift, arity=2, program=fn(a, b) {a + b}) @2:moved"
NORMAL = 'normal: [batch, time, vocab=9] = normalize(scores, kind="rms", eps=1e-06, groups=1) @1:normal'


def text(logits: str, *between: str, shift: bool = False, results: str = "loss=loss") -> str:
    whole = HEAD.replace("@logits@", logits).replace("@results@", results)
    whole = whole.replace("    @shift@\n", f"    {SHIFT}\n" if shift else "")
    return whole.replace("    @between@\n", "".join(f"    {line}\n" for line in between))


def after(source: str) -> list[str]:
    """The lines that the pass changes ``source`` to: those that are new, and those that are gone with a minus."""
    before = parse_graph(source)
    graph = FuseLinearLoss()(before)
    old, new = (format_graph(each).splitlines() for each in (before, graph))
    gone = [line for line in old if line not in new]
    return [f"-{line.split(':')[0].strip()}" for line in gone] + [line.strip() for line in new if line not in old]


FUSED = "loss: [] = linear_cross_entropy(x, weight, target, "
PLAIN_ATTRS = "ignore=-100, label_smoothing=none, program=none, z_loss=0.0) @4:loss"


def test_the_scores_are_gone_where_nothing_else_reads_them() -> None:
    assert after(text("scores")) == ["-scores", "-loss", f"{FUSED}has=(), {PLAIN_ATTRS}"]


def test_results_are_made_apart_from_the_loss() -> None:
    assert after(text("scores", results="output=scores, loss=loss")) == ["-loss", f"{FUSED}has=(), {PLAIN_ATTRS}"]


def test_functions_go_into_the_op() -> None:
    program = 'program=fn(x) {30.0 * tanh(x / 30.0)} as "softcap"'
    expected = f"{FUSED}has=(), {PLAIN_ATTRS}".replace("program=none", program)
    assert after(text("capped", CAP)) == ["-scores", "-capped", "-loss", expected]


def test_a_vector_that_is_added_first_is_a_bias() -> None:
    made = after(text("moved", ADD.replace("@x@", "scores"), shift=True))
    assert made == ["-scores", "-moved", "-loss", f'{FUSED}shift, has=("bias",), {PLAIN_ATTRS}']


def test_functions_of_functions_go_into_the_op() -> None:
    program = 'program=fn(x, v0) {30.0 * tanh(x / 30.0) + v0} as "pointwise"'
    expected = f"{FUSED}shift, has=(), {PLAIN_ATTRS}".replace("program=none", program)
    made = after(text("moved", CAP, ADD.replace("@x@", "capped"), shift=True))
    assert made == ["-scores", "-capped", "-moved", "-loss", expected]


def decided(graph: Graph) -> list[Decision]:
    steps: list[Step] = []
    run_passes(graph, pipeline(CompileOptions()), steps.append)
    (found,) = (step.decisions for step in steps if step.name == "fuse_linear_loss")
    return list(found)


DOUBLE = "twice: [batch, time, vocab=9] = map(scores, scores, arity=2, program=fn(a, b) {a * b}) @1:twice"
MIXED = "mixed: [batch, time, vocab=9] = map(scores, other, arity=2, program=fn(a, b) {a * b}) @2:mixed"
OTHER = "other: [batch, time, vocab=9] = linear(x, weight, has=()) @1:other"


def test_a_function_may_read_the_scores_twice() -> None:
    assert any("program=fn(x) {x * x}" in line for line in after(text("twice", DOUBLE)))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (text("normal", NORMAL), "normalize stands before the loss"),
        (text("scores", results="loss=scores"), "the scores are read elsewhere too"),
        (text("mixed", OTHER, MIXED), "several tensors with a number for every position and class"),
    ],
)
def test_what_prevents_it_is_told(source: str, reason: str) -> None:
    graph = parse_graph(source)
    assert FuseLinearLoss()(graph) is graph
    (found,) = FuseLinearLoss().decisions(graph)
    assert (found.path, found.op, found.choice) == ("loss", "cross_entropy", "cross_entropy")
    assert reason in found.reason


def test_decisions_come_with_the_step() -> None:
    found = decided(CASES["bert"])
    assert {(each.op, each.choice) for each in found} == {("cross_entropy", "linear_cross_entropy")}


# --- whole models --------------------------------------------------------------------------

OWN = """
fn cap(x, c) = c * tanh(x / c)
module my_head(x; c: number = 5) {
  temperature = param([], init: 0.5)
  scale = param(vocab, init: 1.5)
  return cap(linear(x, vocab, true) * exp(temperature), c) * scale
}
model own {
  vocab: 61  context: 32  dim: 32
  embed: tokens
  layers: 2 of block { wiring: pre(layernorm)  attention { heads: 4, mask: causal }  ffn { hidden: 48 } }
  final_norm: layernorm
  head: my_head
  objective: next_token(z_loss: 0.001)
}
"""
TINY = "dim: 32 vocab: 61"
SHIPPED = {
    "gpt2": f"{TINY} blocks: 2 layers.attention.heads: 4",
    "gpt2_denseformer": f"{TINY} blocks: 3 heads: 4",
    "llama3_8b": f"""{TINY} layers: 2 of same layers.attention.heads: 4 layers.attention.kv_heads: 2
                     layers.ffn.hidden: 80""",
    "bert_base": f"{TINY} blocks: 2 heads: 4",
    "transformer_base": f"{TINY} heads: 4 hidden: 64",
    "gemma3_4b": f"""{TINY} layers: 2 of (local, global) local.attention.heads: 4 local.attention.kv_heads: 2
                     local.attention.head_dim: 8 local.ffn.hidden: 48""",
    "t5_base": f"{TINY} heads: 4 hidden: 64 blocks: 2",
    "deepseek_v3": f"""{TINY} dense.attention.heads: 4 dense.attention.q_rank: 24 dense.attention.kv_rank: 16
                       dense.attention.nope_dim: 16 dense.attention.rope_dim: 8 dense.attention.v_dim: 16
                       dense.ffn.hidden: 48 sparse.ffn.hidden: 32 sparse.ffn.experts: 16
                       layers: (dense * 1, sparse * 1)""",
    "mamba2_130m": f"{TINY} layers: 2 of same",
    "shakespeare": "dim: 48 blocks: 2",
}


def models() -> Iterator[tuple[str, Callable[[], Graph]]]:
    yield from ((name, lambda graph=graph: graph) for name, graph in CASES.items())
    yield from ((name, lambda source=source: tantra_dsl.loads(source).graph()) for name, source in DESIGNS.items())
    yield "own", lambda: tantra_dsl.loads(OWN).graph()
    for name, changes in SHIPPED.items():
        source = f'use "{name}"\nmodel small extends {name} {{ {changes} expect params > 0 }}'
        yield name, lambda source=source: tantra_dsl.loads(source).graph()


MODELS = dict(models())


def trained(graph: Graph, without: frozenset[str], dtype: torch.dtype) -> tuple[nn.Module, list[Tensor]]:
    """A model, and the loss and all gradients of one step on tokens of which the second half does not count."""
    model = compile_graph(graph, CompileOptions(seed=0, without=without, label_smoothing=0.05)).to(dtype)
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)).to(dtype) / 20)
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in example_inputs(graph, length=9).items()}
    loss = model.loss(**inputs)  # type: ignore[operator]
    loss.backward()
    return model, [loss.detach(), *(w.grad for w in model.parameters() if w.grad is not None)]


@pytest.mark.parametrize("name", MODELS)
def test_models_learn_the_same_with_and_without_it(name: str) -> None:
    graph = MODELS[name]()
    (with_it, ours), (without, theirs) = (trained(graph, off, torch.float64) for off in (frozenset(), APART))
    assert list(with_it.state_dict()) == list(without.state_dict())
    assert [name for name, _ in with_it.named_parameters()] == [name for name, _ in without.named_parameters()]
    floor = max(float(each.abs().max()) for each in theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert torch.allclose(our, their, rtol=1e-9, atol=1e-12 * floor)


@pytest.mark.parametrize("name", MODELS)
def test_models_start_from_the_same_weights(name: str) -> None:
    graph = MODELS[name]()
    ours, theirs = (
        compile_graph(graph, CompileOptions(seed=3, without=off)).state_dict() for off in (APART, frozenset())
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_head_of_ones_own_is_fused() -> None:
    source = emit_source(MODELS["own"]())
    assert "Between(\n    pointwise,\n    pointwise_slope,\n" in source
    assert "bias=self.head.out.bias," in source
    assert "vectors=(self.head.scale, " in source
    assert " cross_entropy(" not in source


def test_calling_the_model_gives_its_scores_and_makes_no_loss() -> None:
    graph = MODELS["own"]()
    models = [compile_graph(graph, CompileOptions(seed=0, without=off)).eval() for off in (frozenset(), APART)]
    tokens = example_inputs(graph)["tokens"]
    with torch.no_grad():
        ours, theirs = (model(tokens) for model in models)
        assert torch.equal(ours, theirs)
        first, second = (model.loss(tokens) for model in models)
    assert torch.allclose(first, second, rtol=1e-6)
    assert not first.requires_grad


def test_it_can_be_left_out() -> None:
    source = emit_source(CASES["gpt2"], CompileOptions(without=APART))
    assert "linear_cross_entropy" not in source
    assert "linear_cross_entropy(" in emit_source(CASES["gpt2"])


def test_a_copy_of_the_runtime_has_an_operator_of_its_own() -> None:
    graph = MODELS["own"]()
    inputs = example_inputs(graph)
    models = [compile_graph(graph, CompileOptions(seed=0, standalone=alone)) for alone in (False, True, False)]
    first, *others = (model.loss(**inputs) for model in models)
    assert all(torch.equal(first, other) for other in others)


def test_a_retained_graph_gives_the_same_gradients_again() -> None:
    x, weight = torch.randn(40, 16, requires_grad=True), torch.randn(64, 16, requires_grad=True)
    target = torch.randint(64, (40,))
    loss = linear_cross_entropy(x, weight, target)
    loss.backward(retain_graph=True)
    first = [each.grad.clone() for each in (x, weight)]
    tripled = torch.autograd.grad(loss, [x, weight], torch.tensor(3.0), retain_graph=True)
    loss.backward()
    for leaf, once, thrice in zip((x, weight), first, tripled, strict=True):
        torch.testing.assert_close(leaf.grad, 2 * once)
        torch.testing.assert_close(thrice, 3 * once)


def test_the_gradient_of_the_weight_is_what_the_forward_pass_made() -> None:
    weight = torch.randn(4096, 64, requires_grad=True)
    loss = linear_cross_entropy(torch.randn(8, 64), weight, torch.randint(4096, (8,)))
    (kept,) = (each for each in loss.grad_fn._raw_saved_tensors if each.data.shape == weight.shape)
    place = kept.data.data_ptr()
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.data_ptr() == place
