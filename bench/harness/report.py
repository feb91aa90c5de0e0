"""What a benchmark found: a table on the terminal, JSON and Markdown under ``bench/results``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from harness import machine

RESULTS = Path(__file__).resolve().parents[1] / "results"
Cell = str | int | float | bool | None
Row = Mapping[str, Cell]


@dataclass(frozen=True)
class Target:
    """A figure to reach: ``value`` must be at most, or at least, ``bound``; None was not measured."""

    name: str
    value: float | None
    sense: Literal["<=", ">="]
    bound: float
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether the figure was measured and is on the right side of its bound."""
        if self.value is None:
            return False
        return self.value <= self.bound if self.sense == "<=" else self.value >= self.bound


@dataclass
class Report:
    """Tables and targets of one benchmark. ``quick`` runs are smoke tests: their figures are not to be quoted."""

    name: str
    title: str
    packages: Sequence[str]
    quick: bool = False
    settings: dict[str, Cell] = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """Everything, ready for JSON."""
        command = " ".join(["python", f"bench/{self.name}.py", *sys.argv[1:]])
        return {
            "benchmark": self.name,
            "title": self.title,
            "command": command,
            "quick": self.quick,
            **machine.facts(self.packages),
            "settings": self.settings,
            "targets": [{**asdict(target), "reached": target.reached} for target in self.targets],
            "tables": self.tables,
            "notes": self.notes,
        }

    def publish(self, folder: Path | None = None) -> None:
        """Print the tables and write ``<name>.json`` and ``<name>.md`` into ``folder``.

        Without a folder, a quick run writes nothing and any other run writes into ``bench/results``.
        """
        document = self.document()
        show(document)
        if folder is None and self.quick:
            return
        folder = folder or RESULTS
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(document, indent=2) + "\n")
        (folder / f"{self.name}.md").write_text(markdown(document))


def target_rows(document: Mapping[str, object]) -> list[Row]:
    """The targets as rows of a table."""
    targets = document["targets"]
    assert isinstance(targets, list)
    return [
        {
            "target": each["name"],
            "wanted": f"{each['sense']} {cell(each['bound'])} {each['unit']}".rstrip(),
            "measured": "not measured" if each["value"] is None else f"{cell(each['value'])} {each['unit']}".rstrip(),
            "reached": "yes" if each["reached"] else "no",
        }
        for each in targets
    ]


def all_tables(document: Mapping[str, object]) -> dict[str, list[Row]]:
    """Titles and rows: the targets first, then what they rest on."""
    tables = document["tables"]
    assert isinstance(tables, dict)
    return {"targets": target_rows(document), **tables}


def cell(value: Cell) -> str:
    """A value as people read it: three significant digits, thousands apart."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return value


def columns(rows: Sequence[Row]) -> list[str]:
    """Names of all columns, in the order in which rows first name them."""
    return list(dict.fromkeys(name for row in rows for name in row))


def show(document: Mapping[str, object]) -> None:
    """Print every table."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    for title, rows in all_tables(document).items():
        table = Table(title=f"{document['benchmark']}: {title}", title_justify="left")
        for index, name in enumerate(columns(rows)):
            table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*(cell(row.get(name)) for name in columns(rows)))
        console.print(table)


def markdown(document: Mapping[str, object]) -> str:
    """The same as a page."""
    found = document["versions"]
    assert isinstance(found, dict)
    settings = document["settings"]
    assert isinstance(settings, dict)
    parts = [
        f"# {document['title']}",
        f"Measured {document['date']} on {document['chip']}, {document['cores']} cores, "
        f"load {document['load_average']}, Python {document['python']}, "
        f"{', '.join(f'{name} {value}' for name, value in found.items())}.",
        f"    {document['command']}",
    ]
    if settings:
        parts.append("; ".join(f"{name.replace('_', ' ')} {cell(value)}" for name, value in settings.items()) + ".")
    if document["quick"]:
        parts.append("**A quick run: these figures only show that the benchmark works.**")
    for title, rows in all_tables(document).items():
        parts += [f"## {title[0].upper()}{title[1:]}", _table(rows)]
    notes = document["notes"]
    assert isinstance(notes, list)
    parts += [f"- {note}" for note in notes]
    return "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n"


def _table(rows: Sequence[Row]) -> str:
    names = columns(rows)
    lines = [names, ["---"] + ["---:"] * (len(names) - 1), *([cell(row.get(name)) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
