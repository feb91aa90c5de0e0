"""The examples in README.md and docs/ do what the page says.

- ``tantra`` and ``yaml`` fences are whole specs and check without error. ``file=NAME`` also saves them for the
  page's console examples; ``fragment`` marks a part of a spec, which only has to be readable;
  ``error=CODE,CODE`` expects those codes.
- ``console`` fences: each line after ``$`` is run, in one folder per page, and prints what follows. ``norun`` is
  for what takes minutes or a network.
- ``python`` fences run as they stand.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tantra_dsl.cli.check import diagnose
from tests.docs.console import matches, run_command, steps
from tests.docs.markdown import ROOT, Example, examples

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SUFFIX = {"tantra": ".tantra", "yaml": ".yaml"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for example in examples(page):
        place = f"{page.name}:{example.line}"
        if example.language in SUFFIX:
            check_spec(example, tmp_path, place)
        elif example.language == "console" and "norun" not in example.words:
            check_session(example, tmp_path, place)
        elif example.language == "python":
            exec(compile(example.text, place, "exec"), {})


def save(example: Example, folder: Path) -> Path:
    """Write a spec where the page's other examples find it."""
    path = folder / (example.option("file") or f"example{SUFFIX[example.language]}")
    path.write_text(example.text, encoding="utf-8")
    return path


def check_spec(example: Example, folder: Path, place: str) -> None:
    path = save(example, folder)
    codes = {found.code for found in diagnose(str(path), ())}
    if "fragment" in example.words:
        codes = {code for code in codes if code.startswith("S")}
    expected = example.option("error")
    assert codes == (set(expected.split(",")) if expected else set()), place


def check_session(example: Example, folder: Path, place: str) -> None:
    for command, said in steps(example):
        printed = run_command(command, folder)
        assert matches(said, printed), f"{place}: $ {command}\n{printed}"
