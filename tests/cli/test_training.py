"""``tantra train`` and ``tantra sample``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, Tantra

RECIPE = """
  train {
    data: "text.txt"
    tokenizer: characters
    batch: 2
    steps: 4
    log_every: 1
  }
}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec with a recipe, in a folder of its own, with data beside it."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("what's in a name? that which we call a rose\n" * 40, encoding="utf-8")
    path = Path("tiny.tantra")
    path.write_text(TINY.rstrip().removesuffix("}").rstrip() + "\n" + RECIPE.lstrip("\n"), encoding="utf-8")
    return path


def losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


def test_train_and_sample(tantra: Tantra, spec: Path) -> None:
    trained = tantra("train", spec, "--out", "run")
    assert (trained.status, trained.err) == (0, "")
    assert len(losses(Path("run"))) == 4
    arguments = ("sample", "run", "--prompt", "what", "--max-new", "8", "--seed", "3")
    first, second = tantra(*arguments), tantra(*arguments)
    assert first.status == 0
    assert first.out.startswith("what")
    assert len(first.out) == len("what") + 8 + len("\n")
    assert first == second


def test_runs_are_named_after_the_model(tantra: Tantra, spec: Path) -> None:
    assert tantra("train", spec).status == 0
    assert Path("runs/tiny/metrics.jsonl").is_file()


def test_overrides_and_other_data(tantra: Tantra, spec: Path) -> None:
    Path("other.txt").write_text("a rose by any other name would smell as sweet\n" * 40, encoding="utf-8")
    done = tantra("train", spec, "--out", "run", "--data", "other.txt", "--set", "train.steps=2")
    assert done.status == 0
    assert len(losses(Path("run"))) == 2


def test_a_finished_run_can_be_given_more_steps(tantra: Tantra, spec: Path) -> None:
    assert tantra("train", spec, "--out", "run").status == 0
    before = losses(Path("run"))
    assert tantra("train", "--resume", "run", "--set", "train.steps=6").status == 0
    after = losses(Path("run"))
    assert len(after) == 6
    assert after[:4] == before


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ((), "train needs a SPEC, or --resume DIR"),
        (("--resume", "run", "--out", "other"), "--resume takes neither --data nor --out"),
        (("--resume", "run", "--data", "text.txt"), "--resume takes neither --data nor --out"),
    ],
)
def test_wrong_usage(tantra: Tantra, spec: Path, arguments: tuple[str, ...], advice: str) -> None:
    done = tantra("train", *arguments)
    assert done.status == 2
    assert done.err.startswith(f"error: {advice}")


def test_what_is_no_run_is_said_to_be_none(tantra: Tantra, spec: Path) -> None:
    for command in (["train", "--resume", "."], ["sample", ".", "--prompt", "x"]):
        done = tantra(*command)
        assert (done.status, done.out) == (1, "")
        assert "error[R0307]" in done.err


@pytest.mark.parametrize("option", [("--temperature", "nan"), ("--top-p", "0"), ("--top-k", "0"), ("--max-new", "0")])
def test_figures_out_of_range_are_wrong_usage(tantra: Tantra, spec: Path, option: tuple[str, str]) -> None:
    assert tantra("sample", "run", "--prompt", "x", *option).status == 2


def test_a_spec_without_data_says_what_to_do(tantra: Tantra, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    done = tantra("train", tiny)
    assert (done.status, done.out) == (1, "")
    assert "error[R0201]" in done.err
    assert "--data" in done.err
