"""The JSON Schema of the YAML form, for editors: ``python -m tantra_dsl.syntax.schema`` writes it.

It describes shapes and keys; what stands inside a scalar is an expression, which only the reader checks.
"""

from __future__ import annotations

import json
from typing import Any

from tantra_dsl.resources import grammars_path
from tantra_dsl.syntax.tables import load_table
from tantra_dsl.syntax.words import KINDS

SCHEMA = "tantra.schema.json"
Schema = dict[str, Any]


def build_schema() -> Schema:
    """The schema as plain data; key patterns are made of the grammar's own names and words."""
    name = load_table().pattern("NAME")
    path = rf"{name}(?:\.{name}|\[[^\]]*\])*"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tantra spec",
        "description": "The YAML form of a tantra spec: a key is the head of a member, a scalar is an expression",
        "anyOf": [_ref("top"), {"type": "array", "items": _ref("top_item")}, {"type": "null"}],
        "$defs": {
            "expression": {"type": ["string", "number", "boolean"], "description": "the text of an expression"},
            "value": {"anyOf": [_ref("expression"), {"type": "array", "items": _ref("value")}, _ref("members")]},
            "listed": {"anyOf": [_ref("expression"), {"type": "array", "items": _ref("expression")}]},
            "body": {"anyOf": [_ref("members"), {"type": "array", "items": _ref("item")}]},
            "item": {"anyOf": [{"type": "string", "description": "the text of a member"}, _ref("members")]},
            "top_item": {"anyOf": [{"type": "string"}, _ref("top")]},
            "members": _members(name, path),
            "top": _top(name, path),
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _members(name: str, path: str) -> Schema:
    """A mapping of members, each under its head."""
    listed = {
        "expect": "invariants that checking verifies",
        "remove": "what `extends` brought and this spec does not want",
        "use": "files or shipped specs to import",
    }
    return {
        "type": "object",
        "properties": {word: {"description": text, **_ref("listed")} for word, text in listed.items()},
        "patternProperties": {
            rf"^(?:{'|'.join(KINDS)})\s+{name}(?:\s*\(|\s+extends\s|$)": {"anyOf": [_ref("expression"), _ref("body")]},
            rf"^(?:let|share|input)\s+{name}$": _ref("value"),
            rf"^{path}$": {"anyOf": [_ref("value"), _ref("body")]},
            r"^(?:block|module)\s*\(": _ref("body"),
            rf"^.*\S\s+as\s+{path}$": _ref("body"),
        },
        "additionalProperties": False,
    }


def _top(name: str, path: str) -> Schema:
    """Members at the top, where `model: name` takes the rest of its mapping as the model's body."""
    schema = _members(name, path)
    head = {"type": "string", "pattern": f"^{name}", "description": "the model's name, parameters and base"}
    schema["properties"] = {"model": head, "extends": {"type": "string"}, **schema["properties"]}
    return schema


def dump_schema(schema: Schema) -> str:
    """The schema as JSON text."""
    return json.dumps(schema, indent=2) + "\n"


def main() -> None:
    """Write the schema beside the grammar."""
    (grammars_path() / SCHEMA).write_text(dump_schema(build_schema()), encoding="utf-8")


if __name__ == "__main__":
    main()
