"""A migration from one spec to another: its plan, what it claims, and carrying it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tantra_dsl.diagnostics.core import Diagnostic, SpecError
from tantra_dsl.diagnostics.migration import NoIdentity, NoRule, WouldLose
from tantra_dsl.diagnostics.training import at_path
from tantra_dsl.diff.operations import Operation
from tantra_dsl.diff.report import diff
from tantra_dsl.migrate.alignment import Place
from tantra_dsl.migrate.claim import Claim, make_claim
from tantra_dsl.migrate.planning import Loss, Options, Plan, make_plan
from tantra_dsl.migrate.source import Source, check_fits

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from tantra_dsl.api import Spec
    from tantra_dsl.migrate.carrying import Carrying


@dataclass(frozen=True)
class Migration:
    """The way from the weights of ``before`` to weights of ``after``."""

    before: Spec
    after: Spec
    options: Options
    plan: Plan
    changes: tuple[Operation, ...]

    @property
    def old_name(self) -> str:
        """The old model's name."""
        return self.before.name

    @property
    def new_name(self) -> str:
        """The new model's name."""
        return self.after.name

    @cached_property
    def claim(self) -> Claim:
        """What is claimed of the result."""
        rounded = self.before.recipe().precision != self.after.recipe().precision
        graphs = self.before.graph(), self.after.graph()
        return make_claim(*graphs, self.plan, self.changes, dropped=self.options.drop, rounded=rounded)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many layers each stack of the new model has."""
        return _counts(item.new for item in self.plan.items)

    @cached_property
    def old_counts(self) -> dict[str, int]:
        """How many layers each stack of the old model has, as far as its tensors are told of."""
        kept = [entry.old for entry in self.plan.entries if entry.old is not None]
        return _counts([*kept, *(loss.old for loss in self.plan.losses)])

    @property
    def possible(self) -> bool:
        """Whether the plan can be carried out."""
        return not self.problems()

    def problems(self) -> list[Diagnostic]:
        """What keeps the plan from being carried out."""
        from tantra_dsl.migrate import table

        where = at_path(self.after.unit.source.name)
        found: list[Diagnostic] = []
        if self.plan.no_identity:
            layers = tuple(prefix.rstrip(".") for prefix in self.plan.no_identity)
            found.append(NoIdentity(span=where, layers=layers))
        if self.plan.lacks:
            found.append(NoRule(span=where, tensors=table.lacks(self), count=len(self.plan.lacks)))
        lost = [loss for loss in self.plan.losses if not loss.unless_zero]
        return found if self.options.drop or not lost else [*found, self._lost(lost)]

    def _lost(self, lost: Iterable[Loss]) -> WouldLose:
        from tantra_dsl.migrate import table

        return WouldLose(span=at_path(self.after.unit.source.name), tensors=table.losses(self, lost))

    def carry(self, old: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
        """The new weights. Raises SpecError where the plan cannot be carried out, or a bias that goes is not zero."""
        return dict(self.carrying(old, {path: tensor.dtype for path, tensor in old.items()}, seed))

    def carrying(self, old: Mapping[str, Tensor], kinds: Mapping[str, dtype], seed: int) -> Carrying:
        """The new weights, each made when it is asked for. ``kinds`` are the old ones' types. Raises as ``carry``."""
        from tantra_dsl.migrate.carrying import Carrying
        from tantra_dsl.migrate.starting import start

        problems = self.problems()
        lost = [loss for loss in self.plan.losses if loss.unless_zero and bool(old[loss.old.path].any())]
        if lost and not self.options.drop:
            problems.append(self._lost([Loss(loss.old, "it is not zero, and has no place") for loss in lost]))
        if problems:
            raise SpecError(problems)
        return Carrying(self.plan, old, kinds, lambda place: start(place, seed))


def _counts(places: Iterable[Place]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for place in places:
        if place.layers:
            stack, index = place.layers[0]
            counts[stack] = max(counts.get(stack, 0), index + 1)
    return counts


def plan(before: Spec, after: Spec, options: Options | None = None) -> Migration:
    """How the weights of ``before`` become weights of ``after``. Raises SpecError where a spec has mistakes."""
    chosen = options or Options()
    changes = diff(before, after).operations
    renames = {op.old: op.new for op in changes if op.kind == "rename" and op.old and op.new}
    return Migration(before, after, chosen, make_plan(before.graph(), after.graph(), renames, chosen), changes)


def carry_out(made: Migration, source: Source, out: Path, seed: int, record: dict[str, Any]) -> None:
    """Reads the weights of ``source``, carries them over and writes ``out``, whole or not at all. Raises SpecError.

    Goes tensor by tensor: no more than one of each model is in memory.
    """
    from tantra_dsl.migrate.reading import Reading
    from tantra_dsl.migrate.writing import require_free, write

    require_free(out)
    check_fits(source, made.old_name, made.before.graph(), made.after.graph())
    source.check_content()
    old = Reading(source)
    weights = made.carrying(old, old.kinds, seed)
    write(out, made.after, weights, record, source.run, seed)


__all__ = ["Migration", "carry_out", "plan"]
