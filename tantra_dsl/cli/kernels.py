"""``tantra kernels``: how each op of a model would run, and why."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from tantra_dsl.cli.outcome import FINE, USAGE, complain

if TYPE_CHECKING:
    from tantra_compiler.passes.base import Decision


def overrides(kernels: Sequence[str]) -> dict[str, str]:
    """``PATH=WAY`` options as a mapping. Raises ValueError for one without ``=``."""
    pairs = [each.partition("=") for each in kernels]
    wrong = next((path for path, sign, way in pairs if not (sign and path and way)), None)
    if wrong is not None:
        raise ValueError(f"--kernel takes PATH=WAY, such as layers.*.attention=reference, not {wrong!r}")
    return {path.strip(): way.strip() for path, _, way in pairs}


def list_kernels(spec: str, sets: Sequence[str], kernels: Sequence[str], target: str, as_json: bool) -> int:
    """Print what runs each op of ``spec`` on ``target``; the exit status."""
    import tantra_dsl
    from tantra_compiler.decisions import decisions

    loaded = tantra_dsl.load(spec, sets=sets)
    try:
        found = decisions(loaded.graph(), loaded.options(kernels=overrides(kernels)), target)
    except ValueError as error:
        return complain(str(error), USAGE)
    missing = _missing(target)
    print(_json(loaded.name, target, found, missing) if as_json else _table(loaded.name, target, found, missing))
    return FINE


def _missing(target: str) -> str | None:
    """Why the kernels in C that the ops have on CPUs cannot be built, if they cannot and are asked for."""
    from tantra_compiler.kernels.native.toolchain import obstacle

    return obstacle() if target == "cpu" else None


def write_source(spec: str, sets: Sequence[str], kernels: Sequence[str], standalone: bool, output: Path | None) -> int:
    """Write the PyTorch source of ``spec``; the exit status."""
    import tantra_dsl
    from tantra_compiler import emit_source
    from tantra_dsl.cli.rewrite import write_text

    loaded = tantra_dsl.load(spec, sets=sets)
    graph = loaded.graph()
    try:
        source = emit_source(graph, loaded.options(standalone=standalone, kernels=overrides(kernels)))
    except ValueError as error:
        return complain(str(error), USAGE)
    write_text(source, output)
    return FINE


def _json(name: str, target: str, found: Sequence[Decision], missing: str | None) -> str:
    ops = [{"path": each.path, "op": each.op, "choice": each.choice, "reason": each.reason} for each in found]
    return json.dumps({"schema": 1, "model": name, "target": target, "ops": ops, "missing": missing}, indent=2)


def _table(name: str, target: str, found: Sequence[Decision], missing: str | None) -> str:
    lines = [f"{name} on {target}"]
    if missing is not None:
        lines += ["", f"fused ops run by torch's own passes, without kernels in C: {missing}"]
    if not found:
        return "\n".join([*lines, "", "no op of this model has a choice of kernels"])
    heading = len(lines)
    rows = [("path", "op", "choice"), *((each.path, each.op, each.choice) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    room = max(30, min(160, get_terminal_size().columns) - sum(widths) - 6)
    for row, reason in zip(rows, ["why", *(each.reason for each in found)], strict=True):
        start = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        first, *rest = textwrap.wrap(reason, room) or [""]
        lines += [f"{start}  {first}".rstrip(), *(" " * (len(start) + 2) + line for line in rest)]
    return "\n".join([*lines[:heading], "", *lines[heading:]])
