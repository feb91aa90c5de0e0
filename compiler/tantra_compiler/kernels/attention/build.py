"""Builds every kernel that can be chosen for a target, without a GPU, and tells what each takes of one.

``python -m tantra_compiler.kernels.attention.build --target sm_90`` writes a table of registers, spills and shared
memory, and fails where a kernel spills or asks for more shared memory than there is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton

from tantra_compiler.kernels.attention import backward, decode, forward, samples
from tantra_compiler.kernels.attention.configs import (
    TARGETS,
    Config,
    KernelName,
    Load,
    choose,
    shared_memory,
)
from tantra_compiler.kernels.attention.prepare import kernel_constants
from tantra_compiler.kernels.attention.programs import Programs
from tantra_compiler.kernels.attention.resources import Resources, build_kernel, resources

WIDTHS = ((16, 16), (32, 32), (48, 48), (64, 64), (80, 80), (96, 96), (128, 128), (144, 144), (160, 160))
WIDE = ((192, 128), (192, 192), (256, 256))
KERNELS: dict[KernelName, Any] = {
    "forward": forward.forward_kernel,
    "key_gradient": backward.key_gradient_kernel,
    "query_gradient": backward.query_gradient_kernel,
    "table_gradient": backward.query_gradient_kernel,
    "decode": decode.decode_kernel,
}
PROGRAMS = {
    "full": samples.FULL,
    "causal": samples.CAUSAL,
    "intervals": samples.DOCUMENTS,
    "tile test": samples.STRIDED,
    "score": samples.SCORED,
}


@dataclass(frozen=True)
class Choice:
    """One kernel to build: what it is chosen for, and the program that stands for its class."""

    kernel: KernelName
    dtype: str
    width: int
    value_width: int
    load: Load
    program: str

    def config(self, target: str) -> Config:
        """What the table has for it."""
        size = 4 if self.dtype == "fp32" else 2
        return choose(target, self.kernel, size, self.width, self.value_width, self.load)


@dataclass(frozen=True)
class Built:
    """A choice, its configuration and what it takes; ``failure`` says why it could not be built."""

    choice: Choice
    config: Config
    taken: Resources
    failure: str = ""

    def fits(self, target: str) -> bool:
        """Whether it runs on the target without spilling.

        Gradients of float32 heads of 128 and wider may spill: without tensor cores their operands lie in registers, and
        no tile is small enough.
        """
        wide = self.choice.dtype == "fp32" and self.choice.width >= 128 and self.choice.kernel != "forward"
        return not self.failure and (wide or self.taken.spills == 0) and self.taken.shared <= shared_memory(target)


def choices(widths: Sequence[tuple[int, int]] = WIDTHS + WIDE) -> list[Choice]:
    """Everything that can be chosen: by kernel, dtype, widths that are cut up alike, and load."""
    loads: list[tuple[Load, str]] = [("plain", "causal"), ("rich", "score"), ("dropout", "causal")]
    built = [Choice(x, "bf16", *w, *load) for x in KERNELS for w in widths for load in loads if fit(x, load[0])]
    usual = [w for w in ((64, 64), (128, 128), (256, 256)) if w in widths]
    built += [Choice(x, "fp32", *w, "rich", "score") for x in KERNELS for w in usual if fit(x, "rich")]
    others: list[tuple[Load, str]] = [("plain", "full"), ("rich", "intervals"), ("rich", "tile test")]
    built += [Choice(x, "bf16", *w, *load) for x in KERNELS for w in usual for load in others if fit(x, load[0])]
    built += [Choice(x, "fp16", 128, 128, "plain", "causal") for x in KERNELS if x != "table_gradient"]
    return built


def fit(kernel: KernelName, load: Load) -> bool:
    """Whether a kernel is ever chosen for a load: the decode kernels drop nothing, and a table is a rich score."""
    return load == "rich" if kernel == "table_gradient" else kernel != "decode" or load != "dropout"


def constants(choice: Choice, config: Config) -> dict[str, Any]:
    """What the kernel is compiled with, as the host functions launch it; four query heads share a key head."""
    programs: Programs = samples.TABLE if choice.kernel == "table_gradient" else PROGRAMS[choice.program]
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[choice.dtype]
    queries = 4 if choice.kernel == "decode" else 128
    q = torch.empty(1, queries, 8, choice.width, dtype=dtype, device="meta")
    k, v = (torch.empty(1, 128, 2, w, dtype=dtype, device="meta") for w in (choice.width, choice.value_width))
    kernel: KernelName = "query_gradient" if choice.kernel == "table_gradient" else choice.kernel
    dropped, sites = choice.load == "dropout", programs.sites
    return {
        **kernel_constants(kernel, programs, q, k, v, config, 8, True, dropped, False),
        "SINK": False,
        "site_out": ("*fp32",) * len(sites),
        "site_places": ("*i32",) * len(sites),
        "site_index": tuple(s.index for s in sites),
        "site_slope": tuple(s.slope for s in sites),
    }


def build(choice: Choice, target: str, config: Config | None = None) -> Built:
    """Builds one kernel; ``config`` overrides the table."""
    config = config or choice.config(target)
    given, captures = constants(choice, config), samples.CAPTURES
    try:
        kernel = KERNELS[choice.kernel]
        compiled = build_kernel(kernel, target, choice.dtype, given, captures, config.warps, config.stages)
        return Built(choice, config, resources(compiled))
    except Exception as error:  # whatever the compiler raises is a row of the table
        return Built(choice, config, Resources(0, 0, 0), f"{type(error).__name__}: {str(error)[:200]}")


def build_all(target: str, chosen: Iterable[Choice] | None = None, processes: int = 2) -> list[Built]:
    """Builds all choices for a target, in the order given."""
    listed = list(choices() if chosen is None else chosen)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(build, listed, [target] * len(listed), chunksize=4))


def table(target: str, rows: Sequence[Built]) -> str:
    """The results in Markdown."""
    kept = sum(row.fits(target) for row in rows)
    lines = [
        f"# Attention kernels on {target}",
        "",
        f"Built ahead of time with triton {triton.__version__}: {len(rows)} kernels, {kept} of them without spills and"
        f" within {shared_memory(target)} bytes of shared memory.",
        "",
        "| kernel | dtype | widths | load | program | tiles | warps | stages | registers | spills | shared |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(line(row) for row in rows), ""])


def line(row: Built) -> str:
    """One line of the table."""
    c, g, r = row.choice, row.config, row.taken
    what = [c.kernel, c.dtype, f"{c.width}/{c.value_width}", c.load, c.program]
    how = [f"{16 if c.kernel == 'decode' else g.block_m}x{g.block_n}", g.warps, g.stages]
    cells = [*what, *how, *([row.failure, "", ""] if row.failure else [r.registers, r.spills, r.shared])]
    return "| " + " | ".join(str(x) for x in cells) + " |"


def save(target: str, rows: Sequence[Built], folder: Path) -> None:
    """Writes kernels-<target>.md and .json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"kernels-{target}.md").write_text(table(target, rows))
    data = {"target": target, "triton": triton.__version__, "kernels": [asdict(row) for row in rows]}
    (folder / f"kernels-{target}.json").write_text(json.dumps(data, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append", help="may be given several times")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    bad: list[str] = []
    for target in given.target or TARGETS:
        began = time.perf_counter()
        rows = build_all(target, processes=given.processes)
        save(target, rows, given.out)
        misfits = [line(row) for row in rows if not row.fits(target)]
        print(f"{target}: {len(rows)} kernels, {len(misfits)} misfits, {time.perf_counter() - began:.0f} s")
        bad += misfits
    print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
