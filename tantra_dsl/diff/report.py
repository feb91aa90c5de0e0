"""The diff of two models: verdict, operations, costs, weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tantra_dsl.diff import compare, recipe
from tantra_dsl.diff.account import Account, account
from tantra_dsl.diff.costs import Costs, costs
from tantra_dsl.diff.operations import Concern, Operation
from tantra_dsl.diff.weights import Tensor, weights
from tantra_dsl.graph.hash import architecture_hash, function_hash
from tantra_dsl.graph.model import Graph

if TYPE_CHECKING:
    from tantra_dsl.api import Spec

Verdict = Concern | Literal["same"]

VERDICTS: dict[str, str] = {
    "same": "the same model",
    "recipe": "same function, another recipe",
    "numerics": "same function, different numerics",
    "names": "same function, weights under other names",
    "function": "different function",
}
_OF: dict[str, tuple[Concern, ...]] = {
    "architecture": ("function", "names"),
    "numerics": ("numerics",),
    "recipe": ("recipe",),
}


@dataclass(frozen=True)
class Model:
    """One side of a diff: the model's name, the file that it was read from, and its hash."""

    name: str
    source: str
    hash: str


@dataclass(frozen=True)
class Diff:
    """What is different between two models.

    ``verdict`` comes from the graphs' hashes alone; ``operations`` say what an author would have to change, in the
    order of the new model; ``notes`` are remarks on the comparison itself.
    """

    before: Model
    after: Model
    verdict: Verdict
    operations: tuple[Operation, ...]
    costs: Costs
    weights: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing at all is different."""
        return self.verdict == "same" and not self.operations

    def of(self, concern: Concern) -> list[Operation]:
        """The operations of one concern."""
        return [op for op in self.operations if op.concern == concern]

    def only(self, section: str) -> Diff:
        """This diff with the operations of one section alone."""
        return replace(self, operations=tuple(op for op in self.operations if op.concern in _OF[section]))


def diff(before: Spec, after: Spec, *, seq: int | None = None) -> Diff:
    """What turns one model into the other; costs for ``seq`` tokens (the shorter context where None).

    Raises SpecError where either has mistakes, and ValueError for a length below one.
    """
    if seq is not None and seq < 1:
        raise ValueError(f"seq must be at least 1, but is {seq}")
    sides = account(before), account(after)
    recipes = before.recipe(), after.recipe()
    found = compare.operations(*sides)
    kept = weights(sides[0].graph, sides[1].graph, _renames(found))
    verdict = _verdict(sides, found, kept)
    found = [_as_judged(op, verdict) for op in found]
    found += recipe.operations(*recipes)
    graphs = sides[0].graph, sides[1].graph
    return Diff(
        _model(before, graphs[0]), _model(after, graphs[1]), _whole(verdict, found), tuple(found),
        costs(graphs, recipes, seq), tuple(kept), tuple(_notes(sides)),
    )  # fmt: skip


def _model(spec: Spec, graph: Graph) -> Model:
    return Model(spec.name, spec.unit.source.name, architecture_hash(graph))


def _as_judged(op: Operation, verdict: Verdict) -> Operation:
    """An operation as what the hashes show it to be: none is of the function where this is the same."""
    if op.concern != "function" or verdict == "function":
        return op
    if verdict in ("recipe", "same"):
        return replace(op, concern="recipe", why="weights start differently")
    return replace(op, concern="numerics", why="the same on paper, computed in another order")


def _verdict(sides: tuple[Account, Account], found: Sequence[Operation], kept: Sequence[Tensor]) -> Verdict:
    graphs = sides[0].graph, sides[1].graph
    if architecture_hash(graphs[0]) == architecture_hash(graphs[1]):
        return "recipe" if found else "same"
    if function_hash(graphs[0]) != function_hash(graphs[1]):
        return "function"
    return "names" if any(tensor.fate != "loads" for tensor in kept) else "numerics"


def _whole(verdict: Verdict, found: Sequence[Operation]) -> Verdict:
    """The verdict with the recipe counted in."""
    if verdict in ("function", "names"):
        return verdict
    concerns = {op.concern for op in found}
    return "numerics" if "numerics" in concerns else "recipe" if concerns else "same"


def _renames(found: Sequence[Operation]) -> dict[str, str]:
    return {op.old: op.new for op in found if op.kind == "rename" and op.old and op.new}


def _notes(sides: tuple[Account, Account]) -> list[str]:
    kinds = [_kind(side) for side in sides]
    if kinds[0] == kinds[1]:
        return []
    return [f"different kinds of model: {kinds[0]}, and {kinds[1]}; what both have is compared"]


def _kind(side: Account) -> str:
    """What goes into a model and what it is trained for."""
    specs = [node.attr("spec") for node in side.graph.main.inputs]
    listed = " and ".join(sorted({spec.kind for spec in specs if spec.kind not in ("labels", "class")})) or "nothing"
    objective = side.root.children.get("objective")
    return f"one from {listed} to {objective.name}" if objective is not None else f"one from {listed}"
