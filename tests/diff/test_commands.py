"""``tantra diff``, ``patch`` and ``explain SPEC PATH`` as commands, and what they say to mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tantra_dsl
from tantra_dsl.cli import main
from tantra_dsl.diff import diff
from tests.diff.conftest import SMALL, edited

WIDER = edited(("heads: 4,", "heads: 8,"))
RENAMED = edited(("    attention {", "    attn: attention {"))
BROKEN = edited(("heads: 4,", "haeds: 4,"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("small", SMALL), ("wider", WIDER), ("renamed", RENAMED), ("broken", BROKEN)):
        (tmp_path / f"{name}.tantra").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(list(arguments))
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.usefixtures("folder")
class TestDiff:
    @pytest.mark.parametrize(
        "options",
        [
            (),
            ("--exit-code",),
            ("--format", "json", "--seq", "9"),
            ("--format=markdown", "--only=recipe"),
            ("--seq=9", "--exit-code", "--only", "numerics"),
        ],
    )
    def test_the_quick_reading_of_options_is_that_of_typer(
        self, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        from tantra_dsl.cli import app, comparing

        specs = ("small.tantra", "wider.tantra")
        assert comparing.parse([*options, *specs]) is not None
        quick = run(capsys, "diff", *options, *specs)
        status = app.run(["diff", *options, *specs])
        assert (status, capsys.readouterr().out) == quick[:2]

    @pytest.mark.parametrize(
        "options", [("--seq", "0"), ("--seq", "x"), ("--format", "svg"), ("--only", "costs"), ("--more",), ("--seq",)]
    )
    def test_wrong_usage(self, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert run(capsys, "diff", "small.tantra", "wider.tantra", *options)[:2] == (2, "")

    def test_says_what_is_different(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, err = run(capsys, "diff", "small.tantra", "wider.tantra")
        assert (status, err) == (0, "")
        assert "~ layers.attention.heads: 4 -> 8" in out
        assert "small.tantra:10 | wider.tantra:10" in out

    def test_says_nothing_where_nothing_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(capsys, "diff", "small.tantra", "small.tantra") == (0, "", "")

    @pytest.mark.parametrize(("other", "status"), [("small", 0), ("renamed", 0), ("wider", 1), ("broken", 2)])
    def test_exit_code(self, other: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(capsys, "diff", "small.tantra", f"{other}.tantra", "--exit-code")[0] == status

    @pytest.mark.parametrize("sides", [("small.tantra", "broken.tantra"), ("broken.tantra", "small.tantra")])
    def test_a_side_that_does_not_check(self, sides: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        status, out, err = run(capsys, "diff", *sides)
        assert (status, out) == (2, "")
        assert "broken.tantra:10:17: error[K0101]" in err

    def test_both_sides_tell_their_mistakes_at_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, _, err = run(capsys, "diff", "broken.tantra", "absent.tantra")
        assert status == 2
        assert "error[K0101]" in err
        assert "error[F0101]" in err

    @pytest.mark.parametrize("specs", [("small.tantra",), ("small.tantra", "wider.tantra", "small.tantra")])
    def test_two_specs_are_wanted(self, specs: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        status, _, err = run(capsys, "diff", *specs)
        assert (status, err) == (2, f"error: two specs are compared, but {len(specs)} were given\n")

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, _ = run(capsys, "diff", "small.tantra", "wider.tantra", "--format", "json", "--seq", "64")
        answer = json.loads(out)
        assert status == 0
        assert answer["verdict"] == "function"
        assert answer["costs"]["seq"] == 64
        assert answer["patch"].splitlines()[-2].strip() == "layers.attention.heads: 8"

    def test_json_of_no_difference(self, capsys: pytest.CaptureFixture[str]) -> None:
        answer = json.loads(run(capsys, "diff", "small.tantra", "small.tantra", "--format", "json")[1])
        assert (answer["verdict"], answer["operations"], answer["patch"]) == ("same", [], None)

    def test_only_a_section(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "both.tantra").write_text(WIDER.replace("next_token", "next_token\n  train { steps: 3 }"))
        out = {part: run(capsys, "diff", "small.tantra", "both.tantra", "--only", part)[1] for part in PARTS}
        assert "heads" in out["architecture"]
        assert "train.steps" not in out["architecture"]
        assert "train.steps: 1000 by default -> 3" in out["recipe"] or "train.steps: 3" in out["recipe"]
        assert "heads" not in out["recipe"]
        assert "layers" not in out["numerics"]


PARTS = ("architecture", "numerics", "recipe")


@pytest.mark.usefixtures("folder")
class TestPatch:
    def test_is_a_spec_that_becomes_the_other(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, _ = run(capsys, "patch", "small.tantra", "wider.tantra")
        assert status == 0
        (folder / "change.tantra").write_text(out, encoding="utf-8")
        assert run(capsys, "diff", "change.tantra", "wider.tantra") == (0, "", "")

    def test_names_the_spec_from_where_it_is_written(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "deep").mkdir()
        (folder / "small.tantra").rename(folder / "deep" / "small.tantra")
        assert run(capsys, "patch", "deep/small.tantra", "wider.tantra", "-o", "change.tantra")[0] == 0
        assert (folder / "change.tantra").read_text().startswith('use "deep/small.tantra"\n')
        assert run(capsys, "diff", "change.tantra", "wider.tantra") == (0, "", "")

    def test_of_a_broken_spec(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, err = run(capsys, "patch", "small.tantra", "broken.tantra")
        assert (status, out) == (2, "")
        assert "error[K0101]" in err


# --- git -------------------------------------------------------------------------------

GIT = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a"}
GIT |= {"GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
PARTED = edited(("pre(norm)", "pre(own)"), ("let norm: layernorm", "let norm: rms"))
OWN = "module own(x) = layernorm(x)\n"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": ":".join(sys.path), "NO_COLOR": "1", **GIT},
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two commits: the spec uses a file of its own, and both change."""
    (tmp_path / "specs").mkdir()
    spec, part = tmp_path / "specs" / "x.tantra", tmp_path / "specs" / "own.tantra"
    git(tmp_path, "init", "-q", ".")
    for text, own in ((PARTED, OWN), (PARTED.replace("heads: 4,", "heads: 8,"), OWN.replace("layernorm", "rms"))):
        spec.write_text('use "own.tantra"\n' + text, encoding="utf-8")
        part.write_text(own, encoding="utf-8")
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-q", "-m", "next")
    monkeypatch.chdir(tmp_path)
    for name, value in GIT.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.usefixtures("repository")
class TestRevisions:
    def test_a_spec_and_what_it_uses_are_read_from_git(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, _ = run(capsys, "diff", "HEAD~1:specs/x.tantra", "specs/x.tantra")
        assert status == 0
        assert "~ layers.attention.heads: 4 -> 8" in out
        assert "~ own.return: layernorm(x) -> rms(x)" in out
        assert "HEAD~1:specs/own.tantra:1 | specs/own.tantra:1" in out

    def test_two_revisions(self, capsys: pytest.CaptureFixture[str]) -> None:
        there = run(capsys, "diff", "HEAD:specs/x.tantra", "HEAD~1:specs/x.tantra:small")[1]
        assert "~ layers.attention.heads: 8 -> 4" in there

    def test_a_path_from_the_current_folder(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(repository / "specs")
        assert run(capsys, "diff", "HEAD:./x.tantra", "x.tantra") == (0, "", "")

    @pytest.mark.parametrize(
        ("side", "code"),
        [
            ("HEAD~7:specs/x.tantra", "F0301"),
            ("nothing:specs/x.tantra", "F0301"),
            ("--help:specs/x.tantra", "F0301"),
            ("HEAD:specs/y.tantra", "F0302"),
            ("HEAD:specs/../../x.tantra", "F0303"),
        ],
    )
    def test_what_is_not_there(self, side: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, err = run(capsys, "diff", "--", side, "specs/x.tantra")
        assert (status, out) == (2, "")
        assert f"error[{code}]" in err

    def test_a_link_is_not_followed(self, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (repository / "specs" / "link.tantra").symlink_to("x.tantra")
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", "link")
        assert run(capsys, "diff", "HEAD:specs/link.tantra", "specs/x.tantra")[0] == 2

    def test_mistakes_in_a_revision_name_it(self, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (repository / "specs" / "x.tantra").write_text(BROKEN, encoding="utf-8")
        git(repository, "commit", "-q", "-am", "broken")
        status, _, err = run(capsys, "diff", "HEAD:specs/x.tantra", "HEAD~1:specs/x.tantra")
        assert status == 2
        assert "HEAD:specs/x.tantra:10:17: error[K0101]" in err

    def test_a_file_whose_name_has_a_colon(self, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (repository / "HEAD:x.tantra").write_text(SMALL, encoding="utf-8")
        (repository / "small.tantra").write_text(SMALL, encoding="utf-8")
        assert run(capsys, "diff", "HEAD:x.tantra", "small.tantra") == (0, "", "")


def test_outside_of_any_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))
    status, _, err = run(capsys, "diff", "HEAD:x.tantra", "gpt2")
    assert status == 2
    assert "error[F0303]" in err


def test_a_patch_in_git_reads_its_driver(repository: Path) -> None:
    (repository / ".gitattributes").write_text("*.tantra diff=tantra\n", encoding="utf-8")
    driver = f"{sys.executable} -m tantra_dsl diff --git"
    git(repository, "config", "diff.tantra.command", driver)
    said = git(repository, "diff", "HEAD~1")
    assert "diff --tantra a/specs/x.tantra b/specs/x.tantra" in said
    assert "~ layers.attention.heads: 4 -> 8" in said
    assert "a/specs/x.tantra:11 | b/specs/x.tantra:11" in said
    # A file without a model is compared as text.
    assert "-module own(x) = layernorm(x)" in said
    assert "+module own(x) = rms(x)" in said
    # Git's own diff is still to be had.
    assert "diff --git" in git(repository, "diff", "--no-ext-diff", "HEAD~1")


def test_the_driver_tells_files_that_come_go_or_break(repository: Path) -> None:
    git(repository, "config", "diff.tantra.command", f"{sys.executable} -m tantra_dsl diff --git")
    (repository / ".gitattributes").write_text("*.tantra diff=tantra\n", encoding="utf-8")
    (repository / "specs" / "new.tantra").write_text(SMALL, encoding="utf-8")
    (repository / "specs" / "x.tantra").write_text(BROKEN, encoding="utf-8")
    git(repository, "add", "-A")
    said = git(repository, "diff", "HEAD")
    assert "+model small {" in said
    assert "+    attention { haeds: 4, mask: causal, bias: true }" in said


def test_the_driver_compares_every_model_of_a_file(repository: Path) -> None:
    git(repository, "config", "diff.tantra.command", f"{sys.executable} -m tantra_dsl diff --git")
    (repository / ".gitattributes").write_text("*.tantra diff=tantra\n", encoding="utf-8")
    path = repository / "two.tantra"
    path.write_text(SMALL + "model wide extends small { dim: 128 }\n", encoding="utf-8")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "two")
    path.write_text(SMALL + "model wide extends small { dim: 96 }\nmodel deep extends small { layers: 6 of same }\n")
    said = git(repository, "diff")
    assert "model small: no difference" in said
    assert "~ dim: 128 -> 96" in said
    assert "model deep is new" in said


@pytest.mark.parametrize("arguments", [[], ["x"], ["a", "b", "c", "d", "e", "f"]])
def test_the_driver_used_wrongly(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "diff", "--git", *arguments)[0] == 2


# --- cost ------------------------------------------------------------------------------


def test_a_diff_imports_no_tensor_library(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom tantra_dsl.cli import main\n"
        "main(['diff', 'llama3_405b', 'llama3_70b'])\n"
        "print(*({'torch', 'numpy', 'networkx', 'rich', 'lark'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr.strip() == ""


def test_many_layers_cost_what_few_do() -> None:
    from tantra_dsl.diff import report

    calls: dict[int, int] = {}
    for layers in (4, 4000):
        counted = 0

        def count(frame: object, event: str, _: object) -> None:
            nonlocal counted
            counted += event == "call"

        sides = [tantra_dsl.loads(edited(("4 of", f"{layers} of"), ("heads: 4,", f"heads: {n},"))) for n in (4, 8)]
        for side in sides:
            side.graph()
        sys.setprofile(count)
        report.diff(*sides)
        sys.setprofile(None)
        calls[layers] = counted
    assert calls[4000] < 3 * calls[4]


def test_the_python_door() -> None:
    found = diff(tantra_dsl.loads(SMALL), tantra_dsl.loads(WIDER))
    assert [op.path for op in found.operations] == ["layers.attention.heads"]
    with pytest.raises(ValueError):
        diff(tantra_dsl.loads(SMALL), tantra_dsl.loads(WIDER), seq=0)
    with pytest.raises(tantra_dsl.SpecError):
        diff(tantra_dsl.loads(SMALL), tantra_dsl.loads(BROKEN))
