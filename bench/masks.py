"""What it costs to know which keys a mask visits, at any length, beside FlexAttention's block mask.

python bench/masks.py [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from harness.report import Report, Row, Target
from torch.nn.attention.flex_attention import create_block_mask

import tantra_dsl
from tantra_compiler.compile import emit_source, load_source
from tantra_compiler.options import CompileOptions
from tantra_compiler.runtime.program import AttentionProgram
from tantra_dsl.masks.plan import _derive, derive

TILE = 128
SPEC = """
model m {{
  vocab: 64  context: 128  dim: 64
  {inputs}
  embed: tokens
  layers: 1 of block {{ wiring: pre(rms)  attention {{ heads: 4, mask: {mask} }} }}
  head: language_model
  objective: masked_token
}}
"""
MASKS = {
    "causal and window(512)": "",
    "prefix(100)": "",
    "longformer(256, 64)": "",
    "sinks(4, 512)": "",
    "strided(512)": "",
    "causal and same_document": "input doc: per_token",
}
FLEX: dict[str, Callable[..., torch.Tensor]] = {
    "causal and window(512)": lambda b, h, q, k: (k <= q) & (q - k < 512),
    "longformer(256, 64)": lambda b, h, q, k: ((q - k).abs() <= 256) | (k < 64) | (q < 64),
}


def main() -> None:
    """Measure everything, then publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short sequences; nothing is written")
    parser.add_argument("--out", type=Path, help="folder for the results instead of bench/results")
    options = parser.parse_args()
    report = Report("masks", "Ranges of masks", ("torch",), options.quick, {"tile": TILE})
    lengths = (1024,) if options.quick else (1024, 65_536, 1_048_576)
    rows = [row for mask, inputs in MASKS.items() for row in measured(mask, inputs, lengths)]
    report.tables["ranges of one block of queries"] = rows
    worst = max(float(row["us"] or 0) for row in rows)
    report.targets.append(Target("ranges of a block of queries, worst mask and length", worst, "<=", 50, "us"))
    flex_lengths = (1024,) if options.quick else (2048, 8192, 16384)
    report.tables["beside create_block_mask of FlexAttention"] = flex_rows(flex_lengths)
    report.notes += [
        "What is derived from a mask's text is derived once, when a model is compiled: column derive. The ranges of "
        "a block are then whole-number expressions of its first and last position: in a Triton kernel a few scalar "
        "instructions, here the Python function that the CPU execution calls. They hold no memory that grows with the "
        "length, but for fields such as documents, whose arrays are linear in it.",
        "create_block_mask evaluates the mask for every pair; it is run eagerly, as compiling it takes longer.",
    ]
    report.publish(options.out)


def program(mask: str, inputs: str) -> AttentionProgram:
    """The program of a mask, as a model has it."""
    graph = tantra_dsl.loads(SPEC.format(mask=mask, inputs=inputs)).graph()
    module = __import__("sys").modules[load_source(emit_source(graph, CompileOptions()), graph.name).__module__]
    return next(value for value in vars(module).values() if isinstance(value, AttentionProgram))


def measured(mask: str, inputs: str, lengths: tuple[int, ...]) -> list[Row]:
    """Rows of a mask, one for each length."""
    made = program(mask, inputs)
    body = next(
        node.attr("mask")
        for each in tantra_dsl.loads(SPEC.format(mask=mask, inputs=inputs)).graph().bodies.values()
        for node in each.nodes
        if node.op == "attend"
    )
    derived = median(timed(lambda: (_derive.cache_clear(), derive(body))) for _ in range(20))
    return [_at_length(mask, made, bool(inputs), 1e3 * derived, length) for length in lengths]


def _at_length(mask: str, made: AttentionProgram, documents: bool, derived: float, length: int) -> Row:
    captures = (torch.arange(length).div(1000, rounding_mode="floor").unsqueeze(0),) if documents else ()
    arrays = median(timed(lambda: made.all_captures(length, length, captures)) for _ in range(3))
    everything = made.all_captures(length, length, captures)
    first = length // 2 // TILE * TILE
    spans = made.key_spans
    assert spans is not None
    times = [timed(lambda: spans(first, first + TILE - 1, 0, 0, length, length, *everything)) for _ in range(201)]
    linear = sum(x.numel() * x.element_size() for x in everything[len(captures) :])
    return {
        "mask": mask,
        "length": length,
        "us": 1e6 * median(times),
        "derive ms": derived,
        "arrays ms": 1e3 * arrays if documents else None,
        "arrays bytes": linear or None,
    }


def flex_rows(lengths: tuple[int, ...]) -> list[Row]:
    """Time and size of FlexAttention's block masks."""
    rows: list[Row] = []
    for mask, function in FLEX.items():
        for length in lengths:
            make = partial(create_block_mask, function, None, None, length, length, device="cpu")
            seconds = timed(make)
            rows.append({"mask": mask, "length": length, "create_block_mask ms": 1e3 * seconds})
    return rows


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
