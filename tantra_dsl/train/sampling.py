"""Writing text with a trained model, token by token, through its cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.training import CannotSample, UnknownInPrompt, at_path
from tantra_dsl.graph.model import Graph
from tantra_dsl.train import checkpoint, tokenizer
from tantra_dsl.train.device import pick_device
from tantra_dsl.train.folder import RunFolder
from tantra_dsl.train.objective import can_sample, root_inputs
from tantra_dsl.train.plan import DEFAULT_CONTEXT
from tantra_dsl.train.protocol import Loader, Model, SpecLike
from tantra_dsl.train.tokenizer import Tokenizer


@dataclass(frozen=True)
class Choice:
    """How the next token is drawn; see ``train.sample``. Raises ValueError for figures out of range."""

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be a finite number from 0, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")

    def generator(self, device: torch.device) -> torch.Generator:
        """The random numbers of one sample."""
        generator = torch.Generator(device)
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator


def pick(logits: Tensor, choice: Choice, generator: torch.Generator) -> Tensor:
    """Draws one token from logits [vocab]; returns its id, a scalar tensor."""
    if choice.temperature == 0:
        return logits.argmax()
    scaled = logits.float() / choice.temperature
    if choice.top_k is not None and choice.top_k < len(scaled):
        scaled = scaled.masked_fill(scaled < scaled.topk(choice.top_k).values[-1], -torch.inf)
    shares = scaled.softmax(-1)
    if choice.top_p is not None:
        shares = _nucleus(shares, choice.top_p)
    return torch.multinomial(shares, 1, generator=generator)[0]


def _nucleus(shares: Tensor, mass: float) -> Tensor:
    """Keeps the likeliest tokens until their shares reach ``mass``; the token that crosses it is kept."""
    ordered, places = shares.sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(shares).scatter(-1, places, ordered.masked_fill(before >= mass, 0))


def sample_run(path: Path, prompt: str, load: Loader, max_new: int, choice: Choice, device: str) -> Iterator[str]:
    """See ``train.sample``; everything that can fail fails before the first piece is asked for."""
    place = RunFolder(path)
    place.read_facts()
    spec = load(place.spec)
    _input_name(spec.graph(), place)
    made = tokenizer.load(place.tokenizer.read_text())
    weights, _, _ = checkpoint.first_good(path, checkpoint.by_loss(place.checkpoints), checkpoint.load_weights)
    module = spec.compile()
    checkpoint.put_weights(module, weights, path)
    module.to(pick_device(device))
    return continued(module, spec, made, prompt, max_new, choice, place)


def continued(module: nn.Module, spec: SpecLike, made: Tokenizer, prompt: str, max_new: int, choice: Choice,
              place: RunFolder) -> Iterator[str]:  # fmt: skip
    """What ``module`` writes after ``prompt``; it is put into evaluation mode. Raises SpecError with R0403 or R0404."""
    name, start = _input_name(spec.graph(), place), prompt_ids(made, prompt, place)
    device = next(module.parameters()).device
    context = spec.graph().fact("context") or spec.recipe().context or DEFAULT_CONTEXT
    writer = Writer(cast(Model, module.eval()), name, context, tokenizer.size(made), device)
    return tokenizer.stream_text(made, writer.write(start, max_new, choice))


def _input_name(graph: Graph, place: RunFolder) -> str:
    inputs = root_inputs(graph)
    if not can_sample(graph):
        shown = tuple((name, spec.kind) for name, spec in inputs.items())
        raise SpecError([CannotSample(span=at_path(place.path), inputs=shown)])
    return next(iter(inputs))


def prompt_ids(made: Tokenizer, prompt: str, place: RunFolder) -> list[int]:
    """Ids of the prompt; an empty one starts after a line break, or after the first token there is.

    Raises SpecError with R0403 for characters that are no tokens.
    """
    try:
        return cast(list[int], made.encode(prompt or "\n").tolist())
    except tokenizer.UnknownCharacters as unknown:
        if not prompt:
            return [0]
        raise SpecError([UnknownInPrompt(span=at_path(place.path), characters=unknown.characters)]) from None


@dataclass(frozen=True)
class Writer:
    """Continues ids with a model of ``context`` tokens; ``vocab`` bounds what may be drawn."""

    model: Model
    name: str
    context: int
    vocab: int
    device: torch.device

    def write(self, start: list[int], max_new: int, choice: Choice) -> Iterator[int]:
        """The new ids. When the context is full, its newer half is read again and writing goes on."""
        generator = choice.generator(self.device)
        ids = list(start)
        cache: Any = None
        for _ in range(max_new):
            if cache is None or cache.length >= self.context:
                cache = self.model.new_cache(1, self.context)
                pending = ids[-self.context :] if len(ids) <= self.context else ids[-max(1, self.context // 2) :]
            ids.append(self._next(pending, cache, choice, generator))
            pending = ids[-1:]
            yield ids[-1]

    @torch.inference_mode()
    def _next(self, pending: list[int], cache: Any, choice: Choice, generator: torch.Generator) -> int:
        tokens = torch.tensor([pending], device=self.device)
        logits = self.model(**{self.name: tokens}, cache=cache)
        return int(pick(logits[0, -1, : self.vocab], choice, generator))
