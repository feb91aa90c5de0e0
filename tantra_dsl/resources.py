"""Where the grammar and the shipped specs lie: inside the installed package, or beside the checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def grammars_path() -> Path:
    """The folder that holds ``tantra.lark``, its table and the JSON Schema of the YAML form."""
    return _folder("grammars")


def specs_path() -> Path:
    """The folder that holds ``std/`` and the shipped model families."""
    return _folder("specs")


__all__ = ["grammars_path", "specs_path"]
