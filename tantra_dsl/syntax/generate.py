"""Turns ``grammars/tantra.lark`` into ``grammars/tantra.lalr.json``: ``python -m tantra_dsl.syntax.generate``.

Lark builds the table; nothing of lark is needed when a spec is read. States are numbered by a
walk from the start, so that the file depends on nothing but the grammar.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from tantra_dsl.resources import grammars_path

TABLE = "tantra.lalr.json"
GRAMMAR = "tantra.lark"


def build_table(grammar: str) -> dict[str, Any]:
    """The LALR table of a grammar, as plain data.

    ``states`` is one row per state: a symbol maps to the next state, or to ``-1 - rule`` where a
    rule is complete. ``rules`` holds (nonterminal, length, action); the start is state 0.
    """
    lark = _analyse(grammar)
    rules = sorted({*lark.rules, *_reduced(lark)}, key=_rule_key)
    numbers = _walk(lark)
    index = {_rule_key(rule): position for position, rule in enumerate(rules)}
    states = [_row(_actions(lark)[state], numbers, index) for state in numbers]
    end = states[0]["file"]
    states[end]["$END"] = end  # shifting the end accepts the text
    return {
        "terminals": {t.name: [t.pattern.type, t.pattern.value] for t in _terminals(lark)},
        "rules": [[str(rule.origin.name), len(rule.expansion), rule.alias or ""] for rule in rules],
        "states": states,
    }


def conflicts(grammar: str) -> list[str]:
    """The shift/reduce conflicts of a grammar: ``terminal: what is not reduced``, sorted."""
    from lark import logger  # importing lark resets the logger's level

    handler = _Messages()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        _analyse(grammar)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return sorted(handler.conflicts())


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def conflicts(self) -> Iterator[str]:
        for line, rule in pairwise(self.lines):
            if line.startswith("Shift/Reduce conflict for terminal "):
                yield line.split()[4].rstrip(":") + ": " + rule.strip(" *<>")


def _analyse(grammar: str) -> Any:
    from lark import Lark
    from lark.lexer import Lexer

    class NoLexer(Lexer):
        """The table is all that is wanted; ``lexer.py`` makes the tokens."""

        def __init__(self, configuration: object) -> None: ...

        def lex(self, lexer_state: object, parser_state: object) -> Iterator[Any]:
            yield from ()

    return Lark(grammar, parser="lalr", lexer=NoLexer, start="file", maybe_placeholders=False, keep_all_tokens=True)


def _actions(lark: Any) -> dict[int, dict[str, tuple[Any, Any]]]:
    states: dict[int, dict[str, tuple[Any, Any]]] = lark.parser.parser._parse_table.states
    return states


def _terminals(lark: Any) -> list[Any]:
    return sorted((terminal for terminal in lark.terminals if terminal.pattern), key=lambda t: str(t.name))


def _is_reduce(action: Any) -> bool:
    return str(action) == "Reduce"


def _reduced(lark: Any) -> Iterator[Any]:
    for row in _actions(lark).values():
        yield from (argument for action, argument in row.values() if _is_reduce(action))


def _rule_key(rule: Any) -> tuple[str, tuple[str, ...]]:
    return str(rule.origin.name), tuple(str(symbol.name) for symbol in rule.expansion)


def _walk(lark: Any) -> dict[int, int]:
    """Lark's state to ours, in the order of a breadth-first walk over sorted symbols."""
    start = lark.parser.parser._parse_table.start_states["file"]
    numbers = {start: 0}
    queue = [start]
    for state in queue:
        for _, (action, argument) in sorted(_actions(lark)[state].items()):
            if not _is_reduce(action) and argument not in numbers:
                numbers[argument] = len(numbers)
                queue.append(argument)
    return numbers


def _row(
    row: dict[str, tuple[Any, Any]], numbers: dict[int, int], rules: dict[tuple[str, tuple[str, ...]], int]
) -> dict[str, int]:
    return {
        symbol: -1 - rules[_rule_key(argument)] if _is_reduce(action) else numbers[argument]
        for symbol, (action, argument) in sorted(row.items())
    }


def dump_table(table: dict[str, Any]) -> str:
    """The table as JSON, one state or rule a line, so that a change shows in a diff."""
    parts = []
    for key, value in table.items():
        if isinstance(value, dict):
            lines = [f"{json.dumps(name)}: {json.dumps(item)}" for name, item in value.items()]
            parts.append(f'"{key}": {{\n' + ",\n".join(lines) + "\n}")
        else:
            lines = [json.dumps(item, separators=(",", ":")) for item in value]
            parts.append(f'"{key}": [\n' + ",\n".join(lines) + "\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Write the table beside the grammar."""
    folder: Path = grammars_path()
    table = build_table((folder / GRAMMAR).read_text(encoding="utf-8"))
    (folder / TABLE).write_text(dump_table(table), encoding="utf-8")


if __name__ == "__main__":
    main()
