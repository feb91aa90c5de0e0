"""The source of a whole module."""

from __future__ import annotations

import ast
import re
from typing import Final

from tantra_compiler.emit import runtime_index
from tantra_compiler.emit.calls import Callables
from tantra_compiler.emit.classes import Classes
from tantra_compiler.emit.expr import plain
from tantra_compiler.emit.incremental import analyse
from tantra_compiler.emit.root import Root
from tantra_compiler.emit.source import Source
from tantra_dsl.graph.model import Graph
from tantra_dsl.graph.paths import bottom_up


def emit(graph: Graph, spec: Graph, digest: str, standalone: bool) -> str:
    """Python source of a module whose last class is the model; ``graph`` is what passes made of ``spec``."""
    source = Source(graph, analyse(graph), spec)
    classes = Classes(Callables(source))
    for key in bottom_up(graph):
        if key != graph.root:
            classes.add(graph.bodies[key])
    root = Root(classes, digest)
    main = root.write()
    body = "\n\n\n".join([*source.programs.sources, *source.attentions.sources, *classes.sources, main])
    return _with_imports(graph, body, standalone)


def _with_imports(graph: Graph, body: str, standalone: bool) -> str:
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    runtime = used & runtime_index.RUNTIME.keys()
    copied = runtime_index.closure(runtime) if standalone else []
    for definition in copied:
        used |= definition.free_names
    registers = any("dataclass" in definition.free_names for definition in copied)
    if registers:
        used |= {"sys", "ModuleType"}
    title = f'"""{_title(graph, standalone)}"""'
    head = [title, "", "from __future__ import annotations", "", *_imports(used, runtime, standalone)]
    parts = ["\n".join(head), *(definition.source for definition in copied), body]
    if registers:
        parts[0] += "\n\n" + _REGISTERED
        parts.append(_UNREGISTERED)
    return "\n\n\n".join(parts) + "\n"


_REGISTERED: Final = """\
# Dataclasses look up the module that they are in, which some loaders do not register.
_IS_REGISTERED = __name__ in sys.modules
if not _IS_REGISTERED:
    sys.modules[__name__] = ModuleType(__name__)
    vars(sys.modules[__name__]).update(globals())"""
_UNREGISTERED: Final = """\
if not _IS_REGISTERED:
    del sys.modules[__name__]"""


def _title(graph: Graph, standalone: bool) -> str:
    needs = "; needs only torch" if standalone else ""
    return f"The model {plain(graph.name)} in PyTorch, compiled from its specification{needs}."


def _imports(used: set[str], runtime: set[str], standalone: bool) -> list[str]:
    everything = runtime_index.imports_for(used)
    library = [line for line in everything if "torch" not in line]
    torch = merged([line for line in everything if "torch" in line])
    own: list[str] = []
    if not standalone:
        files: dict[str, list[str]] = {}
        for name in runtime:
            files.setdefault(runtime_index.RUNTIME[name].file, []).append(name)
        for file, names in sorted(files.items()):
            own += _import_line(f"{runtime_index.PACKAGE}.{file}", sorted(names))
    groups = [group for group in (merged(library), torch, own) if group]
    return "\n\n".join("\n".join(group) for group in groups).split("\n")


def _import_line(module: str, names: list[str]) -> list[str]:
    line = f"from {module} import {', '.join(names)}"
    return [line] if len(line) <= 120 else [f"from {module} import (", *(f"    {name}," for name in names), ")"]


def merged(lines: list[str]) -> list[str]:
    """Import lines with those from one module put together: plain imports first, each kind sorted."""
    plain = sorted(line for line in lines if line.startswith("import "))
    modules: dict[str, list[str]] = {}
    for line in lines:
        found = re.match(r"from (\S+) import (.+)", line)
        if found:
            modules.setdefault(found[1], []).append(found[2])
    return plain + [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(modules.items())]
