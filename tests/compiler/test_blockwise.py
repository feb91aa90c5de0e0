"""Attention on the CPU against the reference in float64: outputs, log-sum-exps and every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from blockwise_cases import MASKS, SCORES, Case, case
from torch import Tensor

from tantra_compiler.runtime import blockwise_plan
from tantra_compiler.runtime.blockwise import backward_blocks, forward_blocks
from tantra_compiler.runtime.reference import reference

SCALE = 0.4
NAMES = ("out", "lse", "dq", "dk", "dv", "dsink", "dcapture")
Results = dict[str, Tensor]


def ours(each: Case, **settings: Any) -> Results:
    settings = {"scale": SCALE, "sink": each.sink, **settings}
    out, lse = forward_blocks(*each.inputs, each.program, each.captures, **settings)
    arriving = upstream(out, lse)
    found = backward_blocks(
        arriving[0], *each.inputs, out, lse, each.program, each.captures, **settings, dlse=arriving[1]
    )
    *leaving, dsink, dcaptures = found
    assert {i for i, x in enumerate(dcaptures) if x is not None} == set(each.learned)
    gradients = [*leaving, *([] if dsink is None else [dsink]), *(dcaptures[i] for i in each.learned)]
    return dict(zip(names(each), [out, lse, *gradients], strict=True))


def by_reference(each: Case, dtype: torch.dtype, **settings: Any) -> Results:
    leaves = [x.to(dtype).requires_grad_() for x in each.inputs]
    sink = None if each.sink is None else each.sink.to(dtype).requires_grad_()
    captures = [x.to(dtype) if x.is_floating_point() else x for x in each.captures]
    for number in each.learned:
        captures[number].requires_grad_()
    out, lse = reference(*leaves, each.program, tuple(captures), scale=SCALE, sink=sink, **settings)
    wanted = [*leaves, *([] if sink is None else [sink]), *(captures[i] for i in each.learned)]
    gradients = torch.autograd.grad((out, lse), wanted, upstream(out, lse), allow_unused=True)
    filled = [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, gradients, strict=True)]
    return dict(zip(names(each), [out.detach(), lse.detach(), *filled], strict=True))


def names(each: Case) -> list[str]:
    return ["out", "lse", "dq", "dk", "dv", *([] if each.sink is None else ["dsink"]), *map(str, each.learned)]


def upstream(out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients that arrive; those of ``lse`` are small, as those of a regularisation are."""
    dout = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).sin().view(out.shape)
    dlse = torch.linspace(-0.2, 0.3, lse.numel(), dtype=torch.float64).view(lse.shape)
    return dout.to(out.dtype), dlse.to(lse.dtype)


def assert_within_budget(found: Results, truth: Results, plain: Results) -> None:
    """No further from the truth than twice the plain computation is, and one rounding."""
    for name, exact in truth.items():
        ours, theirs = found[name].double(), plain[name].double()
        assert ours.shape == exact.shape, name
        assert torch.isfinite(ours).all(), name
        rounding = torch.finfo(found[name].dtype).eps / 2 * exact.norm()
        assert (ours - exact).norm() <= 2 * (theirs - exact).norm() + rounding, name


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
    each = case(mask, score, 131, 131, width=32, value_width=32, sink=True)
    assert_within_budget(ours(each), by_reference(each, torch.float64), by_reference(each, torch.float32))
