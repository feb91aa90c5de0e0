"""The figures of a run that the recipe leaves to the model or to the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tantra_dsl.diagnostics.core import Diagnostic, Sink, SpecError
from tantra_dsl.diagnostics.training import ContextTooLong, NoEffectOnModel
from tantra_dsl.graph.model import Graph
from tantra_dsl.semantics.recipe import DEFAULT_STEPS, Recipe
from tantra_dsl.train.objective import can_sample
from tantra_dsl.train.schedule import factor, noam_peak, steps_of

if TYPE_CHECKING:
    from tantra_dsl.train.batches import Batches

DEFAULT_CONTEXT = 256


@dataclass(frozen=True)
class Plan:
    """Steps, and the intervals between evaluations, checkpoints and log entries, in steps."""

    recipe: Recipe
    steps: int
    eval_every: int
    save_every: int
    log_every: int

    def factor(self, step: int, seconds: float) -> float:
        """Share of the peak learning rate at ``step``; a run that will not reach its last step in time hurries."""
        return factor(self.recipe.schedule, max(step, int(self._share(seconds) * self.steps)), self.steps)

    def is_over(self, step: int, seconds: float) -> bool:
        """Whether nothing is left to do after ``step`` steps and ``seconds`` of training."""
        return step >= self.steps or self._share(seconds) >= 1

    def seconds_left(self, step: int, seconds: float) -> float:
        """Estimate from the steps so far."""
        left = (self.steps - step) * seconds / step
        return left if self.recipe.time_limit is None else min(left, self.recipe.time_limit - seconds)

    def _share(self, seconds: float) -> float:
        return 0.0 if self.recipe.time_limit is None else seconds / self.recipe.time_limit


def make_plan(recipe: Recipe, batches: Batches) -> Plan:
    """The plan of a recipe for its data."""
    steps = recipe.steps or DEFAULT_STEPS
    if recipe.epochs is not None:
        steps = max(1, math.ceil(recipe.epochs * batches.per_epoch / recipe.accumulate))
    eval_every = recipe.eval_every or max(1, steps // 10)
    return Plan(recipe, steps, eval_every, recipe.save_every or eval_every, recipe.log_every)


def context_of(recipe: Recipe, graph: Graph) -> int:
    """Tokens per sequence. Raises SpecError with R0207 for more than the model's context."""
    model = graph.fact("context")
    if recipe.context is None:
        return model or DEFAULT_CONTEXT
    if model is not None and recipe.context > model:
        problem = ContextTooLong(span=recipe.span("context"), asked=recipe.context, context=model)
        raise SpecError([problem])
    return recipe.context


def peak_of(recipe: Recipe, graph: Graph, steps: int) -> float | None:
    """The peak learning rate that noam takes from the model's width, where the recipe sets none."""
    dim = graph.fact("dim")
    if recipe.schedule.kind != "noam" or dim is None:
        return None
    return noam_peak(dim, steps_of(recipe.schedule.warmup, steps))


def check_effects(recipe: Recipe, graph: Graph, sink: Sink) -> None:
    """Reports recipe keys that this model leaves without effect (R0211)."""
    nodes = [node for body in graph.bodies.values() for node in body.nodes]
    attending = any(node.op in ("attend", "additive_attend") and node.attr("dropout") == "recipe" for node in nodes)
    drops = attending or any(node.op == "dropout" and node.attr("rate") is None for node in nodes)
    smooths = any(node.op == "cross_entropy" and node.attr("label_smoothing") is None for node in nodes)
    for problem in _idle(recipe, drops, smooths, can_sample(graph)):
        sink.add(problem)


def _idle(recipe: Recipe, drops: bool, smooths: bool, samples: bool) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    if recipe.prompt is not None and not samples:
        reason = "the model does not extend a text, so there is no sample"
        found.append(NoEffectOnModel(span=recipe.span("prompt"), key="prompt", reason=reason))
    if recipe.dropout > 0 and not drops:
        reason = "no dropout of the model takes its rate from the recipe"
        found.append(NoEffectOnModel(span=recipe.span("dropout"), key="dropout", reason=reason))
    if recipe.label_smoothing > 0 and not smooths:
        reason = "no loss of the model takes its label smoothing from the recipe"
        found.append(NoEffectOnModel(span=recipe.span("label_smoothing"), key="label_smoothing", reason=reason))
    return found
