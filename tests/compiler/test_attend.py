"""The attention operator: what is made of masks and scores written as text, against the plain reference."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from torch.utils.flop_counter import FlopCounterMode

from tantra_compiler.runtime import attend as operator
from tantra_compiler.runtime.program import AttentionProgram
from tantra_compiler.runtime.reference import reference
from tests.compiler.attention_models import CASES, AttentionCase


def results(case: AttentionCase, length: int = 150, **options: Any) -> list[Tensor]:
    """Output of a model and the gradients of all its weights, in float64."""
    model = case.model(**options).double()
    tokens = torch.randint(0, 64, (2, length), generator=torch.Generator().manual_seed(1))
    out = model(tokens=tokens, **case.fields(2, length))
    (out * torch.linspace(0, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
    return [out.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_the_reference(name: str) -> None:
    found, expected = results(CASES[name]), results(CASES[name], kernels={"*": "reference"})
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        assert (got - want).abs().max() <= 1e-12 * want.abs().max()


@pytest.mark.parametrize("name", ["documents, capped", "strided", "t5"])
def test_standalone_source_does_the_same(name: str) -> None:
    for got, want in zip(results(CASES[name], standalone=True), results(CASES[name]), strict=True):
        assert torch.equal(got, want)


# --- the operator --------------------------------------------------------------------------

PROGRAMS: dict[str, AttentionProgram] = {}


def program_of(name: str) -> AttentionProgram:
    """The program of a case, which is registered once in a process."""
    if name not in PROGRAMS:
        source = type(CASES[name].model())
        module = __import__("sys").modules[source.__module__]
        PROGRAMS[name] = next(value for value in vars(module).values() if isinstance(value, AttentionProgram))
    return PROGRAMS[name]


def operands(queries: int, keys: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    sizes = ((queries, 4), (keys, 2), (keys, 2))
    return tuple(  # type: ignore[return-value]
        torch.randn(2, time, heads, 16, generator=generator, dtype=dtype).requires_grad_() for time, heads in sizes
    )


def captures_of(name: str, keys: int) -> list[Tensor]:
    fields = list(CASES[name].fields(2, keys).values())
    table = torch.randn(32, 4, generator=torch.Generator().manual_seed(3)).requires_grad_()
    return [*fields, *([table] if name == "t5" else [])]


@pytest.mark.parametrize("name", ["window", "documents, capped", "t5", "strided"])
def test_operator_keeps_the_rules_of_torch(name: str) -> None:
    q, k, v = operands(20, 33)
    sink = torch.randn(4, requires_grad=True)
    inputs = (q, k, v, captures_of(name, 33), sink, None, program_of(name).name, 0.25, 0.0)
    found = torch.library.opcheck(operator.ATTEND, inputs)
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", ["window", "documents, capped"])
def test_other_lengths_need_no_new_compilation(name: str) -> None:
    program, compilations = program_of(name), []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        compilations.append(graph)
        return graph.forward

    def call(q: Tensor, k: Tensor, v: Tensor, *captures: Tensor) -> Tensor:
        return operator.attend(q, k, v, program, scale=0.25, captures=captures)

    torch._dynamo.reset()
    compiled = torch.compile(call, backend=backend, fullgraph=True, dynamic=True)
    for length in (40, 41, 64, 100):
        q, k, v = operands(length, length)
        captures = captures_of(name, length)
        assert torch.equal(compiled(q, k, v, *captures), call(q, k, v, *captures))
    assert len(compilations) == 1


def test_gradients_go_through_a_compiled_model() -> None:
    case = CASES["documents, capped"]
    model = case.model()
    inputs = {"tokens": torch.randint(0, 64, (2, 50)), **case.fields(2, 50)}
    model(**inputs).sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    torch.compile(model, backend="aot_eager", fullgraph=True)(**inputs).sum().backward()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("kept", [True, False])
def test_selective_checkpointing_keeps_attention_or_runs_it_again(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    program, runs, forward = program_of("window"), 0, operator.forward_blocks

    def counted(*inputs: Any, **settings: Any) -> Any:
        nonlocal runs
        runs += 1
        return forward(*inputs, **settings)

    monkeypatch.setattr(operator, "forward_blocks", counted)

    def policy(_context: Any, op: Any, *_inputs: Any, **_settings: Any) -> CheckpointPolicy:
        return CheckpointPolicy.MUST_SAVE if kept and op is operator.ATTEND else CheckpointPolicy.PREFER_RECOMPUTE

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return operator.attend(q * 2, k, v, program=program, scale=0.25).sin()

    contexts = partial(create_selective_checkpoint_contexts, policy)
    found = []
    for run in (call, lambda *x: checkpoint(call, *x, use_reentrant=False, context_fn=contexts)):
        inputs = operands(20, 33)
        out = run(*inputs)
        out.square().sum().backward()
        found.append([out, *(x.grad for x in inputs)])
    assert all(torch.equal(got, want) for got, want in zip(*found, strict=True))
    assert runs == (2 if kept else 3)


def test_checkpointing_repeats_dropout() -> None:
    program = program_of("window")
    q, k, v = operands(40, 40)

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return operator.attend(q, k, v, program, scale=0.25, dropout=0.3)

    gradients = []
    for run in (call, lambda *inputs: checkpoint(call, *inputs, use_reentrant=False)):
        torch.manual_seed(5)
        gradients.append(torch.autograd.grad(run(q, k, v).square().sum(), (q, k, v)))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_dropout_is_that_of_the_reference_with_the_seed() -> None:
    program = program_of("window")
    q, k, v = operands(40, 40)
    torch.manual_seed(5)
    out = operator.attend(q, k, v, program, scale=0.25, dropout=0.3)
    torch.manual_seed(5)
    seed = int(torch.randint(2**62, ()).item())
    wanted, _ = reference(q, k, v, program, (), scale=0.25, dropout=0.3, seed=seed)
    torch.testing.assert_close(out, wanted)


def test_autocast_takes_its_precision() -> None:
    q, k, v = operands(40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        out = operator.attend(q, k, v, program_of("window"), scale=0.25)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert q.grad is not None
    assert q.grad.dtype == torch.float32


def test_export_holds_the_operator() -> None:
    class Attention(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return operator.attend(q, k, v, program_of("window"), scale=0.25)

    time = torch.export.Dim("time", min=16, max=4096)
    q, k, v = (x.detach() for x in operands(40, 40))
    exported = torch.export.export(Attention(), (q, k, v), dynamic_shapes=({1: time}, {1: time}, {1: time}))
    assert any("tantra.attend" in str(node.target) for node in exported.graph.nodes)
    longer = tuple(x.detach() for x in operands(90, 90))
    assert torch.equal(exported.module()(*longer), Attention()(*longer))


def test_flops_are_counted() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    q, k, v = operands(40, 40)
    with FlopCounterMode(display=False) as counter:
        operator.attend(q, k, v, program_of("window"), scale=0.25).sum().backward()
    assert counter.get_total_flops() == (2 + 4) * 2 * 2 * 4 * 40 * 40 * 16


def test_decoding_gives_what_the_whole_sequence_gives() -> None:
    for name in ("window", "documents, capped", "strided", "sinks"):
        case = CASES[name]
        model = case.model().eval()
        inputs = {"tokens": torch.randint(0, 64, (2, 60)), **case.fields(2, 60)}
        with torch.no_grad():
            whole = model(**inputs)
            cache = model.new_cache(2, 60)
            steps = [model(**{key: x[:, at : at + 1] for key, x in inputs.items()}, cache=cache) for at in range(60)]
        torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)


# --- kernels that do not build -------------------------------------------------------------


def refused(*_: Any) -> None:
    raise RuntimeError("no such instruction\nin line 3")


def test_attention_without_its_kernel_runs_by_the_reference_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, which is no CPU, as no GPU is needed to see which way is taken."""
    from tantra_compiler.kernels.attention import launch

    program = program_of("window")
    operator._kernel_builds.cache_clear()
    monkeypatch.setattr(launch, "check", refused)
    inputs = [x.detach().to("meta") for x in operands(20, 33)]
    with FlopCounterMode(display=False) as counter, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        shapes = {operator.attend(*inputs, program, scale=0.25).shape for _ in range(3)}
    operator._kernel_builds.cache_clear()
    assert shapes == {torch.Size([2, 20, 4, 16])}
    assert "tantra.attend" not in str(counter.get_flop_counts())
    (warning,) = (str(each.message) for each in told)
    assert program.text in warning
    assert warning.endswith("it does not build: no such instruction")
