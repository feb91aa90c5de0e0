"""The forward kernel in triton's interpreter, against dense attention in float64."""

from __future__ import annotations

import pytest
import torch

from tantra_compiler.kernels.attention import launch
from tantra_compiler.kernels.attention.configs import Config
from tests.kernels.attention.cases import MASKS, programs_of
from tests.kernels.attention.dense import EMPTY_LSE, Problem, attend, make, within_budget

HALF, BRAIN = torch.float16, torch.bfloat16

PROBLEMS = [
    Problem("full", "none", queries=35, keys=35),
    Problem("full", "softcap", BRAIN, queries=1, keys=70, heads=4, width=80, value_width=80),
    Problem("full", "slopes", HALF, queries=17, keys=33, heads=3, kv_heads=3, width=40, value_width=24, sink=True),
    Problem("causal", "none", HALF, batch=2, queries=33, keys=65, heads=4, kv_heads=2, width=64, value_width=64),
    Problem("causal", "alibi softcap", BRAIN, queries=40, keys=23, heads=2, kv_heads=2, width=96, value_width=96),
    Problem("causal", "table", queries=50, keys=50, heads=3, width=32, value_width=32, sink=True),
    Problem("causal without spans", "alibi", HALF, queries=20, keys=47, width=192, value_width=128),
    Problem("window", "none", BRAIN, queries=64, keys=64, heads=2, kv_heads=1, width=256, value_width=256),
    Problem("window", "slopes", queries=61, keys=80, heads=4, kv_heads=2, width=24, value_width=16),
    Problem("window", "softcap", HALF, queries=90, keys=70, heads=1, width=72, value_width=72, sink=True),
    Problem("wide window", "alibi", queries=45, keys=45, heads=2, kv_heads=2, width=128, value_width=128),
    Problem("documents", "none", batch=2, queries=66, keys=66, heads=2, width=16, value_width=16),
    Problem("documents", "table", BRAIN, batch=2, queries=40, keys=60, heads=2, kv_heads=2, width=80, value_width=80),
    Problem("documents", "softcap", HALF, queries=50, keys=31, heads=1, width=96, value_width=32, sink=True),
    Problem("longformer", "none", HALF, queries=97, keys=97, heads=1, width=48, value_width=48),
    Problem("longformer", "alibi softcap", queries=33, keys=90, heads=2, kv_heads=1, width=16, value_width=32),
    Problem("three", "none", queries=60, keys=130, heads=1, width=32, value_width=32),
    Problem("three", "table", BRAIN, queries=70, keys=50, heads=2, kv_heads=2, width=64, value_width=64, sink=True),
    Problem("strided", "none", BRAIN, queries=100, keys=100, heads=1, width=112, value_width=112),
    Problem("strided", "slopes", queries=40, keys=120, heads=2, kv_heads=1, width=16, value_width=16),
    Problem("by head", "none", queries=70, keys=70, heads=4, kv_heads=2, width=16, value_width=16),
    Problem("by head", "softcap", HALF, queries=30, keys=64, heads=3, kv_heads=1, width=88, value_width=88, sink=True),
    Problem("odd", "none", queries=33, keys=20, heads=2, width=16, value_width=16),
    Problem("odd", "alibi", BRAIN, queries=30, keys=40, heads=2, width=32, value_width=32, sink=True),
]


def run(problem: Problem, config: Config | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    x = make(problem)
    programs, numbers = programs_of(problem.mask, problem.score), MASKS[problem.mask].numbers
    scale = problem.width**-0.5
    return launch.forward(x.q, x.k, x.v, programs, x.captures(), numbers, scale=scale, sink=x.sink, config=config)


def check(problem: Problem, config: Config | None = None) -> None:
    x = make(problem)
    exact, plain = attend(problem, x, torch.float64), attend(problem, x, problem.dtype)
    out, lse = run(problem, config)
    empty = exact[1] == EMPTY_LSE
    assert torch.equal(lse == EMPTY_LSE, empty)
    assert (out.transpose(1, 2)[empty] == 0).all()
    within_budget([out], [plain[0]], [exact[0]])
    within_budget([lse[~empty]], [plain[1][~empty]], [exact[1][~empty]])


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.mask}-{p.score}-{p.queries}x{p.keys}x{p.width}")
def test_output_and_lse_are_within_twice_the_error_of_plain_torch(problem: Problem) -> None:
    check(problem)
