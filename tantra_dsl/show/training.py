"""What a model costs when it trains as its recipe says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tantra_dsl.graph.costs.report import CostReport, cost
from tantra_dsl.graph.model import Graph

if TYPE_CHECKING:
    from tantra_dsl.semantics.recipe import OptimizerChoice, Recipe


def recipe_cost(graph: Graph, recipe: Recipe, *, seq: int | None = None, batch: int = 1) -> CostReport:
    """``cost`` with the optimizer, the dropout and the precision of ``recipe`` (float32 where that is ``auto``)."""
    precision = "bf16" if recipe.precision == "bfloat16" else "float32"
    optimizer = _optimizer(recipe.optimizer)
    return cost(graph, seq=seq, batch=batch, precision=precision, optimizer=optimizer, dropout=recipe.dropout)


def _optimizer(choice: OptimizerChoice) -> str:
    return "sgd_momentum" if choice.kind == "sgd" and choice.momentum > 0 else choice.kind
