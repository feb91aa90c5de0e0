"""Attention on the CPU against the reference in float64: outputs, log-sum-exps and every gradient."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from blockwise_cases import MASKS, SCORES, Case, case, window
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tantra_compiler.runtime import blockwise_plan, blockwise_rows, blockwise_threads
from tantra_compiler.runtime.attention import coordinates
from tantra_compiler.runtime.blockwise import backward_blocks, forward_blocks
from tantra_compiler.runtime.blockwise_fused import fits_fused_kernel
from tantra_compiler.runtime.blockwise_plan import AttentionLengths, visited_blocks
from tantra_compiler.runtime.blockwise_rows import BlockwiseProblem
from tantra_compiler.runtime.program import EMPTY_LSE, AttentionProgram, Span
from tantra_compiler.runtime.reference import reference

SCALE = 0.4
Results = dict[str, Tensor]


def ours(each: Case, **settings: Any) -> Results:
    settings = {"scale": SCALE, "sink": each.sink, **settings}
    out, lse = forward_blocks(*each.inputs, each.program, each.captures, **settings)
    arriving = upstream(each, out, lse)
    found = backward_blocks(
        arriving[0], *each.inputs, out, lse, each.program, each.captures, **settings, dlse=arriving[1]
    )
    *leaving, dsink, dcaptures = found
    assert {i for i, x in enumerate(dcaptures) if x is not None} == set(each.learned)
    gradients = [*leaving, *([] if dsink is None else [dsink]), *(dcaptures[i] for i in each.learned)]
    return dict(zip(names(each), [out, lse, *gradients], strict=True))


def by_reference(each: Case, dtype: torch.dtype, attend: Any = reference, **settings: Any) -> Results:
    leaves = [x.to(dtype).requires_grad_() for x in each.inputs]
    sink = None if each.sink is None else each.sink.to(dtype).requires_grad_()
    captures = [x.detach().to(dtype) if x.is_floating_point() else x for x in each.captures]
    for number in each.learned:
        captures[number].requires_grad_()
    out, lse = attend(*leaves, each.program, tuple(captures), scale=SCALE, sink=sink, **settings)
    wanted = [*leaves, *([] if sink is None else [sink]), *(captures[i] for i in each.learned)]
    gradients = torch.autograd.grad((out, lse), wanted, upstream(each, out, lse), allow_unused=True)
    filled = [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, gradients, strict=True)]
    return dict(zip(names(each), [out.detach(), lse.detach(), *filled], strict=True))


def eager(
    q: Tensor, k: Tensor, v: Tensor, program: AttentionProgram, captures: tuple[Tensor, ...], scale: float, sink: Tensor
) -> tuple[Tensor, Tensor]:
    """What a model without kernels does: products in the type of its inputs, the softmax in float32."""
    times = q.shape[2] // k.shape[2]
    k, v = (x.repeat_interleave(times, dim=2) for x in (k, v))
    at = coordinates(q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.device)
    s = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale
    s = s.float() if program.score is None else program.score(s, *at, *captures).float()
    allowed = torch.ones_like(s, dtype=torch.bool)
    if program.mask is not None:
        allowed = program.mask(*at, *captures).expand(s.shape)
    empty = ~allowed.any(-1)
    sinks = sink.float().view(-1, 1, 1).expand(*s.shape[:-1], 1)
    lse = torch.cat([s.masked_fill(~allowed, -torch.inf), sinks], -1).logsumexp(-1)
    weights = (s - lse.unsqueeze(-1)).exp().masked_fill(~allowed, 0.0).to(v.dtype)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v), lse.masked_fill(empty, EMPTY_LSE)


def names(each: Case) -> list[str]:
    return ["out", "lse", "dq", "dk", "dv", *([] if each.sink is None else ["dsink"]), *map(str, each.learned)]


def upstream(each: Case, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients that arrive; those of ``lse`` are small, as those of a regularisation are."""
    dout = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).sin().view(out.shape)
    dlse = torch.linspace(-0.2, 0.3, lse.numel(), dtype=torch.float64).view(lse.shape)
    return dout.to(out.dtype), dlse.to(lse.dtype) if each.lse_matters else torch.zeros_like(lse)


def assert_within_budget(cases: list[Case], plain: Any) -> None:
    """No further from the truth than twice ``plain`` is, and one rounding, over some draws: one may be lucky."""
    found, truth = [ours(each) for each in cases], [by_reference(each, torch.float64) for each in cases]
    theirs = [by_reference(each, each.inputs[0].dtype, plain) for each in cases]
    for name in truth[0]:
        made, exact, other = (torch.stack([each[name].double() for each in side]) for side in (found, truth, theirs))
        assert torch.isfinite(made).all(), name
        rounding = torch.finfo(found[0][name].dtype).eps / 2 * exact.norm()
        assert (made - exact).norm() <= 2 * (other - exact).norm() + rounding, name


def draws(make: Any, *args: Any, **settings: Any) -> list[Case]:
    return [make(*args, **settings, seed=seed) for seed in range(4)]


def assert_equal_in_float64(each: Case, **settings: Any) -> None:
    found, truth = ours(each, **settings), by_reference(each, torch.float64, **settings)
    for name, exact in truth.items():
        error = (found[name] - exact).abs().max() if exact.numel() else torch.tensor(0.0)
        assert error <= 1e-13 * max(1.0, exact.abs().max().item() if exact.numel() else 0.0), (name, error)


@pytest.fixture(params=["one block", "many blocks"])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks as large as they are in use, and so small that every length is cut in all directions."""
    if request.param == "many blocks":
        monkeypatch.setattr(blockwise_plan, "SCORES_AT_ONCE", 64)
        monkeypatch.setattr(blockwise_plan, "CHUNK_ROWS", (8,))
        monkeypatch.setattr(blockwise_plan, "TESTED_KEYS", 4)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("sink", [False, True])
def test_masks_and_scores(mask: str, score: str, sink: bool) -> None:
    assert_equal_in_float64(case(mask, score, 37, 37, sink=sink, dtype=torch.float64))


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize(("mask", "score"), [("window", "plain"), ("sinks and window", "capped table")])
def test_float32_stays_within_twice_the_plain_error(mask: str, score: str) -> None:
    assert_within_budget(draws(case, mask, score, 131, 131, width=32, value_width=32, sink=True), reference)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (4, 1), (6, 3)])
@pytest.mark.parametrize(
    ("queries", "keys"), [(1, 1), (1, 50), (20, 53), (53, 20), (64, 64), (129, 129), (0, 7), (7, 0), (0, 0)]
)
def test_lengths_and_groups_of_heads(queries: int, keys: int, heads: int, kv_heads: int) -> None:
    for mask, score in (("causal", "plain"), ("longformer", "softcap"), ("windows of heads", "learned slopes")):
        each = case(mask, score, queries, keys, heads, kv_heads, batch=3, sink=True, dtype=torch.float64)
        assert_equal_in_float64(each)


@pytest.mark.usefixtures("cut")
def test_a_chunk_of_every_size_that_may_be_chosen() -> None:
    for queries, keys in ((300, 300), (200, 700)):
        each = case("window", "plain", queries, keys, 2, 1, batch=1, dtype=torch.float64)
        assert_equal_in_float64(each)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("mask", ["causal", "documents", "strided", "late"])
def test_dropout_is_that_of_the_reference(mask: str) -> None:
    each = case(mask, "capped table", 24, 29 if mask != "documents" else 24, sink=True, dtype=torch.float64)
    assert_equal_in_float64(each, dropout=0.3, seed=2**40 + 7)


def test_dropout_repeats_by_seed_and_leaves_the_log_sum_exp_alone() -> None:
    each = case("causal", "plain", 40, 40)
    first, again, other = (
        forward_blocks(*each.inputs, each.program, (), scale=SCALE, dropout=0.5, seed=seed) for seed in (1, 1, 2)
    )
    none = forward_blocks(*each.inputs, each.program, (), scale=SCALE)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(first[1], none[1])
    everything = forward_blocks(*each.inputs, each.program, (), scale=SCALE, dropout=1.0, seed=1)
    assert (everything[0] == 0).all()


def test_a_row_without_keys_gives_zeros_an_empty_lse_and_no_gradient() -> None:
    each = case("late", "learned slopes", 12, 12, sink=True)
    found = ours(each)
    assert (found["out"][:, :5] == 0).all()
    assert (found["lse"][:, :, :5] == EMPTY_LSE).all()
    assert (found["lse"][:, :, 5:] > EMPTY_LSE / 2).all()
    assert (found["dq"][:, :5] == 0).all()
    assert (found["dk"][:, :5] == 0).all()
    assert all(torch.isfinite(x).all() for x in found.values())


def test_scores_of_pairs_that_the_mask_forbids_may_be_anything() -> None:
    """log(q - k) is -inf on the diagonal and NaN above it; its slope there is worse."""
    each = case("causal", "plain", 20, 20, dtype=torch.float64)
    mask = lambda b, h, q, k: k < q  # noqa: E731
    logarithm = replace(
        each.program,
        mask=mask,
        key_spans=None,
        score=lambda s, b, h, q, k: s * torch.log(q - k),
        slope=lambda s, b, h, q, k: torch.log(q - k),
    )
    same = replace(
        logarithm,
        score=lambda s, b, h, q, k: s * torch.log((q - k).clamp(min=1)),
        slope=lambda s, b, h, q, k: torch.log((q - k).clamp(min=1)),
    )
    found, expected = ours(replace(each, program=logarithm)), ours(replace(each, program=same))
    for name in names(each):
        assert torch.equal(found[name], expected[name]), name


def test_large_scores_neither_overflow_nor_vanish() -> None:
    each = case("window", "plain", 40, 40, sink=True)
    loud = replace(each, inputs=[each.inputs[0] * 1e4, each.inputs[1] * 1e4, each.inputs[2]])
    out, lse = forward_blocks(*loud.inputs, each.program, (), scale=1.0, sink=each.sink)
    truth, exact = reference(*(x.double() for x in loud.inputs), each.program, (), scale=1.0, sink=each.sink)
    assert torch.allclose(lse.double(), exact, rtol=1e-5)
    assert torch.isfinite(out).all()
    assert (out.double() - truth).norm() <= 1e-3 * truth.norm()


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("chip", [True, False], ids=["with bfloat16 products", "without"])
@pytest.mark.parametrize("mask", MASKS)
def test_bfloat16_stays_within_twice_the_plain_error(mask: str, chip: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise_rows, "has_bfloat16_products", lambda: chip)
    each = draws(case, mask, "softcap", 45, 45, width=32, value_width=32, sink=True, dtype=torch.bfloat16)
    found = ours(each[0])
    assert found["out"].dtype == found["dk"].dtype == torch.bfloat16
    assert found["lse"].dtype == torch.float32
    assert_within_budget(each, eager)


def test_strided_inputs_give_the_same_and_are_left_alone() -> None:
    each = case("window", "plain", 50, 50, dtype=torch.float64)
    expected = ours(each)
    q, k, v = each.inputs
    laid_out = [
        q.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0),
        torch.stack([k, k], -1).flatten(-2)[..., ::2],
        v.transpose(1, 2).contiguous().transpose(1, 2),
    ]
    assert not any(x.is_contiguous() for x in laid_out)
    before = [x.clone() for x in laid_out]
    found = ours(replace(each, inputs=laid_out))
    for name in names(each):
        assert torch.allclose(found[name], expected[name], rtol=0, atol=1e-13), name
    assert all(torch.equal(a, b) for a, b in zip(before, laid_out, strict=True))


def test_the_same_call_gives_the_same_bits() -> None:
    each = case("documents", "capped table", 200, 200)
    first, second = ours(each), ours(each)
    assert all(torch.equal(first[name], second[name]) for name in names(each))


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that an operator makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.untyped_storage().size():
            self.elements = max(self.elements, made.untyped_storage().size() // made.element_size())
        return made


@pytest.mark.parametrize("mask", ["window", "longformer", "documents", "causal"])
def test_nothing_grows_with_the_square_of_the_length(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise_plan, "SCORES_AT_ONCE", 1 << 14)

    def largest(length: int) -> int:
        each = case(mask, "softcap", length, length, 2, 1, batch=1)
        with Largest() as seen:
            ours(each)
        return seen.elements

    assert largest(2048) <= 2 * largest(1024)


def test_only_what_the_mask_allows_is_visited() -> None:
    lengths = AttentionLengths(batch=1, queries=4096, keys=4096, heads=8, kv_heads=8)
    found = list(visited_blocks(window(256).program, lengths, (), ((0, 1), (0, 8))))
    columns = {block.rows: sum(piece.width for piece in block.pieces) for block in found}
    visited = sum((rows[1] - rows[0]) * width for rows, width in columns.items())
    assert visited <= 1.6 * 4096 * 256
    masked = sum(hi - lo for block in found for piece in block.pieces for lo, hi in piece.masked)
    assert masked < sum(piece.width for block in found for piece in block.pieces)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_sound_spans_give_the_result_of_the_mask(data: st.DataObject) -> None:
    queries, keys = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 24))
    seed, dense = data.draw(st.integers(0, 10**6)), data.draw(st.sampled_from([0.02, 0.3, 0.8, 1.0]))
    table = torch.rand(queries, keys, generator=torch.Generator().manual_seed(seed)) < dense
    program = AttentionProgram(
        "table",
        mask=lambda b, h, q, k, table: table[q - (keys - queries), k],
        key_spans=partial(sound_spans, random.Random(seed)),
        tile_test=data.draw(st.sampled_from([None, ask_tile])),
    )
    each = replace(case("none", "plain", queries, keys, dtype=torch.float64), program=program, captures=(table,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockwise_plan, "CHUNK_ROWS", (data.draw(st.sampled_from([1, 3, 8])),))
        patch.setattr(blockwise_plan, "TESTED_KEYS", data.draw(st.sampled_from([2, 5, 64])))
        patch.setattr(blockwise_plan, "SCORES_AT_ONCE", data.draw(st.sampled_from([1, 50, 1 << 20])))
        assert_equal_in_float64(each)


def sound_spans(
    choice: random.Random, first: int, last: int, b: int, h: int, queries: int, keys: int, table: Tensor
) -> list[Span]:
    """Up to three overlapping intervals in any order that hold every allowed key, each with some part that is full."""
    rows = table[first - (keys - queries) : last + 1 - (keys - queries)]
    some, every = rows.any(0).tolist(), rows.all(0).tolist()
    edges = sorted([0, keys, *(choice.randint(0, keys) for _ in range(choice.randint(0, 2)))])
    spans = []
    for lo, hi in pairwise(edges):
        needed = [key for key in range(lo, hi) if some[key]]
        if not needed:
            spans.append((hi, lo, 0, 0))
            continue
        visit = choice.randint(0, needed[0]), choice.randint(needed[-1] + 1, keys)
        start = choice.randint(*visit)
        stop = start
        while stop < visit[1] and every[stop]:
            stop += 1
        spans.append((*visit, start, stop))
    choice.shuffle(spans)
    return spans


def ask_tile(first_q: int, last_q: int, first_k: int, last_k: int, b: int, h: int, *rest: Any) -> int:
    queries, keys, table = rest
    tile = table[first_q - (keys - queries) : last_q + 1 - (keys - queries), first_k : last_k + 1]
    return int(tile.any()) + int(tile.all())


# --- torch's kernel ----------------------------------------------------------------------


def fused_case(mask: str, *lengths: int, **settings: Any) -> Case:
    """One that torch's kernel takes, forward and backward."""
    each = replace(case(mask, "plain", *lengths, width=16, value_width=16, **settings), lse_matters=False)
    q, k, v = each.inputs
    assert fits_fused_kernel(BlockwiseProblem(q, k, v, each.program, each.captures, SCALE, 0.0, 0), ((0, 2), (0, 2)))
    return each


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2)])
@pytest.mark.parametrize("mask", MASKS)
def test_fused_masks(mask: str, heads: int, kv_heads: int, sink: bool) -> None:
    assert_equal_in_float64(fused_case(mask, 37, 37, heads, kv_heads, sink=sink, dtype=torch.float64))


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 50), (20, 53), (53, 20), (129, 129), (0, 7), (7, 0)])
def test_fused_lengths(queries: int, keys: int) -> None:
    for mask in ("causal", "longformer", "without spans"):
        assert_equal_in_float64(fused_case(mask, queries, keys, 6, 3, batch=3, sink=True, dtype=torch.float64))


@pytest.mark.parametrize("mask", MASKS)
def test_fused_error_stays_within_twice_the_plain_one(mask: str) -> None:
    assert_within_budget(draws(fused_case, mask, 131, 131, sink=True), reference)


def test_fused_strided_inputs() -> None:
    each = fused_case("window", 50, 50, dtype=torch.float64)
    expected = ours(each)
    q, k, v = each.inputs
    every_other = torch.stack([k, k], -1).flatten(-2)[..., ::2]
    found = ours(replace(each, inputs=[q.transpose(1, 2).contiguous().transpose(1, 2), every_other, v]))
    for name in names(each):
        assert torch.allclose(found[name], expected[name], rtol=0, atol=1e-13), name


@pytest.mark.parametrize("change", ["score", "dropout", "widths", "one pair"])
def test_what_torchs_kernel_cannot_do_does_not_reach_it(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    each = case(
        "causal",
        "softcap" if change == "score" else "plain",
        9,
        9,
        kv_heads=1,
        batch=1 if change == "one pair" else 2,
        value_width=5 if change == "widths" else 8,
    )
    q, k, v = each.inputs
    share = ((0, q.shape[0]), (0, 1))
    dropout = 0.1 if change == "dropout" else 0.0
    assert not fits_fused_kernel(BlockwiseProblem(q, k, v, each.program, (), SCALE, dropout, 0), share)


# --- threads -----------------------------------------------------------------------------


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine with two cores, for the smallest attention too."""
    monkeypatch.setattr(blockwise_threads, "_WORTH_THREADS", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("mask", ["causal", "documents", "windows of heads", "late"])
@pytest.mark.parametrize("score", ["plain", "learned slopes", "capped table"])
def test_threads_share_heads_or_batch(mask: str, score: str) -> None:
    for batch, heads, kv_heads, shares in ((1, 4, 4, 2), (2, 4, 1, 2), (8, 3, 3, 2), (1, 3, 3, 1), (2, 4, 2, 2)):
        each = case(mask, score, 37, 37, heads, kv_heads, batch=batch, value_width=8, sink=True, dtype=torch.float64)
        lengths = AttentionLengths(batch, 37, 37, heads, kv_heads)
        assert len(blockwise_threads.shares_of_threads(lengths)) == shares
        assert_equal_in_float64(each)
        assert_equal_in_float64(replace(each, lse_matters=False), dropout=0.2, seed=3)


@pytest.mark.usefixtures("two_threads")
def test_threads_give_the_same_bits_each_time_and_work_in_inference_mode() -> None:
    each = case("documents", "capped table", 200, 200, sink=True)
    first, second = ours(each), ours(each)
    assert all(torch.equal(first[name], second[name]) for name in names(each))
    with torch.inference_mode():
        out, _ = forward_blocks(*each.inputs, each.program, each.captures, scale=SCALE, sink=each.sink)
    assert torch.equal(out, first["out"])


@pytest.mark.usefixtures("two_threads")
def test_a_mistake_in_a_thread_reaches_the_caller() -> None:
    each = case("causal", "plain", 8, 8)

    def wrong(*_: Tensor) -> Tensor:
        raise IndexError("no such capture")

    with pytest.raises(IndexError, match="no such capture"):
        ours(replace(each, program=replace(each.program, mask=wrong)))


def test_few_pairs_stay_in_one_thread() -> None:
    assert len(blockwise_threads.shares_of_threads(AttentionLengths(8, 16, 16, 8, 8))) == 1
