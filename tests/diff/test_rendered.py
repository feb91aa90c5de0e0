"""How a diff reads: golden texts, with costs that are fixed so that these do not change with what things cost.

``TANTRA_UPDATE_GOLDEN=1 pytest tests/diff`` writes them anew; look at what changed before keeping it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

import tantra_dsl
from tantra_dsl.diff import Diff, diff
from tantra_dsl.diff.costs import Change, Costs, PartChange
from tantra_dsl.diff.documents import document
from tantra_dsl.diff.markdown import markdown
from tantra_dsl.diff.text import text
from tantra_dsl.graph.costs.figures import Figure
from tantra_dsl.graph.costs.parts import Part
from tests.diff.conftest import SMALL, edited

GOLDEN = Path(__file__).parent / "golden"
FULL = edited(
    ("4 of block {", "6 of block {"),
    ("    attention {", "    attn: attention {"),
    ("mask: causal,", "mask: if i % 3 == 2 then causal else causal and window(16),"),
    ("gelu_tanh", "silu"),
    ("dim: 64\n", "dim: 64\n  init: normal(0.1)\n"),
    ("next_token", "next_token\n  train { data: shakespeare, precision: bfloat16 }"),
)


def part(params: int) -> Part:
    return Part("ffn", "ffn", 4, "", params, params, Figure(1000 * params, ""), 0, 3 * params, 8 * params)


def fixed(found: Diff) -> Diff:
    """The diff with costs that mean nothing but stay."""
    figures = (
        Change("params", Figure(8_030_261_248, "p"), Figure(3_880_263_168, "p")),
        Change("flops_per_token", Figure(49_369_317_376, "f"), Figure(49_369_317_376, "f")),
        Change("kv_bytes_per_token", Figure(0, "k"), Figure(139_264, "k")),
        Change("activation_bytes", Figure(None, "a", "unknown"), Figure(12, "a")),
    )
    parts = (PartChange("layers.ffn", part(5_637_144_576), part(2_673_868_800)), PartChange("head", part(7), None))
    return replace(found, costs=Costs(8192, 1, figures, parts))


@cache
def cases() -> dict[str, Diff]:
    small, full = tantra_dsl.loads(SMALL), tantra_dsl.loads(FULL)
    llama, gemma = tantra_dsl.load("llama3_8b"), tantra_dsl.load("gemma3_4b")
    return {
        "full": fixed(diff(small, full)),
        "gemma": fixed(diff(llama, gemma)),
        "kinds": fixed(diff(tantra_dsl.load("gpt2"), tantra_dsl.load("vit_base_16"))),
        "recipe": fixed(diff(small, full)).only("recipe"),
        "same": fixed(diff(small, small)),
    }


FORMS = {"txt": text, "md": markdown, "json": lambda found: json.dumps(document(found), indent=2) + "\n"}
ALL = [f"{case}.{form}" for case in ("full", "gemma", "kinds", "recipe", "same") for form in FORMS]


@pytest.mark.parametrize("name", ALL)
def test_golden(name: str) -> None:
    case, _, form = name.partition(".")
    made = FORMS[form](cases()[case])
    path = GOLDEN / name
    if os.environ.get("TANTRA_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(made, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == made


def test_no_golden_is_an_orphan() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(ALL)


def test_colour_changes_nothing_but_colour() -> None:
    import re

    found = cases()["full"]
    painted = text(found, color=True)
    assert painted != text(found)
    assert re.sub(r"\x1b\[\d+m", "", painted) == text(found)


def test_markdown_tables_have_as_many_cells_in_every_row() -> None:
    for found in cases().values():
        rows = [line for line in markdown(found).splitlines() if line.startswith("|")]
        head = 0
        for row in rows:
            cells = row.replace("\\|", "").count("|")
            head = cells if set(row) <= set("| -:") else head or cells
        blocks = "\n".join(markdown(found).splitlines()).split("\n\n")
        for block in blocks:
            counts = {line.replace("\\|", "").count("|") for line in block.splitlines() if line.startswith("|")}
            assert len(counts) <= 1


def test_what_a_spec_says_cannot_break_out_of_a_table() -> None:
    nasty = edited(("data: shakespeare", 'data: "a|b`c\\n## d"'), text=FULL)
    made = markdown(diff(tantra_dsl.loads(SMALL), tantra_dsl.loads(nasty)))
    assert "\n## d" not in made
    assert "a\\|b" in made
