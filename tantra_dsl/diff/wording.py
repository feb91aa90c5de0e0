"""Words that the text and the Markdown of a diff share."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tantra_dsl.diff.costs import Change, Costs
from tantra_dsl.diff.operations import Concern, Operation
from tantra_dsl.diff.report import Diff
from tantra_dsl.diff.weights import Fate, Tensor
from tantra_dsl.show.units import byte_text, count_text, flop_text

HEADINGS: dict[Concern, str] = {
    "function": "the function",
    "names": "names of weights",
    "numerics": "numerics",
    "recipe": "the recipe and how weights start",
}
LABELS = {
    "params": "parameters", "active_params": "active parameters", "flops_per_token": "FLOPs per token",
    "flops_forward": "FLOPs, forward", "kv_bytes_per_token": "KV per token", "state_bytes": "states",
    "weight_bytes": "weights", "optimizer_bytes": "optimizer", "activation_bytes": "activations",
    "training_bytes": "training, together",
}  # fmt: skip
PART_COLUMNS = {
    "params": "parameters", "flops": "FLOPs", "kv_bytes_per_token": "KV per token", "optimizer_bytes": "optimizer",
    "activation_bytes": "activations",
}  # fmt: skip
FATES: dict[Fate, str] = {
    "loads": "load as they are", "renamed": "load under another name", "reshaped": "are reshaped", "new": "are new",
    "dropped": "are dropped",
}  # fmt: skip


def change_text(op: Operation, limit: int = 120) -> str:
    """``32 -> 8``; what is not written but is so by default is marked, what is longer than ``limit`` cut."""
    old, new = (_side(text, by, limit) for text, by in zip((op.old, op.new), op.defaulted, strict=True))
    if op.kind == "add":
        return new or "added"
    if op.kind == "remove":
        return f"{old} removed"
    return f"{old or 'none'} -> {new or 'none'}"


def _side(text: str | None, by_default: bool, limit: int) -> str | None:
    if text is not None and len(text) > limit:
        text = text[: limit - 4].rstrip() + " ..."
    return f"{text} by default" if by_default and text is not None else text


def figure(name: str, value: int | None) -> str:
    """A figure in the unit that its name says."""
    if value is None:
        return "unknown"
    unit = flop_text if name.startswith("flops") else byte_text if "bytes" in name else count_text
    return unit(value)


def delta_text(change: Change) -> str:
    """``-4.1B (-51.7%)``; nothing where both are equal or one is unknown."""
    return difference(change.name, change.old.value, change.new.value)


def difference(name: str, old: int | None, new: int | None) -> str:
    """The difference of two figures with its sign and share."""
    if old is None or new is None or old == new:
        return ""
    sign = "+" if new > old else "-"
    return f"{sign}{figure(name, abs(new - old))}{_share(old, new)}"


def _share(old: int | None, new: int | None) -> str:
    """The difference in percent of the old value, where that tells something."""
    if not old or not new or abs(new - old) >= 10 * old:
        return ""
    return f" ({'+' if new > old else '-'}{abs(new - old) / old:.1%})"


def tensors_text(tensors: Iterable[Tensor]) -> str:
    """``12 tensors, 8.0B numbers``."""
    listed = list(tensors)
    count, numbers = sum(t.count for t in listed), sum(t.numbers for t in listed)
    return f"{count:,} tensor{'' if count == 1 else 's'}, {count_text(numbers)} numbers"


def shape_text(shape: tuple[int, ...] | None) -> str:
    """``[4096, 1024]``."""
    return "" if shape is None else f"[{', '.join(map(str, shape))}]"


def title(found: Diff) -> str:
    """The two models by name, with their files where the names do not tell them apart."""
    if found.before.name != found.after.name:
        return f"{found.before.name} -> {found.after.name}"
    if found.before.source == found.after.source:
        return found.before.name
    return f"{found.before.source} -> {found.after.source}"


def sides(found: Diff) -> tuple[str, str]:
    """Headings for the two models."""
    names = found.before.name, found.after.name
    return names if names[0] != names[1] else ("before", "after")


def part_table(costs: Costs, names: Collection[str] = PART_COLUMNS) -> tuple[list[str], list[list[str]]]:
    """The parts that differ, as a head and rows, with those of the figures ``names`` that differ anywhere."""
    pairs = [(part.path, [(name, *part.figure(name)) for name in names]) for part in costs.parts]
    rows = [[path, *(_pair(*pair) for pair in figures)] for path, figures in pairs]
    kept = [row for row in rows if any(row[1:])]
    shown = [column for column in range(len(kept[0]) if kept else 0) if any(row[column] for row in kept)]
    head = ["part", *(PART_COLUMNS[name] for name in names)]
    return [head[column] for column in shown], [[row[column] for column in shown] for row in kept]


def _pair(name: str, old: int | None, new: int | None) -> str:
    """``1.8 -> 8.7 MB (+385.4%)``; nothing where both are equal."""
    if old == new:
        return ""
    texts = figure(name, old), figure(name, new)
    number, _, unit = texts[0].partition(" ")
    first = number if unit and unit == texts[1].partition(" ")[2] else texts[0]
    return f"{first} -> {texts[1]}{_share(old, new)}"
