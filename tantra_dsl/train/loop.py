"""The training loop: steps, evaluations, checkpoints, and an orderly end."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tantra_dsl.diagnostics.core import Diagnostic, SpecError
from tantra_dsl.diagnostics.training import NonFinite, OutOfMemory, at_path
from tantra_dsl.train import checkpoint
from tantra_dsl.train.batches import Batch, Batches
from tantra_dsl.train.checkpoint import Checkpoint, Position
from tantra_dsl.train.device import autocast
from tantra_dsl.train.files import told, write_tensors
from tantra_dsl.train.folder import RunFolder
from tantra_dsl.train.metrics import Metrics
from tantra_dsl.train.nonfinite import first_fault
from tantra_dsl.train.optim import Optimizers
from tantra_dsl.train.plan import Plan
from tantra_dsl.train.progress import Progress, Status


@dataclass
class Run:
    """A run in progress; ``step`` counts the steps done, ``seconds`` the time spent on steps.

    ``forward`` is the loss function, compiled or not, and ``module`` owns the weights.
    """

    module: nn.Module
    forward: Callable[..., Tensor]
    optimizers: Optimizers
    batches: Batches
    plan: Plan
    folder: RunFolder
    metrics: Metrics
    progress: Progress
    device: torch.device
    precision: str
    spec_hash: str
    step: int = 0
    saved: int = -1
    loss: float | None = None
    validation_loss: float | None = None
    seconds: float = 0.0
    interrupted: bool = False
    warnings: list[Diagnostic] = field(default_factory=list)
    _since: tuple[float, int] = (0.0, 0)
    _speed: float = 0.0

    def go(self) -> None:
        """Trains to the end of the plan, or until Ctrl-C; saves in both cases."""
        self._since = (self.seconds, self.step)
        with told(self.folder.path), _stopping(self):
            while not self.is_over and not self.interrupted:
                self._advance()
            if self.saved != self.step:
                self._save()
            self.progress.end()

    @property
    def is_over(self) -> bool:
        """Whether the plan is carried out."""
        return self.plan.is_over(self.step, self.seconds)

    def _is_due(self, every: int) -> bool:
        """Whether something done ``every`` so many steps, and at the end, is due."""
        return self.step % every == 0 or self.is_over

    def _advance(self) -> None:
        started = time.perf_counter()
        rate = self.optimizers.set_factor(self.plan.factor(self.step, self.seconds))
        norm = self._take_step()
        self.step += 1
        self.seconds += time.perf_counter() - started
        if self.plan.recipe.validation and self._is_due(self.plan.eval_every):
            self._evaluate()
        self._report(rate, norm)
        if self._is_due(self.plan.save_every):
            self._save()

    # --- a step ------------------------------------------------------------------------

    def _take_step(self) -> float:
        """One optimizer step; returns the gradient's norm."""
        self.module.train()
        first = self.step * self.plan.recipe.accumulate
        losses = [self._backward(first + part) for part in range(self.plan.recipe.accumulate)]
        norm = self._norm()
        self.loss = sum(losses) / len(losses)
        if not math.isfinite(norm):
            raise self._not_finite("gradient's norm", norm, self.batches.train(first), torch.get_rng_state())
        self.optimizers.step()
        return norm

    def _backward(self, number: int) -> float:
        """Adds a batch's gradients; returns its loss."""
        state = torch.get_rng_state()
        batch = self.batches.train(number)
        try:
            loss = self._loss(batch)
            (loss / self.plan.recipe.accumulate).backward()  # type: ignore[no-untyped-call]
            value = loss.item()
        except (torch.OutOfMemoryError, MemoryError):
            raise self._no_memory(batch) from None
        except RuntimeError as error:
            if not any(words in str(error) for words in ("not enough memory", "can't allocate memory")):
                raise
            raise self._no_memory(batch) from None
        if not math.isfinite(value):
            raise self._not_finite("loss", value, batch, state)
        return value

    def _loss(self, batch: Batch) -> Tensor:
        inputs = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.inputs.items()}
        with autocast(self.device, self.precision):
            return self.forward(**inputs)

    def _norm(self) -> float:
        """Clips the gradient, where the recipe says so, and returns its norm before."""
        limit = self.plan.recipe.clip
        weights = [weight for weight in self.module.parameters() if weight.grad is not None]
        norm = nn.utils.clip_grad_norm_(weights, math.inf if limit is None else limit, foreach=True)
        return float(norm.item())

    # --- between steps -----------------------------------------------------------------

    def _report(self, rate: float, norm: float) -> None:
        due = self._is_due(self.plan.log_every)
        self._measure_speed(due)
        assert self.loss is not None, "a step was taken"
        left = max(0.0, self.plan.seconds_left(self.step, self.seconds))
        status = Status(self.step, self.plan.steps, self.loss, self.validation_loss, rate, self._speed, left)
        self.progress.show(status, last=self.is_over)
        if due:
            figures = {"loss": self.loss, "lr": rate, "gradient_norm": norm, "tokens_per_second": round(self._speed)}
            self.metrics.log(self.step, {**figures, "seconds": round(self.seconds, 3)})

    def _measure_speed(self, restart: bool) -> None:
        """Tokens per second of training since the last log entry."""
        seconds, step = self._since
        tokens = (self.step - step) * self.plan.recipe.accumulate * self.batches.tokens
        if self.seconds > seconds:
            self._speed = tokens / (self.seconds - seconds)
        if restart:
            self._since = (self.seconds, self.step)

    def _evaluate(self) -> None:
        self.validation_loss = self.evaluate(self.plan.recipe.eval_batches)
        self.metrics.log(self.step, {"validation_loss": self.validation_loss})

    @torch.no_grad()
    def evaluate(self, limit: int | None) -> float:
        """Loss on the validation part in nats per predicted token; ``limit`` bounds the batches."""
        self.module.eval()
        total, targets = 0.0, 0
        for batch in self.batches.validation(limit):
            total += self._loss(batch).item() * batch.targets
            targets += batch.targets
        return total / targets

    def _save(self) -> None:
        position = Position(self.step, self.loss, self.validation_loss, self.seconds, self.spec_hash)
        state = {**self.optimizers.state(), **checkpoint.random_state(self.device)}
        checkpoint.save(self.folder.checkpoints, Checkpoint(position, weights_of(self.module), state))
        checkpoint.prune(self.folder.checkpoints, self.plan.recipe.keep)
        self.saved = self.step

    # --- trouble -----------------------------------------------------------------------

    def _no_memory(self, batch: Batch) -> SpecError:
        longest = max(tensor.shape[1] for tensor in batch.inputs.values())
        rows = self.plan.recipe.batch
        return SpecError([OutOfMemory(span=self.plan.recipe.span("batch"), batch=rows, context=longest)])

    def _not_finite(self, what: str, value: float, batch: Batch, state: Tensor) -> SpecError:
        """The diagnostic of a loss or gradient that is not finite, found by running the batch again."""
        torch.set_rng_state(state)
        self.progress.end()
        dump = self._dump(batch)
        problem = NonFinite(
            span=at_path(self.folder.path), what=what, value=f"{value}", step=self.step + 1, batch=batch.origin,
            layer=first_fault(self.module, lambda: self._loss(batch)), last_loss=self._last_loss(), dump=dump,
        )  # fmt: skip
        return SpecError([problem])

    def _dump(self, batch: Batch) -> str:
        path = self.folder.path / f"batch-{self.step + 1}.safetensors"
        with told(self.folder.path):
            write_tensors(path, batch.inputs)
        return str(path)

    def _last_loss(self) -> str:
        kept = f"the checkpoint after step {self.saved} is good" if self.saved >= 0 else "no checkpoint was saved yet"
        return f"the last finite loss was {self.loss:.4f}; {kept}" if self.loss is not None else kept


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """The state dict; tied weights once, under their first name."""
    seen: set[tuple[int, int]] = set()
    kept: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        place = (tensor.data_ptr(), tensor.numel())
        if place not in seen or tensor.numel() == 0:
            kept[name] = tensor
        seen.add(place)
    return kept


@contextlib.contextmanager
def _stopping(run: Run) -> Iterator[None]:
    """Lets the first Ctrl-C or SIGTERM end the run after its step; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        run.interrupted = True
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
