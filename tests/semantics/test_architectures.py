"""Architectures that nobody prepared for, written in the language: they check, convert, compile, train and decode."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tantra_dsl
from tantra_compiler.runtime.weights import init_weights
from tantra_dsl.api import Spec
from tantra_dsl.graph.leaks import is_causal
from tantra_dsl.graph.model import Node

SPECS = sorted((Path(__file__).parent / "architectures").glob("*.tantra"))
TIME, BATCH = 16, 2
architectures = pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)


def load(path: Path) -> Spec:
    return tantra_dsl.load(path)


def built(spec: Spec) -> nn.Module:
    model = spec.compile()
    init_weights(model, seed=0)
    return model


def inputs(spec: Spec) -> dict[str, Tensor]:
    """Random data for every input of the model."""
    graph = spec.graph()
    generator = torch.Generator().manual_seed(0)
    return {node.attr("name"): data(node, generator) for node in graph.bodies[graph.root].inputs}


def data(node: Node, generator: torch.Generator) -> Tensor:
    shape = [BATCH, *(dim.size.known or TIME for dim in node.type.dims[1:])]
    spec = node.attr("spec")
    if spec.kind == "per_sequence":
        return torch.randint(TIME // 2, TIME + 1, shape, generator=generator)
    if node.type.dtype == "int":
        return torch.randint(spec.limit or 4, shape, generator=generator)
    return torch.randn(shape, generator=generator)


@architectures
def test_checks(path: Path) -> None:
    assert load(path).check() == []


@architectures
def test_is_the_same_in_yaml_and_flattened(path: Path) -> None:
    spec = load(path)
    assert tantra_dsl.loads(spec.to_yaml(), language="yaml").hash() == spec.hash()
    assert tantra_dsl.loads(spec.to_text()).hash() == spec.hash()
    assert tantra_dsl.loads(spec.resolved_text()).hash() == spec.hash()


@architectures
def test_trains(path: Path) -> None:
    """A few steps on one batch lower the loss, and every weight takes part."""
    spec = load(path)
    model = built(spec)
    batch = inputs(spec)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = model.loss(**batch)
        loss.backward()
        assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@architectures
@torch.no_grad()
def test_decodes_as_it_reads(path: Path) -> None:
    """With a cache, piece by piece, a causal model gives what it gives at once; a patched one has no cache."""
    spec = load(path)
    batch = inputs(spec)
    if len(batch) > 1 or not is_causal(spec.graph()) or "patches" in path.read_text():
        pytest.skip("not decoded token by token")
    model = built(spec).eval()
    ((name, text),) = batch.items()
    cache = model.new_cache(BATCH, TIME)
    pieces = [model(**{name: piece}, cache=cache) for piece in text.split([7, *[1] * 9], dim=1)]
    whole = model(text)
    assert (torch.cat(pieces, dim=1) - whole).abs().max() <= 1e-5 * whole.abs().max()
