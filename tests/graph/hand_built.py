"""Small graphs built by hand, which the tests of this folder look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.model import Body, BodyRef, Graph, Init, InputSpec, Node, Ref
from tantra_dsl.graph.types import Dim, Size, TensorType
from tantra_dsl.scalars.ir import Const, Op, Program, Var

BATCH = Dim("batch", Size.symbol("batch"))
TIME = Dim("time", Size.symbol("time"))
NORMAL = Init("normal", (0.0, 0.02))
CAUSAL = Program("mask", ("q", "k", "b", "h"), Op("le", (Var("k"), Var("q"))), (), "causal")
NEAR = Op("lt", (Op("sub", (Var("q"), Var("k"))), Const(4)))
WINDOW = Program("mask", ("q", "k", "b", "h"), Op("and", (CAUSAL.body, NEAR)), (), "causal and window(4)")
SQUARE = Program("fn", ("x",), Op("pow", (Op("max", (Var("x"), Const(0))), Const(2))), (), "relu2")
SUM = Program("fn", ("a", "b"), Op("add", (Var("a"), Var("b"))), (), "a + b")


def dim(size: int, name: str = "dim") -> Dim:
    return Dim(name, Size.of(size))


def stream(width: int = 8) -> TensorType:
    return TensorType((BATCH, TIME, dim(width)))


def linear(b: BodyBuilder, x: Ref, name: str, out: int, bias: bool = False) -> Ref:
    width = b.type_of(x).dims[-1].size.known
    assert width is not None
    refs = [x, b.param(f"{name}.weight", (dim(out), dim(width)), NORMAL)]
    if bias:
        refs.append(b.param(f"{name}.bias", (dim(out),), Init("constant", (0.0,)), decay=False))
    return b.add("linear", refs, id=f"{name}.linear", has=("bias",) if bias else ())[0]


def add(b: BodyBuilder, x: Ref, y: Ref) -> Ref:
    return b.add("map", (x, y), id="sum", program=SUM, arity=2)[0]


def call(b: BodyBuilder, body: Body, name: str, *inputs: Ref, instance: str = "own") -> Ref:
    types = [body.type_of(ref) for _, ref in body.outputs]
    return b.add("call", inputs, id=name, types=types, body=BodyRef(body.key), name=name, instance=instance)[0]


def attention(
    mask: Program = CAUSAL, width: int = 8, heads: int = 2, kv_heads: int = 1, key: str = "attention"
) -> Body:
    b = BodyBuilder(key, "attention")
    x = b.input("x", stream(width))
    size = width // heads
    q = b.add("split_heads", (linear(b, x, "q", width),), id="q", equation=0, target="q", heads=heads)[0]
    k = b.add("split_heads", (linear(b, x, "k", kv_heads * size),), id="k", equation=1, target="k", heads=kv_heads)[0]
    v = b.add("split_heads", (linear(b, x, "v", kv_heads * size),), id="v", equation=2, target="v", heads=kv_heads)[0]
    attrs = {"mask": mask, "score": None, "scale": size**-0.5, "dropout": None, "has": (), "causal": mask == CAUSAL}
    y = b.add("attend", (q, k, v), id="y", equation=3, **attrs)[0]
    merged = b.add("merge_heads", (y,), id="merged", equation=3)[0]
    return b.finish([("out", linear(b, merged, "out", width, bias=True))])


def ffn(width: int = 8, hidden: int = 16) -> Body:
    b = BodyBuilder("ffn", "ffn")
    up = linear(b, b.input("x", stream(width)), "up", hidden)
    active = b.add("map", (up,), id="active", program=SQUARE, arity=1)[0]
    return b.finish([("out", linear(b, active, "down", width))])


def block(parts: Sequence[Body], key: str = "block") -> Body:
    """Each part around a residual, after a norm."""
    b = BodyBuilder(key, "block")
    x = b.input("x", stream())
    for part in parts:
        normed = b.add("normalize", (x,), id="normed", kind="rms", eps=1e-6, groups=1)[0]
        x = add(b, x, call(b, part, part.definition, normed))
    return b.finish([("out", x)])


def model(layers: Sequence[tuple[Body, int]], count: int, parts: Sequence[Body], *, shared: bool = False) -> Graph:
    """Embedding, a stack of ``layers``, a tied head and the loss."""
    b = BodyBuilder("main", "model")
    ids = TensorType((BATCH, TIME), "int")
    tokens = b.input("tokens", ids, spec=InputSpec("tokens", 32))
    labels = b.input("labels", ids, spec=InputSpec("labels", 32))
    table = b.param("embed.weight", (dim(32, "vocab"), dim(8)), NORMAL)
    x = b.add("embedding", (tokens, table), id="x", equation=0, target="x")[0]
    runs = tuple((BodyRef(body.key), times) for body, times in layers)
    attrs = {"name": "layers", "runs": runs, "count": count, "shared": shared, "extras": ()}
    x = b.add("stack", (x,), id="layers", types=(stream(),), **attrs)[0]  # type: ignore[arg-type]
    logits = b.add("linear", (x, table), id="logits", has=())[0]
    loss = b.add("cross_entropy", (logits, labels), id="loss", label_smoothing=0.0, ignore=-100, z_loss=0.0)[0]
    root = b.finish([("output", logits), ("loss", loss)])
    bodies = [root, *(body for body, _ in layers), *parts]
    return Graph("tiny", "main", {body.key: body for body in bodies}, (("context", 64), ("vocab", 32)))


def tiny(count: int = 3, mask: Program = CAUSAL) -> Graph:
    parts = [attention(mask), ffn()]
    return model([(block(parts), 1)], count, parts)


def alternating(count: int = 6, shared: bool = False) -> Graph:
    """Two windowed layers, then a full one, and so on."""
    local, full, feed = attention(WINDOW, key="attention_local"), attention(), ffn()
    layers = [(block([local, feed], "local"), 2), (block([full, feed], "global"), 1)]
    return model(layers, count, [local, full, feed], shared=shared)


def with_body(graph: Graph, body: Body) -> Graph:
    return replace(graph, bodies={**graph.bodies, body.key: body})


def with_node(graph: Graph, key: str, id: str, change: Callable[[Node], Node]) -> Graph:
    body = graph.bodies[key]
    return with_body(graph, replace(body, nodes=tuple(change(n) if n.id == id else n for n in body.nodes)))


def attr(name: str, value: Any) -> Callable[[Node], Node]:
    return lambda node: replace(node, attrs=tuple((k, value if k == name else v) for k, v in node.attrs))


def tapping(layer: int, path: str = "kept", width: int = 8) -> Graph:
    """A plain layer that offers ``kept``, then one that taps ``path`` of ``layer``."""
    b = BodyBuilder("plain", "block")
    out = linear(b, b.input("x", stream()), "out", 8)
    plain = b.finish([("out", out)], [("kept", out)])
    b = BodyBuilder("reader", "block")
    x = b.input("x", stream())
    tap = b.input("tap", stream(width), kind="tap", layer=layer, path=path)
    reader = b.finish([("out", linear(b, tap, "out", 8) if width != 8 else add(b, x, tap))])
    return model([(plain, 1), (reader, 1)], 2, [])


def shared_module(called: str = "ffn") -> Graph:
    """One instance of ``ffn`` that the root calls twice."""
    b = BodyBuilder("main", "model")
    ids = TensorType((BATCH, TIME, dim(8)))
    x = b.input("x", ids, spec=InputSpec("features", 8))
    module = b.add("instance", (), id="shared", types=(), body=BodyRef("ffn"), name="shared")[0]
    first = call(b, replace(ffn(), key=called), "one", module, x, instance="given")
    second = call(b, ffn(), "two", module, first, instance="given")
    bodies = {"ffn": ffn(), called: replace(ffn(), key=called), "main": b.finish([("output", second)])}
    return Graph("shared", "main", bodies)


def tied_instance(path: str = "weight") -> Graph:
    """An embedding instance whose table is also the head's weight."""
    inner = BodyBuilder("tokens", "tokens")
    ids = TensorType((BATCH, TIME), "int")
    table = (inner.input("ids", ids), inner.param("weight", (dim(32, "vocab"), dim(8)), NORMAL))
    embed = inner.finish([("out", inner.add("embedding", table)[0])])
    b = BodyBuilder("main", "model")
    tokens = b.input("tokens", ids, spec=InputSpec("tokens", 32))
    module = b.add("instance", (), id="embed", types=(), body=BodyRef("tokens"), name="embed")[0]
    x = call(b, embed, "x", module, tokens, instance="given")
    weight = b.add("weight", (module,), types=(TensorType((dim(32, "vocab"), dim(8))),), path=path)[0]
    logits = b.add("linear", (x, weight), id="logits", has=())[0]
    return Graph("tied", "main", {"main": b.finish([("output", logits)]), "tokens": embed})


def two_lengths(second: str = "target.time") -> Graph:
    """One instance of ``ffn``, typed at one length and called at two."""
    b = BodyBuilder("main", "model")
    spec = InputSpec("features", 8)
    types = [TensorType((BATCH, Dim("time", Size.symbol(name)), dim(8))) for name in ("time", second)]
    first, other = (b.input(f"x{number}", t, spec=spec) for number, t in enumerate(types))
    module = b.add("instance", (), id="shared", types=(), body=BodyRef("ffn"), name="shared")[0]
    attrs = {"body": BodyRef("ffn"), "name": "shared", "instance": "given"}
    made = [b.add("call", (module, x), types=(t,), **attrs)[0] for x, t in zip((first, other), types, strict=True)]
    return Graph("lengths", "main", {"main": b.finish([("a", made[0]), ("b", made[1])]), "ffn": ffn()})


def tapping_inside(order: tuple[str, str] = ("first", "second"), later: str = "second") -> Graph:
    """A module whose taps leave it through its call, and a layer that reads one of them."""
    inner = BodyBuilder("inner", "inner")
    x = inner.input("x", stream())
    made = {name: linear(inner, x, weight, 8) for name, weight in zip(order, ("one", "two"), strict=True)}
    out = add(inner, *made.values())
    body = inner.finish([("out", out)], sorted(made.items()))
    b = BodyBuilder("plain", "block")
    x = b.input("x", stream())
    attrs = {"body": BodyRef("inner"), "name": "inner", "instance": "own"}
    outs = b.add("call", (x,), id="inner", types=(stream(),) * 3, **attrs)
    taps = [(f"inner.{name}", ref) for (name, _), ref in zip(body.taps, outs[1:], strict=True)]
    plain = b.finish([("out", outs[0])], taps)
    b = BodyBuilder("reader", "block")
    x = b.input("x", stream())
    tap = b.input("tap", stream(), kind="tap", layer=0, path=f"inner.{later}")
    reader = b.finish([("out", add(b, x, tap))])
    return model([(plain, 1), (reader, 1)], 2, [body])
