"""The README shows the spec that ``make train`` trains; ``python -m tests.docs.readme_spec`` copies it."""

from __future__ import annotations

from tantra_dsl.resources import specs_path
from tests.docs.markdown import ROOT, examples

PAGE = ROOT / "README.md"


def shipped() -> str:
    """The shipped spec as it stands."""
    return (specs_path() / "shakespeare.tantra").read_text(encoding="utf-8")


def shown() -> str:
    """The first example of the README."""
    return examples(PAGE)[0].text


def main() -> None:
    """Put the shipped spec in the place of the shown one."""
    PAGE.write_text(PAGE.read_text(encoding="utf-8").replace(shown(), shipped(), 1), encoding="utf-8")


if __name__ == "__main__":
    main()
