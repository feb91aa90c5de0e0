"""Heads of a projection in one op: where the compiler puts it, and that models mean the same with and without."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tantra_dsl
from tantra_compiler import CompileOptions, compile_graph, emit_source
from tantra_compiler.compile import pipeline
from tantra_compiler.passes.base import Decision, Step, run_passes
from tantra_compiler.passes.qk_rope import TurnHeads
from tantra_compiler.runtime import operators
from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.reader import parse_graph
from tantra_dsl.graph.text import format_graph

APART = frozenset({"turn_heads"})
TURN = "frequency=frequency(j) {100 ** (-j / 4)}, interleaved=false, width=4, factor=1.0"
OTHER = TURN.replace("100", "1000")
Q = "[batch, time, heads=2, head_dim=8]"
BEFORE = """graph tiny {
  root main

  body main of model {
    x: [batch, time, dim=8] = input(kind="tensor", name="x", spec=spec features(8))
    q_weight: [dim=16, in=8] = param(decay=true, init=init normal(0.0, 0.02), name="q.weight")
    v_weight: [dim=8, in=8] = param(decay=true, init=init normal(0.0, 0.02), name="v.weight")
    packed: [batch, time, packed=24] = packed_linear(x, q_weight, v_weight, count=2)
    parts: [batch, time, dim=16], [batch, time, dim=8] = parts(packed, names=("dim", "dim"), sizes=(16, 8)) @-:"q, v"
    heads: @Q@ = split_heads(parts, heads=2) @0:q
@lines@
    return @results@
  }
}
""".replace("@Q@", Q)
SCALE = '    scale: [dim=8] = param(decay=true, init=init constant(1.0), name="scale")'


def text(*lines: str, results: str = "output=rope") -> str:
    shown = "\n".join(line if line.startswith(" ") else f"    {line}" for line in lines)
    return BEFORE.replace("@lines@", shown).replace("@results@", results)


def rope(of: str = "heads", turn: str = TURN, name: str = "rope") -> str:
    return f"{name}: {Q} = rope({of}, {turn}) @1:{name}"


def after(source: str) -> list[str]:
    """The lines that the pass changes ``source`` to: those that are new, and those that are gone with a minus."""
    before = parse_graph(source)
    graph = TurnHeads()(before)
    old, new = (format_graph(each).splitlines() for each in (before, graph))
    gone = [line for line in old if line not in new]
    return [f"-{line.split(':')[0].strip()}" for line in gone] + [line.strip() for line in new if line not in old]


PACKED = "packed: [batch, time, packed=24] = packed_linear(x, q_weight, v_weight, count=2) @-:projected"


def test_heads_that_turn_become_one_op_with_the_parts() -> None:
    *gone, packed, op, result = after(text(rope()))
    assert gone == ["-packed", "-parts", "-heads", "-rope", "-return output=rope"]
    assert packed == PACKED
    assert result == "return output=parts_heads"
    assert op.startswith(f"parts_heads: {Q}, [batch, time, dim=8] = turned_heads(packed, ")
    assert "heads=(2, 0)" in op
    assert "turned=(true, false)" in op


def test_a_norm_goes_in_with_its_weight() -> None:
    norm = f"norm: {Q} = rms_norm(heads, scale, eps=1e-06) @0"
    *_, _packed, op, result = after(text(norm, SCALE, rope("norm")).replace(f"{norm}\n{SCALE}", f"{SCALE}\n    {norm}"))
    assert "turned_heads(packed, scale, " in op
    assert 'norms=("rms_norm", "none")' in op
    assert 'vectors=("0.weight",)' in op
    assert result == "return output=parts_heads"


def test_a_norm_alone_goes_in() -> None:
    norm = f'norm: {Q} = normalize(heads, eps=1e-06, groups=1, kind="layernorm") @0'
    *_, op, _ = after(text(norm, results="output=norm"))
    assert 'norms=("layer_norm", "none")' in op
    assert "frequency=none" in op


def test_a_layer_of_its_own_stays_one_product() -> None:
    source = text(rope()).replace("packed_linear(x, q_weight, v_weight, count=2)", "linear(x, q_weight, has=())")
    source = source.replace("packed=24", "dim=16").replace("split_heads(parts", "split_heads(packed")
    lines = [line for line in source.splitlines() if "parts" not in line]
    *_, packed, op, _ = after("\n".join(lines))
    assert packed == "packed: [batch, time, packed=16] = packed_linear(x, q_weight, count=1) @-:projected"
    assert op.startswith(f"packed_heads: {Q} = turned_heads(packed, ")


def decided(source: str) -> list[Decision]:
    graph = parse_graph(source)
    assert TurnHeads()(graph) is graph
    return list(TurnHeads().decisions(graph))


FROM_MAP = "twice: [batch, time, dim=16] = map(parts, arity=1, program=fn(a) {2 * a}) @0"
BY_HEAD = f"doubled: {Q} = map(heads, arity=1, program=fn(a) {{2 * a}}) @0"
MISSES = {
    "something between": (text(BY_HEAD, rope("doubled")), "it turns what map gives, not the heads of a projection"),
    "something before": (
        text(FROM_MAP, f"cut: {Q} = split_heads(twice, heads=2) @0", rope("cut"), results="output=rope, heads=heads"),
        "its heads are cut from what map gives, not from a projection",
    ),
    "heads read elsewhere": (
        text(rope(), results="output=rope, heads=heads"), "what it turns is read elsewhere as well"
    ),
    "projection read elsewhere": (
        text(rope(), results="output=rope, packed=packed"), "its projection is read elsewhere as well"
    ),
    "part read elsewhere": (
        text(rope(), results="output=rope, part=parts"), "its projection is read elsewhere as well"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISSES)
def test_near_misses_say_what_is_in_the_way(name: str) -> None:
    source, reason = MISSES[name]
    (decision,) = decided(source)
    assert (decision.path, decision.op, decision.choice, decision.reason) == ("rope", "rope", "rope", reason)


def test_of_two_ways_to_turn_the_first_is_taken() -> None:
    source = text(
        rope(), "values: [batch, time, heads=1, head_dim=8] = split_heads(parts[1], heads=1) @2",
        f"turned: [batch, time, heads=1, head_dim=8] = rope(values, {OTHER}) @3",
        results="output=rope, turned=turned",
    )  # fmt: skip
    first, second = TurnHeads().decisions(parse_graph(source))
    assert first.choice == "turned_heads"
    assert second.reason == "another part of its projection turns in another way"
    assert any(line.startswith("turned: ") and "rope(parts_heads[1], " in line for line in after(source))


def test_the_pass_is_named_and_can_be_left_out() -> None:
    assert "turn_heads" in [each.name for each in pipeline(CompileOptions())]
    assert "turn_heads" not in [each.name for each in pipeline(CompileOptions(without=APART))]


# --- models --------------------------------------------------------------------------------

MODEL = """
model sample {
  vocab: 61  context: 128  dim: 32
  embed: tokens
  layers: 2 of block {
    wiring: pre(rms)
    attention { heads: 4, kv_heads: 2, mask: causal, position: rope(@rope@), qk_norm: @norm@@more@ }
    ffn { hidden: 48 }
  }
  head: language_model
  objective: next_token
}
"""
KINDS = {
    "turned": ("", "none", ""),
    "neighbours": ("interleaved: true", "none", ""),
    "some channels": ("fraction: 0.5", "rms", ""),
    "rms": ("", "rms", ""),
    "one plus": ("", "rms(weight: one_plus)", ""),
    "no weight": ("theta: 100", "rms(weight: none)", ", qkv_bias: true"),
    "layernorm": ("", "layernorm", ", kv_heads: 1"),
}


def graph_of(kind: str) -> Graph:
    turn, norm, more = KINDS[kind]
    source = MODEL.replace("@rope@", turn).replace("@norm@", norm).replace("@more@", more)
    return tantra_dsl.loads(source.replace("kv_heads: 2, ", "") if "kv_heads" in more else source).graph()


def moved(kind: str, without: frozenset[str] = frozenset()) -> nn.Module:
    """A model whose weights are not as they started, the same with any passes."""
    model = compile_graph(graph_of(kind), CompileOptions(seed=3, without=without))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in dict(sorted(model.named_parameters())).values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return model


def learned(model: nn.Module, autocast: bool = False) -> dict[str, Tensor]:
    """The loss of one step, and the gradients."""
    tokens = torch.randint(61, (2, 96), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model.loss(tokens)  # type: ignore[operator]
    loss.backward()
    return {"loss": loss.detach()} | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def every_size_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", 0)


@pytest.mark.usefixtures("every_size_pays")
@pytest.mark.parametrize("kind", KINDS)
def test_models_learn_the_same_with_and_without(kind: str) -> None:
    assert "turned_heads(" in emit_source(graph_of(kind))
    assert "turned_heads(" not in emit_source(graph_of(kind), CompileOptions(without=APART))
    ours, theirs = (learned(moved(kind, without).double()) for without in (frozenset[str](), APART))
    assert ours.keys() == theirs.keys()
    usual = max(float(grad.norm()) for grad in theirs.values())
    for name, grad in theirs.items():  # a key's bias moves all scores of a query alike, so its gradient is rounding
        assert float((ours[name] - grad).norm()) <= 1e-9 * max(float(grad.norm()), 1e-3 * usual)


@pytest.mark.usefixtures("every_size_pays")
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_errs_at_most_twice_as_much_as_without(kind: str, autocast: bool) -> None:
    exact = learned(moved(kind, APART).double())
    ours, theirs = (learned(moved(kind, without), autocast) for without in (frozenset[str](), APART))
    assert {name: each.dtype for name, each in ours.items()} == {name: each.dtype for name, each in theirs.items()}

    def error(found: dict[str, Tensor]) -> float:
        squares = ((found[name].double() - each).square().sum() for name, each in exact.items() if name != "loss")
        return float(sum(squares)) ** 0.5

    assert error(ours) <= 2 * error(theirs)


@pytest.mark.parametrize("size", [0, 2**15], ids=["operator", "as it comes"])
@pytest.mark.parametrize("kind", KINDS)
def test_decodes_as_it_reads_at_once(kind: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", size)
    model, tokens = moved(kind).eval(), torch.randint(61, (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole, cache = model(tokens), model.new_cache(2, 24)  # type: ignore[operator]
        parts = [model(part, cache=cache) for part in tokens.split([16, 1, 1, 6], dim=1)]
    assert torch.allclose(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-4)


def test_weights_keep_their_names_and_starts() -> None:
    ours, theirs = (
        compile_graph(graph_of("one plus"), CompileOptions(seed=3, without=without)).state_dict()
        for without in (frozenset[str](), APART)
    )
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_model_that_stands_alone_turns_heads_itself() -> None:
    source = emit_source(graph_of("rms"), CompileOptions(standalone=True))
    names: dict[str, Any] = {"__name__": "alone"}
    exec(compile(source, "alone.py", "exec"), names)
    assert "class TurnedHeads" in source
    assert not any(line.startswith(("from tantra", "import tantra")) for line in source.splitlines())
    alone = names["Sample"]()
    model = moved("rms")
    alone.load_state_dict(model.state_dict())
    ours, theirs = learned(alone), learned(model)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_decisions_of_a_model() -> None:
    steps: list[Step] = []
    run_passes(graph_of("rms"), pipeline(CompileOptions()), steps.append)
    (found,) = (step.decisions for step in steps if step.name == "turn_heads")
    expected = ("rope", "turned_heads", "one op with the norm before it, on heads of one projection")
    assert [(each.op, each.choice, each.reason) for each in found] == [expected, expected]
    assert {each.path.rpartition(".")[0] for each in found} == {"layers.*.attention"}


PAIRS = """
model pairs {
  vocab: 61  context: 64  dim: 32
  input source: tokens
  input target: tokens
  share embed: tokens
  block reader { wiring: pre(rms)  attention { heads: 4, position: rope }  ffn { hidden: 48 } }
  block writer(memory) {
    wiring: pre(rms)
    self: attention { heads: 4, mask: causal, position: rope }
    cross: attention { heads: 4, kv_heads: 2, memory: memory, position: rope, qk_norm: rms }
    ffn { hidden: 48 }
  }
  encoded = embed(source) |> reader * 1
  decoded = embed(target) |> writer(encoded) * 2
  objective: next_token(tied(decoded), target)
}
"""


@pytest.mark.parametrize("size", [0, 2**15], ids=["operator", "as it comes"])
def test_queries_and_keys_of_two_sequences(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_SMALLEST_FUSED", size)
    source, target = torch.randint(61, (2, 2, 24), generator=torch.Generator().manual_seed(1))
    made = []
    for without in (frozenset[str](), APART):
        model = compile_graph(tantra_dsl.loads(PAIRS).graph(), CompileOptions(seed=3, without=without)).double()
        loss = model.loss(source=source[:, :20], target=target)  # type: ignore[operator]
        loss.backward()
        made.append([loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-11) for a, b in zip(*made, strict=True))


def test_keys_and_values_of_a_memory_are_kept_while_decoding(every_size_pays: None) -> None:
    model = compile_graph(tantra_dsl.loads(PAIRS).graph(), CompileOptions(seed=3)).eval()
    source, target = torch.randint(61, (2, 2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole, cache = model(source, target), model.new_cache(2, 9)  # type: ignore[operator]
        parts = [model(source, part, cache=cache) for part in target.split([4, 1, 4], dim=1)]
    assert torch.allclose(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-7)
