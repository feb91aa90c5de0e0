"""Hand-built graphs, in the shapes that the language's standard library makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.model import Body, BodyRef, Graph, Init, InputSpec, Ref
from tantra_dsl.graph.types import Dim, Size, TensorType
from tantra_dsl.graph.verify import verify
from tantra_dsl.scalars.ir import Program
from tests.compiler.programs import ADD, CAUSAL, GELU_TANH, MUL, ONE_PLUS, SILU, rope_frequency

BATCH = Dim("batch", Size.symbol("batch"))
NORMAL = Init("normal", (0.0, 0.02))
ONES, ZEROS = Init("constant", (1.0,)), Init("constant", (0.0,))


def time(symbol: str = "time") -> Dim:
    return Dim("time", Size.symbol(symbol))


def dim(name: str, size: int) -> Dim:
    return Dim(name, Size.of(size))


def stream(width: int, symbol: str = "time") -> TensorType:
    return TensorType((BATCH, time(symbol), dim("dim", width)))


def ids(symbol: str = "time") -> TensorType:
    return TensorType((BATCH, time(symbol)), "int")


@dataclass
class Library:
    """Bodies made so far; equal requests share one."""

    bodies: dict[str, Body] = field(default_factory=dict)

    def keep(self, body: Body) -> str:
        self.bodies.setdefault(body.key, body)
        return body.key

    def graph(self, name: str, root: Body, **facts: int) -> Graph:
        graph = Graph(name, root.key, {root.key: root, **self.bodies}, tuple(facts.items()))
        verify(graph)
        return graph

    def call(self, b: BodyBuilder, key: str, name: str, *args: Ref, instance: str = "own", **at: Any) -> Ref:
        return self.calls(b, key, name, *args, instance=instance, **at)[0]

    def calls(self, b: BodyBuilder, key: str, name: str, *args: Ref, instance: str = "own", **at: Any) -> tuple[Ref, ...]:
        body = self.bodies[key]
        types = [body.type_of(ref) for _, ref in body.outputs]
        return b.add("call", args, id=name, types=types, body=BodyRef(key), name=name, instance=instance, **at)

    # --- norms -----------------------------------------------------------------------

    def layernorm(self, width: int, symbol: str = "time", eps: float = 1e-5) -> str:
        b = BodyBuilder(f"layernorm_{width}_{symbol}_{eps}", "layernorm")
        x = b.input("x", stream(width, symbol))
        weight = b.param("weight", [dim("dim", width)], ONES, decay=False)
        bias = b.param("bias", [dim("dim", width)], ZEROS, decay=False)
        (normal,) = b.add("normalize", [x], equation=0, kind="layernorm", eps=eps, groups=1)
        (scaled,) = b.add("map", [normal, weight], equation=0, program=MUL, arity=2)
        (out,) = b.add("map", [scaled, bias], equation=0, program=ADD, arity=2)
        return self.keep(b.finish([("out", out)]))

    def rms(self, width: int, eps: float = 1e-6, one_plus: bool = False, type: TensorType | None = None) -> str:
        b = BodyBuilder(f"rms_{width}_{eps}_{one_plus}_{type}", "rms")
        x = b.input("x", type or stream(width))
        weight = b.param("weight", [dim("dim", width)], ZEROS if one_plus else ONES, decay=False)
        (normal,) = b.add("normalize", [x], equation=0, kind="rms", eps=eps, groups=1)
        (out,) = b.add("map", [normal, weight], equation=0, program=ONE_PLUS if one_plus else MUL, arity=2)
        return self.keep(b.finish([("out", out)]))

    # --- attention -------------------------------------------------------------------

    def attention(
        self,
        width: int,
        heads: int,
        kv_heads: int | None = None,
        mask: Program | None = CAUSAL,
        score: Program | None = None,
        bias: bool = True,
        theta: float | None = None,
        symbol: str = "time",
        memory: str | None = None,
        fields: tuple[str, ...] = (),
        dropout: float | None = None,
        sink: bool = False,
        key: str = "",
    ) -> str:
        kv_heads = kv_heads or heads
        head_dim = width // heads
        b = BodyBuilder(f"attention_{width}_{heads}_{kv_heads}_{symbol}_{memory}_{key}", "attention")
        x = b.input("x", stream(width, symbol))
        source = x if memory is None else b.input("memory", stream(width, memory))
        captured = [b.input(name, ids(symbol)) for name in fields]

        def project(name: str, ref: Ref, count: int, equation: int) -> Ref:
            out = linear(b, name, ref, width, count * head_dim, bias, equation)
            return b.add("split_heads", [out], equation=equation, target=name, heads=count)[0]

        q, k, v = project("q", x, heads, 0), project("k", source, kv_heads, 1), project("v", source, kv_heads, 2)
        if theta is not None:
            frequency = rope_frequency(theta, head_dim)
            turn = {"frequency": frequency, "width": head_dim, "interleaved": False, "factor": 1.0, "equation": 3}
            (q,), (k,) = b.add("rope", [q], target="q", **turn), b.add("rope", [k], target="k", **turn)
        sinks = [b.param("sink", [dim("heads", heads)], ZEROS)] if sink else []
        (mixed,) = b.add(
            "attend",
            [q, k, v, *sinks, *captured],
            equation=4,
            mask=mask,
            score=score,
            scale=head_dim**-0.5,
            dropout=dropout,
            has=("sink",) if sink else (),
            causal=mask == CAUSAL,
        )
        (merged,) = b.add("merge_heads", [mixed], equation=4)
        out = linear(b, "out", merged, width, width, bias, 4)
        return self.keep(b.finish([("out", out)]))

    def mlp(self, width: int, hidden: int, activation: Program = GELU_TANH, symbol: str = "time") -> str:
        b = BodyBuilder(f"mlp_{width}_{hidden}_{activation.name}_{symbol}", "mlp")
        x = b.input("x", stream(width, symbol))
        up = linear(b, "up", x, width, hidden, True, 0)
        (active,) = b.add("map", [up], equation=0, program=activation, arity=1)
        return self.keep(b.finish([("out", linear(b, "down", active, hidden, width, True, 0))]))

    def gated_mlp(self, width: int, hidden: int, activation: Program = SILU) -> str:
        b = BodyBuilder(f"gated_mlp_{width}_{hidden}_{activation.name}", "gated_mlp")
        x = b.input("x", stream(width))
        (gate,) = b.add("map", [linear(b, "gate", x, width, hidden, False, 0)], equation=0, program=activation, arity=1)
        (both,) = b.add("map", [gate, linear(b, "up", x, width, hidden, False, 0)], equation=0, program=MUL, arity=2)
        return self.keep(b.finish([("out", linear(b, "down", both, hidden, width, False, 0))]))

    def pre_block(self, width: int, attention: str, ffn: str, norm: str, key: str = "", symbol: str = "time") -> str:
        """x + attention(norm(x)), then x + ffn(norm(x)), with the recipe's dropout on both."""
        b = BodyBuilder(f"block_{attention}_{ffn}_{key}", "block")
        x = b.input("x", stream(width, symbol))
        fields = [b.input(n.attr("name"), n.type) for n in self.bodies[attention].inputs[1:]]
        normal = self.call(b, norm, "attention_norm", x, equation=0)
        mixed = self.call(b, attention, "attention", normal, *fields, equation=0)
        (mixed,) = b.add("dropout", [mixed], equation=0, rate=None)
        (x,) = b.add("map", [x, mixed], equation=0, target="x", program=ADD, arity=2)
        normal = self.call(b, norm, "ffn_norm", x, equation=1)
        made = self.call(b, ffn, "ffn", normal, equation=1)
        (made,) = b.add("dropout", [made], equation=1, rate=None)
        (out,) = b.add("map", [x, made], equation=1, program=ADD, arity=2)
        return self.keep(b.finish([("out", out)]))


def linear(b: BodyBuilder, name: str, x: Ref, inner: int, outer: int, bias: bool, equation: int) -> Ref:
    """A linear with its own weights called ``name``."""
    weight = b.param(f"{name}.weight", [dim("dim", outer), dim("dim", inner)], NORMAL)
    refs = [x, weight]
    if bias:
        refs.append(b.param(f"{name}.bias", [dim("dim", outer)], ZEROS, decay=False))
    return b.add("linear", refs, id=f"{name}_linear", equation=equation, has=("bias",) if bias else ())[0]


def stack(b: BodyBuilder, x: Ref, runs: list[tuple[str, int]], count: int, **attrs: Any) -> Ref:
    """A stack of layers on ``x`` with the named ``extras``."""
    extras: dict[str, Ref] = attrs.pop("extras", {})
    settings = {"name": "layers", "shared": False, **attrs}
    pattern = tuple((BodyRef(key), times) for key, times in runs)
    (out,) = b.add(
        "stack",
        [x, *extras.values()],
        id=settings["name"],
        types=[b.type_of(x)],
        runs=pattern,
        count=count,
        extras=tuple(extras),
        **settings,
    )
    return out


def next_token_loss(b: BodyBuilder, logits: Ref, tokens: Ref, equation: int = 20) -> Ref:
    """Cross entropy of the logits against the tokens one step on."""
    (target,) = b.add("shift", [tokens], equation=equation, target="target", by=-1, fill=-100)
    (loss,) = b.add("cross_entropy", [logits, target], equation=equation + 1, target="loss", label_smoothing=None, ignore=-100, z_loss=0.0)
    return loss


def gpt2(width: int = 32, heads: int = 4, layers: int = 2, vocab: int = 61, context: int = 24) -> Graph:
    """Tokens plus learned positions, pre-norm blocks, final norm, tied head."""
    lib = Library()
    block = lib.pre_block(width, lib.attention(width, heads), lib.mlp(width, 4 * width), lib.layernorm(width))
    b = BodyBuilder("gpt2", "gpt2")
    tokens = b.input("tokens", ids(), spec=InputSpec("tokens", vocab))
    table = b.param("embed.tokens.weight", [dim("vocab", vocab), dim("dim", width)], NORMAL)
    places = b.param("embed.positions.weight", [dim("positions", context), dim("dim", width)], NORMAL)
    (token,) = b.add("embedding", [tokens, table], equation=0)
    (position,) = b.add("positions", [tokens], equation=0, offset=0)
    (place,) = b.add("embedding", [position, places], equation=0)
    (x,) = b.add("map", [token, place], equation=0, target="x", program=ADD, arity=2)
    (x,) = b.add("dropout", [x], equation=1, target="x", rate=None)
    x = stack(b, x, [(block, 1)], layers, equation=2, target="x")
    x = lib.call(b, lib.layernorm(width), "final_norm", x, equation=3)
    (logits,) = b.add("linear", [x, table], equation=3, target="logits", has=())
    return lib.graph("gpt2", b.finish([("output", logits), ("loss", next_token_loss(b, logits, tokens))]), context=context, vocab=vocab, dim=width)


def llama(width: int = 32, heads: int = 4, kv_heads: int = 2, layers: int = 2, vocab: int = 61, hidden: int = 48, **attention: Any) -> Graph:
    """Grouped heads, rotary positions, gated feed-forward, rms norms, untied head."""
    lib = Library()
    mixer = lib.attention(width, heads, kv_heads, bias=False, theta=10_000, **attention)
    block = lib.pre_block(width, mixer, lib.gated_mlp(width, hidden), lib.rms(width))
    b = BodyBuilder("llama", "llama")
    tokens = b.input("tokens", ids(), spec=InputSpec("tokens", vocab))
    fields = {n.attr("name"): b.input(n.attr("name"), n.type, spec=InputSpec("per_token")) for n in lib.bodies[mixer].inputs[1:]}
    table = b.param("embed.weight", [dim("vocab", vocab), dim("dim", width)], NORMAL)
    (x,) = b.add("embedding", [tokens, table], equation=0, target="x")
    x = stack(b, x, [(block, 1)], layers, equation=1, target="x", extras=fields)
    x = lib.call(b, lib.rms(width), "final_norm", x, equation=2)
    logits = linear(b, "head", x, width, vocab, False, 2)
    return lib.graph("llama", b.finish([("output", logits), ("loss", next_token_loss(b, logits, tokens))]), vocab=vocab, dim=width)
