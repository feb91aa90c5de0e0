"""A picture as Graphviz text: the same items and edges, for who wants to lay them out otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tantra_dsl.draw.colours import FILLS, LIGHT
from tantra_dsl.draw.picture import OUT, Box, Edge, Flow, Frame, Picture

_SHAPES: Final = {"join": "circle", "input": "oval", "tap": "oval"}


def dot(picture: Picture) -> str:
    """The picture in the DOT language; a frame is a cluster, and its inputs and its output are points."""
    lines = [
        f"digraph {_quoted(picture.name)} {{",
        f"  label={_label(picture.name, *filter(None, (picture.facts,)))};",
        "  labelloc=t; compound=true; rankdir=TB;",
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11];',
        '  edge [fontname="Helvetica", fontsize=10];',
        *(f"  {line}" for line in _flow(picture.flow, "")),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _flow(flow: Flow, prefix: str) -> Iterator[str]:
    frames = {item.id: item.flow.inputs[:1] for item in flow.items if isinstance(item, Frame)}
    for item in flow.items:
        yield from _frame(item, prefix) if isinstance(item, Frame) else [_box(item, prefix)]
    if not prefix and any(edge.target == OUT for edge in flow.edges):
        yield _point(OUT)
    for edge in flow.edges:
        yield _edge(edge, prefix, frames)


def _frame(frame: Frame, prefix: str) -> Iterator[str]:
    address = f"{prefix}{frame.id}/"
    yield f"subgraph {_quoted('cluster_' + address)} {{"
    yield f'  label={_label(frame.title, *frame.lines)}; style=rounded; fontname="Helvetica";'
    for name in frame.flow.inputs:
        yield f"  {_point(f'{address}in:{name}')}"
    yield f"  {_point(address + OUT)}"
    for line in _flow(frame.flow, address):
        yield f"  {line}"
    yield "}"


def _box(box: Box, prefix: str) -> str:
    fill, edge = FILLS[box.kind]
    shape = f", shape={_SHAPES[box.kind]}" if box.kind in _SHAPES else ""
    colours = f'fillcolor="{LIGHT[fill]}", color="{LIGHT[edge]}"'
    return f"{_quoted(prefix + box.id)} [label={_label(box.title, *box.lines)}, {colours}{shape}];"


def _point(address: str) -> str:
    return f"{_quoted(address)} [shape=point, width=0.05];"


def _edge(edge: Edge, prefix: str, frames: dict[str, tuple[str, ...]]) -> str:
    source = f"{prefix}{edge.source}/{OUT}" if edge.source in frames else f"{prefix}{edge.source}"
    target = f"{prefix}{edge.target}"
    if edge.target in frames:
        target += f"/in:{edge.port or ''.join(frames[edge.target])}"
    label = f" [label={_quoted(edge.label)}]" if edge.label else ""
    return f"{_quoted(source)} -> {_quoted(target)}{label};"


def _label(*lines: str) -> str:
    return _quoted("\n".join(lines))


def _quoted(said: str) -> str:
    escaped = said.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c for c in escaped if c >= " ") + '"'
