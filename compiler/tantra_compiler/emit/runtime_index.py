"""The runtime's top-level names and the source of each, read without importing it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "runtime"
_ORDER = ("operators", "remembered", "cache", "shape", "linear", "packed", "dropout", "elementwise",
          "mapped_linear", "norm_parts", "norm_operator", "norms", "add_norm",
          "positions", "turned_parts", "turned_heads", "short_attention", "attention",
          "program", "philox", "fields", "reference", "blockwise_plan", "blockwise_rows", "blockwise_fused",
          "blockwise_threads", "blockwise", "attend", "scans", "experts", "losses", "loss_chunks", "linear_loss",
          "weights")  # fmt: skip
PACKAGE = "tantra_compiler.runtime"


@dataclass(frozen=True)
class Definition:
    """A top-level definition of a runtime file."""

    name: str
    file: str
    order: tuple[int, int]
    source: str
    tree: ast.stmt

    @cached_property
    def free_names(self) -> frozenset[str]:
        """Every name that it reads."""
        return frozenset(node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name))


def _load() -> tuple[dict[str, Definition], dict[str, str]]:
    definitions: dict[str, Definition] = {}
    imports: dict[str, str] = {}
    for place, file in enumerate(_ORDER):
        text = (_FOLDER / f"{file}.py").read_text()
        statements = ast.parse(text).body
        for number, tree in enumerate(statements):
            for name in _defined(tree):
                source = _source(text, tree, statements[number + 1 :])
                definitions[name] = Definition(name, file, (place, number), source, tree)
            imports.update(_imported(tree))
    return definitions, imports


def _defined(tree: ast.stmt) -> list[str]:
    if isinstance(tree, ast.FunctionDef | ast.ClassDef):
        return [tree.name]
    if isinstance(tree, ast.Assign) and isinstance(tree.targets[0], ast.Name):
        return [tree.targets[0].id]
    return []


def _source(text: str, tree: ast.stmt, rest: list[ast.stmt]) -> str:
    """Its text with decorators, and with the docstring that follows a constant."""
    decorators = getattr(tree, "decorator_list", [])
    first = min([tree.lineno, *(d.lineno for d in decorators)])
    last = tree.end_lineno or first
    if isinstance(tree, ast.Assign) and rest and isinstance(rest[0], ast.Expr):
        last = rest[0].end_lineno or last
    return "\n".join(text.splitlines()[first - 1 : last])


def _imported(tree: ast.stmt) -> dict[str, str]:
    """Imports from outside the package, by the name that they bind."""
    found: dict[str, str] = {}
    if isinstance(tree, ast.Import):
        for alias in tree.names:
            suffix = f" as {alias.asname}" if alias.asname else ""
            found[alias.asname or alias.name.partition(".")[0]] = f"import {alias.name}{suffix}"
    if isinstance(tree, ast.ImportFrom) and tree.module != "__future__" and not (tree.module or "").startswith(PACKAGE):
        for alias in tree.names:
            found[alias.asname or alias.name] = f"from {tree.module} import {alias.name}"
    return found


RUNTIME, OUTSIDE = _load()
OUTSIDE |= {
    "ClassVar": "from typing import ClassVar",
    "ModuleType": "from types import ModuleType",
    "NamedTuple": "from typing import NamedTuple",
    "F": "import torch.nn.functional as F",
    "nn": "from torch import nn",
    "sys": "import sys",
}


def closure(names: set[str]) -> list[Definition]:
    """The definitions called ``names`` and all that they use, in an order in which each can be defined."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in RUNTIME and name not in found:
            found.add(name)
            pending.extend(RUNTIME[name].free_names)
    return sorted((RUNTIME[name] for name in found), key=lambda d: d.order)


def imports_for(names: set[str]) -> list[str]:
    """Import statements for the outside names among ``names``, sorted."""
    return sorted({OUTSIDE[name] for name in names if name in OUTSIDE})
