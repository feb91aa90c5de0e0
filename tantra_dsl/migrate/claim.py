"""What is claimed of the new model: the same function, the same up to rounding, or another one, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tantra_dsl.diff.operations import Operation
from tantra_dsl.diff.which import which
from tantra_dsl.graph.model import Graph
from tantra_dsl.migrate.findings import Proof, Reason
from tantra_dsl.migrate.planning import Plan
from tantra_dsl.migrate.proof import prove

_LAYERS = re.compile(r"\[[^]]*\]")
_CARRIED = frozenset({"hidden", "heads", "kv_heads", "vocab", "context", "bias", "qkv_bias", "out_bias"})
"""Settings that change the shapes of weights alone: what they do to the function depends on the weights."""

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


def make_claim(
    before: Graph, after: Graph, plan: Plan, changes: Iterable[Operation], *, dropped: bool, rounded: bool
) -> Claim:
    """What ``plan`` keeps of the function; ``rounded``: the recipes compute in different precisions.

    ``changes`` are the operations of the models' diff: they word the reasons that lie in the models.
    """
    proof = prove(before, after, plan, dropped)
    if proof.reasons:
        return Claim("another", tuple(dict.fromkeys(_reasons(proof, plan, changes))))
    reasons = _rounding(proof, rounded)
    return Claim("rounding" if reasons else "same", reasons, tuple(_limits(before, after)))


def _reasons(proof: Proof, plan: Plan, changes: Iterable[Operation]) -> Iterable[str]:
    """Reasons in the models as their diff tells them, where it does; then those in how weights are carried over."""
    counts = _counts(plan)
    inside = [reason for reason in proof.reasons if reason.in_models]
    tellers = [op for op in changes if _is_of_function(op)]
    yield from (_change(op) for op in tellers if any(_tells(op, reason) for reason in inside))
    yield from told((r for r in inside if not any(_tells(op, r) for op in tellers)), counts)
    yield from told((reason for reason in proof.reasons if not reason.in_models), counts)


def _is_of_function(op: Operation) -> bool:
    return op.concern == "function" and op.kind != "repeat" and op.path.rpartition(".")[2] not in _CARRIED


def _tells(op: Operation, reason: Reason) -> bool:
    """Whether a change is of the part where the function was found to be another one, or of one inside.

    A wiring is about all parts of its block: their norms are its own; and so are parts that come, go or move.
    """
    path, part = _LAYERS.sub("", op.path), reason.part.replace(".*", "")
    block, wiring, _ = path.partition(".wiring")
    if op.kind != "set" and not wiring:
        block = path if op.kind in ("move", "share") else path.rpartition(".")[0]
    return path.startswith(part) or ((block != path or op.kind in ("move", "share")) and part.startswith(block))


def _change(op: Operation) -> str:
    if op.old is None or op.new is None:
        return f"{op.path}: {op.new} added: {op.why}" if op.old is None else f"{op.path}: {op.old} removed: {op.why}"
    return f"{op.path}: {op.old} -> {op.new}: {op.why}"


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
