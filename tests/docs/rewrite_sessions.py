"""``python -m tests.docs.rewrite_sessions PAGE...``: puts what commands print now where a page says something else.

What a page says with ``...`` in it stays as long as it matches; a lone ``...`` is filled in.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.docs.console import PROMPT, matches, run_command, steps
from tests.docs.markdown import Example, examples
from tests.docs.test_examples import save


def rewrite(page: Path) -> None:
    """Run the sessions of ``page`` in a new folder and write the page."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for example in examples(page):
            if example.language in ("tantra", "yaml"):
                save(example, Path(folder))
            elif example.language == "console" and "norun" not in example.words:
                text = text.replace(example.text, session(example, Path(folder)), 1)
    page.write_text(text, encoding="utf-8")


def session(example: Example, folder: Path) -> str:
    """The session as it is now."""
    return "".join(step(command, said, folder) for command, said in steps(example))


def step(command: str, said: list[str], folder: Path) -> str:
    printed = run_command(command, folder)
    kept = matches(said, printed) and said != ["..."]
    return f"{PROMPT}{command}\n" + ("".join(f"{line}\n" for line in said) if kept else printed)


if __name__ == "__main__":
    for argument in [Path(argument).resolve() for argument in sys.argv[1:]]:
        rewrite(argument)
