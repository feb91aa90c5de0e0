"""The table of recipe keys in the language reference; ``python -m tests.docs.recipe_table`` writes it."""

from __future__ import annotations

import re

from tantra_dsl.semantics.recipe import RecipeKey
from tantra_dsl.semantics.recipe_keys import reference
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "language.md"
START = "<!-- recipe: made by make docs -->\n"
END = "<!-- end of recipe -->"
BETWEEN = re.compile(f"(?<={START}).*?(?={END})", re.DOTALL)
HEADER = "| key | value | default | |\n|---|---|---|---|\n"


def table() -> str:
    """Every key, and below it the choices that it takes and their keys."""
    return "\n" + HEADER + "".join(map(row, reference())) + "\n"


def row(key: RecipeKey) -> str:
    """One line of the table, indented by how deep the key lies."""
    *above, name = key.path.split(".")
    cells = (f"{'&emsp;' * len(above)}`{name}`", cell(key.type), code(key.default), key.doc)
    return f"| {' | '.join(cells)} |\n"


def code(text: str) -> str:
    return f"`{cell(text)}`" if text else ""


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the table into the page."""
    PAGE.write_text(BETWEEN.sub(lambda _: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
