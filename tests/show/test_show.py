"""What ``tantra show`` prints and writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hand_built import alternating, tiny

from tantra_dsl.graph.costs import cost
from tantra_dsl.graph.costs.figures import Figure
from tantra_dsl.graph.hash import architecture_hash
from tantra_dsl.show import show_dict, show_json, show_table
from tantra_dsl.show.units import byte_text, count_text, flop_text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    for graph in (tiny(), alternating(34), tiny(10**6)):
        lines = show_table(graph, width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert all(line == line.rstrip() for line in lines)


def test_layers_are_told_by_their_pattern() -> None:
    text = show_table(alternating(34), width=80)
    assert re.search(r"^layers +34 = 2 x local, 1 x global \.\.\.", text, re.MULTILINE)
    assert re.search(r"^  local x 23 ", text, re.MULTILINE)
    assert re.search(r"^  global x 11 ", text, re.MULTILINE)
    assert re.search(r"^layers +3 x block ", show_table(tiny(), width=80), re.MULTILINE)
    assert re.search(r"^layers +3 = 2 x local, 1 x global +\d", show_table(alternating(3), width=80), re.MULTILINE)


def test_the_heading_names_the_model() -> None:
    first, second = show_table(tiny(), width=80).splitlines()[:2]
    assert first == "tiny  1,624 parameters, context 64"
    assert second == f"architecture {architecture_hash(tiny())[:16]}"


def test_the_setting_is_stated() -> None:
    text = show_table(tiny(), seq=16, batch=3, width=80)
    assert "3 x 16 tokens" in text
    assert "batch 3, float32" in text


def test_what_is_unknown_is_called_so() -> None:
    report = cost(tiny())
    hidden = report.figures | {
        "flops_forward": Figure(None, "nobody knows", "unknown"),
        "flops_attention": Figure(10**9, "", "upper"),
    }
    text = show_table(tiny(), replace(report, figures=hidden), width=80)
    assert re.search(r"^forward +unknown +nobody knows", text, re.MULTILINE)
    assert re.search(r"^attention +<= 1\.0 GFLOP", text, re.MULTILINE)


def test_a_formula_with_brackets_is_printed_as_it_is() -> None:
    assert "[window 4]" in show_table(alternating(), width=100)


def test_colours_only_where_asked() -> None:
    assert "\x1b[" not in show_table(tiny(), width=80)
    colored = show_table(tiny(), color=True, width=80)
    assert re.sub(r"\x1b\[[0-9;]*m *", " ", colored).split() == show_table(tiny(), color=False, width=80).split()


def test_the_document_holds_every_figure_with_its_formula() -> None:
    graph = alternating(7)
    report = cost(graph, seq=16, batch=2)
    document = json.loads(show_json(graph, seq=16, batch=2))
    assert document == show_dict(graph, report)
    assert document["schema"] == 1
    assert document["setting"] == {"seq": 16, "batch": 2, "precision": "float32", "optimizer": "adamw"}
    for name, figure in report.figures.items():
        assert document["figures"][name] == {"value": figure.value, "bound": figure.bound, "formula": figure.formula}
    (stack,) = (part for part in document["parts"] if part["kind"] == "stack")
    assert stack["pattern"] == [{"layer": "local", "count": 2}, {"layer": "global", "count": 1}]
    assert [layer["count"] for layer in stack["parts"]] == [5, 2]


@pytest.mark.parametrize(
    ("value", "count", "size", "flops"),
    [
        (0, "0", "0 B", "0 FLOP"),
        (999, "999", "999 B", "999 FLOP"),
        (1_000, "1.0K", "1.0 kB", "1.0 kFLOP"),
        (999_949, "999.9K", "999.9 kB", "999.9 kFLOP"),
        (999_950, "1.0M", "1.0 MB", "1.0 MFLOP"),
        (124_439_808, "124.4M", "124.4 MB", "124.4 MFLOP"),
        (405_853_388_800, "405.9B", "405.9 GB", "405.9 GFLOP"),
        (10**30, "1000000.0Y", "1000000.0 YB", "1000000.0 YFLOP"),
    ],
)
def test_units(value: int, count: str, size: str, flops: str) -> None:
    assert (count_text(value), byte_text(value), flop_text(value)) == (count, size, flops)


def test_costs_and_expectations_load_neither_rich_nor_networkx_nor_torch() -> None:
    program = (
        "import sys; import tantra_dsl.graph.costs.report, tantra_dsl.graph.verify, tantra_dsl.graph.text;"
        "import tantra_dsl.graph.view, tantra_dsl.show;"
        "print(sorted({'rich', 'networkx', 'torch', 'numpy', 'typer'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
