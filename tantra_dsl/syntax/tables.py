"""The LALR table that ``generate.py`` made of the grammar, loaded once per process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from tantra_dsl.resources import grammars_path


@dataclass(frozen=True)
class Table:
    """``states``: symbol -> next state, or ``-1 - rule``. ``rules``: (nonterminal, length, action)."""

    terminals: dict[str, tuple[str, str]]
    rules: list[tuple[str, int, str]]
    states: list[dict[str, int]]

    @property
    def literals(self) -> dict[str, str]:
        """Fixed spellings and their terminals: ``"=="`` -> ``EQUALS``."""
        return {text: name for name, (kind, text) in self.terminals.items() if kind == "str"}

    def pattern(self, terminal: str) -> str:
        """The regular expression of a terminal that has one."""
        return self.terminals[terminal][1]


@cache
def load_table() -> Table:
    """The table of ``grammars/tantra.lark``."""
    data = json.loads((grammars_path() / "tantra.lalr.json").read_text(encoding="utf-8"))
    return Table(data["terminals"], [tuple(rule) for rule in data["rules"]], data["states"])


__all__ = ["Table", "load_table"]
