"""Whole runs of a small model: what they leave behind, how they resume, and how they fail."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tantra_dsl.diagnostics.core import Sink, SpecError
from tantra_dsl.train import checkpoint, loop, train
from tantra_dsl.train.folder import RunFolder, locked
from tantra_dsl.train.metrics import read_metrics
from tantra_dsl.train.plan import check_effects
from tests.train import fake_model
from tests.train.fake_model import FakeModel, FakeSpec

ROOT = Path(__file__).parents[2]


def spec(text, model=None, **recipe):
    plain = {"data": str(text), "steps": 8, "batch": 4, "eval_every": 4, "eval_batches": 2, "log_every": 2,
             "precision": ["float32"]}  # fmt: skip
    return FakeSpec({"context": 16, "dim": 16, **(model or {})}, {**plain, **recipe})


def begin(asked, out, **more):
    return train(asked, out=out, progress=None, **more)


def go_on(folder, asked=None):
    return train(asked, resume=folder, load=fake_model.load, progress=None)


def weights(folder):
    return checkpoint.load(checkpoint.listed(RunFolder(folder).checkpoints)[0]).weights


def same_weights(one, other):
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def losses(folder):
    return [
        {key: entry[key] for key in entry if key not in ("seconds", "tokens_per_second")}
        for entry in read_metrics(RunFolder(folder).metrics)
    ]


def fails(action):
    with pytest.raises(SpecError) as caught:
        action()
    return caught.value.diagnostics


@pytest.fixture
def stop_after(monkeypatch):
    """Presses Ctrl-C in the middle of the given step."""

    def arrange(step, number=signal.SIGINT):
        before = loop.Run._backward

        def backward(run, batch):
            if run.step == step:
                os.kill(os.getpid(), number)
            return before(run, batch)

        monkeypatch.setattr(loop.Run, "_backward", backward)

    return arrange


# --- what a run leaves -------------------------------------------------------------------


def test_a_run_learns_and_leaves_everything_behind(text_file, tmp_path):
    result = begin(spec(text_file, steps=60, batch=16, optimizer=["adamw", {"lr": 0.02}]), tmp_path / "run")
    folder = RunFolder(result.folder)
    assert result.steps == 60
    assert result.validation_loss < 3 < losses(result.folder)[0]["loss"]
    assert not result.interrupted
    for name in ("spec.tantra", "run.json", "tokenizer.json", "metrics.jsonl", "loss.png", "loss.svg", "checkpoints"):
        assert (folder.path / name).exists(), name
    assert (
        folder.spec.read_text()
        == spec(text_file, steps=60, batch=16, optimizer=["adamw", {"lr": 0.02}]).resolved_text()
    )
    facts = json.loads(folder.facts.read_text())
    assert facts["hash"] == spec(text_file).hash()
    assert facts["data"]["value"] == str(text_file)


def test_metrics_hold_what_was_asked_for(text_file, tmp_path):
    begin(spec(text_file), tmp_path / "run")
    entries = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [entry["step"] for entry in entries if "loss" in entry] == [2, 4, 6, 8]
    assert [entry["step"] for entry in entries if "validation_loss" in entry] == [4, 8]
    assert all(entry["tokens_per_second"] > 0 and entry["gradient_norm"] > 0 for entry in entries if "loss" in entry)
    assert "final_validation_loss" in entries[-1]


def test_tensorboard_reads_the_events(text_file, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    begin(spec(text_file), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    logged = [(event.step, event.value) for event in events.Scalars("train/loss")]
    expected = [(entry["step"], entry["loss"]) for entry in losses(tmp_path / "run") if "loss" in entry]
    assert logged == [(step, pytest.approx(loss)) for step, loss in expected]
    assert [event.step for event in events.Scalars("validation/validation_loss")] == [4, 8]


def test_the_best_and_the_last_checkpoints_stay(text_file, tmp_path):
    begin(spec(text_file, save_every=2, keep=2), tmp_path / "run")
    assert [path.name for path in checkpoint.listed(tmp_path / "run" / "checkpoints")][:2] == [
        "step-00000008",
        "step-00000006",
    ]


def test_a_run_is_repeatable_and_its_seed_matters(text_file, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        begin(spec(text_file, seed=seed), tmp_path / name)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_a_run_leaves_the_random_state_of_its_caller_alone(text_file, tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    begin(spec(text_file), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)
    assert float(torch.tensor([1e-40]) * 1) > 0


@pytest.mark.parametrize("kind", ["next_token", "masked", "pairs"])
def test_every_objective_trains(text_file, tmp_path, kind):
    if kind == "pairs":
        pairs = "".join(f"{number}\t{number * 7}\n" for number in range(200))
        (tmp_path / "pairs.tsv").write_text(pairs)
    data = ["pairs", {"path": str(tmp_path / "pairs.tsv")}] if kind == "pairs" else str(text_file)
    asked = FakeSpec(
        {"kind": kind, "vocab": 260, "context": 16}, {**spec(text_file).train, "data": data, "tokenizer": ["bytes"]}
    )
    result = begin(asked, tmp_path / "run")
    assert 0 < result.validation_loss < 6


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "muon"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "noam", "wsd"])
def test_every_optimizer_runs_every_schedule(text_file, tmp_path, optimizer, schedule):
    result = begin(spec(text_file, steps=3, optimizer=[optimizer], schedule=[schedule]), tmp_path / "run")
    assert result.steps == 3


def test_accumulated_batches_equal_one_large_one(text_file, tmp_path):
    model = {"dropout": 0.0}
    begin(spec(text_file, model, steps=3, batch=8, optimizer=["sgd"]), tmp_path / "one")
    begin(spec(text_file, model, steps=3, batch=2, accumulate=4, optimizer=["sgd"]), tmp_path / "four")
    one, four = weights(tmp_path / "one"), weights(tmp_path / "four")
    assert all(torch.allclose(one[name], four[name], rtol=1e-4, atol=1e-6) for name in one)


def test_epochs_set_the_steps(text_file, tmp_path):
    asked = FakeSpec({"context": 16}, {"data": str(text_file), "epochs": 0.5, "batch": 64, "accumulate": 2})
    tokens = len(text_file.read_bytes()) * 0.9
    assert begin(asked, tmp_path / "run").steps == pytest.approx(tokens / 15 / 64 / 2 * 0.5, abs=1)


def test_bfloat16_is_used_where_asked_and_weights_stay_float32(text_file, tmp_path, monkeypatch):
    seen = []
    loss = FakeModel.loss
    monkeypatch.setattr(
        FakeModel, "loss", lambda self, **inputs: seen.append(torch.is_autocast_enabled("cpu")) or loss(self, **inputs)
    )
    begin(spec(text_file, precision=["bfloat16"]), tmp_path / "run")
    assert seen
    assert all(seen)
    assert {tensor.dtype for tensor in weights(tmp_path / "run").values()} == {torch.float32}


def test_auto_precision_goes_by_the_chip(monkeypatch):
    from tantra_dsl.train import device

    for flags, expected in ((frozenset({"avx512_bf16"}), "bfloat16"), (frozenset({"avx2"}), "float32")):
        monkeypatch.setattr(device, "cpu_flags", lambda flags=flags: flags)
        assert device.pick_precision("auto", torch.device("cpu")) == expected
        assert device.pick_precision("float32", torch.device("cpu")) == "float32"


def test_compile_goes_through_torch_compile(text_file, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    begin(spec(text_file, compile=True), tmp_path / "run")
    assert [function.__name__ for function in compiled] == ["loss"]
    begin(spec(text_file), tmp_path / "eager")
    assert len(compiled) == 1


def test_plain_lines_are_shown_without_a_terminal(text_file, tmp_path):
    shown = io.StringIO()
    train(spec(text_file, steps=40), out=tmp_path / "run", progress=shown)
    lines = [line for line in shown.getvalue().splitlines() if line.startswith("step")]
    assert len(lines) == 20
    assert "\x1b" not in shown.getvalue()
    for figure in ("loss", "validation", "lr", "tokens/s", "left"):
        assert figure in lines[-1]
    assert "tantra sample" in shown.getvalue()


def test_default_folders_are_named_after_the_model(text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(begin(spec(text_file), None).folder) for _ in range(2)] == ["runs/fake", "runs/fake-2"]


def test_a_time_limit_ends_a_slow_run_with_its_schedule(text_file, tmp_path, monkeypatch):
    clock = [0.0]

    def tick():
        clock[0] += 5.0
        return clock[0]

    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=tick))
    result = begin(
        spec(text_file, steps=100, time_limit=50, schedule=["linear", {"warmup": 0}], log_every=1), tmp_path / "run"
    )
    assert (result.steps, result.seconds, result.interrupted) == (10, 50.0, False)
    rates = [entry["lr"] for entry in losses(tmp_path / "run") if "lr" in entry]
    assert rates == pytest.approx([1e-3 * (1 - done / 10) for done in range(10)])
    assert go_on(tmp_path / "run").steps == 10


def test_a_time_limit_changes_nothing_for_a_fast_run(text_file, tmp_path):
    begin(spec(text_file), tmp_path / "free")
    begin(spec(text_file, time_limit=10_000), tmp_path / "limited")
    assert same_weights(tmp_path / "free", tmp_path / "limited")


# --- resuming ----------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_a_stopped_run_resumes_to_the_same_bit(text_file, tmp_path, stop_after, optimizer):
    asked = spec(text_file, optimizer=[optimizer])
    begin(asked, tmp_path / "whole")
    stop_after(4)
    stopped = begin(asked, tmp_path / "parts")
    assert stopped.interrupted
    assert stopped.steps == 5
    stop_after(-1)
    assert not go_on(tmp_path / "parts").interrupted
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_sigterm_stops_as_ctrl_c_does(text_file, tmp_path, stop_after):
    stop_after(2, signal.SIGTERM)
    shown = io.StringIO()
    result = train(spec(text_file), out=tmp_path / "run", progress=shown)
    assert (result.interrupted, result.steps) == (True, 3)
    assert f"tantra train --resume {tmp_path / 'run'}" in shown.getvalue()


def test_ctrl_c_in_the_last_step_is_a_finished_run(text_file, tmp_path, stop_after):
    stop_after(7)
    result = begin(spec(text_file), tmp_path / "run")
    assert (result.interrupted, result.steps) == (False, 8)


def test_handlers_are_put_back(text_file, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    begin(spec(text_file), tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_outside_the_main_thread(text_file, tmp_path):
    results = []
    worker = threading.Thread(target=lambda: results.append(begin(spec(text_file), tmp_path / "run")))
    worker.start()
    worker.join()
    assert results[0].steps == 8


def test_a_finished_run_resumes_to_itself(text_file, tmp_path):
    first = begin(spec(text_file), tmp_path / "run")
    before = losses(tmp_path / "run")
    again = go_on(tmp_path / "run")
    assert (again.steps, again.validation_loss) == (first.steps, first.validation_loss)
    assert losses(tmp_path / "run") == before


def test_a_longer_recipe_goes_on_from_the_end(text_file, tmp_path):
    begin(spec(text_file, schedule=["constant"]), tmp_path / "run")
    longer = spec(text_file, schedule=["constant"], steps=12)
    assert go_on(tmp_path / "run", longer).steps == 12
    assert fake_model.load(tmp_path / "run" / "spec.tantra").train["steps"] == 12


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(text_file, tmp_path):
    begin(spec(text_file), tmp_path / "whole")
    begin(spec(text_file), tmp_path / "run")
    root = tmp_path / "run" / "checkpoints"
    (root / "step-00000008" / "weights.safetensors").write_bytes(b"broken")
    result = go_on(tmp_path / "run")
    assert [warning.code for warning in result.warnings] == ["R0305"]
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    assert (root / "damaged-step-00000008").is_dir()


def test_a_run_whose_checkpoints_are_all_damaged_is_told(text_file, tmp_path):
    begin(spec(text_file), tmp_path / "run")
    for folder in checkpoint.listed(tmp_path / "run" / "checkpoints"):
        (folder / "state.json").write_text("{}")
    assert [problem.code for problem in fails(lambda: go_on(tmp_path / "run"))] == ["R0306"]


def test_another_spec_is_refused_and_what_differs_is_said(text_file, tmp_path):
    begin(spec(text_file), tmp_path / "run")
    (problem,) = fails(lambda: go_on(tmp_path / "run", spec(text_file, {"dim": 32})))
    assert problem.code == "R0304"
    assert ['"dim": 16' in note.text or '"dim": 32' in note.text for note in problem.notes] == [True, True]


def test_weights_of_another_model_are_refused_by_name(text_file, tmp_path, monkeypatch):
    begin(spec(text_file), tmp_path / "run")
    monkeypatch.setattr(FakeSpec, "compile", lambda self: FakeModel(replace(self, model={**self.model, "dim": 24})))
    (problem,) = fails(lambda: go_on(tmp_path / "run"))
    assert problem.code == "R0304"
    assert "weight embed.weight is [256, 24], in the checkpoint [256, 16]" in [note.text for note in problem.notes]


def test_changed_data_is_refused(text_file, tmp_path):
    begin(spec(text_file), tmp_path / "run")
    text_file.write_text(text_file.read_text() + "more")
    assert [problem.code for problem in fails(lambda: go_on(tmp_path / "run"))] == ["R0309"]


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    for name in ("spec.tantra", "tokenizer.json", "run.json"):
        (tmp_path / "bad" / name).write_text("{")
    for name in ("none", "empty", "bad"):
        assert [problem.code for problem in fails(lambda name=name: go_on(tmp_path / name))] == ["R0307"]


def test_metrics_after_the_checkpoint_are_forgotten(text_file, tmp_path):
    begin(spec(text_file), tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    expected = losses(tmp_path / "run")
    metrics.write_text(metrics.read_text() + '{"step": 9, "loss": 1.0}\n{"step": 10, "lo')
    go_on(tmp_path / "run")
    assert losses(tmp_path / "run") == expected


# --- failures ----------------------------------------------------------------------------


def test_two_processes_cannot_share_a_folder(text_file, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", f"""
import sys, time; from pathlib import Path
from types import SimpleNamespace
from tantra_dsl.train.folder import RunFolder, locked
with locked(RunFolder(Path({str(tmp_path / "run")!r}))):
    print("held", flush=True); sys.stdin.read()
"""],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with holder:
        assert holder.stdout.readline() == "held\n"
        (problem,) = fails(lambda: begin(spec(text_file), tmp_path / "run"))
        assert problem.code == "R0301"
        assert str(holder.pid) in problem.title
        holder.kill()
    assert begin(spec(text_file), tmp_path / "run").steps == 8


def test_a_folder_with_something_in_it_is_not_written_to(text_file, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    (problem,) = fails(lambda: begin(spec(text_file), tmp_path / "notes"))
    assert (problem.code, problem.is_run) == ("R0308", False)
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["diary.txt"]
    begin(spec(text_file), tmp_path / "run")
    (problem,) = fails(lambda: begin(spec(text_file), tmp_path / "run"))
    assert (problem.code, problem.is_run) == ("R0308", True)
    assert "--resume" in problem.help


def test_a_folder_that_cannot_be_made_is_told(text_file, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing/here")):
        assert [problem.code for problem in fails(lambda out=out: begin(spec(text_file), out))] == ["R0302"]


@pytest.mark.parametrize(
    ("model", "recipe", "code"),
    [
        ({}, {"data": "none.txt"}, "R0202"),
        ({}, {"context": 17}, "R0207"),
        ({"kind": "picture"}, {}, "R0208"),
        ({"kind": "none"}, {}, "R0208"),
        ({"kind": "pairs"}, {}, "R0209"),
        ({"context": 10**6}, {}, "R0204"),
        ({"vocab": 3}, {"tokenizer": ["characters"]}, "R0205"),
    ],
)
def test_what_is_wrong_with_spec_or_data_leaves_no_folder(text_file, tmp_path, model, recipe, code):
    assert [problem.code for problem in fails(lambda: begin(spec(text_file, model, **recipe), tmp_path / "run"))] == [
        code
    ]
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_is_found_before_the_tensor_library_is_loaded(text_file, tmp_path):
    code = """
import sys; from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.train.request import check, new_request
from tantra_dsl.graph.model import *; from tantra_dsl.graph.types import *; from tantra_dsl.semantics.recipe import *
class Spec:
    name = "x"
    def recipe(self): return Recipe(data=DataSource("path", "none.txt"))
    def graph(self):
        token = TensorType((), "int")
        node = Node("t", "input", (), (("name", "tokens"), ("spec", InputSpec("tokens", 9))), (token,))
        return Graph("x", "m", {"m": Body("m", "m", (node,), (("loss", Ref("t")),))})
try: check(new_request(Spec(), None, None, "auto", None))
except SpecError as error: print(error.diagnostics[0].code, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout == "R0202 False\n", done.stderr


@pytest.mark.parametrize("key", ["dropout", "label_smoothing", "prompt"])
def test_recipe_keys_that_the_model_leaves_idle_are_told(text_file, key):
    value = "ROMEO" if key == "prompt" else 0.5
    kind = "masked" if key == "prompt" else "next_token"
    asked = spec(text_file, {"kind": kind, "fixed": ["dropout", "cross_entropy"]}, **{key: value})
    sink = Sink()
    check_effects(asked.recipe(), asked.graph(), sink)
    assert [(problem.code, problem.key) for problem in sink] == [("R0211", key)]


@pytest.mark.parametrize("key", ["dropout", "label_smoothing", "prompt"])
def test_recipe_keys_that_have_an_effect_pass(text_file, key):
    asked = spec(text_file, **{key: "ROMEO" if key == "prompt" else 0.5})
    sink = Sink()
    check_effects(asked.recipe(), asked.graph(), sink)
    assert not sink.items


def test_a_prompt_ends_the_run_with_a_sample(text_file, tmp_path):
    shown = io.StringIO()
    train(spec(text_file, prompt="two three "), out=tmp_path / "run", progress=shown)
    sampled = (tmp_path / "run" / "sample.txt").read_text()
    assert sampled.startswith("two three ")
    assert len(sampled) > 100
    assert sampled in shown.getvalue()


def test_a_prompt_that_cannot_be_read_is_told_before_training(text_file, tmp_path):
    (problem,) = fails(lambda: begin(spec(text_file, prompt="☃", tokenizer=["characters"]), tmp_path / "run"))
    assert problem.code == "R0403"
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_and_the_run_goes_on_later(text_file, tmp_path, monkeypatch):
    asked = spec(text_file, save_every=2)
    begin(asked, tmp_path / "whole")
    real, left = checkpoint.write_tensors, [5]

    def full(path, tensors):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device", str(path))
        return real(path, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    (problem,) = fails(lambda: begin(asked, tmp_path / "run"))
    assert problem.code == "R0303"
    assert problem.help.endswith(f"--resume {tmp_path / 'run'}")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.startswith(".")] == []
    go_on(tmp_path / "run")
    assert same_weights(tmp_path / "whole", tmp_path / "run")


def test_a_loss_that_is_not_finite_names_step_batch_and_layer(text_file, tmp_path):
    (problem,) = fails(lambda: begin(spec(text_file, {"break_at": "middle"}), tmp_path / "run"))
    assert (problem.code, problem.step) == ("R0401", 1)
    assert problem.layer.startswith("middle (operation ")
    assert "crops of the training part at tokens" in problem.batch
    assert Path(problem.dump).exists()


def test_a_loss_that_breaks_later_names_the_last_good_checkpoint(text_file, tmp_path, monkeypatch):
    take = loop.Run._take_step

    def poisoned(run):
        if run.step == 5:
            with torch.no_grad():
                run.module.hidden.weight[0, 0] = float("nan")
        return take(run)

    monkeypatch.setattr(loop.Run, "_take_step", poisoned)
    (problem,) = fails(lambda: begin(spec(text_file), tmp_path / "run"))
    assert (problem.step, problem.layer) == (6, "weight hidden.weight, before the step")
    assert "the checkpoint after step 4 is good" in problem.last_loss


def test_a_gradient_that_is_not_finite_stops_before_it_harms(text_file, tmp_path, monkeypatch):
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient / 0

    forward = FakeModel.forward
    monkeypatch.setattr(FakeModel, "forward", lambda self, **inputs: Steep.apply(forward(self, **inputs)))
    (problem,) = fails(lambda: begin(spec(text_file), tmp_path / "run"))
    assert (problem.what, problem.step) == ("gradient's norm", 1)
    assert problem.layer == "the gradient of head.weight"


def test_no_memory_is_told_with_what_to_do(text_file, tmp_path, monkeypatch):
    def greedy(self, **inputs):
        return torch.empty(2**60)

    monkeypatch.setattr(FakeModel, "loss", greedy)
    (problem,) = fails(lambda: begin(spec(text_file), tmp_path / "run"))
    assert problem.code == "R0402"
    assert "train.batch to 2" in problem.help


def test_misuse_of_the_function_is_a_value_error(text_file, tmp_path):
    with pytest.raises(ValueError, match="needs a spec"):
        train()
    with pytest.raises(ValueError, match="needs load"):
        train(resume=tmp_path)
    with pytest.raises(ValueError, match="cuda"):
        begin(spec(text_file), tmp_path / "run", device="cuda")


def test_the_lock_is_free_after_a_failure(text_file, tmp_path):
    fails(lambda: begin(spec(text_file, {"break_at": "middle"}), tmp_path / "run"))
    with locked(RunFolder(tmp_path / "run")):
        pass


def test_data_named_on_the_command_line_replaces_the_recipes(text_file, tmp_path):
    result = begin(spec("none.txt"), tmp_path / "run", data=str(text_file))
    assert RunFolder(result.folder).read_facts()["data"]["value"] == str(text_file)
