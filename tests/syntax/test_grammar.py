"""The generated files are those of the grammar, and the grammar means one thing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tantra_dsl.resources import grammars_path
from tantra_dsl.syntax.build import Builder
from tantra_dsl.syntax.generate import GRAMMAR, TABLE, build_table, conflicts, dump_table
from tantra_dsl.syntax.schema import SCHEMA, build_schema, dump_schema
from tantra_dsl.syntax.tables import load_table
from tantra_dsl.syntax.words import RESERVED
from tests.syntax.samples import ALL, GPT2_YAML


def grammar() -> str:
    return (grammars_path() / GRAMMAR).read_text(encoding="utf-8")


def test_table_is_that_of_the_grammar():
    stored = (grammars_path() / TABLE).read_text(encoding="utf-8")
    assert stored == dump_table(build_table(grammar())), "run python -m tantra_dsl.syntax.generate"


def test_every_conflict_is_known():
    # Members need no separators: `(`, `[` and `-` continue an expression, a comma continues what is returned.
    assert set(conflicts(grammar())) == {
        "COMMA: member : RETURN values",
        "LPAR: reference : applied",
        "LPAR: reference : dotted",
        "LSQB: reference : applied",
        "LSQB: reference : dotted",
        "MINUS: expr : chain",
    }


def test_every_action_has_a_method_and_every_method_an_action():
    actions = {name for _, _, name in load_table().rules if name}
    assert actions == {name.removeprefix("_make_") for name in dir(Builder) if name.startswith("_make_")}


def test_reserved_words_are_those_of_the_grammar():
    assert {text for text in load_table().literals if text.isalpha()} == set(RESERVED)


def test_schema_is_current():
    stored = (grammars_path() / SCHEMA).read_text(encoding="utf-8")
    assert stored == dump_schema(build_schema()), "run python -m tantra_dsl.syntax.schema"


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """As much of JSON Schema as the schema uses."""
    import re

    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema and not any(fits(value, option, root) for option in schema["anyOf"]):
        return False
    kinds = {"string": str, "number": (int, float), "boolean": bool, "object": dict, "array": list, "null": type(None)}
    wanted = schema.get("type", list(kinds))
    if not isinstance(value, tuple(kinds[k] for k in ([wanted] if isinstance(wanted, str) else wanted))):  # type: ignore[arg-type]
        return False
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return False
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {}), root) for item in value)
    if not isinstance(value, dict):
        return True
    return all(_pair_fits(key, below, schema, root) for key, below in value.items())


def _pair_fits(key: str, value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    import re

    wanted = [below for pattern, below in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
    wanted += [schema["properties"][key]] if key in schema.get("properties", {}) else []
    if not wanted and schema.get("additionalProperties") is False:
        return False
    return all(fits(value, below, root) for below in wanted)


@pytest.mark.parametrize("name", [*ALL, "gpt2.yaml"])
def test_schema_accepts_canonical_yaml(name, read):
    import yaml

    from tantra_dsl.syntax.format import format_yaml

    text = GPT2_YAML if name == "gpt2.yaml" else format_yaml(read(ALL[name]))
    schema = json.loads((grammars_path() / SCHEMA).read_text(encoding="utf-8"))
    assert fits(yaml.safe_load(text), schema, schema)


@pytest.mark.parametrize("text", ["model: [a]", "model: x\n3x: 4", "model: x\ndim:", "- [a]", "3"])
def test_schema_rejects(text):
    import yaml

    schema = build_schema()
    assert not fits(yaml.safe_load(text), schema, schema)


def test_reading_needs_neither_lark_nor_yaml():
    code = (
        "import sys; from tantra_dsl.syntax.parse import parse_source; from tantra_dsl.syntax.source import Source;"
        "from tantra_dsl.diagnostics.core import Sink; assert parse_source(Source('s', 'a: 1'), Sink());"
        "print([m for m in ('lark', 'yaml', 'torch', 'numpy', 'rich', 'typer', 'networkx') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
