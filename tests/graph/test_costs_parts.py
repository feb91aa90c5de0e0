"""Memory of training by part: it adds up at every level, and is what each part's module keeps when it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings

import tantra_dsl
from tantra_compiler import CompileOptions, compile_graph
from tantra_dsl.api import shipped
from tantra_dsl.graph.costs import CostReport, Part, cost
from tantra_dsl.graph.model import Graph
from tests.diff.random_specs import Model, Spelling, models, text
from tests.graph.hand_built import alternating, shared_module, tapping, tapping_inside, tied_instance, tiny, two_lengths
from tests.graph.test_costs_shipped import BATCH, SEQ, inputs, small

MEMORY = ("activation_bytes", "optimizer_bytes")
HAND_BUILT = [tiny(3), alternating(7), alternating(7, shared=True), shared_module(), tied_instance(), two_lengths(),
              tapping(0), tapping_inside()]  # fmt: skip


def below(parts: tuple[Part, ...]) -> Iterator[Part]:
    for part in parts:
        yield part
        yield from below(part.parts)


def check_sums(report: CostReport) -> None:
    """The root's parts make the model; parts of a part make it, but for weights that it owns itself."""
    for name in (*MEMORY, "params"):
        assert sum(getattr(part, name) for part in report.parts) == report[name].value
    for part in below(report.parts):
        assert min(part.activation_bytes, part.optimizer_bytes) >= 0
        if part.parts:
            assert sum(inner.activation_bytes for inner in part.parts) == part.activation_bytes
            own = part.params - sum(inner.params for inner in part.parts)
            rest = part.optimizer_bytes - sum(inner.optimizer_bytes for inner in part.parts)
            assert 4 * own <= rest <= 8 * own


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("name", [spec.name for spec in shipped()])
def test_parts_of_shipped_specs_sum_up(name: str, optimizer: str) -> None:
    graph = tantra_dsl.load(name).graph()
    for precision, dropout in (("float32", 0.0), ("bf16", 0.1)):
        check_sums(cost(graph, seq=48, batch=2, precision=precision, optimizer=optimizer, dropout=dropout))


@pytest.mark.parametrize("graph", HAND_BUILT)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_parts_of_odd_graphs_sum_up(graph: Graph, optimizer: str) -> None:
    check_sums(cost(graph, seq=16, batch=3, optimizer=optimizer))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(models)
def test_parts_of_random_specs_sum_up(model: Model) -> None:
    graph = tantra_dsl.loads(text(model, Spelling())).graph()
    for optimizer, precision in (("adamw", "float32"), ("muon", "bf16")):
        check_sums(cost(graph, seq=24, batch=2, optimizer=optimizer, precision=precision, dropout=0.1))


def kept_by_part(graph: Graph, names: set[str]) -> dict[str, int]:
    """Bytes that the backward pass holds, by the part of ``names`` whose module was running when each was held first.

    What is held outside of them counts for the model.
    """
    compiled = compile_graph(graph, CompileOptions(seed=0)).train()
    weights = {weight.untyped_storage().data_ptr() for weight in compiled.parameters()}
    running, held = [""], {}

    def enter(name: str) -> None:
        running.append(name)

    for path, module in compiled.named_modules():
        name = ".".join(part for part in path.split(".") if not part.isdigit())
        if name in names:
            module.register_forward_pre_hook(lambda module, args, name=name: enter(name))
            module.register_forward_hook(lambda module, args, result: running.pop() and None)

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held.setdefault(storage.data_ptr(), (running[-1], storage.nbytes(), tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        compiled.loss(**inputs(graph))  # type: ignore[operator]
    found = dict.fromkeys(names, 0)
    for name, size, _ in held.values():
        found[name] = found.get(name, 0) + size
    return found


@pytest.mark.parametrize("name", ["gpt2", "llama3_8b", "transformer_base", "deepseek_v3"])
def test_a_part_keeps_what_its_module_keeps(name: str) -> None:
    graph = small(name)
    report = cost(graph, seq=SEQ, batch=BATCH)
    stated: dict[str, int] = {}
    for stack in (part for part in report.parts if part.kind == "stack"):
        for inner in (inner for layer in stack.parts for inner in layer.parts):
            path = f"{stack.name}.{inner.name}"
            stated[path] = stated.get(path, 0) + inner.activation_bytes
    measured = kept_by_part(graph, set(stated))
    beside_sums = [path for path in stated if path.endswith("norm") and not measured[path]]
    for path, size in stated.items():
        if path not in beside_sums:
            assert measured[path] == pytest.approx(size, rel=0.02), path
    # Norms that are computed with the sum before them keep their input outside of their module.
    assert sum(stated[path] for path in beside_sums) <= measured[""]
