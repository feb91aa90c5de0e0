"""What is drawn of a model: every weight once for each kind of layer, every layer counted, nothing by its name."""

from __future__ import annotations

import re

import pytest

from tantra_dsl.draw.picture import OUT, Box, Edge, Flow, Frame, Picture, walk
from tantra_dsl.draw.place import laid_out
from tantra_dsl.graph.paths import weights
from tests.draw import geometry
from tests.draw.conftest import IDS, SPECS, from_text, graph_of, picture_of

OWN = """
module memory(x; slots: int) {
  keys = linear(x, slots)
  return linear(softmax(keys), dim)
}
block mine(x) {
  h = layernorm(x)
  q = split_heads(linear(h, dim), 4)
  k = split_heads(linear(h, dim), 4)
  v = split_heads(linear(h, dim), 4)
  y = x + linear(merge_heads(attend(q, k, v; mask: causal)), dim)
  return y + 0.5 * memory(rms(y); slots: 96)
}
model own {
  vocab: 64
  context: 32
  dim: 32
  input ids: tokens
  h = embed(ids) |> mine * 3
  objective: next_token(tied(rms(h)), ids)
}
"""


def frames(drawn: Picture) -> list[Frame]:
    return [item for _, item in walk(drawn.flow) if isinstance(item, Frame)]


def boxes(flow: Flow, kind: str = "") -> list[Box]:
    return [item for _, item in walk(flow) if isinstance(item, Box) and (not kind or item.kind == kind)]


# --- every weight, every layer -----------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_every_weight_is_drawn_once_for_each_kind_of_layer(spec: str) -> None:
    """A weight is of one box of its layer's kind, or is named in a text; of several boxes only where these share it."""
    items = dict(walk(picture_of(spec).flow))
    texts = [text for item in items.values() for text in (item.title, *item.lines)]
    texts += [edge.label for flow in flows(picture_of(spec).flow) for edge in flow.edges]
    for weight in weights(graph_of(spec)):
        layers = [int(part) for part in weight.path.split(".") if part.isdigit()]
        plain = ".".join(part for part in weight.path.split(".") if not part.isdigit())
        holders = [box for box in holding(items, plain) if in_layer(items, box[0], layers)]
        if len(holders) > 1:
            assert all("shared weights" in holder.lines for _, holder in holders), (weight.path, holders)
        elif not holders:
            name = plain.removesuffix(".weight").rpartition(".")[2]
            assert any(re.search(rf"\b{re.escape(name)}\b", text) for text in texts), weight.path


def holding(items: dict[str, Box | Frame], weight: str) -> list[tuple[str, Box]]:
    found = [
        (address, item)
        for address, item in items.items()
        if isinstance(item, Box) and item.path and item.kind != "input"
    ]
    return [(address, box) for address, box in found if f"{weight}.".startswith(f"{box.path}.")]


def flows(flow: Flow) -> list[Flow]:
    return [flow, *(inner for item in flow.items if isinstance(item, Frame) for inner in flows(item.flow))]


def in_layer(items: dict[str, Box | Frame], address: str, layers: list[int]) -> bool:
    around = [f for a, f in items.items() if isinstance(f, Frame) and address.startswith(f"{a}/") and f.layers]
    return not around or not layers or any(layers[0] in frame.layers for frame in around)


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_the_counts_add_up_to_the_layers(spec: str) -> None:
    stacks = {node.id: node for node in graph_of(spec).main.nodes if node.op == "stack"}
    drawn = {item.id: item for item in picture_of(spec).flow.items if isinstance(item, Frame)}
    for id, stack in stacks.items():
        inner = [item for item in drawn[id].flow.items if isinstance(item, Frame) and item.path == drawn[id].path]
        kinds = inner or [drawn[id]]
        assert sum(kind.count for kind in kinds) == stack.attr("count")
        assert sorted(layer for kind in kinds for layer in kind.layers) == list(range(stack.attr("count")))
        assert f"{stack.attr('count'):,}" in drawn[id].title


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_every_edge_has_ends_and_everything_leads_somewhere(spec: str) -> None:
    for flow in flows(picture_of(spec).flow):
        ids = [item.id for item in flow.items]
        assert len(set(ids)) == len(ids)
        starts = {*ids, *(f"in:{name}" for name in flow.inputs)}
        assert all(edge.source in starts and edge.target in {*ids, OUT} for edge in flow.edges)
        read = {edge.source for edge in flow.edges}
        ends = [id for id in ids if id not in read]
        assert all(item.kind in ("objective", "norm", "table") for item in boxes(flow) if item.id in ends)


# --- what a person would say -------------------------------------------------------------


def test_a_plain_model() -> None:
    drawn = picture_of("gpt2")
    (stack,) = frames(drawn)
    assert (stack.title, stack.count, stack.layers) == ("12 × block", 12, tuple(range(12)))
    assert [box.title for box in boxes(stack.flow)] == ["layernorm", "attention", "+", "layernorm", "ffn", "+"]
    assert [box.kind for box in boxes(stack.flow)] == ["norm", "mixer", "join", "norm", "channel", "join"]
    assert boxes(stack.flow)[1].lines == ("12 heads of 64", "causal")
    assert boxes(stack.flow)[4].lines == ("768 → 3,072 → 768", "gelu_tanh")
    assert [box.title for box in boxes(drawn.flow)][-3:] == ["layernorm", "logits", "cross-entropy"]
    (logits,) = [box for box in boxes(drawn.flow) if box.title == "logits"]
    assert logits.lines == ("768 → 50,257", "tied to embed.tokens")


def test_patterns_stay_patterns() -> None:
    stack, local, every_sixth = frames(picture_of("gemma3_4b"))
    assert (stack.title, stack.lines) == ("34 layers", ("in turn 5 local, 1 global",))
    assert (local.title, every_sixth.title) == ("29 × local", "5 × global")
    assert every_sixth.layers == (5, 11, 17, 23, 29)
    masks = [boxes(frame.flow, "mixer")[0].lines[1] for frame in (local, every_sixth)]
    assert masks == ["causal and window(1024)", "causal"]
    assert boxes(local.flow, "mixer")[0].lines[2] == "rope θ 10,000, rms on q, k"
    assert boxes(every_sixth.flow, "mixer")[0].lines[2] == "rope θ 1,000,000 / 8, rms on q, k"


def test_experts_and_latent_attention() -> None:
    stack, dense, sparse = frames(picture_of("deepseek_v3"))
    assert stack.lines == ("3 dense, then 58 sparse",)
    assert boxes(dense.flow, "mixer")[0].lines[-1] == "q by way of 1,536; k, v by way of 512"
    (experts,) = boxes(sparse.flow, "channel")
    assert experts.title == "ffn: moe"
    assert experts.lines[0] == "256 experts, 8 for each token"
    assert experts.lines[-1].startswith("always: 7,168 → 2,048 → 7,168")


def test_layers_that_differ_in_numbers_alone_are_drawn_once() -> None:
    stack, first, others = frames(picture_of("gpt2_denseformer"))
    assert stack.title == "12 layers of 2 kinds"
    assert (first.layers, others.layers) == ((0,), tuple(range(1, 12)))
    (earlier,) = boxes(others.flow, "tap")
    assert earlier.lines == ("the stack's input", "made of all layers before")
    (summed,) = [box for box in boxes(others.flow, "op") if box.title == "sum over depth"]
    assert summed.lines == ("with weights, 2 … 12",)


def test_two_towers_meet_in_the_objective() -> None:
    flow = picture_of("clip_vit_b_32").flow
    towers = [item for item in flow.items if isinstance(item, Frame)]
    assert [tower.title for tower in towers] == ["12 × image_layer", "12 × text_layer"]
    (goal,) = [item for item in flow.items if isinstance(item, Box) and item.kind == "objective"]
    assert len([edge for edge in flow.edges if edge.target == goal.id]) == 2
    assert goal.lines == ("each pair of the batch against all others", "with temperature")


def test_a_decoder_reads_what_the_encoder_made() -> None:
    flow = picture_of("t5_base").flow
    encoder, decoder = [item for item in flow.items if isinstance(item, Frame)]
    assert [edge.port for edge in flow.edges if edge.target == decoder.id] == ["", "encoded"]
    (cross,) = [box for box in boxes(decoder.flow) if box.path == "decoder.cross"]
    assert Edge("in:encoded", cross.id) in decoder.flow.edges
    assert encoder.lines == ("reads encoder_bias.table, 32 × 12",)


def test_a_model_of_equations() -> None:
    drawn = from_text(OWN)
    (stack,) = frames(drawn)
    assert stack.title == "3 × mine"
    titles = [box.title for box in boxes(stack.flow)]
    assert titles[:5] == ["layernorm", "q", "k", "v", "attend"]
    (own,) = [box for box in boxes(stack.flow) if box.definition == "memory"]
    assert (own.kind, own.lines) == ("channel", ("32 → 96 → 32",))
    joins = boxes(stack.flow, "join")
    assert [len([e for e in stack.flow.edges if e.target == join.id]) for join in joins] == [2, 2]


@pytest.mark.parametrize("name", ["attention", "ffn", "moe", "mamba2", "sinusoidal", "tokens_of_mine"])
def test_names_mean_nothing(name: str) -> None:
    """A module of an author's own is drawn by what it does, whatever it is called."""
    renamed = re.sub(r"\bmemory\b", name, OWN)
    shown = [box for box in boxes(from_text(renamed).flow) if box.definition == name]
    assert [(box.kind, box.lines) for box in shown] == [("channel", ("32 → 96 → 32",))]


@pytest.mark.parametrize(
    ("wiring", "kinds"),
    [
        ("pre(rms)", ["norm", "mixer", "join", "norm", "channel", "join"]),
        ("post(rms)", ["mixer", "join", "norm", "channel", "join", "norm"]),
        ("sandwich(rms)", ["norm", "mixer", "norm", "join", "norm", "channel", "norm", "join"]),
        ("parallel(rms)", ["norm", "mixer", "channel", "join"]),
        ("residual", ["mixer", "join", "channel", "join"]),
    ],
)
def test_wirings(wiring: str, kinds: list[str]) -> None:
    (stack,) = frames(from_text(wired(wiring)))
    assert [box.kind for box in boxes(stack.flow)] == kinds


def test_what_scales_the_stream_is_a_label_on_it() -> None:
    (stack,) = frames(from_text(wired("deepnorm(rms, alpha: 2.5)")))
    assert [edge.label for edge in stack.flow.edges if edge.label] == ["× 2.5", "× 2.5"]


def wired(wiring: str) -> str:
    return f"""
model wired {{
  vocab: 64  context: 32  dim: 32
  embed: tokens
  layers: 2 of block {{
    wiring: {wiring}
    attention {{ heads: 4, mask: causal }}
    ffn {{ hidden: 64 }}
  }}
  head: tied
  objective: next_token
}}
"""


def test_very_many_layers_are_counted_and_not_listed() -> None:
    text = wired("pre(rms)").replace("layers: 2 of", "layers: 10_000 of")
    (stack,) = frames(from_text(text))
    assert stack.title == "10,000 × block"
    assert (stack.count, stack.layers) == (10_000, ())


def test_a_shared_stack_says_so() -> None:
    text = wired("pre(rms)").replace("layers: 2 of block {", "layers: 2 of share one\n  block one {")
    (stack,) = frames(from_text(text))
    assert stack.lines == ("one set of weights for all",)


@pytest.mark.parametrize("root", [False, True], ids=["in a layer", "in the model"])
def test_a_body_of_very_many_steps_is_one_box(root: bool) -> None:
    steps = "\n".join(f"  a{i} = a{i - 1} + linear(rms(a{i - 1}), dim)" for i in range(1, 300))
    head = "model deep {\n  vocab: 64  context: 32  dim: 32\n  input ids: tokens\n"
    if root:
        text = f"{head}  a0 = embed(ids)\n{steps}\n  objective: next_token(tied(a299), ids)\n}}"
    else:
        block = f"block stairs(x) {{\n  a0 = rms(x)\n{steps}\n  return a299\n}}\n"
        text = f"{block}{head}  y = embed(ids) |> stairs * 2\n  objective: next_token(tied(y), ids)\n}}"
    drawn = from_text(text)
    (box,) = [box for box in boxes(drawn.flow) if box.title.endswith("steps")]
    assert box.lines[0].endswith("→ … → 32") or root
    geometry.check(laid_out(drawn))
