"""The leak proof: no position sees the token that it is asked to predict; if one does, which sublayer is to blame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tantra_dsl.diagnostics.core import Diagnostic
from tantra_dsl.diagnostics.leaks import (
    LeakOverTime,
    LeakThrough,
    LeakThroughAttention,
    LeakThroughConvolution,
    LeakThroughShift,
    TargetAlreadySeen,
)
from tantra_dsl.graph.blame import Culprit, culprits
from tantra_dsl.graph.flow import Flow, Place
from tantra_dsl.graph.model import Graph, Ref
from tantra_dsl.graph.objectives import Objective, objectives, time_of
from tantra_dsl.syntax.source import NOWHERE, Span

Kind = Literal["attention", "convolution", "over time", "shift", "objective"]

_MOST_GROUPS = 16
"""Suspects that are tried one by one; beyond, all are named."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A sublayer through which position t sees its target ``input[t + offset]``, or an objective that asks back.

    ``path`` names the sublayer (``layers.3 (block local).attention``), ``others`` counts further layers with the same
    one, ``ahead`` says how many positions it adds (inf: no limit), ``span`` is its place and ``objective`` the loss's.
    """

    kind: Kind
    input: str
    offset: int
    path: str
    reason: str
    help: str
    ahead: float
    others: int = 0
    span: Span = NOWHERE
    objective: Span = NOWHERE


def find_leaks(graph: Graph) -> list[Leak]:
    """Every sublayer through which a target is seen, each once; empty when none can be (a proof for all lengths).

    Speaks about losses whose target is an input of the model, shifted along time. Costs what the distinct bodies cost.
    """
    flow = Flow(graph)
    found: list[Leak] = []
    for objective in objectives(graph):
        if objective.seen(flow):
            found += _blamed(flow, objective)
    return _grouped(found)


def is_causal(graph: Graph) -> bool | None:
    """Whether no output at position t depends on inputs of the same time axis after t; None without such an output."""
    flow = Flow(graph)
    body = graph.main
    answers = []
    for (name, ref), vector in zip(body.outputs, flow.root.outputs, strict=True):
        time = time_of(body, ref)
        if name == "loss" or time is None:
            continue
        for number, node in enumerate(body.inputs):
            if time_of(body, Ref(node.id)) == time:
                reach = vector.get(number)
                answers.append(reach is None or (reach.stride <= 1 and reach.ahead <= 0))
    return all(answers) if answers else None


def leak_diagnostics(graph: Graph) -> list[Diagnostic]:
    """What to tell a spec's author about the leaks of a model; nothing where it has none."""
    return [diagnose(leak) for leak in find_leaks(graph)]


def diagnose(leak: Leak) -> Diagnostic:
    """The diagnostic that tells a spec's author about ``leak``."""
    if leak.kind == "objective":
        return TargetAlreadySeen(span=leak.span, input=leak.input, offset=leak.offset, advice=leak.help)
    code: dict[str, type[LeakThrough]] = {
        "attention": LeakThroughAttention,
        "convolution": LeakThroughConvolution,
        "over time": LeakOverTime,
        "shift": LeakThroughShift,
    }
    target = f"position t is asked for {leak.input}[t + {leak.offset}]"
    objective = None if leak.objective == NOWHERE else leak.objective
    return code[leak.kind](
        span=leak.span, path=leak.path, reason=leak.reason, target=target, advice=leak.help, others=leak.others,
        objective=objective,
    )  # fmt: skip


# --- blame ------------------------------------------------------------------------------------


def _blamed(flow: Flow, objective: Objective) -> list[Leak]:
    """The objective itself where a causal model would see the target too, else the places that let it in."""
    if objective.seen(flow.restricted(())):
        return [_objective_leak(objective)]
    suspects = culprits(flow, objective)
    groups = list(_by_origin(suspects).values())
    guilty = [group for group in groups if _alone_enough(flow, objective, group)] if len(groups) <= _MOST_GROUPS else []
    return [_culprit_leak(culprit, objective) for group in guilty or groups for culprit in group]


def _by_origin(suspects: Iterable[Culprit]) -> dict[object, list[Culprit]]:
    """Suspects that stem from one line of the spec stand together."""
    groups: dict[object, list[Culprit]] = {}
    for culprit in suspects:
        span = culprit.span
        key = culprit.place if span == NOWHERE else (span, _without_numbers(culprit.path))
        groups.setdefault(key, []).append(culprit)
    return groups


def _alone_enough(flow: Flow, objective: Objective, group: list[Culprit]) -> bool:
    places: set[Place] = {culprit.place for culprit in group}
    return objective.seen(flow.restricted(places))


def _objective_leak(objective: Objective) -> Leak:
    advice = f"predict the next token: shift the target by -1, or use next_token(logits, {objective.name})"
    return Leak(
        "objective", objective.name, objective.offset, "objective", "the target is not ahead", advice, 0.0,
        span=objective.span, objective=objective.span,
    )  # fmt: skip


def _culprit_leak(culprit: Culprit, objective: Objective) -> Leak:
    kind, reason, advice = culprit.explanation
    return Leak(
        kind, objective.name, objective.offset, culprit.path, reason, advice, culprit.ahead, culprit.others,
        culprit.span, objective.span,
    )  # fmt: skip


def _grouped(leaks: list[Leak]) -> list[Leak]:
    """One leak for each line of the spec and reason; the layers that share it are counted."""
    kept: dict[object, Leak] = {}
    for leak in leaks:
        key = (leak.span, leak.reason, leak.path if leak.span == NOWHERE else _without_numbers(leak.path))
        before = kept.get(key)
        kept[key] = leak if before is None else _with_others(before, leak)
    return list(kept.values())


def _without_numbers(path: str) -> str:
    return "".join(character for character in path if not character.isdigit())


def _with_others(first: Leak, other: Leak) -> Leak:
    if first.path == other.path:
        return first
    return replace(first, others=first.others + other.others + 1)
