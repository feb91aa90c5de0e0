"""Finding specs: files, what they use, the shipped ones and the standard library.

Reading opens files only inside the folder of the spec that was asked for and among the shipped specs.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.diagnostics.files import FileMissing
from tantra_dsl.diagnostics.semantics import CircularDefinition, PathOutside, UnknownSpec
from tantra_dsl.resources import specs_path
from tantra_dsl.semantics.builtins import bind_builtins
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import Function
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.read import read_source
from tantra_dsl.syntax.source import Source, Span

MAX_FILES = 200
_MODEL = re.compile(r"^(?:model[ \t]+|(?:- )?model:[ \t]*)([A-Za-z_]\w*)", re.MULTILINE)


@dataclass(eq=False)
class Unit:
    """One source that was read, with what it uses."""

    source: Source
    file: tree.File
    path: Path | None = None
    uses: list[Unit] = field(default_factory=list)
    shipped: bool = False

    def definitions(self) -> dict[str, tree.Definition]:
        """Its own top-level definitions by name."""
        return {m.name: m for m in self.file.members if isinstance(m, tree.Definition) and m.name}

    def models(self) -> dict[str, tree.Definition]:
        """Its own models by name."""
        return {name: d for name, d in self.definitions().items() if d.kind == "model"}

    def everything(self) -> list[Unit]:
        """This unit and all that it uses, each once, used ones first."""
        found: list[Unit] = []

        def visit(unit: Unit) -> None:
            if unit not in found:
                for used in unit.uses:
                    visit(used)
                found.append(unit)

        visit(self)
        return found


@cache
def shipped_models() -> dict[str, Path]:
    """Name of each model that ships -> the file that defines it. A file's own name means its first model."""
    found: dict[str, Path] = {}
    root = specs_path()
    paths = [p for p in sorted(root.rglob("*.tantra")) + sorted(root.rglob("*.yaml")) if p.parent != root / "std"]
    for path in paths:
        for name in _MODEL.findall(path.read_text(encoding="utf-8")):
            found.setdefault(name, path)
    return found


class Reader:
    """Reads a spec and, once each, the files it uses."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.units: dict[Path, Unit] = {}
        self.open: list[Path] = []

    def read(self, path: Path, root: Path | None = None, shipped: bool = False, shown: str = "") -> Unit | None:
        """The unit of a file; what it uses must lie below ``root`` (the file's own folder unless given).

        Messages call it ``shown``, or by its path.
        """
        real = Path(os.path.realpath(path))
        if real in self.units:
            return self.units[real]
        source = read_source(path, self.sink)
        if source is None:
            return None
        if shipped:
            # Places in shipped specs read the same wherever tantra is installed.
            source = replace(source, name=real.relative_to(specs_path().resolve()).as_posix())
        elif shown:
            source = replace(source, name=shown)
        return self.take(source, real, (root or real.parent), shipped)

    def take(self, source: Source, path: Path | None, root: Path | None, shipped: bool = False) -> Unit | None:
        """The unit of a source that has been read already."""
        file = parse_source(source, self.sink)
        if file is None:
            return None
        unit = Unit(source, file, path, shipped=shipped)
        if path is not None:
            self.units[path] = unit
            self.open.append(path)
        for member in file.members:
            if isinstance(member, tree.Use):
                self._use(unit, member, root)
        self._implied(unit)
        if path is not None:
            self.open.pop()
        return unit

    def _use(self, unit: Unit, member: tree.Use, root: Path | None) -> None:
        if not member.path.endswith((".tantra", ".yaml", ".yml")):
            self._use_shipped(unit, member.path, member.span)
            return
        if unit.path is None or root is None:
            self.sink.add(PathOutside(span=member.span, path=member.path, root="a spec given as text"))
            return
        target = Path(os.path.realpath(unit.path.parent / member.path))
        if Path(member.path).is_absolute() or not target.is_relative_to(root):
            self.sink.add(PathOutside(span=member.span, path=member.path, root=root.name or str(root)))
        elif target in self.open:
            names = tuple(p.name for p in self.open[self.open.index(target) :])
            self.sink.add(CircularDefinition(span=member.span, what=f"file {target.name}", chain=(*names, target.name)))
        elif not target.exists():
            self.sink.add(FileMissing(span=member.span, path=member.path))
        elif len(self.units) < MAX_FILES:
            shown = os.path.normpath(Path(unit.source.name).parent / member.path)
            self._add(unit, self.read(target, root, unit.shipped, shown))

    def _use_shipped(self, unit: Unit, name: str, span: Span) -> None:
        path = shipped_models().get(name)
        if path is None:
            self.sink.add(UnknownSpec(span=span, name=name, candidates=tuple(shipped_models())))
            return
        if path.resolve() not in self.open:
            self._add(unit, self.read(path, specs_path(), True))

    def _implied(self, unit: Unit) -> None:
        """``extends gpt2`` finds a shipped model without a ``use``."""
        known = {name for used in unit.everything() for name in used.definitions()}
        for model in unit.models().values():
            name = model.extends.id if isinstance(model.extends, tree.Name) else ""
            if name and name not in known and name in shipped_models():
                self._use_shipped(unit, name, model.span)

    def _add(self, unit: Unit, used: Unit | None) -> None:
        if used is not None and used not in unit.uses:
            unit.uses.append(used)


@cache
def _standard_units() -> tuple[Unit, ...]:
    sink = Sink()
    units = []
    for path in sorted((specs_path() / "std").glob("*.tantra")):
        source = Source(f"std/{path.name}", path.read_text(encoding="utf-8"))
        file = parse_source(source, sink)
        assert file is not None and not sink.errors, sink.items[0] if sink.items else path
        units.append(Unit(source, file, path, shipped=True))
    return tuple(units)


def prelude() -> tuple[Scope, frozenset[int]]:
    """The scope that every spec sees: primitives and the standard library; and the ids of the library's sources."""
    scope = Scope(owner="prelude")
    bind_builtins(scope)
    for unit in _standard_units():
        for name, definition in unit.definitions().items():
            scope.bind(name, Thunk.of(Function(name, definition, scope=scope, span=definition.span)))
    return scope, frozenset(id(unit.source) for unit in _standard_units())


def standard_names() -> dict[str, str]:
    """Name -> kind of everything in the standard library."""
    return {name: definition.kind for unit in _standard_units() for name, definition in unit.definitions().items()}
