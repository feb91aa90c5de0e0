"""The recipe: what a ``train`` section means, checked without data and without a tensor library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, Union

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.source import NOWHERE, Span


@dataclass(frozen=True, slots=True)
class Word:
    """A bare name or a call: ``cosine``, ``adam(betas: [0.9, 0.98])``, ``pairs("x.tsv")``."""

    name: str
    positional: tuple[Value, ...] = ()
    named: tuple[tuple[str, Value], ...] = ()
    span: Span = field(default=NOWHERE, compare=False, repr=False)


Value: TypeAlias = Union[int, float, str, bool, tuple["Value", ...], Word, None]  # noqa: UP007 (names itself)


@dataclass(frozen=True, slots=True)
class Setting:
    """One evaluated setting of a ``train`` section.

    ``path`` is a key (``batch``) or, from an override, a key inside one (``optimizer.lr``). Settings
    come in the order in which they apply: a later one of the same path replaces an earlier.
    """

    path: str
    value: Value
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where the text comes from: a ``bundled`` name, a ``path`` (file or folder), or a TSV of ``pairs``."""

    kind: Literal["bundled", "path", "pairs"]
    value: str


@dataclass(frozen=True, slots=True)
class TokenizerChoice:
    """How text becomes numbers; ``auto`` goes by the model's vocabulary. ``vocab`` is set for ``bpe``."""

    kind: Literal["auto", "bytes", "characters", "bpe"] = "auto"
    vocab: int | None = None


@dataclass(frozen=True, slots=True)
class OptimizerChoice:
    """The optimizer and its settings; None means the default of that optimizer.

    ``adamw_lr`` is the learning rate of what ``muon`` leaves to adamw (embeddings, norms, biases, head).
    """

    kind: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.1
    momentum: float = 0.95
    adamw_lr: float = 3e-3


@dataclass(frozen=True, slots=True)
class ScheduleChoice:
    """The learning rate's course, as a factor on its peak.

    ``warmup`` and ``decay`` are steps when they are ints, and shares of all steps when floats; ``floor`` is
    the last factor. noam: Vaswani et al. 2017; wsd (warmup, stable, decay): Hu et al. 2024.
    """

    kind: Literal["constant", "cosine", "linear", "noam", "wsd"] = "cosine"
    warmup: int | float = 0.05
    decay: int | float = 0.3
    floor: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; every field is a key of ``train`` and none changes the architecture.

    Units: ``context`` tokens; ``batch`` sequences per forward pass; ``accumulate`` passes per step; ``time_limit``
    seconds; ``clip`` the largest gradient norm; ``eval_every``, ``save_every`` and ``log_every`` steps; ``validation``
    a share of the data.

    None means: left to the model or to the other settings. ``spans`` tells where each key was set.
    """

    data: DataSource | None = None
    tokenizer: TokenizerChoice = TokenizerChoice()
    split: Literal["position", "document"] = "position"
    validation: float = 0.1
    context: int | None = None
    batch: int = 32
    accumulate: int = 1
    steps: int | None = None
    epochs: float | None = None
    time_limit: float | None = None
    optimizer: OptimizerChoice = OptimizerChoice()
    schedule: ScheduleChoice = ScheduleChoice()
    label_smoothing: float = 0.0
    dropout: float = 0.0
    clip: float | None = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    seed: int = 0
    eval_every: int | None = None
    eval_batches: int = 16
    save_every: int | None = None
    keep: int = 2
    log_every: int = 10
    prompt: str | None = None
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)

    def span(self, key: str) -> Span:
        """Where ``key`` was set; nowhere when it was not."""
        return self.spans.get(key, NOWHERE)


DEFAULT_STEPS = 1000


@dataclass(frozen=True, slots=True)
class RecipeKey:
    """A key of ``train`` for the language reference: its path, type and default in words, and what it does."""

    path: str
    type: str
    default: str
    doc: str


def resolve_recipe(settings: Sequence[Setting], sink: Sink) -> Recipe:
    """The recipe that ``settings`` describe; every mistake goes to ``sink`` and its key keeps the default."""
    from tantra_dsl.semantics.recipe_resolve import resolve

    return resolve(settings, sink)


def recipe_keys() -> tuple[RecipeKey, ...]:
    """Every key of ``train`` and of its choices, in the order of the language reference."""
    from tantra_dsl.semantics.recipe_keys import reference

    return reference()


__all__ = [
    "DEFAULT_STEPS",
    "DataSource",
    "OptimizerChoice",
    "Recipe",
    "RecipeKey",
    "ScheduleChoice",
    "Setting",
    "TokenizerChoice",
    "Value",
    "Word",
    "recipe_keys",
    "resolve_recipe",
]
