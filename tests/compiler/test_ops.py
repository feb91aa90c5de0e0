"""Runtime functions against written-out formulas and torch's own modules, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tantra_compiler.emit.writer import LOWERED
from tantra_compiler.runtime import losses
from tantra_compiler.runtime.attention import additive_attend, past_mask
from tantra_compiler.runtime.cache import Cache
from tantra_compiler.runtime.experts import combine_experts, expert_linear, route
from tantra_compiler.runtime.losses import balance_loss, cross_entropy
from tantra_compiler.runtime.norms import group_rms_norm, l2_norm, layer_norm, rms_norm
from tantra_compiler.runtime.positions import positions, rope, tabulate
from tantra_compiler.runtime.scans import delta_scan, linear_scan, selective_scan
from tantra_compiler.runtime.shape import (
    conv1d,
    expand_time,
    gather_time,
    image_patches,
    join,
    repeat_heads,
    shift,
    time_patches,
    unpatch,
    weighted_sum,
)
from tantra_dsl.graph.ops import OPS, STRUCTURE


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 31 * len(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def close(a: Tensor, b: Tensor, budget: float = 1e-12) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= budget * max(1.0, b.abs().max().item()))


def test_every_primitive_of_the_language_is_written() -> None:
    assert set(OPS) | STRUCTURE <= LOWERED


# --- shape -----------------------------------------------------------------------------


def test_shift_both_ways() -> None:
    x = torch.arange(1, 7).view(2, 3)
    assert shift(x, by=-1, fill=-100).tolist() == [[2, 3, -100], [5, 6, -100]]
    assert shift(x, by=2).tolist() == [[0, 0, 1], [0, 0, 4]]
    assert shift(x, by=5, fill=9).tolist() == [[9, 9, 9], [9, 9, 9]]
    assert shift(random(2, 4, 3), by=0).equal(random(2, 4, 3))


def test_image_patches_are_a_strided_convolution() -> None:
    image, kernel = random(2, 3, 8, 12), random(5, 3, 4, 4)
    expected = F.conv2d(image, kernel, stride=4).flatten(2).transpose(1, 2)
    assert close(image_patches(image, 4) @ kernel.flatten(1).T, expected)


def test_time_patches_and_back() -> None:
    x = random(2, 6, 4)
    cut = time_patches(x, 3)
    assert cut[1, 1].equal(torch.cat([x[1, 3], x[1, 4], x[1, 5]]))
    assert unpatch(cut, 3).equal(x)


def test_join_repeats_what_has_no_batch() -> None:
    token, x = random(1, 4), random(3, 5, 4)
    joined = join(token, x, axis=-2)
    assert joined.shape == (3, 6, 4)
    assert joined[2, 0].equal(token[0])


def test_heads_repeat_in_place() -> None:
    assert repeat_heads(torch.arange(2).view(1, 2, 1), 3).flatten().tolist() == [0, 0, 0, 1, 1, 1]


def test_gather_and_expand_over_time() -> None:
    x = random(2, 5, 3)
    assert gather_time(x, torch.tensor([4, 1])).equal(torch.stack([x[0, 4], x[1, 1]]))
    state = random(2, 3)
    assert expand_time(state, x, 1).equal(state.unsqueeze(1).repeat(1, 5, 1))
    assert expand_time(state[0], x, 0).equal(state[0].repeat(5, 1))


@pytest.mark.parametrize("axis", [-4, -2, -1])
def test_weighted_sums(axis: int) -> None:
    x = random(3, 2, 5, 4)
    weights = random(x.shape[axis])
    shape = [1] * 4
    shape[axis] = -1
    assert close(weighted_sum(x, weights, axis), (x * weights.view(shape)).sum(axis))


def test_weighted_sum_with_weights_for_every_row() -> None:
    x, weights = random(2, 5, 4), random(2, 5)
    assert close(weighted_sum(x, weights, -2), (x * weights.unsqueeze(-1)).sum(1))


@pytest.mark.parametrize(("width", "dilation", "groups"), [(4, 1, 1), (3, 2, 2), (1, 1, 4)])
def test_convolution_is_causal_or_centred(width: int, dilation: int, groups: int) -> None:
    x, weight, bias = random(2, 7, 4), random(4, 4 // groups, width), random(4)
    reach = (width - 1) * dilation
    made = {
        causal: conv1d(x, weight, bias, causal=causal, dilation=dilation, groups=groups) for causal in (True, False)
    }
    for causal, left in ((True, reach), (False, reach - reach // 2)):
        padded = torch.cat([x.new_zeros(2, left, 4), x, x.new_zeros(2, reach - left, 4)], dim=1)
        for t in range(7):
            window = padded[:, t : t + reach + 1 : dilation]  # [batch, width, in]
            parts = [
                torch.einsum("bwi,oiw->bo", cut, kernel)
                for cut, kernel in zip(window.chunk(groups, -1), weight.chunk(groups), strict=True)
            ]
            assert close(made[causal][:, t], torch.cat(parts, -1) + bias)


# --- norms -----------------------------------------------------------------------------


def gradients(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    made = function(*leaves)
    ramp = torch.linspace(-1, 1, made.numel(), dtype=made.dtype).view(made.shape)
    return [made, *torch.autograd.grad((made * ramp).sum(), leaves)]


def test_norms_are_their_formulas() -> None:
    x, w, b = random(2, 5, 8), random(8, seed=1), random(8, seed=2)
    mean, spread = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    assert close(layer_norm(x, w, b, eps=1e-3), (x - mean) / (spread + 1e-3).sqrt() * w + b)
    assert close(l2_norm(x, eps=1e-3), x / (x.square().sum(-1, keepdim=True) + 1e-3).sqrt())
    parts = [part / (part.square().mean(-1, keepdim=True) + 1e-3).sqrt() for part in x.chunk(2, -1)]
    assert close(group_rms_norm(x, 2, eps=1e-3), torch.cat(parts, -1))


@pytest.mark.parametrize(("dtype", "budget"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 0.03)])
def test_rms_norm_and_its_gradient(dtype: torch.dtype, budget: float) -> None:
    x, w = random(3, 5, 16).to(dtype), random(16, seed=1).to(dtype)
    made = gradients(lambda x, w: rms_norm(x, w, eps=1e-5), x, w)
    plain = gradients(lambda x, w: x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w, x.double(), w.double())
    for ours, theirs in zip(made, plain, strict=True):
        assert close(ours.double(), theirs, budget)


# --- positions -------------------------------------------------------------------------


def frequency(j: Tensor) -> Tensor:
    return 100.0 ** (-2 * j / 6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rope_turns_pairs_as_complex_numbers(interleaved: bool) -> None:
    x = random(2, 9, 3, 8)
    made = rope(x, frequency, 6, interleaved=interleaved, factor=1.5)
    for t in range(9):
        for j in range(3):
            a, b = (2 * j, 2 * j + 1) if interleaved else (j, j + 3)
            turn = torch.polar(*torch.tensor([1.5, t * 100.0 ** (-2 * j / 6)], dtype=torch.float64))
            pair = torch.complex(x[:, t, :, a], x[:, t, :, b]) * turn
            assert close(made[:, t, :, a], pair.real)
            assert close(made[:, t, :, b], pair.imag)
    assert made[..., 6:].equal(x[..., 6:])


def test_rope_scores_depend_on_distance_alone() -> None:
    q, k = random(1, 1, 1, 6).expand(1, 12, 1, 6), random(1, 1, 1, 6, seed=5).expand(1, 12, 1, 6)
    scores = torch.einsum("bqhd,bkhd->qk", rope(q, frequency, 6), rope(k, frequency, 6))
    for distance in range(12):
        diagonal = scores.diagonal(-distance)
        assert close(diagonal, diagonal[:1].expand_as(diagonal), 1e-10)


def test_positions_and_tables_start_behind_the_cache() -> None:
    cache = Cache(1, 8)
    cache.begin(5)
    cache.begin(2)
    x = random(1, 2, 4)
    assert positions(x, cache=cache).tolist() == [5, 6]
    assert positions(x, offset=2).tolist() == [2, 3]
    table = tabulate(x, lambda p, c: p * 10 + c, 3, cache=cache)
    assert table.tolist() == [[50, 51, 52], [60, 61, 62]]


# --- scans -----------------------------------------------------------------------------


def scan_inputs(groups: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    return random(2, 6, groups, 5), random(2, 6, groups, 5, seed=1), random(2, 6, 4, 3, seed=2)


@pytest.mark.parametrize("shape", [None, (4,), (2, 6, 4), (2, 6, 4, 5)], ids=str)
def test_linear_scan_is_decayed_linear_attention(shape: tuple[int, ...] | None) -> None:
    q, k, v = scan_inputs()
    decay = None if shape is None else random(*shape, seed=3).sigmoid()
    made = linear_scan(q, k, v, decay)
    full = torch.ones(2, 6, 4, 5, dtype=torch.float64)
    if decay is not None:
        full = full * (decay if decay.dim() == 4 else decay.unsqueeze(-1))
    for h in range(4):
        for t in range(6):
            expected = torch.zeros(2, 3, dtype=torch.float64)
            for s in range(t + 1):
                between = full[:, s + 1 : t + 1, h].prod(1)
                expected += (q[:, t, h // 2] * between * k[:, s, h // 2]).sum(-1, keepdim=True) * v[:, s, h]
            assert close(made[:, t, h], expected)


def test_selective_scan_is_its_recurrence() -> None:
    x, delta = random(2, 6, 4), random(2, 6, 4, seed=1).sigmoid()
    a, b, c = -random(4, 3).exp(), random(2, 6, 3), random(2, 6, 3, seed=4)
    made = selective_scan(x, delta, a, b, c)
    h = torch.zeros(2, 4, 3, dtype=torch.float64)
    for t in range(6):
        step = delta[:, t].unsqueeze(-1)
        h = (step * a).exp() * h + step * b[:, t].unsqueeze(1) * x[:, t].unsqueeze(-1)
        assert close(made[:, t], torch.einsum("bdn,bn->bd", h, c[:, t]))


@pytest.mark.parametrize("decayed", [False, True])
def test_delta_scan_is_its_recurrence(decayed: bool) -> None:
    q, k, v = random(2, 6, 4, 5), F.normalize(random(2, 6, 4, 5, seed=1), dim=-1), random(2, 6, 4, 3, seed=2)
    beta = random(2, 6, 4, seed=3).sigmoid()
    decay = random(2, 6, 4, seed=4).sigmoid() if decayed else None
    made = delta_scan(q, k, v, beta, decay)
    state = torch.zeros(2, 4, 3, 5, dtype=torch.float64)
    for t in range(6):
        key, rate = k[:, t].unsqueeze(-1), beta[:, t, :, None, None]
        kept = state if decay is None else decay[:, t, :, None, None] * state
        erased = kept @ (torch.eye(5, dtype=torch.float64) - rate * key @ key.mT)
        state = erased + rate * v[:, t].unsqueeze(-1) @ key.mT
        assert close(made[:, t], (state @ q[:, t].unsqueeze(-1)).squeeze(-1))


# --- experts ---------------------------------------------------------------------------


def test_routes_take_the_best() -> None:
    scores = torch.tensor([[[0.1, 0.4, 0.2, 0.3]]])
    experts, weights = route(scores, 2, normalize=True, scale=2.0)
    assert experts.tolist() == [[[1, 3]]]
    assert torch.allclose(weights, torch.tensor([[[0.4, 0.3]]]) / 0.7 * 2)
    assert torch.allclose(route(scores, 2, softmax=True)[1], torch.tensor([[[0.4, 0.3]]]).softmax(-1))


def test_a_bias_joins_the_choice_alone() -> None:
    scores = torch.tensor([[[0.1, 0.4, 0.2, 0.3]]])
    experts, weights = route(scores, 1, bias=torch.tensor([1.0, 0, 0, 0]))
    assert experts.item() == 0
    assert weights.item() == pytest.approx(0.1)


def test_only_the_best_groups_are_open() -> None:
    scores = torch.tensor([[[0.9, 0.0, 0.5, 0.5, 0.1, 0.2]]])
    assert route(scores, 2, groups=3, kept_groups=1)[0].sort().values.tolist() == [[[2, 3]]]
    assert route(scores, 2, groups=3, kept_groups=2)[0].tolist()[0][0][0] == 0


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("biased", [False, True])
def test_each_slot_goes_through_its_expert(rank: int, biased: bool) -> None:
    x = random(2, 3, 5) if rank == 3 else random(2, 3, 2, 5)
    experts = torch.tensor([[[0, 3], [1, 0], [3, 1]], [[3, 0], [0, 1], [1, 3]]])
    weight, bias = random(4, 6, 5), random(4, 6) if biased else None
    made, *grads = gradients(lambda x, w: expert_linear(x, experts, w, bias), x, weight)
    rows = x.unsqueeze(2).expand(2, 3, 2, 5) if rank == 3 else x
    expected, *plain = gradients(
        lambda r, w: (
            torch.einsum("btsi,btsoi->btso", r.unsqueeze(2).expand(2, 3, 2, 5) if r.dim() == 3 else r, w[experts])
            + (0 if bias is None else bias[experts])
        ),
        x,
        weight,
    )
    assert rows.shape == (2, 3, 2, 5)
    assert close(made, expected)
    assert all(close(a, b) for a, b in zip(grads, plain, strict=True))


def test_experts_are_combined_by_weight() -> None:
    y, weights = random(2, 3, 2, 5), random(2, 3, 2)
    assert close(combine_experts(y, weights), (y * weights.unsqueeze(-1)).sum(2))


def test_balance_loss_is_one_for_even_use() -> None:
    scores = torch.full((1, 4, 4), 0.25)
    even = torch.tensor([[[0, 1], [2, 3], [0, 1], [2, 3]]])
    assert balance_loss(scores, even, 4).item() == pytest.approx(1.0)
    favoured = torch.tensor([[[0.7, 0.1, 0.1, 0.1]] * 4])
    assert balance_loss(favoured, torch.zeros(1, 4, 1, dtype=torch.int64), 4).item() == pytest.approx(2.8)


# --- losses and additive attention -----------------------------------------------------


def test_cross_entropy_skips_ignored_targets() -> None:
    logits, target = random(2, 4, 7), torch.tensor([[1, -100, 3, 6], [-100, -100, 0, 2]])
    kept = target != -100
    picked = -logits.log_softmax(-1)[kept].gather(-1, target[kept].unsqueeze(-1)).mean()
    assert close(cross_entropy(logits, target), picked)
    smooth = F.cross_entropy(logits[kept], target[kept], label_smoothing=0.1)
    assert close(cross_entropy(logits, target, label_smoothing=0.1), smooth)
    squares = logits[kept].logsumexp(-1).square().mean()
    assert close(cross_entropy(logits, target, z_loss=0.01), picked + 0.01 * squares, 1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "budget"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 0.01)])
def test_large_cross_entropy_goes_over_the_logits_in_parts(
    smoothing: float, dtype: torch.dtype, budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "_PART", 64)
    logits, target = (3 * random(3, 9, 21)).to(dtype), torch.arange(27).view(3, 9) % 21
    target[0, :5] = -100
    plain = gradients(lambda x: cross_entropy(x, target, label_smoothing=smoothing), logits.double())
    monkeypatch.setattr(losses, "_LARGE", 1)
    made = gradients(lambda x: cross_entropy(x, target, label_smoothing=smoothing), logits)
    assert made[0].grad_fn is not None
    assert "InParts" in type(made[0].grad_fn).__name__
    assert all(close(ours.double(), theirs, budget) for ours, theirs in zip(made, plain, strict=True))


def test_additive_attention_is_its_formula() -> None:
    q, k, v, w = random(2, 3, 4, 5), random(2, 3, 2, 5, seed=1), random(2, 3, 2, 6, seed=2), random(5)
    made = additive_attend(q, k, v, w, mask=past_mask)
    for h in range(4):
        for i in range(3):
            s = (w * (q[:, i, h].unsqueeze(1) + k[:, : i + 1, h // 2]).tanh()).sum(-1).softmax(-1)
            assert close(made[:, i, h], torch.einsum("bk,bkd->bd", s, v[:, : i + 1, h // 2]))
