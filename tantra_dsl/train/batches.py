"""Batches: a pure function of the seed and the batch's number, so that a run can go on anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.training import DataTooShort
from tantra_dsl.semantics.recipe import Recipe
from tantra_dsl.train import tokenizer
from tantra_dsl.train.corpus import Corpus
from tantra_dsl.train.objective import Objective

Inputs = dict[str, Tensor]
Array = NDArray[Any]
_VALIDATION = 1 << 40


@dataclass(frozen=True)
class Batch:
    """Inputs by name, how many tokens they predict, and where they come from in words."""

    inputs: Inputs
    targets: int
    origin: str


class Batches(Protocol):
    """A source of batches for one objective."""

    @property
    def tokens(self) -> int:
        """Tokens of a training batch, for the speed shown."""

    @property
    def per_epoch(self) -> int:
        """Training batches that together show all the data once."""

    def train(self, number: int) -> Batch:
        """Training batch ``number``, counted from 0 over the whole run."""

    def validation(self, limit: int | None) -> Iterator[Batch]:
        """At most ``limit`` batches spread over the validation part, or all of it; the same every time."""


@dataclass(frozen=True)
class Crops:
    """Crops of ``context`` tokens; each epoch cuts at another phase and takes every crop once, in random order.

    Crops overlap by one token, so that every token but the first is predicted once.
    """

    corpus: Corpus
    objective: Objective
    context: int
    batch: int
    seed: int

    @property
    def tokens(self) -> int:
        """See ``Batches``."""
        return self.batch * self.context

    @property
    def per_epoch(self) -> int:
        """See ``Batches``."""
        return max(1, self._count // self.batch)

    @cached_property
    def _stride(self) -> int:
        return self.context - 1

    @cached_property
    def _count(self) -> int:
        """Crops of an epoch: as many as fit at any phase."""
        return max(1, (len(self.corpus.train["tokens"]) - 1) // self._stride - 1)

    @cached_property
    def _windows(self) -> Array:
        return sliding_window_view(self.corpus.train["tokens"], self.context)

    def train(self, number: int) -> Batch:
        """See ``Batches``."""
        first = number * self.batch
        starts = np.array([self._start(index) for index in range(first, first + self.batch)])
        shown = ", ".join(map(str, starts[:4])) + (", ..." if len(starts) > 4 else "")
        inputs = self._inputs(self._windows[starts], number)
        return Batch(
            inputs, self.batch * self._stride, f"number {number}, crops of the training part at tokens {shown}"
        )

    def _start(self, index: int) -> int:
        """Where crop ``index`` of the whole run starts."""
        epoch, place = divmod(index, self._count)
        phase, order = _epoch(self.seed, epoch, self._count, min(self._stride, self._slack + 1))
        return int(phase + order[place] * self._stride)

    @cached_property
    def _slack(self) -> int:
        return len(self.corpus.train["tokens"]) - 1 - self._count * self._stride

    def validation(self, limit: int | None) -> Iterator[Batch]:
        """See ``Batches``."""
        held = self.corpus.validation["tokens"]
        whole = max(0, (len(held) - 1) // self._stride)
        if limit is not None and limit * self.batch < whole:
            numbers = np.linspace(0, whole - 1, limit * self.batch).astype(np.int64)
        else:
            numbers = np.arange(whole)
        for first in range(0, len(numbers), self.batch):
            yield self._held_out(held, numbers[first : first + self.batch] * self._stride)
        rest = held[whole * self._stride :]
        if (limit is None or not whole) and len(rest) > 1:
            yield Batch(self._inputs(rest[None], _VALIDATION), len(rest) - 1, "the end of the validation part")

    def _held_out(self, held: Array, starts: Array) -> Batch:
        inputs = self._inputs(sliding_window_view(held, self.context)[starts], _VALIDATION + int(starts[0]))
        return Batch(inputs, len(starts) * self._stride, f"crops of the validation part from token {starts[0]}")

    def _inputs(self, crops: Array, number: int) -> Inputs:
        tokens = torch.from_numpy(crops.astype(np.int64))
        zeros = {name: torch.zeros_like(tokens) for name in self.objective.zeros}
        if self.objective.kind == "next_token":
            return {self.objective.tokens: tokens, **zeros}
        hidden, labels = mask_tokens(
            tokens.numpy(), self.corpus.tokenizer, np.random.default_rng([self.seed, 1, number])
        )
        return {
            self.objective.tokens: torch.from_numpy(hidden),
            self.objective.labels: torch.from_numpy(labels),
            **zeros,
        }


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, count: int, phases: int) -> tuple[int, Array]:
    """An epoch's phase and the order of its crops."""
    random = np.random.default_rng([seed, 0, epoch])
    return int(random.integers(phases)), random.permutation(count)


def mask_tokens(tokens: Array, made: tokenizer.Tokenizer, random: np.random.Generator) -> tuple[Array, Array]:
    """Hides 15% of the tokens: 80% behind the mask token, 10% behind a random one, 10% not at all (Devlin et al. 2019).

    Returns (tokens, labels), both shaped as ``tokens``; labels are -100 where nothing is asked. At least one is.
    """
    chosen = random.random(tokens.shape) < 0.15
    chosen.flat[random.integers(tokens.size)] = True
    fate = random.random(tokens.shape)
    hidden = np.where(chosen & (fate < 0.8), tokenizer.special(made, "mask"), tokens)
    hidden = np.where(chosen & (fate >= 0.9), random.integers(made.base, size=tokens.shape), hidden)
    return hidden, np.where(chosen, tokens, -100)


@dataclass(frozen=True)
class Rows:
    """Pairs, each batch of targets of one length: no padded position ever counts in the loss.

    Sources of a batch are padded to their longest. Rows longer than ``context`` are left out.
    """

    corpus: Corpus
    objective: Objective
    context: int
    batch: int
    seed: int

    @property
    def tokens(self) -> int:
        """See ``Batches``; the mean over an epoch."""
        part = self.corpus.train
        return (len(part["source"]) + len(part["target"])) // self.per_epoch

    @property
    def per_epoch(self) -> int:
        """See ``Batches``."""
        return len(self._groups)

    @cached_property
    def _groups(self) -> list[Array]:
        return grouped_rows(self.corpus.train, self.context, self.batch)

    def train(self, number: int) -> Batch:
        """See ``Batches``."""
        epoch, place = divmod(number, self.per_epoch)
        rows = self._groups[_epoch(self.seed, epoch, self.per_epoch, 1)[1][place]]
        return self._batch(self.corpus.train, rows, f"number {number}, training pairs {_first(rows)}")

    def validation(self, limit: int | None) -> Iterator[Batch]:
        """See ``Batches``."""
        groups = grouped_rows(self.corpus.validation, self.context, self.batch)
        count = len(groups) if limit is None else min(limit, len(groups))
        for place in np.linspace(0, len(groups) - 1, count).astype(int):
            yield self._batch(self.corpus.validation, groups[place], f"validation pairs {_first(groups[place])}")

    def _batch(self, part: Mapping[str, Array], rows: Array, origin: str) -> Batch:
        pad = tokenizer.special(self.corpus.tokenizer, "pad")
        source, target = (_gather(part, side, rows, pad) for side in ("source", "target"))
        inputs = {self.objective.source: torch.from_numpy(source), self.objective.target: torch.from_numpy(target)}
        return Batch(inputs, len(rows) * (target.shape[1] - 1), origin)


def _first(rows: Array) -> str:
    return ", ".join(map(str, rows[:4])) + (", ..." if len(rows) > 4 else "")


def _lengths(part: Mapping[str, Array], side: str) -> Array:
    return np.diff(part[f"{side}_ends"], prepend=0)


def grouped_rows(part: Mapping[str, Array], context: int, batch: int) -> list[Array]:
    """Row numbers in batches of equal target length, sources of similar length together."""
    source, target = _lengths(part, "source"), _lengths(part, "target")
    rows = np.flatnonzero((source <= context) & (target <= context))
    rows = rows[np.lexsort((source[rows], target[rows]))]
    edges = np.flatnonzero(np.diff(target[rows])) + 1
    return [group[at : at + batch] for group in np.split(rows, edges) for at in range(0, len(group), batch)]


def _gather(part: Mapping[str, Array], side: str, rows: Array, pad: int) -> Array:
    """The rows of a side as [rows, longest], filled with ``pad``."""
    ends, lengths = part[f"{side}_ends"][rows], _lengths(part, side)[rows]
    columns = np.arange(lengths.max())
    places = np.minimum((ends - lengths)[:, None] + columns, len(part[side]) - 1)
    return np.where(columns < lengths[:, None], part[side][places].astype(np.int64), pad)


def make_batches(corpus: Corpus, objective: Objective, recipe: Recipe, context: int) -> Batches:
    """The batches of an objective. Raises SpecError with R0204 where the data is too short for a single one."""
    kind = Rows if objective.kind == "pairs" else Crops
    made: Rows | Crops = kind(corpus, objective, context, recipe.batch, recipe.seed)
    problems = [problem for part in ("train", "validation") if (problem := _too_short(made, part, recipe))]
    if problems:
        raise SpecError(problems)
    return made


def _too_short(made: Rows | Crops, name: str, recipe: Recipe) -> DataTooShort | None:
    if name == "validation" and recipe.validation == 0:
        return None
    part: Mapping[str, Array] = getattr(made.corpus, name)
    shown = "training" if name == "train" else name
    if isinstance(made, Rows):
        tokens, needed = (made.context if grouped_rows(part, made.context, made.batch) else 0), 1
    else:
        tokens, needed = len(part["tokens"]), made.context if name == "train" else 2
    if tokens >= needed:
        return None
    in_reach = name == "train" and isinstance(made, Crops)
    return DataTooShort(span=recipe.span("data"), part=shown, tokens=tokens, needed=needed, context=in_reach)
