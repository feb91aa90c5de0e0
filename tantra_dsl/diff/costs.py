"""What two models cost beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from tantra_dsl.graph.costs.figures import Figure
from tantra_dsl.graph.costs.parts import Part
from tantra_dsl.graph.costs.report import CostReport
from tantra_dsl.graph.model import Graph
from tantra_dsl.semantics.recipe import Recipe
from tantra_dsl.show.training import recipe_cost

FIGURES: Final = (
    "params", "active_params", "flops_per_token", "flops_forward", "kv_bytes_per_token", "state_bytes",
    "weight_bytes", "optimizer_bytes", "activation_bytes", "training_bytes",
)  # fmt: skip
"""The figures that a diff lists, in order."""
PART_FIGURES: Final = (
    "params", "active_params", "flops", "kv_bytes_per_token", "activation_bytes", "optimizer_bytes",
)  # fmt: skip
"""The figures that a diff lists of a part, in order."""
DEFAULT_SEQ: Final = 1024
_SUMMED: Final = ("count", "params", "active_params", "kv_bytes_per_token", "activation_bytes", "optimizer_bytes")


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of both models; None where it is unknown."""

    name: str
    old: Figure
    new: Figure

    @property
    def delta(self) -> int | None:
        """New minus old, where both are known."""
        if self.old.value is None or self.new.value is None:
            return None
        return self.new.value - self.old.value


@dataclass(frozen=True, slots=True)
class PartChange:
    """A part of either model: its path, how often it occurs, and its figures; None on a side that lacks it."""

    path: str
    old: Part | None
    new: Part | None

    def figure(self, name: str) -> tuple[int | None, int | None]:
        """A figure on both sides; 0 on a side without the part, None where it is unknown."""
        sides = [_value(part, name) if part is not None else 0 for part in (self.old, self.new)]
        return sides[0], sides[1]


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of both models for ``seq`` tokens and ``batch`` sequences, in total and by part."""

    seq: int
    batch: int
    figures: tuple[Change, ...]
    parts: tuple[PartChange, ...]


def costs(graphs: tuple[Graph, Graph], recipes: tuple[Recipe, Recipe], seq: int | None) -> Costs:
    """The costs of both at one length: ``seq``, or the shorter context."""
    length = seq or min((graph.fact("context") or DEFAULT_SEQ for graph in graphs), default=DEFAULT_SEQ)
    reports = [recipe_cost(graph, recipe, seq=length) for graph, recipe in zip(graphs, recipes, strict=True)]
    figures = tuple(Change(name, reports[0][name], reports[1][name]) for name in _listed(*reports))
    return Costs(length, 1, figures, tuple(_parts(reports[0].parts, reports[1].parts, "", 1)))


def _listed(old: CostReport, new: CostReport) -> list[str]:
    """Figures that say something: a forward pass only where tokens do not count, states only where there are any."""
    timed = old["flops_per_token"].value is not None and new["flops_per_token"].value is not None
    left_out = {"flops_forward"} if timed else {"flops_per_token"}
    if not (old["state_bytes"].value or new["state_bytes"].value):
        left_out.add("state_bytes")
    return [name for name in FIGURES if name not in left_out]


def _parts(old: tuple[Part, ...], new: tuple[Part, ...], path: str, depth: int) -> Iterator[PartChange]:
    sides = _named(old), _named(new)
    for name in dict.fromkeys((*sides[0], *sides[1])):
        a, b = sides[0].get(name), sides[1].get(name)
        yield PartChange(f"{path}{name}", a, b)
        if depth:
            yield from _parts(_inside(a), _inside(b), f"{path}{name}.", depth - (not _is_stack(a, b)))


def _is_stack(*parts: Part | None) -> bool:
    return any(part is not None and part.kind == "stack" for part in parts)


def _inside(part: Part | None) -> tuple[Part, ...]:
    """What is inside a part; of a stack, the parts of its layers, those of one name taken together."""
    if part is None:
        return ()
    if part.kind != "stack":
        return part.parts
    return tuple(_named(tuple(inner for layer in part.parts for inner in layer.parts)).values())


def _sum(parts: list[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    values = [part.flops.value for part in parts]
    flops = None if None in values else sum(value or 0 for value in values)
    sums = {name: sum(getattr(part, name) for part in parts) for name in _SUMMED}
    figure = Figure(flops, first.flops.formula, first.flops.bound if flops is not None else "unknown")
    return replace(first, flops=figure, parts=tuple(inner for part in parts for inner in part.parts), **sums)


def _named(parts: tuple[Part, ...]) -> dict[str, Part]:
    """Parts by name; those of one name, as a table that is read twice, taken together."""
    together: dict[str, list[Part]] = {}
    for part in parts:
        together.setdefault(part.name, []).append(part)
    return {name: _sum(alike) for name, alike in together.items()}


def _value(part: Part, name: str) -> int | None:
    if name == "flops":
        return part.flops.value
    value: int = getattr(part, name)
    return value
