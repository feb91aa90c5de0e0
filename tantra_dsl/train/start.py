"""Setting up a run, new or resumed, and seeing it to its end."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import torch
from torch import nn

from tantra_dsl.diagnostics.core import Diagnostic, SpecError
from tantra_dsl.diagnostics.training import DataChanged, at_path
from tantra_dsl.graph.roles import weight_roles
from tantra_dsl.semantics.recipe import Recipe
from tantra_dsl.train import checkpoint, tokenizer
from tantra_dsl.train.batches import make_batches
from tantra_dsl.train.checkpoint import Checkpoint
from tantra_dsl.train.corpus import Corpus, data_facts, load_corpus
from tantra_dsl.train.curve import curve_of, draw, terminal
from tantra_dsl.train.device import own_settings, pick_device, pick_precision
from tantra_dsl.train.files import replace_text, told
from tantra_dsl.train.loop import Run
from tantra_dsl.train.metrics import Metrics
from tantra_dsl.train.objective import can_sample, objective_of
from tantra_dsl.train.optim import make_optimizers
from tantra_dsl.train.plan import context_of, make_plan, peak_of
from tantra_dsl.train.progress import Progress, clock
from tantra_dsl.train.protocol import Model, RunResult
from tantra_dsl.train.request import Request
from tantra_dsl.train.sampling import Choice, continued, prompt_ids

SAMPLE_LENGTH = 300


def run(request: Request) -> RunResult:
    """Carries out a request that was checked and whose folder is locked."""
    with told(request.folder.path), own_settings():
        checkpoint.clear_leftovers(request.folder.checkpoints)
        made = _set_up(request)
        with contextlib.closing(made.metrics):
            made.go()
            return _finish(made, request)


# --- setting up --------------------------------------------------------------------------


def _set_up(request: Request) -> Run:
    spec, recipe, graph = request.spec, request.spec.recipe(), request.spec.graph()
    objective = objective_of(graph, recipe.span("data"))
    context = context_of(recipe, graph)
    corpus = load_corpus(request.data, objective, recipe, request.bases, request.folder.path)
    prompt_ids(corpus.tokenizer, recipe.prompt or "", request.folder)
    batches = make_batches(corpus, objective, recipe, context)
    plan = make_plan(recipe, batches)
    loaded = _last_checkpoint(request, corpus)
    module = spec.compile()
    cast(Model, module).init_weights(recipe.seed)
    device = pick_device(request.device)
    module.to(device)
    optimizers = make_optimizers(
        module, recipe.optimizer, weight_roles(graph), objective.vocab, peak_of(recipe, graph, plan.steps)
    )
    torch.manual_seed(recipe.seed)
    precision = pick_precision(recipe.precision, device)
    step = loaded[0].position.step if loaded else 0
    with told(request.folder.path):
        _write_facts(request, corpus, device, precision)
        metrics = Metrics(request.folder.metrics, step)
    every = max(1, plan.steps // 20)
    made = Run(
        module, _forward(module, recipe), optimizers, batches, plan, request.folder, metrics,
        Progress(request.stream, every), device, precision, spec.hash(),
    )  # fmt: skip
    _announce(made, request, corpus)
    if loaded:
        _restore(made, *loaded)
    return made


def _forward(module: nn.Module, recipe: Recipe) -> Any:
    """The loss function, through torch.compile where the recipe says so."""
    loss = cast(Model, module).loss
    return torch.compile(loss) if recipe.compile else loss


def _write_facts(request: Request, corpus: Corpus, device: torch.device, precision: str) -> None:
    """Writes ``run.json`` at the start; on resumption only the spec, whose recipe may have changed."""
    spec, place = request.spec, request.folder
    if request.resumed:
        replace_text(place.spec, spec.resolved_text())
        return
    assert request.data is not None, "load_corpus has checked it"
    facts = {
        "name": spec.name, "hash": spec.hash(), "data": data_facts(request.data, request.bases),
        "data_digest": corpus.digest, "tokenizer": corpus.tokenizer.kind, "precision": precision,
        "device": str(device), "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "chip": platform.processor() or platform.machine(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    place.write_facts(facts, spec.resolved_text(), tokenizer.dump(corpus.tokenizer))


def _announce(made: Run, request: Request, corpus: Corpus) -> None:
    weights = sum(weight.numel() for weight in made.module.parameters())
    train = next(iter(corpus.train.values()))
    verb = "resuming" if request.resumed else "training"
    where = f"{made.device.type}, {made.precision}, {torch.get_num_threads()} threads"
    made.progress.say(f"{verb} {request.spec.name}: {weights:,} parameters, {len(train):,} tokens, {where}")
    made.progress.say(f"run folder: {made.folder.path}")


# --- resuming ----------------------------------------------------------------------------


def _last_checkpoint(request: Request, corpus: Corpus) -> tuple[Checkpoint, list[Diagnostic]] | None:
    """The newest good checkpoint of a run that is resumed, with warnings; None where nothing was saved yet."""
    if not request.resumed:
        return None
    place = request.folder
    if corpus.digest != place.read_facts()["data_digest"]:
        raise SpecError(
            [DataChanged(span=at_path(place.path), folder=str(place.path), what="the data or its tokenizer")]
        )
    order = checkpoint.listed(place.checkpoints)
    if not order:
        return None
    found, path, warnings = checkpoint.first_good(place.path, order, checkpoint.load)
    checkpoint.set_aside(order[: order.index(path)])
    return found, warnings


def _restore(made: Run, found: Checkpoint, warnings: list[Diagnostic]) -> None:
    """Puts a run where a checkpoint was taken."""
    checkpoint.put_weights(made.module, found.weights, made.folder.path)
    state = {name: tensor for name, tensor in found.state.items() if not name.startswith("random/")}
    made.optimizers.load(state)
    checkpoint.restore_random(found.state, made.device)
    position = found.position
    made.step, made.saved, made.loss = position.step, position.step, position.loss
    made.validation_loss, made.seconds = position.validation_loss, position.seconds
    made.warnings.extend(warnings)
    for warning in warnings:
        made.progress.say(f"warning[{warning.code}]: {warning.title}; {warning.help}")
    made.progress.say(f"resuming after step {made.step}")


# --- the end -----------------------------------------------------------------------------


def _finish(made: Run, request: Request) -> RunResult:
    """Takes the final loss over the whole validation part, draws the curve, and says how to go on."""
    held = None
    stopped = made.interrupted and not made.is_over
    if made.plan.recipe.validation and not stopped:
        held = made.evaluate(None)
        if not any("final_validation_loss" in entry for entry in made.metrics.entries):
            made.metrics.log(made.step, {"final_validation_loss": held})
    with told(request.folder.path):
        _show_curve(made, request)
        if made.plan.recipe.prompt is not None and not stopped:
            _show_sample(made, request, made.plan.recipe.prompt)
    for line in _last_words(made, held, stopped, can_sample(request.spec.graph())):
        made.progress.say(line)
    return RunResult(made.folder.path, made.step, made.loss, held, made.seconds, stopped, tuple(made.warnings))


def _show_curve(made: Run, request: Request) -> None:
    kind = tokenizer.load(request.folder.tokenizer.read_text()).kind
    unit = {"characters": "character", "bytes": "byte"}.get(kind, "token")
    curve = curve_of(request.spec.name, unit, made.metrics.entries)
    draw(curve, request.folder.path)
    if text := terminal(curve):
        made.progress.say(text)


def _show_sample(made: Run, request: Request, prompt: str) -> None:
    """Prints, and keeps as ``sample.txt``, what the model at the end of the run writes after the recipe's prompt."""
    kept = tokenizer.load(request.folder.tokenizer.read_text())
    choice = Choice(seed=made.plan.recipe.seed)
    pieces = continued(made.module, request.spec, kept, prompt, SAMPLE_LENGTH, choice, request.folder)
    text = prompt + "".join(pieces)
    replace_text(request.folder.path / "sample.txt", text)
    made.progress.say(text)


def _last_words(made: Run, held: float | None, stopped: bool, samples: bool) -> Iterator[str]:
    path = made.folder.path
    if stopped:
        yield f"stopped after step {made.step} and saved; go on with: tantra train --resume {path}"
        return
    loss = "" if held is None else f"validation loss {held:.4f} nats, "
    yield f"done: {loss}{made.step} steps in {clock(made.seconds)}; curve in {path / 'loss.png'}"
    if samples:
        yield f"sample with: tantra sample {path} --prompt TEXT"
