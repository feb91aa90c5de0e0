"""Every way for a position to see its target is caught and named; models without one pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.leaks import Leak, find_leaks, is_causal, leak_diagnostics
from tantra_dsl.graph.model import BodyRef, Graph, InputSpec, Ref
from tantra_dsl.graph.types import Dim, Size, TensorType
from tantra_dsl.scalars.ir import Capture
from tests.counted import counted_calls
from tests.leaks.models import (
    BATCH,
    CAUSAL,
    DIM,
    ONES,
    Model,
    add,
    attend,
    conv,
    embed,
    ids,
    linear,
    loss,
    mask,
    next_token,
    shift,
    span_of,
    stream,
    tokens,
)

Middle = Callable[[Model, BodyBuilder, Ref], Ref]


def block(model: Model, key: str, text: str | None) -> str:
    """A layer that calls an attention with this mask."""
    inner = model.body(f"attention of {key}", lambda body, x: attend(body, x, text))
    return model.body(key, lambda body, x: add(body, x, model.call(body, inner, "attention", x)))


def only(graph: Graph) -> Leak:
    leaks = find_leaks(graph)
    assert len(leaks) == 1, leaks
    return leaks[0]


def of_attention(text: str | None) -> Middle:
    def middle(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        return model.stack(body, x, (block(model, "layer", text), 4))

    return middle


def of_pool(model: Model, body: BodyBuilder, x: Ref) -> Ref:
    mean = body.add("pool", (x,), axis="time", kind="mean", has=(), target="context", origin=span_of("mean"))[0]
    return add(body, x, body.add("expand_time", (mean, x))[0])


def of_softmax(model: Model, body: BodyBuilder, x: Ref) -> Ref:
    return add(body, x, body.add("softmax", (x,), axis="time", origin=span_of("softmax"))[0])


def of_last(model: Model, body: BodyBuilder, x: Ref) -> Ref:
    last = body.add("select", (x,), axis="time", index=-1, origin=span_of("last"))[0]
    return add(body, x, body.add("expand_time", (last, x))[0])


def of_mixer(model: Model, body: BodyBuilder, x: Ref) -> Ref:
    scores = body.add("matmul", (x, x), transpose=True, origin=span_of("matmul"))[0]
    return body.add("matmul", (scores, x), transpose=False, origin=span_of("matmul again"))[0]


def of_conv(width: int, causal: bool) -> Middle:
    return lambda model, body, x: conv(body, x, width, causal)


def of_shift(by: int) -> Middle:
    return lambda model, body, x: shift(body, x, by)


LEAKY: dict[str, tuple[Middle, str, str, str]] = {
    "no mask": (of_attention(None), "attention", "layers.0 (block layer).attention", "every position sees all others"),
    "two-sided window": (
        of_attention("abs(q - k) <= 4"), "attention", "layers.0 (block layer).attention", "position t + 4",
    ),
    "off by one": (of_attention("k <= q + 1"), "attention", "layers.0 (block layer).attention", "position t + 1"),
    "centred convolution": (of_conv(5, causal=False), "convolution", "conv1d", "position t + 2"),
    "mean over time": (of_pool, "over time", "context", "the mean over time"),
    "softmax over time": (of_softmax, "over time", "softmax", "a softmax over time"),
    "last position": (of_last, "over time", "select", "position -1"),
    "shift to the left": (of_shift(-1), "shift", "shift", "a shift by -1 lets position t see position t + 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", LEAKY)
def test_each_way_to_leak_is_caught_and_named(case: str) -> None:
    middle, kind, path, reason = LEAKY[case]
    leak = only(next_token(middle))
    assert (leak.kind, leak.path, leak.input, leak.offset) == (kind, path, "tokens", 1)
    assert reason in leak.reason
    assert leak.help


@pytest.mark.parametrize("case", LEAKY)
def test_the_same_model_may_see_everything_when_the_target_is_another_input(case: str) -> None:
    assert find_leaks(next_token(LEAKY[case][0], masked=True)) == []


@pytest.mark.parametrize("case", LEAKY)
def test_a_leak_is_told_at_the_line_that_causes_it(case: str) -> None:
    graph = next_token(LEAKY[case][0])
    leak = only(graph)
    (diagnostic,) = leak_diagnostics(graph)
    assert diagnostic.span == leak.span
    assert leak.path in diagnostic.title
    assert leak.reason in diagnostic.title
    assert diagnostic.code.startswith("L01")
    assert any("tokens[t + 1]" in note.text for note in diagnostic.notes)


def test_a_product_over_time_is_caught() -> None:
    leaks = find_leaks(next_token(of_mixer))
    assert {leak.kind for leak in leaks} == {"over time"}
    assert all("product over time" in leak.reason for leak in leaks)


SOUND: dict[str, Middle] = {
    "nothing": lambda model, body, x: x,
    "causal": of_attention(CAUSAL),
    "strictly causal": of_attention("k < q"),
    "window": of_attention("k <= q and q - k < 4"),
    "strided": of_attention("k <= q and (q - k < 4 or k % 4 == 3)"),
    "causal convolution": of_conv(4, causal=True),
    "convolution of width one": of_conv(1, causal=False),
    "shift to the right": of_shift(1),
    "left then right": lambda model, body, x: shift(body, shift(body, x, -1), 1),
    "centred after a shift": lambda model, body, x: conv(body, shift(body, x, 1), 3, causal=False),
    "first position": lambda model, body, x: add(
        body, x, body.add("expand_time", (body.add("select", (x,), axis="time", index=0)[0], x))[0]
    ),
    "sum over channels": lambda model, body, x: add(
        body, x, body.add("normalize", (x,), kind="rms", eps=1e-6, groups=1)[0]
    ),
}


@pytest.mark.parametrize("case", SOUND)
def test_models_without_a_leak_pass(case: str) -> None:
    assert find_leaks(next_token(SOUND[case])) == []


# --- objectives ------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "offset"), [(1, -1), (0, 0), (3, -3)])
def test_a_target_that_was_read_is_the_objectives_fault(by: int, offset: int) -> None:
    graph = next_token(of_attention(CAUSAL), by=by)
    leak = only(graph)
    assert (leak.kind, leak.offset) == ("objective", offset)
    (diagnostic,) = leak_diagnostics(graph)
    assert diagnostic.code == "L0105"
    assert ("its own token" if offset == 0 else "before it") in diagnostic.title


def test_a_target_further_ahead_allows_as_much_lookahead() -> None:
    assert find_leaks(next_token(of_conv(3, causal=False), by=-2)) == []
    assert only(next_token(of_conv(5, causal=False), by=-2)).ahead == 2


def test_a_decoder_that_reads_its_labels_one_step_late_passes() -> None:
    def seq2seq(by: int) -> Graph:
        model, body = Model(), BodyBuilder("main", "tiny")
        source = tokens(body, "source", "source.time")
        labels = body.input("labels", ids("labels.time"), spec=InputSpec("labels", 7))
        memory = embed(body, source, "encoder")
        x = embed(body, shift(body, labels, by), "decoder")
        x = attend(body, attend(body, x, CAUSAL), None, memory)
        logits, total = loss(body, x, labels)
        return model.finish(body, output=logits, loss=total)

    assert find_leaks(seq2seq(1)) == []
    assert is_causal(seq2seq(1)) is True
    assert only(seq2seq(0)).kind == "objective"


def test_losses_inside_modules_are_judged_where_they_are_called() -> None:
    model = Model()
    inner = BodyBuilder("next_token", "next_token")
    logits_in = inner.input("logits", TensorType((*stream().dims[:2], stream().dims[2])))
    source_in = inner.input("source", ids())
    attrs = {"label_smoothing": 0.0, "ignore": -100, "z_loss": 0.0}
    total = inner.add("cross_entropy", (logits_in, shift(inner, source_in, -1, -100)), **attrs)[0]  # type: ignore[arg-type]
    model.bodies["next_token"] = inner.finish([("out", total)])

    def graph(text: str | None) -> Graph:
        body = BodyBuilder("main", "tiny")
        source = tokens(body)
        attention = model.body("attention", lambda b, x: attend(b, x, text))
        x = model.call(body, attention, "mixer", embed(body, source))
        attrs = {"body": BodyRef("next_token"), "name": "objective", "instance": "own"}
        result = body.add("call", (x, source), types=[TensorType(())], **attrs)[0]  # type: ignore[arg-type]
        return model.finish(body, output=x, loss=result)

    assert find_leaks(graph(CAUSAL)) == []
    assert only(graph(None)).path == "mixer"


def test_a_class_that_is_also_read_leaks() -> None:
    def graph(read: bool) -> Graph:
        model, body = Model(), BodyBuilder("main", "tiny")
        source = tokens(body)
        label = body.input("label", TensorType((BATCH,), "int"), spec=InputSpec("class", 7))
        x = embed(body, source)
        pooled = body.add("pool", (x,), axis="time", kind="mean", has=())[0]
        seen = add(body, pooled, embed(body, label, "labels")) if read else pooled
        logits, total = loss(body, seen, label)
        return model.finish(body, output=logits, loss=total)

    assert find_leaks(graph(read=False)) == []
    assert only(graph(read=True)).kind == "objective"


# --- blame -----------------------------------------------------------------------------------


def test_every_distinct_culprit_is_named_once_and_its_layers_counted() -> None:
    def middle(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        local, wide = block(model, "local", "abs(q - k) <= 2"), block(model, "wide", None)
        good = block(model, "good", CAUSAL)
        return model.stack(body, x, (good, 2), (local, 5), (wide, 1), count=16)

    leaks = find_leaks(next_token(middle))
    assert [(leak.path, leak.others) for leak in leaks] == [
        ("layers.2 (block local).attention", 9),
        ("layers.7 (block wide).attention", 1),
    ]
    assert [leak.ahead for leak in leaks] == [2, math.inf]
    assert "so do 9 other layers" in leak_diagnostics(next_token(middle))[0].notes[1].text


def test_bodies_that_stem_from_one_line_are_told_once() -> None:
    line = span_of("attention { mask: all }")

    def middle(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        for number in range(3):
            model.body(f"attention {number}", lambda b, y: attend(b, y, None, span=line))
            model.body(f"layer {number}", lambda b, y, n=number: model.call(b, f"attention {n}", "attention", y))  # type: ignore[misc]
        return model.stack(body, x, ("layer 0", 1), ("layer 1", 1), ("layer 2", 1))

    leak = only(next_token(middle))
    assert leak.span == line
    assert leak.others == 2


def test_patches_that_are_made_up_for_are_not_blamed() -> None:
    def middle(text: str) -> Middle:
        def build(model: Model, body: BodyBuilder, x: Ref) -> Ref:
            patched = body.add("patches", (x,), size=4, origin=span_of("patches"))[0]
            coarse = linear(body, shift(body, patched, 1), "down")
            coarse = attend(body, coarse, text)
            return body.add("unpatch", (linear(body, coarse, "up", 16),), size=4)[0]

        return build

    assert find_leaks(next_token(middle(CAUSAL))) == []
    assert [leak.kind for leak in find_leaks(next_token(middle("abs(q - k) < 9")))] == ["attention"]


def test_patches_without_a_shift_leak() -> None:
    def build(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        patched = body.add("patches", (x,), size=4, origin=span_of("patches"))[0]
        return body.add("unpatch", (patched,), size=4)[0]

    leak = only(next_token(build))
    assert (leak.kind, leak.ahead) == ("shift", 3)
    assert "a patch of 4 positions" in leak.reason


def test_several_small_steps_that_only_together_leak_are_all_named() -> None:
    def build(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        return attend(body, conv(body, shift(body, x, 1), 3, causal=False), "k <= q + 1")

    assert {leak.kind for leak in find_leaks(next_token(build))} == {"convolution", "attention"}


def test_a_field_made_from_later_tokens_is_caught() -> None:
    capture = (Capture("flag", integer=True),)

    def model_with(by: int) -> Graph:
        model, body = Model(), BodyBuilder("main", "tiny")
        source = tokens(body)
        flag = shift(body, source, by)
        text = "k <= q and flag[b, k] > 3 or k == q"
        x = attend(body, embed(body, source), text, captures=(flag,), names=capture)
        logits, total = loss(body, x, shift(body, source, -1, -100))
        return model.finish(body, output=logits, loss=total)

    assert mask("k <= q", capture) is not None
    assert find_leaks(model_with(0)) == []
    assert find_leaks(model_with(1)) == []
    leaks = find_leaks(model_with(-1))
    assert leaks
    assert {leak.input for leak in leaks} == {"tokens"}


def test_reading_a_prefix_and_cutting_it_off_again_keeps_positions() -> None:
    def build(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        prefix = body.param("prompt", (Dim("prompt", Size.of(3)), DIM), ONES)
        joined = body.add("concat", (prefix, x), axis="time")[0]
        return body.add("slice", (attend(body, joined, CAUSAL),), axis="time", start=3, stop=None)[0]

    assert find_leaks(next_token(build)) == []


def test_a_prefix_that_holds_the_first_tokens_leaks_them() -> None:
    def build(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        prefix = body.add("slice", (shift(body, x, 1),), axis="time", start=0, stop=3)[0]
        joined = body.add("concat", (prefix, x), axis="time")[0]
        return body.add("slice", (attend(body, joined, CAUSAL),), axis="time", start=3, stop=None)[0]

    assert only(next_token(build)).kind == "shift"


def test_a_slice_that_forgets_the_prefix_leaks() -> None:
    def build(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        moved = body.add("slice", (shift(body, x, 1),), axis="time", start=2, stop=None, origin=span_of("slice"))[0]
        return body.add("concat", (moved, body.add("slice", (x,), axis="time", start=0, stop=2)[0]), axis="time")[0]

    assert only(next_token(build)).kind == "shift"


# --- stacks ----------------------------------------------------------------------------------


def test_lookahead_adds_up_over_layers() -> None:
    def middle(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        return model.stack(body, shift(body, x, 6), (block(model, "layer", "k <= q + 1"), 6))

    assert find_leaks(next_token(middle)) == []

    def deeper(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        return model.stack(body, shift(body, x, 6), (block(model, "layer", "k <= q + 1"), 7))

    assert [leak.kind for leak in find_leaks(next_token(deeper))] == ["attention"]


def test_the_proof_costs_what_the_pattern_costs() -> None:
    def middle(count: int) -> Middle:
        def build(model: Model, body: BodyBuilder, x: Ref) -> Ref:
            even, odd = block(model, "even", CAUSAL), block(model, "odd", "k <= q + 1")
            return model.stack(body, shift(body, x, 500_000), (even, 1), (odd, 1), count=count)

        return build

    few, many = next_token(middle(3)), next_token(middle(1_000_001))
    assert find_leaks(many) == []
    assert only(next_token(middle(1_000_002))).others == 500_000
    assert counted_calls(lambda: find_leaks(many)) < 2 * counted_calls(lambda: find_leaks(few))


def tapped(layer: int, shifted_by: int) -> Graph:
    """Layers that add a tensor of an earlier layer, which holds a shifted stream."""

    def middle(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        first = BodyBuilder("first", "first")
        given = first.input("x", stream())
        moved = shift(first, given, shifted_by)
        model.bodies["first"] = first.finish([("out", linear(first, given, "out"))], [("moved", moved)])
        later = BodyBuilder("later", "later")
        given = later.input("x", stream())
        tap = later.input("tap", stream(), "tap", layer=layer, path="moved")
        model.bodies["later"] = later.finish([("out", add(later, given, tap))])
        return model.stack(body, x, ("first", 2), ("later", 5))

    return next_token(middle)


@pytest.mark.parametrize("layer", [0, 1])
def test_tensors_of_earlier_layers_carry_their_lookahead(layer: int) -> None:
    assert find_leaks(tapped(layer, 1)) == []
    assert only(tapped(layer, -1)).path == "layers.0 (block first).shift"


def test_the_stacks_own_input_can_be_tapped() -> None:
    assert find_leaks(tapped(-1, -1)) == []


def test_extras_of_a_stack_carry_their_lookahead() -> None:
    def graph(by: int) -> Graph:
        def middle(model: Model, body: BodyBuilder, x: Ref) -> Ref:
            model.body("cross", lambda b, y: attend(b, y, CAUSAL, Ref("memory")), ("memory", stream()))
            return model.stack(body, shift(body, x, 5), ("cross", 3), memory=shift(body, x, by))

        return next_token(middle)

    assert find_leaks(graph(0)) == []
    assert only(graph(-1)).reason.startswith("a shift by -1")


def test_weights_of_another_module_carry_nothing() -> None:
    model, body = Model(), BodyBuilder("main", "tiny")
    source = tokens(body)
    model.body("attention", lambda b, x: attend(b, x, CAUSAL))
    attention = body.add("instance", (), id="shared", types=[], body=BodyRef("attention"), name="shared")[0]
    x = embed(body, source)
    for number in range(2):
        attrs = {"body": BodyRef("attention"), "name": f"use{number}", "instance": "given"}
        x = body.add("call", (attention, x), types=[stream()], **attrs)[0]  # type: ignore[arg-type]
    logits, total = loss(body, x, shift(body, source, -1, -100))
    assert find_leaks(model.finish(body, output=logits, loss=total)) == []


# --- is_causal -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*LEAKY, *SOUND])
def test_causality_of_outputs(case: str) -> None:
    middle = LEAKY[case][0] if case in LEAKY else SOUND[case]
    assert is_causal(next_token(middle, masked=True)) is (case in SOUND)


def test_causality_is_not_a_question_without_time() -> None:
    model, body = Model(), BodyBuilder("main", "tiny")
    x = embed(body, tokens(body))
    assert is_causal(model.finish(body, output=body.add("pool", (x,), axis="time", kind="mean", has=())[0])) is None
