"""Masks that leave a query without a key are told, at the author's own words."""

from __future__ import annotations

import pytest

from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.masks import mask_diagnostics
from tantra_dsl.graph.model import Graph, Ref
from tantra_dsl.syntax.source import Source, Span
from tests.leaks.models import Model, attend, next_token


def model(text: str | None, span: Span | None = None) -> Graph:
    def middle(tiny: Model, body: BodyBuilder, x: Ref) -> Ref:
        tiny.body("attention", lambda b, y: attend(b, y, text, span=span))
        tiny.body("block", lambda b, y: tiny.call(b, "attention", "mixer", y))
        return tiny.stack(body, x, ("block", 4))

    return next_token(middle)


def test_a_row_without_a_key_is_a_warning() -> None:
    (found,) = mask_diagnostics(model("k < q"))
    assert (found.code, found.severity) == ("M0101", "warning")
    assert "`k < q` of layers.0.mixer leaves the query at position 0" in found.title


def test_a_mask_that_allows_nothing_is_an_error() -> None:
    (found,) = mask_diagnostics(model("k < q and k > q"))
    assert (found.code, found.severity) == ("M0102", "error")


@pytest.mark.parametrize("text", [None, "k <= q", "k <= q and q - k < 4", "k <= q and (q - k < 4 or k % 4 == 3)"])
def test_masks_with_a_key_for_everyone_are_fine(text: str | None) -> None:
    assert mask_diagnostics(model(text)) == []


def test_positions_beyond_the_context_do_not_count() -> None:
    graph = model("q < 8")
    assert [found.code for found in mask_diagnostics(graph)] == ["M0101"]
    assert mask_diagnostics(Graph(graph.name, graph.root, graph.bodies, (("context", 8),))) == []


def test_the_caret_is_in_the_authors_text() -> None:
    shipped = Span(Source("std/attention.tantra", "attend(q, k, v; mask)"), 0, 21)
    graph = model("k < q", shipped)
    line = Source("mine.tantra", "layers: 4 of block { mixer: attention { mask: k < q } }")
    bodies = {
        key: type(body)(key, body.definition, body.nodes, body.outputs, body.taps, Span(line, 13, len(line.text)))
        for key, body in graph.bodies.items()
    }
    (found,) = mask_diagnostics(Graph(graph.name, graph.root, bodies))
    assert line.text[found.span.start : found.span.end] == "k < q"
