"""What training asks of a spec and of a compiled model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tantra_dsl.diagnostics.core import Diagnostic
from tantra_dsl.graph.model import Graph
from tantra_dsl.semantics.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn


class SpecLike(Protocol):
    """A checked spec, as ``tantra_dsl.load`` returns it."""

    @property
    def name(self) -> str:
        """The model's name."""

    def graph(self) -> Graph:
        """The typed graph."""

    def recipe(self) -> Recipe:
        """The resolved ``train`` section."""

    def resolved_text(self) -> str:
        """A spec without imports or overrides that means the same; ``load`` reads it back."""

    def hash(self) -> str:
        """Hash of the architecture; the recipe takes no part in it."""

    def compile(self) -> nn.Module:
        """The model: a module with the methods of ``Model``."""


Loader = Callable[[Path], SpecLike]


class Cache(Protocol):
    """Keys and values of the tokens consumed so far."""

    length: int


class Model(Protocol):
    """The methods of a compiled module that training and sampling use."""

    def loss(self, **inputs: Tensor) -> Tensor:
        """Mean loss in nats, a scalar."""

    def init_weights(self, seed: int) -> None:
        """Sets every weight as the spec says; the same seed gives the same weights."""

    def new_cache(self, batch: int, max_length: int) -> Cache:
        """An empty cache for ``module(tokens=..., cache=...)``."""

    def __call__(self, **inputs: Any) -> Tensor:
        """Logits [batch, time, vocab]."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    ``loss`` is the last step's training loss and ``validation_loss`` that of the whole validation part, in nats per
    token; None where nothing was held out. ``seconds`` is time spent training, over all resumptions. ``interrupted``:
    Ctrl-C stopped it before ``steps`` reached the recipe's. ``warnings`` were shown on the way.
    """

    folder: Path
    steps: int
    loss: float | None
    validation_loss: float | None
    seconds: float
    interrupted: bool
    warnings: tuple[Diagnostic, ...] = ()


__all__ = ["Cache", "Loader", "Model", "RunResult", "SpecLike"]
