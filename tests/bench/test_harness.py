"""The parts that measure, and what a report says."""

import json
import subprocess
import sys

import pytest
import torch
from harness import children, memory
from harness.long_spec import long_spec
from harness.profile import OTHER, group_of
from harness.report import Report, Target, cell
from harness.training import Question, answer

import tantra_dsl


def test_a_target_is_reached_on_its_own_side_only():
    assert Target("t", 0.7, "<=", 0.8).reached
    assert not Target("t", 0.9, "<=", 0.8).reached
    assert Target("t", 1.2, ">=", 1.15).reached
    assert not Target("t", 1.1, ">=", 1.15).reached
    assert not Target("t", None, "<=", 1.0).reached


def test_a_report_is_written_as_json_and_markdown(tmp_path, capsys):
    report = Report("example", "An example", ("torch", "no-such-package"))
    report.targets.append(Target("speed", 1.3, ">=", 1.15, "x"))
    report.tables["rows"] = [{"library": "ours", "tokens/s": 12_345.0}, {"library": "theirs", "ms": 3}]
    report.publish(tmp_path)
    document = json.loads((tmp_path / "example.json").read_text())
    assert document["targets"][0]["reached"] is True
    assert document["versions"] == {"torch": torch.__version__, "no-such-package": "missing"}
    page = (tmp_path / "example.md").read_text()
    assert "| speed | >= 1.15 x | 1.3 x | yes |" in page
    assert "| ours | 12,345 | - |" in page
    assert "12,345" in capsys.readouterr().out


def test_a_quick_run_keeps_its_figures_to_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.report.RESULTS", tmp_path / "results")
    Report("example", "An example", (), quick=True).publish()
    assert not (tmp_path / "results").exists()
    Report("example", "An example", ()).publish()
    assert (tmp_path / "results" / "example.json").exists()


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), (True, "yes"), (1234, "1,234"), (0.12345, "0.123")])
def test_cells(value, shown):
    assert cell(value) == shown


def test_rounds_begin_with_each_in_turn():
    assert [children.rotated("abc", index) for index in range(4)] == [
        list("abc"),
        list("bca"),
        list("cab"),
        list("abc"),
    ]


def test_a_command_that_fails_is_not_timed():
    with pytest.raises(subprocess.CalledProcessError):
        children.time_command([sys.executable, "-c", "raise SystemExit(3)"])


def test_processor_time_leaves_out_waiting():
    run = children.time_command([sys.executable, "-c", "import time; time.sleep(0.5)"])
    assert run.wall >= 0.5
    assert run.cpu < run.wall


def test_a_worker_that_fails_says_why():
    assert "no module named harness.absent" in children.ask("harness.absent", {})["error"].lower()


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are Linux's to tell")
def test_the_peak_starts_again():
    held = bytearray(b"1" * 200_000_000)
    assert memory.peak() >= len(held)
    del held
    memory.restart_peak()
    before = memory.peak()
    held = bytearray(b"1" * 100_000_000)
    assert memory.peak() - before >= 0.9 * len(held)


@pytest.mark.parametrize("lines", [1000, 3000])
def test_a_long_spec_has_its_length_and_no_mistake(lines):
    text = long_spec(lines)
    assert abs(len(text.splitlines()) - lines) < 50
    last = [line.split()[1] for line in text.splitlines() if line.startswith("model ")][-1]
    tantra_dsl.loads(text + f"model long extends {last} {{}}\n")


def test_a_model_of_a_long_spec_checks():
    text = long_spec(36)
    assert not tantra_dsl.loads(text).check()


@pytest.mark.parametrize(
    ("op", "group"),
    [
        ("aten::addmm", "matmul"),
        ("aten::_fused_adamw_", "optimizer"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::_log_softmax_backward_data", "loss"),
        ("aten::native_layer_norm_backward", "norm"),
        ("RmsNormBackward", "norm"),
        ("aten::silu_backward", "activation"),
        ("aten::mul", OTHER),
    ],
)
def test_groups_of_ops(op, group):
    assert group_of(op) == group


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are Linux's to tell")
def test_a_training_process_answers():
    threads = torch.get_num_threads()
    found = answer(Question("tantra", "llama", "float32", False, batch=1, warmup=1, steps=2, threads=1))
    torch.set_num_threads(threads)
    assert len(found["losses"]) == 3
    assert found["parameters"] == 10_030_464
    # Weights, gradients and two moments of AdamW are there at least.
    assert found["peak"] > 4 * 4 * found["parameters"] * 0.9
