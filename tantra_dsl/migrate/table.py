"""The plan in a table, tensors of many layers in one row, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tantra_dsl.migrate.alignment import Place
from tantra_dsl.migrate.claim import CLAIMS, in_layers
from tantra_dsl.migrate.migration import Migration
from tantra_dsl.migrate.planning import Entry, Lack, Loss
from tantra_dsl.migrate.rules import Carried


@dataclass(frozen=True)
class _Row:
    """Tensors of one pattern that are made alike; ``source`` where it has another name or layer."""

    part: str
    stack: str
    source: str
    shapes: str
    words: str


def text(made: Migration) -> str:
    """The plan as a table, and the claim."""
    plan = made.plan
    rows = list(_rows(plan.items, made.counts))
    count = len(plan.items)
    lines = [f"{made.old_name} -> {made.new_name}: {count:,} tensors", "", *_columns(rows)]
    lost = losses(made)
    if lost:
        lines += ["", "left out", *(f"  {line}" for line in lost)]
    return "\n".join([*lines, "", *_claim(made)]) + "\n"


def _claim(made: Migration) -> Iterator[str]:
    if not made.possible:
        yield "no claim: this plan cannot be carried out"
        return
    yield f"claim: {made.claim.text}"
    yield from (f"  {reason}" for reason in made.claim.reasons)


def _columns(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, shapes, words in rows:
        yield f"  {name:<{widths[0]}}  {shapes:<{widths[1]}}  {words}".rstrip()


def _rows(items: Iterable[Entry | Lack], counts: dict[str, int]) -> Iterator[tuple[str, str, str]]:
    found: dict[_Row, list[int]] = {}
    for item in items:
        found.setdefault(_row(item), []).extend(index for _, index in item.new.layers[:1])
    for row, layers in found.items():
        name = in_layers(row.part, row.stack, layers, counts[row.stack]) if row.stack else row.part
        yield name, row.shapes, row.words + (f", from {row.source}" if row.source else "")


def _row(item: Entry | Lack) -> _Row:
    stack, part = _pattern(item.new)
    if isinstance(item, Lack):
        return _Row(part, stack, "", _shapes(item.old, item.new), f"no rule: {item.why}")
    source = _source(item.old, item.new) if item.old is not None else ""
    return _Row(part, stack, source, _shapes(item.old, item.new), item.rule.words)


def _pattern(place: Place) -> tuple[str, str]:
    """The stack that a tensor is in, and its path with ``*`` for the layer."""
    if not place.layers:
        return "", place.path
    stack, index = place.layers[0]
    return stack, f"{stack}.*.{place.path.removeprefix(f'{stack}.{index}.')}"


def _source(old: Place, new: Place) -> str:
    """Where a tensor comes from, if not from the same name: layers are told by how far they are below."""
    if old.path == new.path:
        return ""
    if not old.layers or not new.layers:
        return old.path
    (stack, index), further = old.layers[0], new.layers[0][1] - old.layers[0][1]
    rest = old.path.removeprefix(f"{stack}.{index}.")
    layer = f"i - {further}" if further > 0 else f"i + {-further}" if further else "*"
    if further and _pattern(old) == _pattern(new):
        return f"layer {layer}"
    return f"{stack}[{layer}].{rest}" if further else f"{stack}.*.{rest}"


def _shapes(old: Place | None, new: Place) -> str:
    shape = str(list(new.shape))
    return shape if old is None or old.shape == new.shape else f"{list(old.shape)} -> {shape}"


def lacks(made: Migration) -> tuple[str, ...]:
    """Tensors without a rule, in lines."""
    return tuple(f"{name} {shapes}: {words.removeprefix('no rule: ')}" for name, shapes, words in
                 _rows(made.plan.lacks, made.counts))  # fmt: skip


def losses(made: Migration, found: Iterable[Loss] | None = None) -> tuple[str, ...]:
    """What is lost, in lines."""
    grouped: dict[tuple[str, str, str], list[int]] = {}
    for loss in made.plan.losses if found is None else found:
        stack, part = _pattern(loss.old)
        what = loss.what + (" (nothing is lost if it is zero)" if loss.unless_zero and found is None else "")
        grouped.setdefault((stack, part, what), []).extend(index for _, index in loss.old.layers[:1])
    return tuple(
        f"{in_layers(part, stack, layers, made.old_counts.get(stack, 1 + max(layers))) if stack else part}: {what}"
        for (stack, part, what), layers in grouped.items()
    )


# --- JSON --------------------------------------------------------------------------------


def document(made: Migration) -> dict[str, Any]:
    """The plan as JSON values, tensor by tensor."""
    claim = None
    if made.possible:
        claim = {"kind": made.claim.kind, "text": CLAIMS[made.claim.kind], "reasons": list(made.claim.reasons),
                 "limits": list(made.claim.limits)}  # fmt: skip
    return {
        "from": made.old_name, "to": made.new_name, "claim": claim,
        "tensors": [_entry(entry) for entry in made.plan.entries],
        "no_rule": [_lack(lack) for lack in made.plan.lacks],
        "left_out": [_loss(loss) for loss in made.plan.losses],
    }  # fmt: skip


def _lack(lack: Lack) -> dict[str, Any]:
    return {"path": lack.new.path, "shape": list(lack.new.shape), "why": lack.why}


def _loss(loss: Loss) -> dict[str, Any]:
    return {"path": loss.old.path, "what": loss.what, "unless_zero": loss.unless_zero}


def _entry(entry: Entry) -> dict[str, Any]:
    source = None
    if isinstance(entry.rule, Carried) and entry.old is not None:
        source = {"path": entry.old.path, "shape": list(entry.old.shape)}
    kind = "carried" if source is not None else type(entry.rule).__name__.lower()
    return {"path": entry.new.path, "shape": list(entry.new.shape), "rule": kind, "how": entry.rule.words,
            "from": source}  # fmt: skip


__all__ = ["document", "lacks", "losses", "text"]
