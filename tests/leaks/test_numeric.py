"""Models that are proved not to leak do not: later tokens are changed, and earlier logits must stay as they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tantra_compiler.compile import compile_graph
from tantra_compiler.options import CompileOptions
from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.flow import Flow
from tantra_dsl.graph.leaks import find_leaks
from tantra_dsl.graph.model import Graph, Ref
from tantra_dsl.graph.reach import Reach
from tantra_dsl.graph.types import Dim, Size
from tests.leaks.models import DIM, ONES, VOCAB, Model, add, attend, conv, linear, next_token, shift

LENGTH = 12
Step = Callable[[Model, BodyBuilder, Ref], Ref]

MASKS = [
    "k <= q", "k < q", "k <= q and q - k < 3", "k <= q + 1", "abs(q - k) <= 2", "q - k > 2 or k == q",
    "k // 3 <= q // 3", "k <= q and (q - k < 2 or k % 3 == 2)", "k <= q or k < 2", "2 * k <= q",
    "if h == 0 then k <= q else k == q - 2",
]  # fmt: skip


def attention(text: str) -> Step:
    return lambda model, body, x: add(body, x, attend(body, x, text))


def convolution(width: int, causal: bool, dilation: int) -> Step:
    return lambda model, body, x: conv(body, x, width, causal, dilation=dilation)


def moved(by: int) -> Step:
    return lambda model, body, x: add(body, x, shift(body, x, by))


def replaced(by: int) -> Step:
    return lambda model, body, x: shift(body, x, by)


def over_time(kind: str) -> Step:
    def step(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        if kind == "softmax":
            return body.add("softmax", (x,), axis="time")[0]
        if kind == "mean":
            one = body.add("pool", (x,), axis="time", kind="mean", has=())[0]
        else:
            one = body.add("select", (x,), axis="time", index=int(kind))[0]
        return add(body, x, body.add("expand_time", (one, x))[0])

    return step


def in_patches(size: int, by: int, text: str) -> Step:
    def step(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        coarse = linear(body, body.add("patches", (x,), size=size)[0], "down")
        coarse = attend(body, shift(body, coarse, by), text)
        return body.add("unpatch", (linear(body, coarse, "up", 4 * size),), size=size)[0]

    return step


def behind_a_prefix(length: int, text: str) -> Step:
    def step(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        prefix = body.param("prompt", (Dim("prompt", Size.of(length)), DIM), ONES)
        joined = attend(body, body.add("concat", (prefix, x), axis="time")[0], text)
        return body.add("slice", (joined,), axis="time", start=length, stop=None)[0]

    return step


STEPS: st.SearchStrategy[Step] = st.one_of(
    st.sampled_from(MASKS).map(attention),
    st.builds(convolution, st.integers(1, 4), st.booleans(), st.integers(1, 2)),
    st.integers(-2, 2).map(moved),
    st.integers(-2, 3).map(replaced),
    st.sampled_from(["softmax", "mean", "0", "1", "-1"]).map(over_time),
    st.builds(in_patches, st.sampled_from([2, 3]), st.integers(0, 2), st.sampled_from(MASKS[:6])),
    st.builds(behind_a_prefix, st.integers(1, 3), st.sampled_from(MASKS[:6])),
)


def model_of(steps: list[Step], repeat: int) -> Graph:
    """Layers that take all steps, so often."""

    def middle(model: Model, body: BodyBuilder, x: Ref) -> Ref:
        names = []
        for number, step in enumerate(steps):
            names.append(model.body(f"step {number}", lambda b, y, s=step: s(model, b, y)))  # type: ignore[misc]
        return model.stack(body, x, *((name, 1) for name in names), count=repeat * len(steps))

    return next_token(middle)


def logits(graph: Graph, tokens: torch.Tensor) -> torch.Tensor:
    model = compile_graph(graph, CompileOptions(seed=1)).double().eval()
    with torch.no_grad():
        result: torch.Tensor = model(tokens)
    return result


def last_seen(reach: Reach | None, position: int) -> int:
    if reach is None:
        return -1
    return max(-1, math.floor(min(reach.stride * position + reach.ahead, LENGTH)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(STEPS, min_size=1, max_size=3), st.integers(1, 2), st.integers(0, LENGTH - 2))
def test_nothing_reaches_further_than_claimed(steps: list[Step], repeat: int, position: int) -> None:
    graph = model_of(steps, repeat)
    output = dict(graph.main.outputs)["output"]
    reach = Flow(graph).root.nodes[output].get(0)
    seen = last_seen(reach, position)
    assume(seen < LENGTH - 1)
    generator = torch.Generator().manual_seed(position)
    tokens = torch.randint(VOCAB, (1, LENGTH), generator=generator)
    rows = [tokens]
    for changed in range(seen + 1, LENGTH):
        other = tokens.clone()
        other[0, changed] = (other[0, changed] + 1) % VOCAB
        rows.append(other)
    at_position = logits(graph, torch.cat(rows))[:, position]
    # products of many rows may round a row otherwise than another; what is read changes far more than that
    torch.testing.assert_close(
        at_position, at_position[:1].expand_as(at_position), rtol=1e-9, atol=1e-9, equal_nan=True
    )


def test_the_claims_are_not_all_empty() -> None:
    """A model that is said to leak one step ahead does, so the property above is not about nothing."""
    graph = model_of([attention("k <= q + 1")], 1)
    assert find_leaks(graph)
    tokens = torch.arange(LENGTH).remainder(VOCAB)[None]
    other = tokens.clone()
    other[0, 5] = 0
    changed = (logits(graph, tokens) != logits(graph, other)).any(-1)[0]
    assert changed.tolist() == [position >= 4 for position in range(LENGTH)]
