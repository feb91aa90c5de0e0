"""The JSON of a diff: it has the form that its schema says, and applies back."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import tantra_dsl
from tantra_dsl.diff.documents import document, render
from tantra_dsl.diff.patches import applied, patch
from tantra_dsl.diff.report import diff
from tantra_dsl.diff.wording import part_table
from tantra_dsl.graph.costs import cost
from tantra_dsl.resources import grammars_path

SCHEMA: dict[str, Any] = json.loads((grammars_path() / "diff.schema.json").read_text(encoding="utf-8"))
KINDS = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list, "null": type(None)}
PAIRS = [("gpt2", "gpt2_medium"), ("llama3_8b", "gemma3_4b"), ("gpt2", "vit_base_16"), ("deepseek_v3", "deepseek_v3")]


def check(value: Any, schema: dict[str, Any], path: str = "$") -> None:
    """As much of JSON Schema as this schema uses; everything that it uses is known here."""
    known = {
        "$ref",
        "$schema",
        "$defs",
        "title",
        "description",
        "type",
        "const",
        "enum",
        "pattern",
        "items",
        "required",
    }
    assert schema.keys() <= known | {"properties", "additionalProperties"}, path
    if "$ref" in schema:
        check(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]], path)
        return
    wanted = schema.get("type", [])
    kinds = tuple(KINDS[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted))
    assert not kinds or isinstance(value, kinds), path
    assert isinstance(value, bool) <= (not kinds or bool in kinds), path
    assert value == schema.get("const", value), path
    assert value in schema.get("enum", [value]), path
    if isinstance(value, str):
        assert re.search(schema.get("pattern", ""), value), path
    for number, item in enumerate(value if isinstance(value, list) else ()):
        check(item, schema["items"], f"{path}[{number}]")
    if isinstance(value, dict):
        check_object(value, schema, path)


def check_object(value: dict[str, Any], schema: dict[str, Any], path: str) -> None:
    assert set(schema.get("required", ())) <= value.keys(), path
    for key, below in value.items():
        inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
        assert inner is not False, f"{path}.{key}"
        check(below, inner, f"{path}.{key}")


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_documents_fit_the_schema(a: str, b: str) -> None:
    before, after = tantra_dsl.load(a), tantra_dsl.load(b)
    found = diff(before, after)
    made = json.loads(render(found, None if found.empty else patch(before, after).text))
    check(made, SCHEMA)


def test_the_schema_refuses_what_is_no_diff() -> None:
    found = diff(tantra_dsl.load("gpt2"), tantra_dsl.load("gpt2_medium"))
    good = document(found)
    bad = [good | {"verdict": "better"}, good | {"more": 1}, {k: v for k, v in good.items() if k != "costs"}]
    for wrong in bad:
        with pytest.raises(AssertionError):
            check(wrong, SCHEMA)


@pytest.mark.parametrize(("a", "b"), PAIRS[:3])
def test_documents_apply_back(a: str, b: str) -> None:
    before, after = tantra_dsl.load(a), tantra_dsl.load(b)
    made = json.loads(render(diff(before, after), patch(before, after).text))
    again = applied(before, made["patch"])
    assert again.hash() == made["after"]["architecture_hash"] == after.hash()
    assert diff(again, after).empty


def test_figures_are_those_of_the_costs() -> None:
    made = document(diff(tantra_dsl.load("gpt2"), tantra_dsl.load("gpt2_medium"), seq=512))
    assert made["costs"]["seq"] == 512
    params = made["costs"]["figures"]["params"]
    assert (params["old"], params["new"], params["delta"]) == (124_439_808, 354_823_168, 354_823_168 - 124_439_808)


@pytest.mark.parametrize(("a", "b"), [*PAIRS, ("transformer_base", "t5_base")])
def test_parts_sum_up_to_the_model(a: str, b: str) -> None:
    """Also where two parts have one name, as a table that encoder and decoder read."""
    before, after = tantra_dsl.load(a), tantra_dsl.load(b)
    costs = document(diff(before, after, seq=77))["costs"]
    names = {part.name for spec in (before, after) for part in cost(spec.graph()).parts}
    roots = [part for part in costs["parts"] if part["path"] in names]
    for name in ("params", "active_params", "activation_bytes", "optimizer_bytes"):
        for side in ("old", "new", "delta"):
            assert sum(part[name][side] for part in roots) == costs["figures"][name][side]
    for stack in (part for part in roots if f"{part['path']}.attention" in {inner["path"] for inner in costs["parts"]}):
        inside = [part for part in costs["parts"] if part["path"].startswith(f"{stack['path']}.")]
        assert sum(part["activation_bytes"]["delta"] for part in inside) == stack["activation_bytes"]["delta"]


def test_columns_without_a_difference_are_left_out() -> None:
    deeper, wider = (tantra_dsl.load("gpt2", sets=sets) for sets in (("blocks=14",), ("layers.ffn.hidden=4000",)))
    before = tantra_dsl.load("gpt2")
    assert part_table(diff(before, deeper).costs)[0] == [
        "part", "parameters", "FLOPs", "KV per token", "optimizer", "activations",
    ]  # fmt: skip
    head, rows = part_table(diff(before, wider).costs)
    assert "KV per token" not in head
    assert [row[0] for row in rows] == ["layers", "layers.ffn"]
    assert all(len(row) == len(head) for row in rows)
