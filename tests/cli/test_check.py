"""``tantra check``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tantra_dsl.cli import check
from tests.cli.conftest import ROOT, TINY, Tantra, process_environment, spawn


def test_a_valid_spec_is_ok(tantra: Tantra, tiny: Path) -> None:
    done = tantra("check", tiny)
    assert (done.status, done.out, done.err) == (0, f"{tiny}: ok\n", "")


def test_a_shipped_spec_is_found_by_name(tantra: Tantra) -> None:
    assert tantra("check", "gpt2").status == 0


def test_mistakes_go_to_standard_error_with_their_place(tantra: Tantra, broken: Path) -> None:
    done = tantra("check", broken)
    assert done.status == 1
    assert done.out == ""
    assert f"{broken}:9:17" in done.err
    assert "heads" in done.err


def test_every_spec_is_checked(tantra: Tantra, tiny: Path, broken: Path) -> None:
    done = tantra("check", broken, tiny)
    assert done.status == 1
    assert done.out == f"{tiny}: ok\n"


def test_json_has_place_code_and_message(tantra: Tantra, broken: Path) -> None:
    done = tantra("check", "--json", broken)
    (found,) = json.loads(done.out)
    assert done.status == 1
    assert done.err == ""
    assert found["code"].startswith("K")
    assert (found["file"], found["line"], found["column"]) == (str(broken), 9, 17)


def test_json_of_a_valid_spec_is_empty(tantra: Tantra, tiny: Path) -> None:
    done = tantra("check", "--json", tiny)
    assert done.status == 0
    assert json.loads(done.out) == []


@pytest.mark.parametrize("names", [("tiny", "small"), ("small", "large")], ids=["one stands out", "none does"])
def test_every_model_of_a_file_is_checked(tantra: Tantra, tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "tiny.tantra"
    path.write_text("".join(TINY.replace("tiny", name).replace("heads", f"{name}_heads") for name in names), "utf-8")
    done = tantra("check", path)
    assert done.status == 1
    assert [name for name in names if f"`{name}_heads`" in done.err] == list(names)


def test_a_mistake_that_two_models_share_is_told_once(tantra: Tantra, broken: Path) -> None:
    broken.write_text(broken.read_text("utf-8") + "model twin extends tiny { dim: 32 }\n", "utf-8")
    assert tantra("check", broken).err.count("error[K") == 1


def test_set_overrides(tantra: Tantra, tiny: Path) -> None:
    assert tantra("check", tiny, "--set", "layers.attention.heads=4").status == 0
    refused = tantra("check", tiny, "--set", "layers.attention.haeds=4")
    assert refused.status == 1
    assert refused.err.startswith("--set:1:1: error[K")


def test_a_missing_file_is_a_diagnostic(tantra: Tantra, tmp_path: Path) -> None:
    done = tantra("check", tmp_path / "absent.tantra")
    assert done.status == 1
    assert "error[F" in done.err


@pytest.mark.parametrize(
    "arguments",
    [["a"], ["a", "b", "--json"], ["--set", "x=1", "a"], ["a", "--set=x=1", "--set", "y=2"]],
)
def test_the_quick_path_reads_what_typer_reads(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[check.Request] = []
    monkeypatch.setattr(check, "run", lambda request: seen.append(request) or 0)
    from tantra_dsl.cli.app import run

    run(["check", *arguments])
    assert seen == [check.parse(arguments)]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--bogus", "a"], ["a", "--set"]])
def test_the_quick_path_leaves_the_rest_to_typer(arguments: list[str]) -> None:
    assert check.parse(arguments) is None


def test_usage_errors_are_status_2(tantra: Tantra) -> None:
    assert tantra("check").status == 2
    assert tantra("check", "--bogus", "a").status == 2


def test_checking_loads_neither_torch_nor_typer(tiny: Path) -> None:
    program = (
        "import sys; from tantra_dsl.cli import main; "
        f"assert main(['check', {str(tiny)!r}, 'gpt2']) == 0; "
        "print(sorted({'torch', 'numpy', 'typer', 'click', 'rich', 'networkx', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=process_environment({}), text=True, capture_output=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_color_is_respected(broken: Path) -> None:
    assert "\x1b[" not in spawn("check", broken, cwd=ROOT, NO_COLOR="1").stderr
