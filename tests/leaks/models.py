"""Tiny models for the leak tests, built node by node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.model import Attr, Body, BodyRef, Graph, Init, InputSpec, Ref
from tantra_dsl.graph.types import Dim, Size, TensorType
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Capture, Program
from tantra_dsl.syntax.source import Source, Span

VOCAB, WIDTH, HEADS = 7, 4, 2
BATCH = Dim("batch", Size.symbol("batch"))
DIM = Dim("dim", Size.of(WIDTH))
ONES = Init("normal", (0.0, 1.0))
CAUSAL = "k <= q"


def time(name: str = "time") -> Dim:
    return Dim("time", Size.symbol(name))


def ids(name: str = "time") -> TensorType:
    return TensorType((BATCH, time(name)), "int")


def stream(name: str = "time") -> TensorType:
    return TensorType((BATCH, time(name), DIM))


def mask(text: str | None, captures: tuple[Capture, ...] = ()) -> Program | None:
    if text is None:
        return None
    return Program("mask", ("q", "k", "b", "h"), parse_scalar(text, captures), captures, text)


def span_of(text: str) -> Span:
    """A span that is only equal to itself."""
    return Span(Source("spec.tantra", text), 0, len(text))


def linear(body: BodyBuilder, x: Ref, name: str, out: int = WIDTH) -> Ref:
    width = body.type_of(x).dims[-1]
    weight = body.param(f"{name}.weight", (Dim("out", Size.of(out)), width), ONES)
    return body.add("linear", (x, weight), has=(), id=name)[0]


def attend(
    body: BodyBuilder, x: Ref, text: str | None, memory: Ref | None = None, captures: tuple[Ref, ...] = (),
    names: tuple[Capture, ...] = (), span: Span | None = None,
) -> Ref:  # fmt: skip
    """Attention of x to itself or to a memory, with heads split and merged."""
    heads = [
        body.add("split_heads", (linear(body, source, name),), heads=HEADS)[0]
        for name, source in (("q", x), ("k", memory or x), ("v", memory or x))
    ]
    program = mask(text, names)
    out = body.add(
        "attend", (*heads, *captures), mask=program, score=None, scale=1.0, dropout=None, has=(), causal=text == CAUSAL,
        origin=span or span_of(f"attention {text}"),
    )[0]  # fmt: skip
    return body.add("merge_heads", (out,))[0]


def add(body: BodyBuilder, *xs: Ref) -> Ref:
    names = tuple("abcdefgh"[: len(xs)])
    program = Program("fn", names, parse_scalar(" + ".join(names)))
    return body.add("map", xs, program=program, arity=len(xs))[0]


def conv(body: BodyBuilder, x: Ref, width: int, causal: bool, **attrs: Attr) -> Ref:
    weight = body.param("conv.weight", (DIM, DIM, Dim("width", Size.of(width))), ONES)
    given: dict[str, Attr] = {"groups": 1, "stride": 1, "dilation": 1, **attrs}
    origin = span_of("convolution")
    return body.add("conv1d", (x, weight), id="conv", causal=causal, has=(), origin=origin, **given)[0]  # type: ignore[arg-type]


@dataclass
class Model:
    """Bodies added so far; ``language_model`` closes it."""

    bodies: dict[str, Body] = field(default_factory=dict)

    def body(self, key: str, build: Callable[[BodyBuilder, Ref], Ref], *others: tuple[str, TensorType]) -> str:
        """A body with a stream x and other inputs, whose result is what ``build`` returns."""
        body = BodyBuilder(key, key)
        x = body.input("x", stream())
        for name, type in others:
            body.input(name, type)
        self.bodies[key] = body.finish([("out", build(body, x))])
        return key

    def call(self, body: BodyBuilder, key: str, name: str, *inputs: Ref) -> Ref:
        types = [body.type_of(inputs[0])]
        return body.add("call", inputs, id=name, types=types, body=BodyRef(key), name=name, instance="own")[0]

    def stack(self, body: BodyBuilder, x: Ref, *runs: tuple[str, int], count: int | None = None, **extras: Ref) -> Ref:
        total = count or sum(n for _, n in runs)
        pattern: Attr = tuple((BodyRef(key), n) for key, n in runs)
        given: dict[str, Attr] = {"name": "layers", "runs": pattern, "count": total, "shared": False}
        inputs, types = (x, *extras.values()), [body.type_of(x)]
        return body.add("stack", inputs, id="layers", types=types, extras=tuple(extras), **given)[0]  # type: ignore[arg-type]

    def finish(self, body: BodyBuilder, **outputs: Ref) -> Graph:
        self.bodies["main"] = body.finish(outputs.items())
        return Graph("tiny", "main", self.bodies)


def tokens(body: BodyBuilder, name: str = "tokens", symbol: str = "time") -> Ref:
    return body.input(name, ids(symbol), spec=InputSpec("tokens", VOCAB))


def embed(body: BodyBuilder, source: Ref, name: str = "embed") -> Ref:
    table = body.param(f"{name}.weight", (Dim("vocab", Size.of(VOCAB)), DIM), ONES)
    return body.add("embedding", (source, table), id=name)[0]


def loss(body: BodyBuilder, x: Ref, target: Ref) -> tuple[Ref, Ref]:
    """Logits and loss."""
    logits = linear(body, x, "head", VOCAB)
    attrs: dict[str, Attr] = {"label_smoothing": 0.0, "ignore": -100, "z_loss": 0.0}
    return logits, body.add("cross_entropy", (logits, target), id="loss", origin=span_of("objective"), **attrs)[0]  # type: ignore[arg-type]


def shift(body: BodyBuilder, x: Ref, by: int, fill: int = 0) -> Ref:
    return body.add("shift", (x,), by=by, fill=fill, id="shift", origin=span_of(f"shift {by}"))[0]


def next_token(middle: Callable[[Model, BodyBuilder, Ref], Ref], by: int = -1, masked: bool = False) -> Graph:
    """A model of tokens with ``middle`` between embedding and head; ``masked``: its target is another input."""
    model, body = Model(), BodyBuilder("main", "tiny")
    source = tokens(body)
    labels = body.input("labels", ids(), spec=InputSpec("labels", VOCAB)) if masked else source
    x = middle(model, body, embed(body, source))
    target = labels if masked else shift(body, source, by, -100)
    logits, total = loss(body, x, target)
    return model.finish(body, output=logits, loss=total)
