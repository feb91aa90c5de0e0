"""Hand-built graphs, in the shapes that the language's standard library makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hand_programs import (
    ADD,
    CAUSAL,
    GELU_TANH,
    MUL,
    ONE_PLUS,
    RELU,
    SIGMOID,
    SILU,
    SINUSOIDAL,
    fields_mask,
    rope_frequency,
    same_document,
    window,
)

from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.model import Body, BodyRef, Graph, Init, InputSpec, Ref
from tantra_dsl.graph.types import Dim, Size, TensorType
from tantra_dsl.graph.verify import verify
from tantra_dsl.scalars.ir import Program

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
    """Bodies made so far; equal requests share one. ``fixed`` is the stream's type where its length is known."""

    bodies: dict[str, Body] = field(default_factory=dict)
    fixed: TensorType | None = None

    def stream(self, width: int, symbol: str) -> TensorType:
        return self.fixed if symbol == "fixed" and self.fixed is not None else stream(width, symbol)

    def keep(self, body: Body) -> str:
        self.bodies.setdefault(body.key, body)
        return body.key

    def graph(self, name: str, root: Body, **facts: int) -> Graph:
        graph = Graph(name, root.key, {root.key: root, **self.bodies}, tuple(facts.items()))
        verify(graph)
        return graph

    def call(self, b: BodyBuilder, key: str, name: str, *args: Ref, instance: str = "own", **at: Any) -> Ref:
        return self.calls(b, key, name, *args, instance=instance, **at)[0]

    def calls(
        self, b: BodyBuilder, key: str, name: str, *args: Ref, instance: str = "own", **at: Any
    ) -> tuple[Ref, ...]:
        body = self.bodies[key]
        types = [body.type_of(ref) for _, ref in body.outputs]
        return b.add("call", args, id=name, types=types, body=BodyRef(key), name=name, instance=instance, **at)

    # --- norms -----------------------------------------------------------------------

    def layernorm(self, width: int, symbol: str = "time", eps: float = 1e-5) -> str:
        b = BodyBuilder(f"layernorm_{width}_{symbol}_{eps}", "layernorm")
        x = b.input("x", self.stream(width, symbol))
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
        x = b.input("x", self.stream(width, symbol))
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
        x = b.input("x", self.stream(width, symbol))
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
        x = b.input("x", self.stream(width, symbol))
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

    def post_block(
        self,
        width: int,
        heads: int,
        symbol: str,
        mask: Program | None,
        memory: str | None = None,
        activation: Program = RELU,
        eps: float = 1e-5,
    ) -> str:
        """norm(x + attention(x)), the same across to a memory where there is one, norm(x + ffn(x))."""
        norm = self.layernorm(width, symbol, eps)
        b = BodyBuilder(f"post_{symbol}_{memory}", "decoder_layer" if memory else "encoder_layer")
        x = b.input("x", stream(width, symbol))
        inner = self.attention(width, heads, mask=mask, symbol=symbol)
        steps: list[tuple[str, str, tuple[Ref, ...]]] = [("attention", inner, ())]
        if memory is not None:
            cross = self.attention(width, heads, mask=None, symbol=symbol, memory=memory)
            steps.append(("cross", cross, (b.input("memory", stream(width, memory)),)))
        steps.append(("ffn", self.mlp(width, 2 * width, activation, symbol), ()))
        for equation, (name, key, more) in enumerate(steps):
            made = self.call(b, key, name, x, *more, equation=equation)
            (made,) = b.add("map", [x, made], equation=equation, program=ADD, arity=2)
            x = self.call(b, norm, f"{name}_norm", made, equation=equation, target="x")
        return self.keep(b.finish([("out", x)]))

    def tapping_block(self, width: int, plain: str, reads: list[int]) -> str:
        """``plain`` on the sum of x and what it taps."""
        b = BodyBuilder(f"tapping_{'_'.join(map(str, reads))}", "block")
        x = b.input("x", stream(width))
        for layer in reads:
            tap = b.input(f"tap_{layer + 1}", stream(width), kind="tap", layer=layer, path="out")
            (x,) = b.add("map", [x, tap], equation=0, target="x", program=ADD, arity=2)
        out = self.call(b, plain, "inner", x, equation=1)
        return self.keep(b.finish([("out", out)], taps=[("out", out)]))


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
    (loss,) = b.add(
        "cross_entropy",
        [logits, target],
        equation=equation + 1,
        target="loss",
        label_smoothing=None,
        ignore=-100,
        z_loss=0.0,
    )
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
    return lib.graph(
        "gpt2",
        b.finish([("output", logits), ("loss", next_token_loss(b, logits, tokens))]),
        context=context,
        vocab=vocab,
        dim=width,
    )


def llama(
    width: int = 32,
    heads: int = 4,
    kv_heads: int = 2,
    layers: int = 2,
    vocab: int = 61,
    hidden: int = 48,
    **attention: Any,
) -> Graph:
    """Grouped heads, rotary positions, gated feed-forward, rms norms, untied head."""
    lib = Library()
    mixer = lib.attention(width, heads, kv_heads, bias=False, theta=10_000, **attention)
    block = lib.pre_block(width, mixer, lib.gated_mlp(width, hidden), lib.rms(width))
    b = BodyBuilder("llama", "llama")
    tokens = b.input("tokens", ids(), spec=InputSpec("tokens", vocab))
    fields = {
        n.attr("name"): b.input(n.attr("name"), n.type, spec=InputSpec("per_token"))
        for n in lib.bodies[mixer].inputs[1:]
    }
    table = b.param("embed.weight", [dim("vocab", vocab), dim("dim", width)], NORMAL)
    (x,) = b.add("embedding", [tokens, table], equation=0, target="x")
    x = stack(b, x, [(block, 1)], layers, equation=1, target="x", extras=fields)
    x = lib.call(b, lib.rms(width), "final_norm", x, equation=2)
    logits = linear(b, "head", x, width, vocab, False, 2)
    return lib.graph(
        "llama", b.finish([("output", logits), ("loss", next_token_loss(b, logits, tokens))]), vocab=vocab, dim=width
    )


def encoder_decoder(width: int = 32, heads: int = 4, vocab: int = 61, layers: int = 2) -> Graph:
    """Vaswani et al. 2017 in small: post-norm, sinusoidal positions, cross-attention, one table for all."""
    lib = Library()
    encoder = lib.post_block(width, heads, "source.time", mask=None)
    decoder = lib.post_block(width, heads, "target.time", mask=CAUSAL, memory="source.time")
    b = BodyBuilder("transformer", "transformer")
    source = b.input("source", ids("source.time"), spec=InputSpec("tokens", vocab))
    target = b.input("target", ids("target.time"), spec=InputSpec("tokens", vocab))
    table = b.param("embed.weight", [dim("vocab", vocab), dim("dim", width)], NORMAL)

    def embedded(tokens: Ref, equation: int, name: str) -> Ref:
        (token,) = b.add("embedding", [tokens, table], equation=equation)
        (place,) = b.add("tabulate", [tokens], equation=equation, program=SINUSOIDAL, width=width)
        return b.add("map", [token, place], equation=equation, target=name, program=ADD, arity=2)[0]

    encoded = stack(b, embedded(source, 0, "x"), [(encoder, 1)], layers, name="encoder", equation=1, target="encoded")
    x = embedded(target, 2, "x")
    x = stack(b, x, [(decoder, 1)], layers, name="decoder", equation=3, target="decoded", extras={"memory": encoded})
    (logits,) = b.add("linear", [x, table], equation=4, has=())
    return lib.graph("transformer", b.finish([("output", logits), ("loss", next_token_loss(b, logits, target))]))


def alternating(width: int = 32) -> Graph:
    """Two kinds of layers in turn, one with an extra input."""
    lib = Library()
    norm, ffn = lib.layernorm(width), lib.mlp(width, 2 * width)
    local = lib.pre_block(width, lib.attention(width, 4, mask=window(4), key="local"), ffn, norm)
    documents = lib.attention(width, 4, mask=same_document(), fields=("doc",), key="documents")
    b = BodyBuilder("alternating", "alternating")
    tokens = b.input("tokens", ids(), spec=InputSpec("tokens", 61))
    doc = b.input("doc", ids(), spec=InputSpec("per_token"))
    table = b.param("embed.weight", [dim("vocab", 61), dim("dim", width)], NORMAL)
    (x,) = b.add("embedding", [tokens, table], equation=0, target="x")
    runs = [(local, 2), (lib.pre_block(width, documents, ffn, norm, key="documents"), 1)]
    x = stack(b, x, runs, 5, equation=1, target="x", extras={"doc": doc})
    (logits,) = b.add("linear", [x, table], equation=2, has=())
    return lib.graph("alternating", b.finish([("output", logits), ("loss", next_token_loss(b, logits, tokens))]))


def shared(width: int = 32) -> Graph:
    """One block's weights in every layer, and one module called in two places."""
    lib = Library()
    block = lib.pre_block(width, lib.attention(width, 4, theta=10_000), lib.mlp(width, 48), lib.layernorm(width))
    b = BodyBuilder("shared", "shared")
    tokens = b.input("tokens", ids(), spec=InputSpec("tokens", 61))
    table = b.param("embed.weight", [dim("vocab", 61), dim("dim", width)], NORMAL)
    (module,) = b.add("instance", [], id="twice", types=(), body=BodyRef(block), name="twice")
    (x,) = b.add("embedding", [tokens, table], equation=0, target="x")
    x = lib.call(b, block, "twice", module, x, instance="given", equation=1, target="x")
    x = stack(b, x, [(block, 1)], 3, equation=2, target="x", shared=True)
    x = lib.call(b, block, "twice", module, x, instance="given", equation=3, target="x")
    (logits,) = b.add("linear", [x, table], equation=4, has=())
    return lib.graph("shared", b.finish([("output", logits), ("loss", next_token_loss(b, logits, tokens))]))


def tapped(width: int = 32, layers: int = 4) -> Graph:
    """Layers that add what earlier layers gave: the stack's input and the output of layer 0."""
    lib = Library()
    plain = lib.pre_block(width, lib.attention(width, 4), lib.mlp(width, 48), lib.layernorm(width))
    keys = [lib.tapping_block(width, plain, reads) for reads in ([], [-1, 0], [-1, 0], [-1])]
    b = BodyBuilder("tapped", "tapped")
    tokens = b.input("tokens", ids(), spec=InputSpec("tokens", 61))
    table = b.param("embed.weight", [dim("vocab", 61), dim("dim", width)], NORMAL)
    (x,) = b.add("embedding", [tokens, table], equation=0, target="x")
    x = stack(b, x, [(key, 1) for key in keys[:layers]], layers, equation=1, target="x")
    (logits,) = b.add("linear", [x, table], equation=2, has=())
    return lib.graph("tapped", b.finish([("output", logits), ("loss", next_token_loss(b, logits, tokens))]))


def bert(width: int = 32, heads: int = 4, vocab: int = 61, activation: Program = GELU_TANH, layers: int = 2) -> Graph:
    """Post-norm, bidirectional, segments, masked-token loss from labels."""
    lib = Library()
    layer = lib.post_block(width, heads, "time", mask=None, activation=activation, eps=1e-12)
    b = BodyBuilder("bert", "bert")
    tokens = b.input("tokens", ids(), spec=InputSpec("tokens", vocab))
    segment = b.input("segment", ids(), spec=InputSpec("ids", 2))
    labels = b.input("labels", ids(), spec=InputSpec("labels", vocab))
    tables = {
        name: b.param(f"embed.{name}.weight", [dim(name, size), dim("dim", width)], NORMAL)
        for name, size in (("tokens", vocab), ("positions", 24), ("type", 2))
    }
    (position,) = b.add("positions", [tokens], equation=0, offset=0)
    (x,) = b.add("embedding", [tokens, tables["tokens"]], equation=0)
    for reader, name in ((position, "positions"), (segment, "type")):
        (part,) = b.add("embedding", [reader, tables[name]], equation=0)
        (x,) = b.add("map", [x, part], equation=0, program=ADD, arity=2)
    x = lib.call(b, lib.layernorm(width, eps=1e-12), "embed.norm", x, equation=0, target="x")
    x = stack(b, x, [(layer, 1)], layers, equation=1, target="x")
    (logits,) = b.add("linear", [x, tables["tokens"]], equation=2, has=())
    (loss,) = b.add("cross_entropy", [logits, labels], equation=3, label_smoothing=None, ignore=-100, z_loss=0.0)
    return lib.graph("bert", b.finish([("output", logits), ("loss", loss)]))


def vit(width: int = 32, classes: int = 5) -> Graph:
    """Patches, a class token, learned positions, the class token's result."""
    lib = Library()
    pixels = TensorType((BATCH, dim("channels", 3), dim("height", 8), dim("width", 8)))
    patched = TensorType((BATCH, dim("time", 5), dim("dim", width)))
    lib.fixed = patched
    layer = lib.pre_block(
        width,
        lib.attention(width, 4, mask=None, symbol="fixed"),
        lib.mlp(width, 64, symbol="fixed"),
        lib.layernorm(width, "fixed"),
        symbol="fixed",
    )
    b = BodyBuilder("vit", "vit")
    image = b.input("image", pixels, spec=InputSpec("pixels"))
    label = b.input("label", TensorType((BATCH,), "int"), spec=InputSpec("class", classes))
    (cut,) = b.add("patches", [image], equation=0, size=4)
    x = linear(b, "patch", cut, 48, width, True, 0)
    token = b.param("class_token", [dim("time", 1), dim("dim", width)], NORMAL)
    (x,) = b.add("concat", [token, x], equation=1, target="x", axis="time")
    places = b.param("positions", [dim("time", 5), dim("dim", width)], NORMAL)
    (x,) = b.add("map", [x, places], equation=2, target="x", program=ADD, arity=2)
    x = stack(b, x, [(layer, 1)], 2, equation=3, target="x")
    (first,) = b.add("select", [x], equation=4, axis="time", index=0)
    logits = linear(b, "head", first, width, classes, True, 4)
    (loss,) = b.add("cross_entropy", [logits, label], equation=5, label_smoothing=None, ignore=-100, z_loss=0.0)
    return lib.graph("vit", b.finish([("output", logits), ("loss", loss)]))


def experts(width: int = 32, count: int = 4) -> Graph:
    """Top-2 of a few experts, with a balance loss that reads inside the layer."""
    lib = Library()
    b = BodyBuilder("moe", "moe")
    x = b.input("x", stream(width))
    (scores,) = b.add(
        "softmax", [linear(b, "router", x, width, count, False, 0)], equation=0, target="scores", axis="last"
    )
    chosen, weights = b.add(
        "route",
        [scores],
        equation=1,
        target="chosen, weights",
        top_k=2,
        groups=1,
        kept_groups=1,
        normalize=True,
        scale=1.0,
        after=None,
        has=(),
    )
    up = b.param("up.weight", [dim("experts", count), dim("dim", 24), dim("dim", width)], NORMAL)
    down = b.param("down.weight", [dim("experts", count), dim("dim", width), dim("dim", 24)], NORMAL)
    (h,) = b.add("expert_linear", [x, chosen, up], equation=2, has=())
    (h,) = b.add("map", [h], equation=2, target="h", program=SILU, arity=1)
    (y,) = b.add("expert_linear", [h, chosen, down], equation=3, has=())
    (y,) = b.add("combine_experts", [y, weights], equation=3)
    (balance,) = b.add("balance_loss", [scores, chosen], equation=4, target="balance", count=count)
    lib.keep(b.finish([("out", y), ("balance", balance)]))
    attention = lib.attention(width, 4, theta=10_000)
    b = BodyBuilder("experts", "experts")
    tokens = b.input("tokens", ids(), spec=InputSpec("tokens", 61))
    table = b.param("embed.weight", [dim("vocab", 61), dim("dim", width)], NORMAL)
    (x,) = b.add("embedding", [tokens, table], equation=0, target="x")
    mixed = lib.call(b, attention, "attention", x, equation=1)
    (x,) = b.add("map", [x, mixed], equation=1, target="x", program=ADD, arity=2)
    y, balance = lib.calls(b, "moe", "moe", x, equation=2, target="y, balance")
    (x,) = b.add("map", [x, y], equation=3, target="x", program=ADD, arity=2)
    (logits,) = b.add("linear", [x, table], equation=4, has=())
    (loss,) = b.add("map", [next_token_loss(b, logits, tokens), balance], equation=22, program=ADD, arity=2)
    return lib.graph("experts", b.finish([("output", logits), ("loss", loss)]))


def many_fields(width: int = 32) -> Graph:
    """A line that is far too long: an attention with captured fields, inside two calls."""
    names = tuple(f"a_rather_long_field_name_{number}" for number in range(6))
    return llama(width, mask=fields_mask(names), fields=names, key="many")


def scans(width: int = 32, heads: int = 4) -> Graph:
    """A short convolution and the three scans, one after another."""
    lib = Library()
    head = width // heads
    b = BodyBuilder("mixer", "mixer")
    x = b.input("x", stream(width))
    kernel = b.param("conv.weight", [dim("dim", width), dim("in", 1), dim("width", 4)], Init("uniform", (-0.5, 0.5)))
    (x,) = b.add("conv1d", [x, kernel], equation=0, target="x", causal=True, groups=width, stride=1, dilation=1, has=())
    (back,) = b.add("shift", [x], equation=1, target="back", by=2, fill=0)

    def heads_of(name: str, equation: int, count: int = heads) -> Ref:
        out = linear(b, name, back, width, count * head, False, equation)
        return b.add("split_heads", [out], equation=equation, target=name, heads=count)[0]

    q, k, v = heads_of("q", 2, 2), heads_of("k", 3, 2), heads_of("v", 4)
    (decay,) = b.add("map", [linear(b, "decay", back, width, heads, True, 5)], equation=5, program=SIGMOID, arity=1)
    (y,) = b.add("linear_scan", [q, k, v, decay], equation=6, target="y", has=("decay",))
    qd, kd = heads_of("qd", 7), heads_of("kd", 8)
    (kd,) = b.add("normalize", [kd], equation=9, target="kd", kind="l2", eps=1e-6, groups=1)
    (beta,) = b.add("map", [linear(b, "beta", back, width, heads, True, 10)], equation=10, program=SIGMOID, arity=1)
    (z,) = b.add("delta_scan", [qd, kd, v, beta, decay], equation=11, target="z", has=("decay",))
    (both,) = b.add("map", [y, z], equation=12, program=ADD, arity=2)
    (merged,) = b.add("merge_heads", [both], equation=12, target="merged")
    a = b.param("a", [dim("dim", width), dim("state", 3)], Init("uniform", (-1.0, -0.1)))
    delta = b.add("map", [linear(b, "delta", merged, width, width, True, 13)], equation=13, program=SIGMOID, arity=1)[0]
    read, write = (linear(b, name, merged, width, 3, False, 14) for name in ("read", "write"))
    (out,) = b.add("selective_scan", [merged, delta, a, write, read], equation=15)
    lib.keep(b.finish([("out", out)]))
    b = BodyBuilder("scans", "scans")
    tokens = b.input("tokens", ids(), spec=InputSpec("tokens", 61))
    table = b.param("embed.weight", [dim("vocab", 61), dim("dim", width)], Init("normal", (0.0, 1.0)))
    (x,) = b.add("embedding", [tokens, table], equation=0, target="x")
    x = lib.call(b, "mixer", "mixer", x, equation=1, target="x")
    (logits,) = b.add("linear", [x, table], equation=2, has=())
    return lib.graph("scans", b.finish([("output", logits), ("loss", next_token_loss(b, logits, tokens))]))
