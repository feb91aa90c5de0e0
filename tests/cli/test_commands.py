"""``list``, ``show``, ``compile``, ``explain`` and what all commands share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tantra_dsl
from tantra_dsl.cli import main
from tantra_dsl.cli.pages import codes
from tests.cli.conftest import ROOT, Tantra, process_environment, spawn

COMMANDS = ["list", "check", "fmt", "convert", "show", "compile", "train", "sample", "explain"]


def test_list_names_every_shipped_model(tantra: Tantra) -> None:
    done = tantra("list")
    assert done.status == 0
    listed = {line.split()[0]: line.split()[1] for line in done.out.splitlines()}
    assert set(listed) == {spec.name for spec in tantra_dsl.shipped()}
    assert listed["gpt2"] == "124,439,808"


def test_list_json(tantra: Tantra) -> None:
    rows = {row["name"]: row for row in json.loads(tantra("list", "--json").out)}
    assert rows["gpt2"]["params"] == 124_439_808


def test_show_states_parameters(tantra: Tantra) -> None:
    done = tantra("show", "gpt2")
    assert done.status == 0
    assert "124,439,808" in done.out


def test_show_takes_overrides_length_and_batch(tantra: Tantra, tiny: Path) -> None:
    def shown(*options: str) -> str:
        done = tantra("show", tiny, "--json", *options)
        assert done.status == 0
        json.loads(done.out)
        return done.out

    assert len({shown(), shown("--seq", "16"), shown("--batch", "4"), shown("--set", "dim=32")}) == 4


def test_compile_writes_python(tantra: Tantra, tiny: Path, tmp_path: Path) -> None:
    printed = tantra("compile", tiny)
    assert printed.status == 0
    target = tmp_path / "model.py"
    assert tantra("compile", tiny, "-o", target).status == 0
    assert target.read_text(encoding="utf-8") == printed.out
    compile(printed.out, "model.py", "exec")


def test_a_standalone_model_needs_torch_alone(tantra: Tantra, tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.py"
    assert tantra("compile", tiny, "--standalone", "-o", target).status == 0
    program = "import sys; sys.modules['tantra_dsl'] = sys.modules['tantra_compiler'] = None; import model"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.parametrize("command", ["show", "compile", "train"])
def test_mistakes_stop_every_command(tantra: Tantra, broken: Path, command: str) -> None:
    done = tantra(command, broken)
    assert done.status == 1
    assert done.out == ""
    assert f"{broken}:9:17" in done.err


def test_nothing_is_written_for_a_spec_with_mistakes(tantra: Tantra, broken: Path) -> None:
    target = broken.parent / "model.py"
    assert tantra("compile", broken, "-o", target).status == 1
    assert not target.exists()


def test_an_unwritable_target_is_told_in_a_line(tantra: Tantra, tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "absent" / "model.py"
    done = tantra("compile", tiny, "-o", target)
    assert (done.status, done.err) == (1, f"error: {target}: no such file or directory\n")


def test_explain_prints_the_page(tantra: Tantra) -> None:
    code = codes()[0]
    done = tantra("explain", code.lower())
    assert done.status == 0
    assert done.out == (ROOT / "docs" / "errors" / f"{code}.md").read_text(encoding="utf-8")


def test_explain_alone_lists_every_code(tantra: Tantra) -> None:
    assert [line.split()[0].rstrip(":") for line in tantra("explain").out.splitlines()] == codes()


def test_explain_of_no_code_names_the_nearest(tantra: Tantra) -> None:
    code = codes()[0]
    done = tantra("explain", code + "9")
    assert done.status == 2
    assert code in done.err


def test_explain_stays_among_the_pages(tantra: Tantra) -> None:
    assert tantra("explain", "../../README").status == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(tantra: Tantra, command: str) -> None:
    done = tantra(command, "--help")
    assert done.status == 0
    assert f"tantra {command}" in done.out


def test_an_unknown_command_is_wrong_usage(tantra: Tantra) -> None:
    assert tantra("chekc").status == 2


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tantra_dsl", "list"],
        env=process_environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141


@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [("> /dev/full", 1, "error: no space left on device\n"), (">&-", 0, ""), ("2>&-", 0, "")],
)
def test_outputs_that_take_nothing(redirection: str, status: int, said: str) -> None:
    command = f"{sys.executable} -m tantra_dsl explain L0101 {redirection}"
    done = subprocess.run(
        ["bash", "-c", command], env=process_environment({}), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, said)


def test_an_interruption_is_no_traceback(tantra: Tantra, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tantra_dsl, "load", interrupt)
    for command in (["check", "gpt2"], ["show", "gpt2"]):
        done = tantra(*command)
        assert (done.status, done.out, done.err) == (130, "", "\n")


def test_a_fault_of_tantra_says_so(tantra: Tantra, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(tantra_dsl, "load", fail)
    done = tantra("show", "gpt2")
    assert done.status == 70
    assert done.err.startswith("internal error: ZeroDivisionError: oops\n")
    monkeypatch.setenv("TANTRA_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["show", "gpt2"])


def test_a_terminal_without_unicode_still_shows_everything(tiny: Path) -> None:
    done = spawn("show", tiny, cwd=ROOT, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
