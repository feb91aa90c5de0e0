"""A diff as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tantra_dsl.diff.operations import Operation, place
from tantra_dsl.diff.report import VERDICTS, Diff
from tantra_dsl.diff.weights import Tensor
from tantra_dsl.diff.wording import (
    FATES,
    HEADINGS,
    LABELS,
    delta_text,
    figure,
    part_table,
    shape_text,
    sides,
    tensors_text,
    title,
)  # fmt: skip


def markdown(found: Diff) -> str:
    """The whole diff: the verdict, a table of changes for each concern, costs, and weights folded away."""
    lines = [f"### {_plain(title(found))}", "", f"**{VERDICTS[found.verdict].capitalize()}.**"]
    for note in found.notes:
        lines += ["", f"_{_plain(note)}._"]
    for concern, heading in HEADINGS.items():
        listed = found.of(concern)
        if listed:
            lines += ["", f"#### Changes to {heading}", "", *_operations(listed)]
    if any(op.concern in ("function", "names") for op in found.operations):
        lines += [*_costs(found), *_weights(found)]
    return "\n".join(lines) + "\n"


def _operations(listed: Sequence[Operation]) -> Iterator[str]:
    rows = [[_code(op.path), _value(op, 0), _value(op, 1), _plain(op.why), _places(op)] for op in listed]
    return _table(["what", "from", "to", "why", "where"], rows)


def _value(op: Operation, side: int) -> str:
    said = (op.old, op.new)[side]
    if said is None:
        return ""
    return _code(said) + (" (default)" if op.defaulted[side] else "")


def _places(op: Operation) -> str:
    found = [spot for spot in (place(op.before), place(op.after)) if spot]
    return ", ".join(_plain(spot) for spot in dict.fromkeys(found))


def _costs(found: Diff) -> Iterator[str]:
    costs = found.costs
    yield from ("", f"#### Costs of {costs.batch} × {costs.seq:,} tokens", "")
    rows = [
        [LABELS[c.name], figure(c.name, c.old.value), figure(c.name, c.new.value), delta_text(c)] for c in costs.figures
    ]
    yield from _table(["", *map(_plain, sides(found)), "change"], rows, "lrrr")
    head, parts = part_table(costs)
    if parts:
        yield from ("", "<details><summary>By part</summary>", "")
        rows = [[_code(row[0]), *row[1:]] for row in parts]
        yield from _table(head, rows)
        yield from ("", "</details>")


def _weights(found: Diff) -> Iterator[str]:
    sets = {fate: [t for t in found.weights if t.fate == fate] for fate in FATES}
    summary = "; ".join(f"{tensors_text(listed)} {FATES[fate]}" for fate, listed in sets.items() if listed)
    yield from ("", "#### Weights", "", f"{summary}.", "", "<details><summary>By name</summary>", "")
    rows = [[FATES[t.fate], _code(_name(t)), shape_text(t.old), shape_text(t.new), t.how] for t in found.weights]
    yield from _table(["", "tensor", "from", "to", "how"], rows)
    yield from ("", "</details>")


def _name(tensor: Tensor) -> str:
    return f"{tensor.old_path} -> {tensor.path}" if tensor.old_path else tensor.path


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str = "") -> Iterator[str]:
    marks = ["--:" if side == "r" else "---" for side in sides.ljust(len(head), "l")]
    for row in (head, marks, *rows):
        yield f"| {' | '.join(row)} |"


def _plain(said: str) -> str:
    """Text that Markdown leaves as it is."""
    return "".join(f"\\{c}" if c in "\\`*_<>|[]#" else c for c in said.replace("\n", " "))


def _code(said: str) -> str:
    """Text as code within a table; backticks inside take a longer fence."""
    clean = " ".join(said.split()).replace("|", "\\|")
    fence = "``" if "`" in clean else "`"
    return f"{fence}{clean}{fence}"
