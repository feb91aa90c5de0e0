"""The random numbers of dropout."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch

from tantra_compiler.runtime.philox import keep_weights, uniform

TRITON = """
import json, torch, triton, triton.language as tl

@triton.jit
def draw(out, offsets, seed, SIZE: tl.constexpr):
    place = tl.arange(0, SIZE)
    tl.store(out + place, tl.rand(seed, tl.load(offsets + place)))

seeds, offsets = json.loads(input())
offsets = torch.tensor(offsets)
for seed in seeds:
    out = torch.empty(len(offsets), dtype=torch.float32)
    draw[(1,)](out, offsets, seed, len(offsets))
    print(json.dumps(out.view(torch.int32).tolist()))
"""
SEEDS = [0, 1, 12345, 2**31 + 3, 2**40 + 17, 2**63 - 1]
OFFSETS = [*range(250), 2**31 - 1, 2**31, 2**32 - 1, 2**32 + 5, 2**40 + 3, 2**62]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_they_are_those_of_triton(tmp_path: object) -> None:
    file = f"{tmp_path}/draw.py"  # triton reads the source of its functions
    with open(file, "w") as stream:
        stream.write(TRITON)
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, file], input=json.dumps([SEEDS, OFFSETS]), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    for seed, line in zip(SEEDS, done.stdout.splitlines(), strict=True):
        ours = uniform(seed, torch.tensor(OFFSETS)).view(torch.int32)
        assert ours.tolist() == json.loads(line), seed


def test_they_are_uniform_in_zero_to_one() -> None:
    drawn = uniform(3, torch.arange(100_000)).double()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = torch.histc(drawn, bins=20, min=0, max=1)
    chi_squared = ((counts - 5000) ** 2 / 5000).sum()
    assert chi_squared < 43.8  # one in a thousand, 19 degrees of freedom
    assert abs((drawn[1:] - 0.5) @ (drawn[:-1] - 0.5)) / len(drawn) < 4 / 12 / len(drawn) ** 0.5


def test_places_are_counted_in_the_order_of_batch_head_row_key() -> None:
    b, h, row, k = (
        torch.arange(2).view(2, 1, 1, 1),
        torch.arange(3).view(3, 1, 1),
        torch.arange(4).view(4, 1),
        torch.arange(5),
    )
    kept = keep_weights(9, 0.25, b, h, row, k, (3, 4, 5))
    drawn = uniform(9, torch.arange(2 * 3 * 4 * 5)).view(2, 3, 4, 5)
    assert torch.equal(kept, torch.where(drawn < 0.25, 0.0, 1 / 0.75))
