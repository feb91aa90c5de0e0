"""``tantra explain``: the page of an error code."""

from __future__ import annotations

import sys
from pathlib import Path

from tantra_dsl.cli.outcome import FINE, USAGE, colored, complain
from tantra_dsl.resources import specs_path


def pages_path() -> Path:
    """The folder of the pages, which lies beside the specs in a checkout and in an installed package alike."""
    return specs_path().parent / "docs" / "errors"


def explain(code: str) -> int:
    """Print the page of ``code``, laid out for the terminal where there is one; the exit status."""
    if code.upper() not in codes():
        return complain(_unknown(code), USAGE)
    show_page(_read(code.upper()))
    return FINE


def list_codes() -> int:
    """Print every code with the title of its page; the exit status."""
    for code in codes():
        print(_read(code).split("\n", 1)[0].removeprefix("# "))
    return FINE


def codes() -> list[str]:
    """Every code that has a page, in order."""
    return sorted(page.stem for page in pages_path().glob("[A-Z][0-9]*.md"))


def show_page(text: str) -> None:
    """Write Markdown: as it is, or laid out where standard output is a terminal with colour."""
    if not colored(sys.stdout):
        sys.stdout.write(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))


def _read(code: str) -> str:
    return (pages_path() / f"{code}.md").read_text(encoding="utf-8")


def _unknown(code: str) -> str:
    from tantra_dsl.diagnostics.core import nearest, one_of

    close = nearest(code.upper(), codes())
    return f"no error has the code '{code}'" + (f"; did you mean {one_of(close)}?" if close else "")
