"""``tantra fmt``, ``tantra convert`` and how files are written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import tantra_dsl
from tantra_dsl.cli import rewrite
from tests.cli.conftest import BROKEN, TINY, Tantra

UNTIDY = TINY.replace("  dim: 16\n", "  dim:16   # width\n")
TIDY = TINY.replace("  dim: 16\n", "  dim: 16  # width\n")


@pytest.fixture
def untidy(tmp_path: Path) -> Path:
    path = tmp_path / "untidy.tantra"
    path.write_text(UNTIDY, encoding="utf-8")
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_fmt_rewrites_and_keeps_comments(tantra: Tantra, untidy: Path) -> None:
    done = tantra("fmt", untidy)
    assert (done.status, done.out) == (0, f"{untidy}: rewritten\n")
    assert untidy.read_text(encoding="utf-8") == TIDY
    assert names(untidy.parent) == {"untidy.tantra"}


def test_fmt_leaves_canonical_files_untouched(tantra: Tantra, tiny: Path) -> None:
    os.utime(tiny, ns=(1, 1))
    assert tantra("fmt", tiny).out == ""
    assert tiny.stat().st_mtime_ns == 1


def test_fmt_check_writes_nothing(tantra: Tantra, untidy: Path, tiny: Path) -> None:
    done = tantra("fmt", "--check", untidy, tiny)
    assert (done.status, done.out) == (1, f"{untidy}: not in canonical form\n")
    assert untidy.read_text(encoding="utf-8") == UNTIDY
    assert tantra("fmt", "--check", tiny).status == 0


def test_fmt_never_touches_a_file_with_errors(tantra: Tantra, tmp_path: Path, untidy: Path) -> None:
    unreadable = tmp_path / "unreadable.tantra"
    unreadable.write_text(TINY.replace("{", "{{", 1), encoding="utf-8")
    before = unreadable.read_bytes()
    done = tantra("fmt", unreadable, untidy)
    assert done.status == 1
    assert "error[S" in done.err
    assert unreadable.read_bytes() == before
    assert untidy.read_text(encoding="utf-8") == TIDY


def test_fmt_takes_names_it_does_not_know(tantra: Tantra, tmp_path: Path) -> None:
    path = tmp_path / "broken.tantra"
    path.write_text(BROKEN, encoding="utf-8")
    assert tantra("fmt", "--check", path).status == 0


def test_fmt_takes_yaml(tantra: Tantra, tantra_yaml: Path) -> None:
    tantra_yaml.write_text("# a comment\n" + tantra_yaml.read_text(encoding="utf-8").replace(": ", ":   "), "utf-8")
    assert tantra("fmt", tantra_yaml).status == 0
    assert "# a comment" in tantra_yaml.read_text(encoding="utf-8")
    assert tantra("fmt", "--check", tantra_yaml).status == 0


@pytest.fixture
def tantra_yaml(tantra: Tantra, tiny: Path) -> Path:
    path = tiny.with_suffix(".yaml")
    assert tantra("convert", tiny, "--to", "yaml", "-o", path).status == 0
    return path


def test_convert_there_and_back(tantra: Tantra, tiny: Path, tantra_yaml: Path) -> None:
    done = tantra("convert", tantra_yaml, "--to", "text")
    assert (done.status, done.out) == (0, TINY)


def test_convert_keeps_the_model(tiny: Path, tantra_yaml: Path) -> None:
    assert tantra_dsl.load(str(tiny)).hash() == tantra_dsl.load(str(tantra_yaml)).hash()


def test_convert_needs_to(tantra: Tantra, tiny: Path) -> None:
    assert tantra("convert", tiny).status == 2
    assert tantra("convert", tiny, "--to", "toml").status == 2


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spec"
    path.write_text("old", encoding="utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        rewrite.write_whole(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == {"spec"}


def test_writing_keeps_permissions_and_links(tmp_path: Path) -> None:
    path = tmp_path / "spec"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    rewrite.write_whole(link, "new")
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
