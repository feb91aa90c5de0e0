"""Which batches a model trains on, told from its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.training import UnsupportedObjective
from tantra_dsl.graph.model import Graph, InputSpec
from tantra_dsl.syntax.source import Span


@dataclass(frozen=True)
class Objective:
    """What the inputs ask for.

    ``next_token``: crops of text under ``tokens``. ``masked_token``: crops with hidden tokens under ``tokens`` and what
    they were under ``labels``. ``pairs``: ``source`` and ``target``. These fields name the model's inputs; ``zeros``
    are further token-type inputs, fed with zeros. ``vocab`` bounds the tokens.
    """

    kind: Literal["next_token", "masked_token", "pairs"]
    vocab: int
    tokens: str = ""
    labels: str = ""
    source: str = ""
    target: str = ""
    zeros: tuple[str, ...] = ()

    @property
    def specials(self) -> tuple[str, ...]:
        """Tokens that the tokenizer must have beyond the text's own."""
        return {"next_token": (), "masked_token": ("mask",), "pairs": ("pad", "start", "end")}[self.kind]


def root_inputs(graph: Graph) -> dict[str, InputSpec]:
    """The root inputs by name, in order."""
    return {node.attr("name"): node.attr("spec") for node in graph.main.inputs}


def can_sample(graph: Graph) -> bool:
    """Whether the model extends a text: its only input is the text's tokens."""
    return [spec.kind for spec in root_inputs(graph).values()] == ["tokens"]


def objective_of(graph: Graph, span: Span) -> Objective:
    """The objective that the root inputs imply. Raises SpecError with R0208 where there is none yet."""
    inputs = root_inputs(graph)
    shown = tuple((name, spec.kind) for name, spec in inputs.items())
    found = _match(inputs)
    if isinstance(found, str):
        raise SpecError([UnsupportedObjective(span=span, inputs=shown, reason=found)])
    if all(name != "loss" for name, _ in graph.main.outputs):
        reason = "the model has no objective, so there is no loss"
        raise SpecError([UnsupportedObjective(span=span, inputs=shown, reason=reason)])
    return found


def _match(inputs: dict[str, InputSpec]) -> Objective | str:
    by_kind: dict[str, list[str]] = {}
    for name, spec in inputs.items():
        by_kind.setdefault(spec.kind, []).append(name)
    tokens, labels, ids = (by_kind.pop(kind, []) for kind in ("tokens", "labels", "ids"))
    if by_kind:
        return f"no batches can be made for {next(iter(by_kind))} inputs"
    if len(tokens) == 1 and len(labels) <= 1:
        return _text_objective(inputs, tokens[0], labels, tuple(ids))
    if set(tokens) == {"source", "target"} and not labels and not ids:
        return Objective("pairs", _vocab(inputs, "source", "target"), source="source", target="target")
    return "with several token inputs, they must be called source and target"


def _text_objective(inputs: dict[str, InputSpec], tokens: str, labels: list[str], ids: tuple[str, ...]) -> Objective:
    vocab = _vocab(inputs, tokens)
    if labels:
        return Objective("masked_token", vocab, tokens=tokens, labels=labels[0], zeros=ids)
    return Objective("next_token", vocab, tokens=tokens, zeros=ids)


def _vocab(inputs: dict[str, InputSpec], *names: str) -> int:
    limits = [inputs[name].limit for name in names]
    assert all(limit is not None for limit in limits), "token inputs are bounded"
    return min(limit for limit in limits if limit is not None)
