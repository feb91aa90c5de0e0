"""What is claimed of the new model: the same function, the same up to rounding, or another one, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tantra_dsl.diff.which import which
from tantra_dsl.graph.model import Graph
from tantra_dsl.migrate.planning import Plan
from tantra_dsl.migrate.proof import Proof, Reason, prove

Kind = Literal["same", "rounding", "another"]

CLAIMS: dict[Kind, str] = {
    "same": "same function",
    "rounding": "same function up to rounding",
    "another": "another function",
}


@dataclass(frozen=True)
class Claim:
    """The claim, the reasons where it is not the plain "same function", and ``limits`` within which it holds."""

    kind: Kind
    reasons: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The claim as it is printed: ``same function, on up to 128 tokens``."""
        return ", ".join((CLAIMS[self.kind], *self.limits))


def make_claim(before: Graph, after: Graph, plan: Plan, *, dropped: bool, rounded: bool) -> Claim:
    """What ``plan`` keeps of the function; ``rounded``: the recipes compute in different precisions."""
    proof = prove(before, after, plan, dropped)
    if proof.reasons:
        return Claim("another", tuple(told(proof.reasons, _counts(plan))))
    reasons = _rounding(proof, rounded)
    return Claim("rounding" if reasons else "same", reasons, tuple(_limits(before, after)))


def _rounding(proof: Proof, rounded: bool) -> tuple[str, ...]:
    return (*proof.rounding, *(["the recipes compute in different precisions"] if rounded else []))


def _limits(before: Graph, after: Graph) -> Iterable[str]:
    """Inputs that both models take."""
    for fact, words in (("context", "on up to {:,} tokens"), ("vocab", "for the first {:,} tokens of the vocabulary")):
        sizes = before.fact(fact), after.fact(fact)
        if sizes[0] != sizes[1] and sizes[0] is not None and sizes[1] is not None:
            yield words.format(min(sizes[0], sizes[1]))


def told(reasons: Iterable[Reason], counts: Mapping[str, int]) -> Iterable[str]:
    """Reasons as lines, those of several layers once: ``layers[every 6th].attention: queries see other keys``."""
    layers: dict[tuple[str, str], list[int]] = {}
    stacks: dict[tuple[str, str], str] = {}
    for reason in reasons:
        chosen = layers.setdefault((reason.part, reason.why), [])
        if reason.layer is not None:
            stacks[reason.part, reason.why] = reason.layer[0]
            chosen.append(reason.layer[1])
    for (part, why), chosen in layers.items():
        stack = stacks.get((part, why), "")
        place = in_layers(part, stack, chosen, counts.get(stack, 1 + max(chosen, default=0))) if chosen else part
        yield f"{place}: {why}" if place else why


def in_layers(part: str, stack: str, layers: list[int], count: int) -> str:
    """``layers.*.ffn`` as ``layers[first 4].ffn``, or as ``layers.ffn`` where that is all of them."""
    chosen = which(set(layers), count)
    rest = part.removeprefix(f"{stack}.*")
    return f"{stack}[{chosen}]{rest}" if chosen else f"{stack}{rest}"


def _counts(plan: Plan) -> dict[str, int]:
    """How many layers each stack of the new model has."""
    counts: dict[str, int] = {}
    for item in plan.items:
        if item.new.layers:
            stack, index = item.new.layers[0]
            counts[stack] = max(counts.get(stack, 0), index + 1)
    return counts
