"""The reference of the standard library; ``python -m tests.docs.library_page`` writes docs/library.md."""

from __future__ import annotations

import re

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.resources import specs_path
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.read import read_source
from tantra_dsl.syntax.tree import Body, Definition
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "library.md"
HEAD = """\
# Standard library

What a spec can name without saying where it comes from. All of it is written in the language, under `specs/std`; this
page is made from those files by `make docs`. Parameters before the `;` are tensors (of masks, scores and functions: the
scalars that they read), those after it are hyper-parameters.
"""


def page() -> str:
    """The whole page."""
    files = sorted((specs_path() / "std").glob("*.tantra"))
    return HEAD + "".join(section(file.stem) for file in files)


def section(name: str) -> str:
    """One file of the library: its heading comment and its documented definitions."""
    path = specs_path() / "std" / f"{name}.tantra"
    sink = Sink()
    source = read_source(path, sink)
    file = source and parse_source(source, sink)
    assert source is not None
    assert file is not None
    about = re.match(r"((?:#.*\n)+)\n", source.text)
    entries = [entry(item, source.text) for item in file.members if isinstance(item, Definition)]
    body = "".join(entries).replace("\n```\n\n```text\n", "\n")
    return f"\n## {name}\n\n{joined(about[1]) if about else ''}{body}"


def entry(item: Definition, text: str) -> str:
    """A definition below its comment; what has none stands with the one before it."""
    comment = re.search(r"((?:^#.*\n)+)\Z", text[: item.span.start], re.MULTILINE)
    shown = text[item.span.start : item.body.span.start if isinstance(item.body, Body) else item.span.end]
    said = f"\n{joined(comment[1])}" if comment else ""
    return f"{said}\n```text\n{shown.rstrip(' {')}\n```\n"


def joined(comment: str) -> str:
    """Comment lines as a paragraph."""
    return "\n".join(line.lstrip("# ") for line in comment.splitlines()) + "\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
