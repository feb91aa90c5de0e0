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

from tantra_compiler.kernels.attention import backward, decode, forward
from tantra_compiler.kernels.attention.configs import TARGETS, Config, KernelName, Load, choose, shared_memory
from tantra_compiler.kernels.attention.prepare import kernel_constants, table_entry
from tantra_compiler.kernels.attention.resources import Resources, build_kernel, resources
from tantra_compiler.kernels.attention.samples import SAMPLES, capture_types, program_text, programs

WIDTHS = (*((width, width) for width in (48, 64, 80, 96, 128, 144, 160, 192, 256)), (192, 128))
USUAL = 128
HEAVIEST = (
    ("window", False),
    ("documents, window, alibi, softcap", False),
    ("window", True),
    ("documents, window, alibi, softcap", True),
    ("documents, window, t5", True),
)
"""Samples that take the most of their load, lighter loads first, and whether weights are dropped."""
ALIKE = (("documents, window, t5", False),)
KERNELS: dict[KernelName, Any] = {
    "forward": forward.forward_kernel,
    "key_gradient": backward.key_gradient_kernel,
    "query_gradient": backward.query_gradient_kernel,
    "decode": decode.decode_kernel,
}
FEW = 64
GRADIENTS: tuple[KernelName, ...] = ("key_gradient", "query_gradient")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Choice:
    """One kernel to build: that of a sample, for heads of some width."""

    kernel: KernelName
    dtype: str
    width: int
    value_width: int
    program: str
    dropped: bool = False
    learned: str = "fp32"

    @property
    def entry(self) -> tuple[KernelName, Load]:
        """What the table calls it."""
        return table_entry(self.kernel, programs(self.program), self.dropped)

    @property
    def title(self) -> str:
        """The sample, and in what it differs from others of it."""
        learned = f", learned in {self.learned}" if self.learned != "fp32" else ""
        return f"{self.program}{', dropout' if self.dropped else ''}{learned}"

    def config(self, target: str) -> Config:
        """What the table has for it."""
        name, load = self.entry
        return choose(target, name, 4 if self.dtype == "fp32" else 2, self.width, self.value_width, load)


@dataclass(frozen=True)
class Built:
    """A choice, its configuration and what it takes; ``failure`` says why it could not be built."""

    choice: Choice
    config: Config
    taken: Resources
    failure: str = ""

    def fits(self, target: str) -> bool:
        """Whether it runs on the target without spilling.

        Gradients for float32 heads wider than 128 may spill ``FEW`` bytes: their operands lie in registers, as there
        are no tensor cores for float32, and no tile is smaller. They are right, and hardly slower for that.
        """
        wide = self.choice.dtype == "fp32" and self.choice.width > 128 and self.choice.kernel in GRADIENTS
        spills = self.taken.spills <= (FEW if wide else 0)
        return not self.failure and spills and self.taken.shared <= shared_memory(target)


def choices(target: str) -> list[Choice]:
    """Everything that can be chosen.

    At all widths that are cut up differently the heaviest sample of each load, of loads with one configuration that of
    the last. At the usual width every sample, by the gradients, which do all that the forward kernel does.
    """
    listed = [x for kernel in KERNELS for w in WIDTHS for x in _of_loads(target, kernel, "bf16", *w)]
    listed += [x for kernel in KERNELS for w in (64, 128, 256) for x in _of_loads(target, kernel, "fp32", w, w)]
    for kernel in GRADIENTS:
        listed += [Choice(kernel, "bf16", USUAL, USUAL, name) for name in SAMPLES]
        listed += [Choice(kernel, "bf16", USUAL, USUAL, name, learned="bf16") for name in ("learned slope", "t5")]
    listed += [Choice(kernel, "fp16", USUAL, USUAL, "causal") for kernel in ("forward", *GRADIENTS)]
    return list(dict.fromkeys(listed))


def _of_loads(target: str, kernel: KernelName, dtype: str, width: int, value_width: int) -> list[Choice]:
    """The heaviest samples, one for each configuration of a kernel."""
    programs = ALIKE if kernel == "decode" else HEAVIEST
    found = [Choice(kernel, dtype, width, value_width, *program) for program in programs]
    return list({(each.entry[0], each.config(target)): each for each in found}.values())


def constants(choice: Choice, config: Config) -> dict[str, Any]:
    """What the kernel is compiled with, as the host functions launch it; four query heads share a key head."""
    found = programs(choice.program)
    dtype = DTYPES[choice.dtype]
    queries = 4 if choice.kernel == "decode" else 128
    q = torch.empty(1, queries, 8, choice.width, dtype=dtype, device="meta")
    k, v = (torch.empty(1, 128, 2, w, dtype=dtype, device="meta") for w in (choice.width, choice.value_width))
    return {
        **kernel_constants(choice.kernel, found, q, k, v, config, 8, True, choice.dropped, False),
        "SINK": False,
        "site_out": ("*fp32",) * len(found.sites),
        "site_places": ("*i32",) * len(found.sites),
        "site_index": tuple(s.index for s in found.sites),
        "site_slope": tuple(s.slope for s in found.sites),
    }


def build(choice: Choice, target: str, config: Config | None = None) -> Built:
    """Builds one kernel; ``config`` overrides the table."""
    config = config or choice.config(target)
    given, captures = constants(choice, config), capture_types(program_text(choice.program), choice.learned)
    try:
        kernel = KERNELS[choice.kernel]
        compiled = build_kernel(kernel, target, choice.dtype, given, captures, config.warps, config.stages)
        return Built(choice, config, resources(compiled))
    except Exception as error:  # whatever the compiler raises is a row of the table
        return Built(choice, config, Resources(0, 0, 0), f"{type(error).__name__}: {str(error)[:200]}")


def build_all(target: str, chosen: Iterable[Choice] | None = None, processes: int = 2) -> list[Built]:
    """Builds all choices for a target, in the order given."""
    listed = list(choices(target) if chosen is None else chosen)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(build, listed, [target] * len(listed), chunksize=4))


def table(target: str, rows: Sequence[Built]) -> str:
    """The results in Markdown."""
    kept = sum(row.fits(target) and not row.taken.spills for row in rows)
    lines = [
        f"# Attention kernels on {target}",
        "",
        f"Built ahead of time with triton {triton.__version__}: {len(rows)} kernels, {kept} of them without spills and"
        f" within {shared_memory(target)} bytes of shared memory.",
        "",
        "| kernel | load | dtype | widths | program | tiles | warps | stages | registers | spills | shared |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(line(row) for row in rows), ""])


def line(row: Built) -> str:
    """One line of the table."""
    c, g, r = row.choice, row.config, row.taken
    what = [*c.entry, c.dtype, f"{c.width}/{c.value_width}", c.title]
    how = [f"{16 if c.kernel == 'decode' else g.block_m}x{g.block_n}", g.warps, g.stages]
    cells = [*what, *how, *([row.failure, "", ""] if row.failure else [r.registers, r.spills, r.shared])]
    return "| " + " | ".join(str(x) for x in cells) + " |"


def save(target: str, rows: Sequence[Built], folder: Path) -> None:
    """Writes kernels-<target>.md and .json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"kernels-{target}.md").write_text(table(target, rows))
    data = {"target": target, "triton": triton.__version__, "kernels": [_record(row) for row in rows]}
    (folder / f"kernels-{target}.json").write_text(json.dumps(data, indent=1) + "\n")


def _record(row: Built) -> dict[str, Any]:
    kernel, load = row.choice.entry
    return {**asdict(row), "kernel": kernel, "load": load}


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
