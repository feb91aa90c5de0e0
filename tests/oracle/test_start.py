"""Freshly started weights: repeatable, and distributed as the specs and transformers say."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_twins import FAMILIES
from torch import Tensor, nn

import tantra_dsl
from tantra_dsl.graph.paths import Weight, weights

SHIPPED = ["gpt2", "llama3", "bert", "transformer", "vit", "gemma3", "deepseek", "mamba2", "t5", "clip", "denseformer"]
SIGMAS = 5.0  # of a statistic's own sampling error


def started(name: str, seed: int = 0) -> dict[str, Tensor]:
    return tantra_dsl.loads(FAMILIES[name].spec).compile(seed=seed).state_dict()


@pytest.mark.parametrize("name", ["gpt2", "vit", "mamba2", "deepseek"])
def test_one_seed_gives_one_start(name: str) -> None:
    torch.manual_seed(1)
    first = started(name)
    torch.manual_seed(2)
    second, other = started(name), started(name, seed=1)
    assert all(torch.equal(first[path], second[path]) for path in first)
    drawn = [path for path, weight in first.items() if weight.numel() > 1 and weight.std() > 0]
    assert any("attention" in path or "mixer" in path for path in drawn)
    random = [path for path in drawn if not path.endswith(("a_log", "step_bias"))]
    assert not any(torch.equal(first[path], other[path]) for path in random)


def test_no_two_weights_start_alike() -> None:
    drawn = [weight for weight in started("gpt2").values() if weight.shape == (32, 32)]
    correlated = torch.corrcoef(torch.stack([weight.flatten() for weight in drawn])).fill_diagonal_(0)
    assert correlated.abs().max() < SIGMAS / math.sqrt(32 * 32)


def assert_normal(values: Tensor, std: float) -> None:
    """Mean zero and ``std``, each up to its sampling error; kurtosis tells a normal from a uniform distribution."""
    count = values.numel()
    assert abs(values.mean()) <= SIGMAS * std / math.sqrt(count)
    assert abs(values.std() / std - 1) <= SIGMAS / math.sqrt(2 * count)
    kurtosis = (values / values.std()).pow(4).mean()
    assert abs(kurtosis - 3) <= SIGMAS * math.sqrt(24 / count)


GPT2 = """
model narrow extends gpt2 {
  vocab: 512  context: 64  dim: 64  blocks: 8
  layers.attention.heads: 4
  expect params < 1M
}
"""


@pytest.fixture(scope="module")
def gpt2() -> dict[str, Tensor]:
    return tantra_dsl.loads(GPT2).compile(seed=3).state_dict()


def joined(state: dict[str, Tensor], *endings: str) -> Tensor:
    return torch.cat([weight.flatten() for path, weight in state.items() if path.endswith(endings)])


def test_gpt2_residual_projections_start_smaller(gpt2: dict[str, Tensor]) -> None:
    """Radford et al. 2019: by the square root of the number of residual layers, two in each of eight blocks."""
    for ending in ("attention.out.weight", "ffn.out.weight"):
        assert_normal(joined(gpt2, ending), 0.02 / math.sqrt(16))


def test_gpt2_other_weights_start_at_a_fiftieth(gpt2: dict[str, Tensor]) -> None:
    for ending in ("q.weight", "k.weight", "v.weight", "up.weight", "tokens.weight", "learned_positions.weight"):
        assert_normal(joined(gpt2, ending), 0.02)


def test_gpt2_biases_and_norms_start_as_nothing(gpt2: dict[str, Tensor]) -> None:
    assert not joined(gpt2, ".bias").any()
    assert (joined(gpt2, "norm.weight") == 1).all()


def test_truncated_normal_ends_at_two_deviations() -> None:
    state = started("vit")
    values = joined(state, "embed.patches.weight", "embed.positions")
    assert values.abs().max() <= 0.04
    # A normal distribution cut at two deviations has 0.8796 of its deviation, and 1.9% beyond 1.95 of them.
    assert abs(values.std() / (0.02 * 0.8796) - 1) <= SIGMAS / math.sqrt(2 * values.numel())
    assert (values.abs() > 0.039).any()


def test_xavier_uniform_reaches_its_bounds_and_no_further() -> None:
    state = started("transformer")
    values = joined(state, "ffn.up.weight", "ffn.out.weight")
    bound = math.sqrt(6 / (32 + 48))
    assert 0.99 * bound <= values.abs().max() <= bound
    assert abs(values.std() / (bound / math.sqrt(3)) - 1) <= SIGMAS / math.sqrt(2 * values.numel())


def test_mamba2_steps_start_between_a_thousandth_and_a_tenth() -> None:
    steps = nn.functional.softplus(joined(started("mamba2"), "layers.0.mixer.step_bias").double())
    assert torch.allclose(steps, torch.logspace(-3, -1, 4, dtype=torch.float64), rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama3", "bert", "gemma3", "deepseek", "t5", "mamba2"])
def test_deviations_are_those_of_transformers(name: str) -> None:
    torch.manual_seed(0)
    theirs = FAMILIES[name].twin().state_dict()
    for path, ours in started(name).items():
        place, view = FAMILIES[name].place(path)
        their = view(theirs[place])
        if their.numel() < 2 or their.std() == 0:
            assert torch.equal(ours, their), path
            continue
        error = SIGMAS / math.sqrt(ours.numel())  # of the logarithm of the ratio of two sampled deviations
        assert abs(math.log(ours.std() / their.std())) <= error, path


@pytest.mark.parametrize("name", SHIPPED)
def test_every_weight_starts_as_the_graph_says(name: str) -> None:
    spec = tantra_dsl.loads(FAMILIES[name].spec)
    state = started(name)
    described = {weight.path: weight for weight in weights(spec.graph())}
    assert set(described) == set(state)
    for path, values in state.items():
        assert_starts_as_described(values, described[path])


def assert_starts_as_described(values: Tensor, weight: Weight) -> None:
    kind, numbers = weight.init.kind, weight.init.values
    assert tuple(values.shape) == weight.shape
    if kind == "constant":
        assert (values == numbers[0]).all(), weight.path
    elif kind == "values":
        assert torch.equal(values, torch.tensor(numbers).view(weight.shape)), weight.path
    elif kind == "normal":
        mean, std = numbers
        assert abs(values.mean() - mean) <= SIGMAS * std / math.sqrt(weight.count), weight.path
        assert abs(values.std() / std - 1) <= SIGMAS / math.sqrt(2 * weight.count), weight.path
    elif kind == "truncated_normal":
        mean, std, low, high = numbers
        assert low * std <= values.min() - mean <= values.max() - mean <= high * std
    else:
        bound = uniform_bound(weight)
        assert values.abs().max() <= bound
        assert abs(values.std() / bound * math.sqrt(3) - 1) <= SIGMAS / math.sqrt(2 * weight.count), weight.path


def uniform_bound(weight: Weight) -> float:
    """Glorot & Bengio 2010, He et al. 2015."""
    inputs, outputs = weight.shape[1] * math.prod(weight.shape[2:]), weight.shape[0] * math.prod(weight.shape[2:])
    if weight.init.kind == "xavier_uniform":
        return weight.init.values[0] * math.sqrt(6 / (inputs + outputs))
    assert weight.init.kind == "kaiming_uniform"
    return math.sqrt(6 / ((1 + weight.init.values[0] ** 2) * inputs))
