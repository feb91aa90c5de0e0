"""The check that every query has a key to see."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tantra_dsl.diagnostics.core import Diagnostic
from tantra_dsl.diagnostics.scalars import MaskAllowsNothing, RowWithoutKey
from tantra_dsl.graph.model import Graph, Node
from tantra_dsl.graph.paths import bottom_up, used_bodies
from tantra_dsl.graph.places import author_span
from tantra_dsl.graph.stacks import Layers
from tantra_dsl.scalars.facts import empty_row, lookahead
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Program
from tantra_dsl.syntax.source import Span


def mask_diagnostics(graph: Graph) -> list[Diagnostic]:
    """Masks that leave a query without a key for certain: an error where they leave all, otherwise a warning.

    Costs what the distinct bodies cost. Queries beyond the model's context do not count.
    """
    return list(_found(graph))


def _found(graph: Graph) -> Iterator[Diagnostic]:
    context = graph.fact("context") or math.inf
    for key, (names, spans) in _ways(graph).items():
        for node in graph.bodies[key].nodes:
            mask: Program | None = node.attr("mask") if node.op in ("attend", "additive_attend") else None
            if mask is not None:
                yield from _judged(node, mask, ".".join(names) or node.id, spans, context)


def _judged(node: Node, mask: Program, path: str, spans: list[Span], context: float) -> Iterator[Diagnostic]:
    text = mask.name or format_scalar(mask.body, mask.captures)
    span = author_span([node.origin, *spans], [text, path.rpartition(".")[2]])
    if lookahead(mask) == -math.inf:
        yield MaskAllowsNothing(span=span, path=path, mask=text)
        return
    row = empty_row(mask)
    if row is not None and row < context:
        yield RowWithoutKey(span=span, path=path, mask=text, row=row)


def _ways(graph: Graph) -> dict[str, tuple[list[str], list[Span]]]:
    """For each body, the names that lead to its first use, and the places around that use from the inside out."""
    ways: dict[str, tuple[list[str], list[Span]]] = {graph.root: ([], [])}
    for key in reversed(bottom_up(graph)):
        names, spans = ways[key]
        for node in graph.bodies[key].nodes:
            layers = Layers(node) if node.op == "stack" else None
            for inner in used_bodies(node):
                way = ([*names, _name(node, inner, layers)], [*_around(graph, node, inner), *spans])
                ways.setdefault(inner, way)
    return ways


def _name(node: Node, body: str, layers: Layers | None) -> str:
    name = str(node.attr("name"))
    return name if layers is None else f"{name}.{layers.first(body)}"


def _around(graph: Graph, node: Node, body: str) -> list[Span]:
    return [graph.bodies[body].origin, node.origin] if node.op == "stack" else [node.origin]
