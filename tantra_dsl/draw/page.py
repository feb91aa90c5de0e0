"""A model as a page: its diagram, what it costs, and its text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tantra_dsl.draw.extract import picture
from tantra_dsl.draw.sheet import document, listing, table, text
from tantra_dsl.draw.svg import svg
from tantra_dsl.graph.costs.report import CostReport
from tantra_dsl.graph.hash import architecture_hash
from tantra_dsl.show.training import recipe_cost
from tantra_dsl.show.units import figure_text

if TYPE_CHECKING:
    from tantra_dsl.api import Spec

FIGURES: Final = {
    "params": "parameters", "active_params": "active parameters", "flops_per_token": "FLOPs per token",
    "flops_forward": "FLOPs, forward", "flops_training_step": "FLOPs, training step",
    "kv_bytes_per_token": "KV per token", "kv_bytes": "KV cache", "state_bytes": "states",
    "weight_bytes": "weights", "gradient_bytes": "gradients", "optimizer_bytes": "optimizer",
    "activation_bytes": "activations", "training_bytes": "training, together",
}  # fmt: skip
"""The figures of ``tantra show`` that a page has, with what they are called."""
_LEFT_OUT_WHERE_ZERO: Final = ("kv_bytes_per_token", "kv_bytes", "state_bytes")
_SMALL: Final = ("params", "active_params", "flops_per_token", "kv_bytes_per_token", "training_bytes")


def page(spec: Spec, *, seq: int | None = None, batch: int = 1) -> str:
    """A self-contained page of a spec; costs for ``batch`` sequences of ``seq`` tokens. Raises SpecError."""
    graph = spec.graph()
    report = recipe_cost(graph, spec.recipe(), seq=seq, batch=batch)
    return document(
        graph.name,
        [
            f"<h1>{text(graph.name)}</h1>",
            f'<p class="soft">{text(_summary(spec, report))}</p>',
            f'<div class="beside"><figure>{svg(picture(graph))}</figure>',
            f"<div>{_costs(report)}",
            f'<p class="soft">architecture <code>{architecture_hash(graph)[:16]}</code></p>',
            f"<h2>{text(spec.unit.source.name)}</h2>",
            f"{listing(spec.unit.source.text, 'L')}</div></div>",
        ],
    )


def small(spec: Spec) -> str:
    """The diagram and a few figures: what a notebook shows of a spec. Raises SpecError."""
    graph = spec.graph()
    report = recipe_cost(graph, spec.recipe())
    told = " · ".join(f"{FIGURES[name]} {figure_text(name, report[name])}" for name in _SMALL if _is_told(report, name))
    note = f"{report.batch} × {report.seq:,} tokens"
    return (
        f'<div style="overflow-x:auto">{svg(picture(graph))}</div>'
        f'<p style="font-size:13px;margin:4px 12px">{text(told)} <span style="opacity:.7">({text(note)})</span></p>'
    )


def _summary(spec: Spec, report: CostReport) -> str:
    overrides = f", with {', '.join(spec.sets)}" if spec.sets else ""
    return f"{report['params'].value:,} parameters{overrides}"


def _is_told(report: CostReport, name: str) -> bool:
    if name == "active_params":
        return report[name].value != report["params"].value
    return report[name].value != 0 or name not in _LEFT_OUT_WHERE_ZERO


def _costs(report: CostReport) -> str:
    setting = f"{report.batch} × {report.seq:,} tokens, {report.precision}, {report.optimizer}"
    return f"<h3>{text(setting)}</h3>" + table(["", "", "how"], _rows(report), "lrl")


def _rows(report: CostReport) -> Iterator[list[str]]:
    for name, said in FIGURES.items():
        if _is_told(report, name):
            formula = text(report[name].formula)
            yield [_whole(said), text(figure_text(name, report[name])), f'<span class="soft">{formula}</span>']


def _whole(said: str) -> str:
    return f'<span class="whole">{text(said)}</span>'
