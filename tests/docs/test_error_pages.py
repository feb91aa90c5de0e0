"""Every code has a page, and every page's example yields its code.

A page opens with the failing example: a ``tantra`` or ``yaml`` fence that is checked, or, for what no spec alone
can cause, a ``console`` fence that is run. A second ``tantra`` fence, if there is one, is the corrected spec.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tantra_dsl.diagnostics
from tantra_dsl.cli.check import diagnose
from tantra_dsl.diagnostics.core import Diagnostic
from tests.docs.console import run_session
from tests.docs.markdown import ROOT, Example, examples

PAGES = sorted((ROOT / "docs" / "errors").glob("[A-Z][0-9]*.md"))
SPEC_SUFFIX = {"tantra": ".tantra", "yaml": ".yaml"}


def diagnostics() -> dict[str, type[Diagnostic]]:
    """Every diagnostic class of the package, by code."""
    for module in pkgutil.walk_packages(tantra_dsl.diagnostics.__path__, "tantra_dsl.diagnostics."):
        importlib.import_module(module.name)
    found: dict[str, type[Diagnostic]] = {}
    for kind in descendants(Diagnostic):
        code = getattr(kind, "code", None)
        if code is not None and kind.__module__.startswith("tantra_dsl."):
            assert found.setdefault(code, kind) is kind, f"{code} is both {found[code]} and {kind}"
    return found


def descendants(kind: type[Diagnostic]) -> Iterator[type[Diagnostic]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def check(example: Example, folder: Path) -> list[Diagnostic]:
    spec = folder / f"example{SPEC_SUFFIX[example.language]}"
    spec.write_text(example.text, encoding="utf-8")
    return diagnose(str(spec), ())


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert {page.stem for page in PAGES} == set(diagnostics())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_is_titled_by_its_code(page: Path) -> None:
    assert re.match(rf"# {page.stem}\b.*\S", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_first_example_yields_the_code(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = examples(page)[0]
    if first.language == "console":
        assert f"[{page.stem}]" in run_session(first, tmp_path)
    else:
        assert page.stem in {found.code for found in check(first, tmp_path)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_second_example_is_free_of_errors(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corrected = [example for example in examples(page) if example.language in SPEC_SUFFIX][1:2]
    assert [found for example in corrected for found in check(example, tmp_path)] == []
