"""``tantra show --format``, pages, and what a notebook shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import tantra_dsl
from tantra_dsl.cli import main
from tantra_dsl.draw import dot, picture, svg
from tantra_dsl.draw.page import page
from tantra_dsl.graph.costs.figures import Figure
from tantra_dsl.show import recipe_cost

ROOT = Path(__file__).resolve().parents[2]
BROKEN = "model broken {\n  vocab: 64\n  haeds: <script>\n}\n"
WRONG = "model wrong {\n  vocab: 64  context: 8  dim: 30\n  layers: 1 of block { attention { heads: 4 } }\n}\n"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(list(arguments))
    said = capsys.readouterr()
    return status, said.out, said.err


class Tags(HTMLParser):
    """Tags in the order that they are opened; raises where one is closed that is not open."""

    VOID = frozenset({"meta", "br", "rect", "path", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_self_contained(text: str) -> None:
    """No script, nothing fetched, and links only to places in the page that exist."""
    tags = Tags(text)
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "iframe", "img", "object", "base", "form"}
    ids = {attributes["id"] for _, attributes in tags.seen if "id" in attributes}
    for _, attributes in tags.seen:
        assert not any(name.startswith("on") or name in ("src", "srcset", "action") for name in attributes)
        if "href" in attributes:
            href = attributes["href"] or ""
            assert href.startswith("#"), href
            assert href[1:] in ids, href
    assert "@import" not in text
    assert "url(" not in text


# --- the command -------------------------------------------------------------------------


def test_each_form_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = tantra_dsl.load("gpt2")
    expected = {"svg": svg(picture(spec.graph())), "dot": dot(picture(spec.graph())), "html": page(spec)}
    for form, text in expected.items():
        assert run(capsys, "show", "gpt2", "--format", form) == (0, text, "")
        out = tmp_path / f"gpt2.{form}"
        assert run(capsys, "show", "gpt2", "--format", form, "-o", str(out)) == (0, "", "")
        assert out.read_text(encoding="utf-8") == text


def test_overrides_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = run(capsys, "show", "gpt2", "--set", "layers.attention.heads=6", "--format", "svg")
    assert status == 0
    assert "6 heads of 128" in said


@pytest.mark.parametrize("other", ["--json", "--mask"])
def test_one_thing_is_shown_at_a_time(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, told = run(capsys, "show", "gpt2", "--format", "svg", other)
    assert (status, said) == (2, "")
    assert f"{other} shows something else" in told


@pytest.mark.parametrize("text", [BROKEN, WRONG], ids=["broken", "wrong"])
def test_a_spec_with_mistakes_is_not_drawn(text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "spec.tantra"
    file.write_text(text, encoding="utf-8")
    out = tmp_path / "spec.svg"
    for form in ("svg", "html", "dot"):
        status, said, told = run(capsys, "show", str(file), "--format", form, "-o", str(out))
        assert (status, said) == (1, "")
        assert "error[" in told
        assert "Traceback" not in told
    assert not out.exists()


def test_a_file_that_cannot_be_written_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, told = run(capsys, "show", "gpt2", "--format", "svg", "-o", str(tmp_path / "none" / "x.svg"))
    assert status == 1
    assert "no such file or directory" in told


@pytest.mark.parametrize("form", ["svg", "html", "dot"])
def test_drawing_loads_no_tensor_library(form: str) -> None:
    code = (
        "import sys\nfrom tantra_dsl.cli import main\n"
        f"main(['show', 'gemma3_4b', '--format', '{form}'])\n"
        "print(*[n for n in ('torch', 'numpy', 'networkx', 'matplotlib', 'rich') if n in sys.modules], file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/compiler"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert done.stderr.strip() == ""


# --- the page ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "deepseek_v3", "clip_vit_b_32", "mamba2_130m"])
def test_a_page_holds_the_diagram_the_figures_and_the_text(name: str) -> None:
    spec = tantra_dsl.load(name)
    said = page(spec, seq=64)
    assert_self_contained(said)
    assert svg(picture(spec.graph())) in said
    assert "1 × 64 tokens" in said
    lines = re.findall(r'id="L(\d+)"', said)
    assert lines == [str(number + 1) for number in range(len(spec.unit.source.text.splitlines()))]


def test_what_is_unknown_is_called_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tantra_dsl.load("gpt2")
    report = recipe_cost(spec.graph(), spec.recipe())
    figures = {**report.figures, "flops_forward": Figure(None, "nobody knows", "unknown")}
    monkeypatch.setattr("tantra_dsl.draw.page.recipe_cost", lambda *_, **__: replace(report, figures=figures))
    assert re.search(r"FLOPs, forward</span></td><td[^>]*>unknown</td><td><span[^>]*>nobody knows<", page(spec))


# --- notebooks ---------------------------------------------------------------------------


def test_a_spec_shows_itself() -> None:
    spec = tantra_dsl.load("llama3_8b")
    shown = spec._repr_html_()
    assert "<svg" in shown
    assert "8.0B" in shown
    Tags(shown)
    assert ElementTree.fromstring(spec._repr_svg_() or "").get("role") == "img"


def test_mistakes_show_instead() -> None:
    spec = tantra_dsl.loads(WRONG)
    shown = spec._repr_html_()
    assert shown.startswith("<pre>")
    assert "error[" in shown
    assert spec._repr_svg_() is None
