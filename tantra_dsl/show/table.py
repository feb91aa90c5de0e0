"""``tantra show``: a model and its costs as text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Final, Literal

from tantra_dsl.graph.costs.parts import Part
from tantra_dsl.graph.costs.report import CostReport, cost
from tantra_dsl.graph.hash import architecture_hash
from tantra_dsl.graph.model import Graph
from tantra_dsl.show.units import byte_text, count_text, figure_text, scaled

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_BETWEEN: Final = 2
"""Spaces between columns."""
_SECTIONS: Final = (
    ("compute", ("flops_forward", "flops_per_token", "flops_attention", "flops_scans", "flops_training_step")),
    ("decoding", ("kv_bytes_per_token", "kv_bytes", "memory_kv_bytes", "state_bytes")),
    ("training", ("weight_bytes", "gradient_bytes", "optimizer_bytes", "activation_bytes", "training_bytes")),
)
_LEFT_OUT_WHERE_ZERO: Final = frozenset({
    "flops_attention", "flops_scans", "kv_bytes_per_token", "kv_bytes", "memory_kv_bytes", "state_bytes",
})  # fmt: skip
_LABELS: Final = {
    "flops_forward": "forward", "flops_per_token": "per token", "flops_attention": "attention",
    "flops_scans": "scans", "flops_training_step": "training step",
    "kv_bytes_per_token": "KV per token", "kv_bytes": "KV cache", "memory_kv_bytes": "cross-attention",
    "state_bytes": "states", "weight_bytes": "weights", "gradient_bytes": "gradients", "optimizer_bytes": "optimizer",
    "activation_bytes": "activations", "training_bytes": "together",
}  # fmt: skip


def show_table(
    graph: Graph,
    report: CostReport | None = None,
    *,
    seq: int | None = None,
    batch: int = 1,
    color: bool | None = None,
    width: int | None = None,
) -> str:
    """The model's parts and costs as a table; the costs of ``cost(graph, seq=seq, batch=batch)`` where none are given.

    At most ``width`` columns, the terminal's (but 100 at most) where None; in colours where ``color``, or where
    standard output is a terminal that wants them. What is unknown is called unknown; an upper bound has ``<=``
    before it. Loads rich.
    """
    from rich.console import Console

    report = report or cost(graph, seq=seq, batch=batch)
    colored = sys.stdout.isatty() and "NO_COLOR" not in os.environ if color is None else color
    columns = width or min(100, get_terminal_size().columns)
    system: Literal["standard"] | None = "standard" if colored else None
    out = StringIO()
    console = Console(
        file=out, width=columns, force_terminal=colored, color_system=system, markup=False, highlight=False
    )
    for block in (_heading(graph, report), _part_table(report, columns), _figure_table(report)):
        console.print(block)
        console.print()
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines()) + "\n"


def _heading(graph: Graph, report: CostReport) -> RenderableType:
    from rich.text import Text

    params, active = report["params"].value, report["active_params"].value
    facts = [f"{params:,} parameters"]
    if active != params:
        facts.append(f"{figure_text('active_params', report['active_params'])} active")
    facts += [f"context {graph.fact('context'):,}"] if graph.fact("context") else []
    text = Text(graph.name, style="bold")
    text.append(f"  {', '.join(facts)}", style="not bold")
    return text.append(f"\narchitecture {architecture_hash(graph)[:16]}", style="dim not bold")


# --- parts -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table of parts."""

    depth: int
    cells: dict[str, str]


def _part_table(report: CostReport, width: int) -> RenderableType:
    rows = [row for part in report.parts for row in _rows(part, 0)]
    table, shown = _plain_table(), _columns(report, rows, width)
    for name in shown:
        left = name in ("part", "output")
        table.add_column(name, justify="left" if left else "right", no_wrap=not left)
    for row in rows:
        style = "" if row.depth == 0 else "dim" if row.depth > 1 else "cyan"
        table.add_row(*(row.cells[name] for name in shown), style=style)
    return table


def _columns(report: CostReport, rows: list[_Row], width: int) -> list[str]:
    """Columns that say something; those of memory as far as there is room."""
    some_idle = report["active_params"].value != report["params"].value
    some_cached = any(row.cells["KV/token"] for row in rows)
    shown = ["part", "output", "params", *["active"] * some_idle, "FLOPs", *["KV/token"] * some_cached]
    for name in ("activations", "optimizer"):
        widths = [max(len(column), *(len(row.cells[column]) for row in rows)) for column in (*shown, name)]
        if sum(widths) + _BETWEEN * (len(widths) - 1) <= width:
            shown.append(name)
    return shown


def _rows(part: Part, depth: int) -> Iterator[_Row]:
    cells = {
        "part": "  " * depth + _title(part),
        "output": pattern_text(part) if part.kind == "stack" else "" if part.kind == "layer" else part.output,
        "params": count_text(part.params) if part.params else "",
        "active": count_text(part.active_params) if part.params else "",
        "FLOPs": "unknown"
        if part.flops.value is None
        else "".join(scaled(part.flops.value))
        if part.flops.value
        else "",
        "KV/token": byte_text(part.kv_bytes_per_token) if part.kv_bytes_per_token else "",
        "activations": byte_text(part.activation_bytes) if part.activation_bytes else "",
        "optimizer": byte_text(part.optimizer_bytes) if part.optimizer_bytes else "",
    }
    yield _Row(depth, cells)
    for inner in part.parts:
        yield from _rows(inner, depth + 1)


def _title(part: Part) -> str:
    """``local x 29``; else the name, with what it is where the parts below would not tell."""
    if part.kind == "layer":
        return f"{part.name} x {part.count:,}"
    return part.name if part.kind in ("stack", part.name) or not part.parts else f"{part.name} ({part.kind})"


def pattern_text(part: Part) -> str:
    """The layers of a stack: how many, and in which turn; ``...`` where the turn repeats."""
    total = sum(layer.count for layer in part.parts) // part.count
    turn = ", ".join(f"{count:,} x {name}" for name, count in part.pattern)
    length = sum(count for _, count in part.pattern)
    if len(part.pattern) == 1:
        return f"{total:,} x {part.pattern[0][0]}"
    return f"{total:,} = {turn}" + (" ..." if length < total else "")


# --- figures -----------------------------------------------------------------------------


def _figure_table(report: CostReport) -> RenderableType:
    from rich.console import Group

    blocks: list[RenderableType] = []
    for title, names in _SECTIONS:
        kept = [name for name in names if report[name].value or name not in _LEFT_OUT_WHERE_ZERO]
        if kept:
            blocks += [_section(report, title, kept), ""]
    return Group(*blocks[:-1])


def _section(report: CostReport, title: str, names: list[str]) -> Table:
    table = _plain_table()
    table.add_column(title, no_wrap=True, min_width=15)
    table.add_column(_setting(report, title), justify="right", no_wrap=True, min_width=14)
    table.add_column("how", style="dim", overflow="fold")
    for name in names:
        table.add_row(_LABELS[name], figure_text(name, report[name]), report[name].formula)
    return table


def _setting(report: CostReport, title: str) -> str:
    if title == "training":
        return f"batch {report.batch}, {report.precision}"
    return f"{report.batch} x {report.seq:,} tokens" if title == "compute" else f"{report.seq:,} tokens"


def _plain_table() -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
