"""Reading is fast and takes time in proportion to the text. Processor time, so that other load does not count."""

from __future__ import annotations

import subprocess
import sys
from time import process_time

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.lexer import Lexer
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.source import Source
from tests.syntax.samples import ALL

UNIT = "".join(
    text.replace("model ", "model n{0}_").replace("block ", "block n{0}_")
    for name, text in ALL.items()
    if name in ("gemma3", "transformer")
)


def long_spec(lines):
    copies = lines // UNIT.count("\n")
    return "".join(UNIT.replace("n{0}_", f"n{copy}_") for copy in range(copies))


def seconds(text, language="text"):
    best = float("inf")
    for _ in range(3):
        sink = Sink()
        start = process_time()
        file = parse_source(Source("s", text, language), sink)
        best = min(best, process_time() - start)
        assert file is not None
        assert not sink.items
    return best


def test_ten_thousand_lines_at_a_hundred_thousand_tokens_a_second():
    text = long_spec(10_000)
    tokens = Lexer(text, lambda start, end: None, Sink(), members=True).run()
    assert len(tokens) > 50_000
    assert len(tokens) / seconds(text) > 100_000


def test_time_is_linear_in_the_length():
    assert seconds(long_spec(12_000)) < 6 * seconds(long_spec(3_000))


def test_a_large_yaml_file_is_linear_too():
    def yaml(count):
        return "".join(
            f"- mask m{n}(w): q - k < w\n- model: n{n}\n  dim: 64\n  f: {{a: 1, b: c}}\n" for n in range(count)
        )

    assert seconds(yaml(2000), "yaml") < 6 * seconds(yaml(500), "yaml")


def test_a_cold_start_costs_less_than_sixty_milliseconds():
    code = (
        "import time, dataclasses, typing, json, re, pathlib; start = time.process_time();"
        "from tantra_dsl.syntax.parse import parse_source; from tantra_dsl.syntax.source import Source;"
        "from tantra_dsl.diagnostics.core import Sink; parse_source(Source('s', 'a: 1'), Sink());"
        "print(time.process_time() - start)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(4)]
    assert min(float(run.stdout) for run in runs) < 0.060
