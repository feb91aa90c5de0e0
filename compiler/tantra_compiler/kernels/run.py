"""Attention run by the Triton kernels that are made from its program."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from tantra_compiler.compile import cache_folder, written_file
from tantra_compiler.kernels.attention import launch
from tantra_compiler.kernels.attention.programs import Programs, Site, Unsupported
from tantra_compiler.kernels.generate import ProgramSource, generate
from tantra_compiler.kernels.load import load_of
from tantra_dsl.masks.attention import LearnedElement
from tantra_dsl.scalars.walk import variables_of

Captures = tuple[Tensor, ...]


class Kernel(NamedTuple):
    """The functions of a program, and its thresholds."""

    programs: Programs
    numbers: tuple[int, ...]


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    text: str,
    captures: Captures,
    *,
    scale: float,
    sink: Tensor | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """``launch.forward`` of the program described by ``text``."""
    kernel = kernel_of(text)
    settings = {"scale": scale, "sink": sink, "dropout": dropout, "seed": seed}
    return launch.forward(q, k, v, kernel.programs, placed(kernel, captures), kernel.numbers, **settings)  # type: ignore[arg-type]


def backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    text: str,
    captures: Captures,
    *,
    scale: float,
    sink: Tensor | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    dlse: Tensor | None = None,
) -> launch.Gradients:
    """``launch.backward`` of the program described by ``text``; gradients of learned captures in their own type."""
    kernel, settings = kernel_of(text), {"scale": scale, "sink": sink, "dropout": dropout, "seed": seed, "dlse": dlse}
    everything = placed(kernel, captures)
    found = launch.backward(dout, q, k, v, out, lse, kernel.programs, everything, kernel.numbers, **settings)  # type: ignore[arg-type]
    dq, dk, dv, dsink, dcaptures = found
    pairs = zip(dcaptures, captures, strict=True)
    rest = tuple(None if sums is None else sums.to(capture.dtype) for sums, capture in pairs)
    return dq, dk, dv, None if dsink is None or sink is None else dsink.to(sink.dtype), rest


def obstacle(text: str, device: torch.device, dtype: torch.dtype, width: int, value_width: int) -> str | None:
    """Why the kernels of a program cannot be built for such tensors, or None. Builds and runs them on a few rows."""
    try:
        kernel = kernel_of(text)
        shapes = ((1, 16, 1, width), (1, 16, 1, width), (1, 16, 1, value_width))
        q, k, v = (torch.zeros(shape, device=device, dtype=dtype) for shape in shapes)
        launch.check(q, k, v, (), kernel.numbers)
    except Unsupported as refusal:
        return refusal.reason
    except Exception as error:
        return f"it does not build: {error}".splitlines()[0]
    return None


def placed(kernel: Kernel, captures: Captures) -> Captures:
    """The captures as the kernels read them: learned ones without gaps, as their gradients are."""
    learned = {site.capture for site in kernel.programs.sites}
    return tuple(x.contiguous() if number in learned else x for number, x in enumerate(captures))


@cache
def kernel_of(text: str) -> Kernel:
    """The functions made of a program."""
    source = generate(text)
    return Kernel(programs_of(source), source.numbers)


def programs_of(source: ProgramSource) -> Programs:
    """The functions of generated source, imported from a file named by its content."""
    module, plan = imported(source.text), source.meaning.plan
    functions = {name: getattr(module, name, None) for name in
                 ("mask", "score", "slope", "key_spans", "query_spans", "tile_test")}  # fmt: skip
    sites = tuple(_site(module, number, element) for number, element in enumerate(source.sites))
    return Programs(
        **functions,
        sites=sites,
        key_intervals=max(len(plan.keys.intervals), 1),
        query_intervals=max(len(plan.queries.intervals), 1),
        reads_query=source.reads_query,
        reads_batch=source.reads_batch,
        by_b=plan.by_sequence,
        by_h=plan.by_head,
        load=load_of(source.meaning),
    )


def _site(module: ModuleType, number: int, element: LearnedElement) -> Site:
    per_pair = any(variables_of(part) & {"q", "k"} for part in element.index)
    return Site(element.capture, getattr(module, f"place_{number}"), getattr(module, f"place_slope_{number}"), per_pair)


@cache
def imported(text: str) -> ModuleType:
    """The module of generated source; Triton reads functions from files, so it is kept in one."""
    digest = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    name = f"tantra_kernel_{digest}"
    path = written_file(text, cache_folder().parent / "kernels" / f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
