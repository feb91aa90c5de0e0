"""The decode kernels in triton's interpreter: few queries, keys shared out over programs."""

from __future__ import annotations

import pytest
import torch

from tantra_compiler.kernels.attention import launch
from tests.kernels.attention.cases import MASKS, programs_of
from tests.kernels.attention.dense import EMPTY_LSE, Problem, attend, make, within_budget

HALF, BRAIN = torch.float16, torch.bfloat16

PROBLEMS = [
    (Problem("causal", "none", queries=1, keys=150, heads=4, kv_heads=1), 4),
    (Problem("causal", "softcap", BRAIN, 2, queries=3, keys=100, heads=4, kv_heads=2, width=80, value_width=80), 3),
    (Problem("window", "alibi", HALF, queries=2, keys=200, heads=3, kv_heads=1, width=96, value_width=64), 7),
    (Problem("documents", "table", batch=2, queries=4, keys=90, heads=2, kv_heads=1, sink=True), 2),
    (Problem("longformer", "none", HALF, queries=1, keys=130, heads=2, kv_heads=2, width=24, value_width=40), 3),
    (Problem("three", "slopes", queries=5, keys=170, heads=6, kv_heads=2, sink=True), 5),
    (Problem("strided", "none", BRAIN, queries=1, keys=160, heads=2, kv_heads=1, width=64, value_width=64), 2),
    (Problem("by head", "none", queries=2, keys=120, heads=4, kv_heads=2), 3),
    (Problem("odd", "none", queries=4, keys=70, heads=2, kv_heads=1, sink=True), 2),
    (Problem("causal", "none", queries=9, keys=5, heads=2, kv_heads=1), 2),
    (Problem("full", "none", queries=1, keys=33, heads=1, kv_heads=1, layout="bhdt"), 8),
]


@pytest.mark.parametrize(
    ("problem", "splits"), PROBLEMS, ids=lambda x: f"{x.mask}-{x.score}" if hasattr(x, "mask") else x
)
def test_keys_shared_out_give_what_one_program_gives(problem: Problem, splits: int) -> None:
    x = make(problem)
    exact, plain = attend(problem, x, torch.float64), attend(problem, x, problem.dtype)
    program = (programs_of(problem.mask, problem.score), x.captures(), MASKS[problem.mask].numbers)
    out, lse = launch.decode(x.q, x.k, x.v, *program, scale=problem.width**-0.5, sink=x.sink, splits=splits)
    empty = exact[1] == EMPTY_LSE
    assert torch.equal(lse == EMPTY_LSE, empty)
    assert (out.transpose(1, 2)[empty] == 0).all()
    within_budget([out], [plain[0]], [exact[0]])
    within_budget([lse[~empty]], [plain[1][~empty]], [exact[1][~empty]])


def test_forward_decodes_where_queries_are_few_and_keys_many() -> None:
    q, k = torch.empty(1, 2, 8, 64), torch.empty(1, 4096, 2, 64)
    assert launch.decodes(q, k, 0.0)
    assert not launch.decodes(q, k, 0.1)
    assert not launch.decodes(q.expand(1, 2, 8, 64), k[:, :128], 0.0)
    assert not launch.decodes(torch.empty(1, 512, 8, 64), k, 0.0)
