"""Heads normalised and turned by the kernels, in the interpreter: against float64, within twice plain torch's error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tantra_compiler.kernels.attention.configs import TARGETS
from tantra_compiler.kernels.fused import rope
from tantra_compiler.runtime import turned_heads
from tantra_compiler.runtime.positions import rotation_between
from tantra_compiler.runtime.turned_heads import Heads, _layout_of, turned_heads_reference
from tests.kernels.attention.dense import within_budget
from tests.kernels.attention.test_build import python

Made = tuple[list[Tensor], list[Tensor]]
QUICK = """
import json, sys
from tantra_compiler.kernels.fused.rope import builds
found = [build.built(sys.argv[1]) for number, build in enumerate(builds(sys.argv[1])) if number % int(sys.argv[2]) == 0]
print(json.dumps([len(found), sum(each.spills for each in found)]))
"""


@dataclass(frozen=True)
class Problem:
    """Queries, keys and values of ``width``, of which ``turning`` channels turn; ``norms`` are of queries and keys."""

    width: int = 16
    turning: int = 16
    norms: tuple[str | None, str | None] = (None, None)
    interleaved: bool = False
    bias: bool = False
    factor: float = 1.0
    counts: tuple[int, int, int] = (4, 2, 2)
    batch: int = 2
    time: int = 5
    spare: int = 0
    transposed: bool = False

    def parts(self) -> list[Heads]:
        """The projection's parts, with weights in float64."""
        generator = torch.Generator().manual_seed(2)
        made = []
        for count, norm in zip(self.counts, (*self.norms, None), strict=True):
            weight, bias = (torch.rand(self.width, generator=generator, dtype=torch.float64) + 0.5 for _ in range(2))
            turned = self.turning > 0 and len(made) < 2
            given = (weight, bias if self.bias else None) if norm else (None, None)
            made.append(Heads(count, self.width, norm, *given, 1e-5, turned))
        return made

    def packed(self, dtype: torch.dtype) -> Tensor:
        """The projection; ``spare`` columns lie between its rows."""
        columns = sum(self.counts) * self.width
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(self.batch, self.time, columns + self.spare, generator=generator, dtype=torch.float64)
        return (2 * x).to(dtype)[..., :columns]

    def grads(self, dtype: torch.dtype) -> list[Tensor]:
        """Gradients of the heads, in memory as attention or as the rest of torch leaves them."""
        generator, made = torch.Generator().manual_seed(4), []
        for count in self.counts:
            x = torch.randn(self.batch, self.time, count, self.width, generator=generator, dtype=torch.float64).to(
                dtype
            )
            made.append(x.transpose(1, 2).contiguous().transpose(1, 2) if self.transposed else x)
        return made


PROBLEMS = {
    "turned": Problem(),
    "neighbours": Problem(interleaved=True),
    "some channels": Problem(width=18, turning=6, spare=5),
    "some neighbours": Problem(width=18, turning=6, interleaved=True, factor=1.5, transposed=True),
    "one pair": Problem(width=2, turning=2, counts=(1, 1, 3)),
    "odd sizes": Problem(width=27, turning=22, counts=(3, 1, 1), batch=3, time=7, spare=1),
    "rms": Problem(norms=("rms_norm", "rms_norm")),
    "rms of keys": Problem(norms=(None, "rms_norm"), width=12, turning=4),
    "rms of neighbours": Problem(norms=("rms_norm", "rms_norm"), interleaved=True, transposed=True, spare=3),
    "layernorm": Problem(norms=("layer_norm", "layer_norm"), bias=True),
    "rms alone": Problem(norms=("rms_norm", "rms_norm"), turning=0, width=11),
    "one channel": Problem(norms=("rms_norm", None), turning=0, width=1),
    "both norms": Problem(norms=("layer_norm", "rms_norm"), width=18, turning=8, interleaved=True),
}


def plain(problem: Problem, x: Tensor, parts: list[Heads], grads: list[Tensor]) -> list[Tensor]:
    """Heads, gradient of the projection, and those of weights and biases, by torch."""
    x = x.clone().requires_grad_()
    vectors = [v.requires_grad_() for part in parts for v in (part.weight, part.bias) if v is not None]
    settings: dict[str, Any] = {"interleaved": problem.interleaved, "factor": problem.factor}
    found = turned_heads_reference(x, parts, frequency, problem.turning, **settings)
    return [*(y.detach() for y in found), *torch.autograd.grad(found, [x, *vectors], grads)]


def frequency(j: Tensor) -> Tensor:
    return 100 ** (-j / 8)


def ours(problem: Problem, x: Tensor, parts: list[Heads], grads: list[Tensor], module: Any) -> list[Tensor]:
    """The same by the kernels."""
    layout, tables = _layout_of(parts, problem.interleaved), (None, None)
    if problem.turning:
        settings = (problem.turning, problem.factor, problem.interleaved, 1, x.device, torch.float32)
        tables = rotation_between(0, problem.time, frequency, *settings)
    weights, biases = [part.weight for part in parts], [part.bias for part in parts]
    before, stats, heads = None, [], layout.views(x.clone())
    if any(layout.norms):
        made, stats = module.norm(x, *tables, weights, biases, *layout)
        before = x
        for at, y in zip(layout.changed, made, strict=True):
            heads[at] = y
    else:
        memory = x.clone(memory_format=torch.preserve_format)
        module.turn(memory, *tables, *layout)
        heads = layout.views(memory)
    grad, *vectors = module.backward(grads, before, stats, *tables, weights, biases, *layout)
    pairs = [v for pair in zip(*vectors, strict=True) for v in pair]
    return [*heads, grad, *(v for v in pairs if v.numel())]


def cast(parts: list[Heads], dtype: torch.dtype) -> list[Heads]:
    def change(vector: Tensor | None) -> Tensor | None:
        return None if vector is None else vector.detach().to(dtype)

    return [part._replace(weight=change(part.weight), bias=change(part.bias)) for part in parts]


KINDS = [(torch.float32, 1024), (torch.bfloat16, 1024), (torch.float16, 1024), (torch.float32, 4)]


@pytest.mark.parametrize(("dtype", "widest"), KINDS, ids=["float32", "bfloat16", "float16", "blocks"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_errs_at_most_twice_as_much_as_plain_torch(
    name: str, dtype: torch.dtype, widest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rope, "_WIDEST", widest)
    problem = PROBLEMS[name]
    x, grads, parts = problem.packed(dtype), problem.grads(dtype), cast(problem.parts(), dtype)
    exact = plain(problem, x.double(), cast(parts, torch.float64), [g.double() for g in grads])
    rough = plain(problem, x, cast(parts, dtype), grads)
    got = ours(problem, x, parts, grads, rope)
    assert [y.dtype for y in got] == [y.dtype for y in rough]
    within_budget(got, rough, exact)


@pytest.mark.parametrize("name", ["turned", "rms", "both norms"])
def test_gives_the_same_bits_each_time(name: str) -> None:
    problem = PROBLEMS[name]
    given = problem, problem.packed(torch.float32), cast(problem.parts(), torch.float32), problem.grads(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(ours(*given, rope), ours(*given, rope), strict=True))


def test_memory_between_rows_stays_as_it_is() -> None:
    problem = PROBLEMS["some channels"]
    x, (cos, sin) = problem.packed(torch.float32), tables_of(problem)
    whole = torch.as_strided(x, (*x.shape[:2], x.shape[2] + problem.spare), x.stride())
    before = whole.clone()
    rope.turn(x, cos, sin, *_layout_of(problem.parts(), False))
    assert torch.equal(whole[..., x.shape[2] :], before[..., x.shape[2] :])
    changed = (whole != before).view(-1, whole.shape[-1]).any(0).nonzero().flatten().tolist()
    assert changed == [18 * head + channel for head in range(6) for channel in range(6)]


def tables_of(problem: Problem) -> tuple[Tensor, Tensor]:
    settings = (problem.turning, 1.0, problem.interleaved, 1, torch.device("cpu"), torch.float32)
    return rotation_between(1, 1 + problem.time, frequency, *settings)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_comes_of_nothing(shape: tuple[int, int]) -> None:
    problem = Problem(norms=("rms_norm", "rms_norm"), batch=shape[0], time=shape[1])
    parts = cast(problem.parts(), torch.float32)
    found = ours(problem, problem.packed(torch.float32), parts, problem.grads(torch.float32), rope)
    expected = ours(problem, problem.packed(torch.float32), parts, problem.grads(torch.float32), Cpu)
    assert [y.shape for y in found] == [y.shape for y in expected]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


class Cpu:
    """The CPU's form, by the names that the kernels' form has."""

    turn = staticmethod(turned_heads._turn_on_cpu)
    norm = staticmethod(turned_heads._norm_heads_on_cpu)
    backward = staticmethod(turned_heads._turn_backward_on_cpu)


@pytest.mark.parametrize("target", TARGETS)
def test_some_kernels_build_without_spills(target: str) -> None:
    done = python("-c", QUICK, target, "30")
    assert done.returncode == 0, done.stderr
    count, spills = json.loads(done.stdout.splitlines()[-1])
    assert count >= 3
    assert spills == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_kernel_that_can_be_chosen_builds_without_spills(target: str) -> None:
    done = python("-c", QUICK, target, "1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])[1] == 0
