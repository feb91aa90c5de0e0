"""FLOPs and memory of training, against what torch counts and keeps when the compiled model runs."""

from __future__ import annotations

import hand_built
import pytest
import torch
from hand_built import alternating, attention, block, ffn, model, tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tantra_compiler import CompileOptions, compile_graph
from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.costs import cost
from tantra_dsl.graph.model import Body, Graph
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, Var

BATCH, SEQ, DROPOUT = 3, 32, 0.1
X, HALF = Var("x"), Const(0.5)


def op(name: str, *args: Scalar) -> Op:
    return Op(name, args)  # type: ignore[arg-type]


SIGMOID = op("sigmoid", X)
SILU = Program("fn", ("x",), op("mul", X, SIGMOID))
PLAIN = Program("fn", ("x",), op("mul", op("tanh", X), op("exp", op("mul", HALF, X))))
ALIBI = Program(
    "score", ("s", "b", "h", "q", "k"), op("add", Var("s"), op("mul", Var("h"), op("sub", Var("k"), Var("q"))))
)
SOFTCAP = Program(
    "score", ("s", "b", "h", "q", "k"), op("mul", Const(5.0), op("tanh", op("div", Var("s"), Const(5.0))))
)
PRODUCT = Program("fn", ("a", "b"), op("mul", Var("a"), Var("b")))


APART = frozenset({"fuse_linear_loss"})
"""Without this pass, no gradient is made in the forward pass."""


def flops(graph: Graph, backward: bool, without: frozenset[str] = frozenset()) -> int:
    """What torch counts in one step."""
    compiled = compile_graph(graph, CompileOptions(seed=0, without=without)).train()
    tokens = torch.randint(32, (BATCH, SEQ), generator=torch.Generator().manual_seed(0))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = compiled.loss(tokens, tokens)  # type: ignore[operator]
        if backward:
            loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("mask", [hand_built.CAUSAL, hand_built.WINDOW])
def test_forward_flops_are_those_that_torch_counts(mask: Program) -> None:
    graph = tiny(3, mask)
    report = cost(graph, seq=SEQ, batch=BATCH)
    assert flops(graph, False, APART) == report["flops_products"].value + report["flops_attention_dense"].value  # type: ignore[operator]


def test_training_flops_are_those_that_torch_counts() -> None:
    everything = Program("mask", ("q", "k", "b", "h"), op("ge", Var("k"), Var("k")))
    graph = tiny(3, everything)
    assert flops(graph, True) == cost(graph, seq=SEQ, batch=BATCH)["flops_training_step"].value


def kept_bytes(graph: Graph, autocast: bool, batch: int = BATCH, seq: int = SEQ) -> int:
    """Bytes of the distinct memories that the backward pass of one step holds, weights and their gradients apart."""
    compiled = compile_graph(graph, CompileOptions(seed=0, dropout=DROPOUT)).train()
    weights = {weight.untyped_storage().data_ptr() for weight in compiled.parameters()}
    shapes = {weight.shape for weight in compiled.parameters() if weight.shape[0] == 32}
    held: dict[int, torch.Tensor] = {}

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights and (tensor.shape not in shapes or tensor.dtype != torch.float32):
            held.setdefault(address, tensor)
        return tensor

    tokens = torch.zeros(batch, seq, dtype=torch.int64)
    with (
        torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        compiled.loss(tokens, tokens)  # type: ignore[operator]
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def mixed(activation: Program, gated: bool = False) -> Graph:
    """Layers with another activation."""
    b = BodyBuilder("ffn", "ffn")
    x = b.input("x", hand_built.stream())
    up = b.add("map", (hand_built.linear(b, x, "gate", 24),), program=activation, arity=1)[0]
    if gated:
        up = b.add("map", (up, hand_built.linear(b, x, "up", 24)), program=PRODUCT, arity=2)[0]
    feed = b.finish([("out", hand_built.linear(b, up, "down", 8))])
    parts = [attention(), feed]
    return model([(block(parts), 1)], 2, parts)


def attending(body: Body | None = None, **changes: object) -> Graph:
    """Attention with other attributes."""
    body = body or attention()
    nodes = []
    for node in body.nodes:
        attrs = tuple((name, changes.get(name, value) if node.op == "attend" else value) for name, value in node.attrs)
        nodes.append(hand_built.replace(node, attrs=attrs))
    parts = [hand_built.replace(body, nodes=tuple(nodes)), ffn()]
    return model([(block(parts), 1)], 2, parts)


def dropping(rate: float | None) -> Graph:
    """Layers with dropout after the activation and at the end."""
    b = BodyBuilder("ffn", "ffn")
    up = b.add("map", (hand_built.linear(b, b.input("x", hand_built.stream()), "up", 24),), program=SILU, arity=1)[0]
    out = hand_built.linear(b, b.add("dropout", (up,), rate=rate)[0], "down", 8)
    parts = [attention(), b.finish([("out", b.add("dropout", (out,), rate=rate)[0])])]
    return model([(block(parts), 1)], 2, parts)


GRAPHS = {
    "causal": tiny(3),
    "windows": alternating(6),
    "shared": alternating(6, shared=True),
    "silu": mixed(SILU, gated=True),
    "plain": mixed(PLAIN),
    "softcap": attending(score=SOFTCAP),
    "per head": attending(score=ALIBI),
    "every head": attending(attention(kv_heads=2)),
    "one head": attending(attention(heads=1)),
    "weights dropped": attending(dropout=0.2),
    "dropout": dropping(0.2),
    "recipe's dropout": dropping(None),
}


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("name", GRAPHS)
def test_activation_memory_is_what_is_kept(name: str, autocast: bool) -> None:
    """Within 3%: what is left out are counters and single numbers."""
    precision = "bf16" if autocast else "float32"
    stated = cost(GRAPHS[name], seq=SEQ, batch=BATCH, precision=precision, dropout=DROPOUT)["activation_bytes"]
    assert stated.value == pytest.approx(kept_bytes(GRAPHS[name], autocast), rel=0.03)


@pytest.mark.parametrize("seq", [SEQ, 520])
@pytest.mark.parametrize("name", ["causal", "windows", "every head", "per head", "weights dropped"])
def test_one_sequence_in_bf16_short_or_long(name: str, seq: int) -> None:
    stated = cost(GRAPHS[name], seq=seq, precision="bf16")["activation_bytes"]
    assert stated.value == pytest.approx(kept_bytes(GRAPHS[name], True, 1, seq), rel=0.03)
