"""Reading takes work in proportion to the text: calls of functions are counted, which no other load changes."""

from __future__ import annotations

import pytest

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.source import Source
from tests.counted import counted_calls
from tests.syntax.samples import ALL

UNIT = "".join(
    text.replace("model ", "model n{0}_").replace("block ", "block n{0}_")
    for name, text in ALL.items()
    if name in ("gemma3", "transformer")
)


def long_text(count):
    return "".join(UNIT.replace("n{0}_", f"n{copy}_") for copy in range(count))


def long_yaml(count):
    return "".join(f"- mask m{n}(w): q - k < w\n- model: n{n}\n  dim: 64\n  f: {{a: 1, b: c}}\n" for n in range(count))


def calls(text, language):
    sink = Sink()
    counted = counted_calls(lambda: parse_source(Source("s", text, language), sink))
    assert not sink.items
    return counted


@pytest.mark.parametrize(("make", "language"), [(long_text, "text"), (long_yaml, "yaml")])
def test_work_is_linear_in_the_length(make, language):
    assert calls(make(80), language) < 4.2 * calls(make(20), language)
