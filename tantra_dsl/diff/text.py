"""A diff for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tantra_dsl.diagnostics.render import printable
from tantra_dsl.diff.operations import Operation, place
from tantra_dsl.diff.report import VERDICTS, Diff
from tantra_dsl.diff.weights import Tensor
from tantra_dsl.diff.wording import (
    FATES,
    HEADINGS,
    LABELS,
    change_text,
    delta_text,
    figure,
    part_table,
    shape_text,
    sides,
    tensors_text,
    title,
)  # fmt: skip

_SIGNS = {"add": "+", "remove": "-", "repeat": "x", "share": "=", "rename": ">", "move": ">"}
_COLORS = {"+": "\x1b[32m", "-": "\x1b[31m", "bold": "\x1b[1m", "dim": "\x1b[2m"}
_PART_TABLES = (("params", "flops", "kv_bytes_per_token"), ("optimizer_bytes", "activation_bytes"))
"""All in one would be too wide."""
_RESET = "\x1b[0m"


def text(found: Diff, *, color: bool = False) -> str:
    """The whole diff; empty for two models without a difference."""
    if found.empty:
        return ""
    paint = _Paint(color)
    blocks = [_head(found, paint), *_operations(found, paint)]
    if any(op.concern in ("function", "names") for op in found.operations):
        blocks += [_costs(found, paint), _weights(found, paint)]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


class _Paint:
    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, style: str, said: str) -> str:
        said = printable(said)
        return f"{_COLORS[style]}{said}{_RESET}" if self.color and style in _COLORS else said


def _head(found: Diff, paint: _Paint) -> list[str]:
    line = f"{paint('bold', title(found))}: {VERDICTS[found.verdict]}"
    return [line, *(paint("dim", f"note: {note}") for note in found.notes)]


def _operations(found: Diff, paint: _Paint) -> Iterator[list[str]]:
    for concern, heading in HEADINGS.items():
        listed = found.of(concern)
        if listed:
            yield [paint("bold", heading), *(line for op in listed for line in _operation(op, paint))]


def _operation(op: Operation, paint: _Paint) -> list[str]:
    sign = _SIGNS.get(op.kind, "~")
    lines = [f"  {paint(sign, f'{sign} {op.path}:')} {printable(change_text(op))}"]
    places = [place(op.before), place(op.after)]
    told = " | ".join(dict.fromkeys(spot for spot in places if spot))
    remark = "; ".join(part for part in (op.why, told) if part)
    return [*lines, paint("dim", f"      {remark}")] if remark else lines


def _costs(found: Diff, paint: _Paint) -> list[str]:
    costs = found.costs
    rows = [["", *sides(found), ""]]
    rows += [
        [LABELS[c.name], figure(c.name, c.old.value), figure(c.name, c.new.value), delta_text(c)] for c in costs.figures
    ]
    lines = [paint("bold", f"costs of {costs.batch} x {costs.seq:,} tokens"), *_table(rows, "lrrl")]
    for names in _PART_TABLES:
        head, parts = part_table(costs, names)
        if parts:
            lines += ["", *_table([head, *parts], "l" * len(head))]
    return lines


def _weights(found: Diff, paint: _Paint) -> list[str]:
    lines = [paint("bold", "weights")]
    for fate, said in FATES.items():
        listed = [tensor for tensor in found.weights if tensor.fate == fate]
        if listed:
            lines.append(f"  {said}: {tensors_text(listed)}")
            if fate != "loads":
                lines += _table([_tensor(tensor) for tensor in listed], "lll", "    ")
    return lines


def _tensor(tensor: Tensor) -> list[str]:
    name = f"{tensor.old_path} -> {tensor.path}" if tensor.old_path else tensor.path
    shapes = [shape_text(shape) for shape in dict.fromkeys((tensor.old, tensor.new)) if shape is not None]
    return [name, " -> ".join(shapes), tensor.how]


def _table(rows: Sequence[Sequence[str]], sides: str, pad: str = "  ") -> list[str]:
    """Rows in columns as wide as they must be; ``l`` and ``r`` say to which side each is set."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(sides))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ]
        lines.append((pad + "  ".join(cells)).rstrip())
    return lines
