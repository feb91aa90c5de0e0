"""Counts what would be compiled: launches kernels with everything that may change, on a GPU that is only named.

A script of its own, because the interpreter compiles nothing and is switched on for a whole process.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from tantra_compiler.kernels.attention import launch
from tantra_compiler.kernels.attention.configs import Config
from tantra_compiler.kernels.attention.programs import Programs
from tests.kernels.attention.cases import MASKS, SCORES, document_fields, programs_of

CONFIG = Config(64, 64, 4, 2)


class Named:
    """A driver of a GPU that is not there."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0


def tensors(batch: int, queries: int, keys: int, layout: str = "bthd") -> tuple[Tensor, Tensor, Tensor]:
    def one(time: int, heads: int) -> Tensor:
        x = torch.zeros(batch, heads, time, 64, dtype=torch.bfloat16).transpose(1, 2)
        return x if layout == "bhtd" else x.contiguous()

    return one(queries, 4), one(keys, 2), one(keys, 2)


def attend(programs: Programs, qkv: tuple[Tensor, ...], captures: Any, numbers: Any, **options: Any) -> None:
    q, k, v = qkv
    options = {"scale": 0.1, **options}
    launch.decode(q[:, :1], k, v, programs, captures, numbers, scale=options["scale"], config=CONFIG, splits=len(q))
    out, lse = launch.forward(q, k, v, programs, captures, numbers, config=CONFIG, **options)
    launch.backward(
        out, q, k, v, out, lse, programs, captures, numbers, key_config=CONFIG, query_config=CONFIG, **options
    )


def lengths() -> None:
    for queries, keys in ((300, 300), (16, 4096), (1024, 1024), (17, 31), (1, 300), (301, 299)):
        attend(programs_of("causal", "none"), tensors(1 + queries % 3, queries, keys), (), ())


def windows() -> None:
    for window in (1, 2, 16, 17, 1024, 2**30):
        attend(programs_of("window", "none"), tensors(1, 300, 300), (), (window,))


def documents() -> None:
    for keys in (299, 320, 17):
        fields = document_fields(2, keys, torch.Generator().manual_seed(keys))
        attend(programs_of("documents", "none"), tensors(2, keys, keys), fields, ())


def layouts() -> None:
    for keys, layout in ((299, "bhtd"), (320, "bthd"), (17, "bhtd")):
        attend(programs_of("causal", "softcap"), tensors(2, keys, keys, layout), (), ())


def seeds_and_scales() -> None:
    for seed, scale in ((0, 1.0), (1, 0.125), (2**40, 0.3)):
        for dropout in (0.1, 0.5):
            attend(MASKS["causal"].programs, tensors(1, 300, 300), (), (), seed=seed, scale=scale, dropout=dropout)


def learned() -> None:
    for keys in (128, 129):
        fields = document_fields(2, keys, torch.Generator().manual_seed(1))
        table = SCORES["table"].learned(4, torch.Generator().manual_seed(1))
        attend(programs_of("causal", "table"), tensors(2, keys, keys), (*fields, *table), ())


def count(run: Callable[[], None]) -> dict[str, int]:
    """How many different kernels a run asks for, by name."""
    asked: dict[str, set[str]] = {}

    def skip(kernel: Any, key: str, *_: Any, **__: Any) -> None:
        asked.setdefault(kernel.__name__, set()).add(str(key))

    triton.runtime.JITFunction._do_compile = skip
    run()
    return {name: len(keys) for name, keys in asked.items()}


if __name__ == "__main__":
    triton.runtime.driver.set_active(Named())
    launch.processors = lambda device: 132
    cases = (lengths, windows, documents, layouts, seeds_and_scales, learned)
    print(json.dumps({case.__name__: count(case) for case in cases}))
