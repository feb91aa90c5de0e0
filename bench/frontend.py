"""What the language costs before any tensor: checking, reading, compiling.

python bench/frontend.py [--quick] [--rounds 25]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from harness import children
from harness.long_spec import long_spec
from harness.report import Report, Target

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.resources import specs_path
from tantra_dsl.syntax.build import Builder
from tantra_dsl.syntax.lexer import Lexer
from tantra_dsl.syntax.parse import parse_source
from tantra_dsl.syntax.source import Source

PACKAGES = ("torch", "lark", "pyyaml", "networkx")
IMPORTS = "import lark, yaml, networkx"
LISTS_TENSOR_LIBRARIES = """
import sys
from tantra_dsl.cli import main
sys.argv = ["tantra", "check", "gpt2"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*({"torch", "numpy", "transformers"} & sys.modules.keys()))
"""


def main() -> None:
    """Measure everything, then publish."""
    options = parsed()
    report = Report("frontend", "The front end", PACKAGES, quick=options.quick, settings={"rounds": options.rounds})
    measure_check(report, options.rounds)
    measure_depth(report, options.rounds)
    measure_imports(report)
    measure_reading(report, 1 if options.quick else 7)
    measure_compiling(report, 1 if options.quick else 5)
    report.publish(options.out)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds; nothing is written")
    parser.add_argument("--rounds", type=int, help="cold processes of each command; 25, or 2 in a quick run")
    parser.add_argument("--out", type=Path, help="folder for the results instead of bench/results")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 25)
    return options


def tantra_command() -> list[str]:
    """The installed command, or the package where it is not installed."""
    script = Path(sys.executable).with_name("tantra")
    return [str(script)] if script.exists() else [sys.executable, "-m", "tantra_dsl"]


def measure_check(report: Report, rounds: int) -> None:
    """Cold ``tantra check`` beside a cold import of the three libraries."""
    commands = {
        "import lark, yaml, networkx": [sys.executable, "-c", IMPORTS],
        "tantra check gpt2": [*tantra_command(), "check", "gpt2"],
        "tantra check llama3_405b": [*tantra_command(), "check", "llama3_405b"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    found = add_cold_times(report, "cold processes", commands, rounds)
    ratio = found["tantra check gpt2"].wall / found["import lark, yaml, networkx"].wall
    report.targets.append(Target("tantra check gpt2, cold; the three imports = 1", ratio, "<=", 1.5, "x"))


def measure_depth(report: Report, rounds: int) -> None:
    """Llama 405B beside the same text with two layers, both without the figures that they are held to."""
    lines = (specs_path() / "llama3" / "llama3.tantra").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.strip().startswith("expect"))
    with tempfile.TemporaryDirectory() as folder:
        deep, shallow = Path(folder, "deep.tantra"), Path(folder, "shallow.tantra")
        deep.write_text(text)
        shallow.write_text(text.replace("126 of same", "2 of same"))
        assert deep.read_text() != shallow.read_text()
        commands = {
            "tantra check, 126 layers": [*tantra_command(), "check", f"{deep}:llama3_405b"],
            "tantra check, 2 layers": [*tantra_command(), "check", f"{shallow}:llama3_405b"],
        }
        found = add_cold_times(report, "depth", commands, rounds)
    ratio = found["tantra check, 126 layers"].wall / found["tantra check, 2 layers"].wall
    report.targets.append(Target("tantra check llama3_405b; two layers = 1", ratio, "<=", 1.2, "x"))


def add_cold_times(report: Report, title: str, commands: dict[str, list[str]], rounds: int) -> dict[str, children.Run]:
    """Medians of interleaved runs, also as a table."""
    found = {name: children.median_run(runs) for name, runs in children.interleaved(commands, rounds).items()}
    report.tables[title] = [
        {"command": name, "wall ms": 1000 * run.wall, "cpu ms": 1000 * run.cpu} for name, run in found.items()
    ]
    return found


def measure_imports(report: Report) -> None:
    """Tensor libraries that ``tantra check`` loads."""
    run = subprocess.run([sys.executable, "-c", LISTS_TENSOR_LIBRARIES], capture_output=True, text=True, check=True)
    loaded = run.stdout.splitlines()[-1].split()
    report.notes.append(f"tensor libraries in sys.modules after a check: {', '.join(loaded) or 'none'}")
    report.targets.append(Target("tensor libraries loaded by tantra check", len(loaded), "<=", 0))


def measure_reading(report: Report, rounds: int) -> None:
    """Text to tree at two lengths."""
    rates = {}
    for lines in (1000, 10_000):
        source = Source("long.tantra", long_spec(lines))
        count = token_count(source)
        seconds = median(elapsed(lambda source=source: read(source)) for _ in range(rounds))  # type: ignore[misc]
        rates[lines] = count / seconds
        report.tables.setdefault("reading text", []).append(
            {"lines": len(source.text.splitlines()), "tokens": count, "ms": 1000 * seconds, "tokens/s": rates[lines]}
        )
    report.targets += [
        Target("reading 10,000 lines", rates[10_000], ">=", 100_000, "tokens/s"),
        Target("time per token at 10,000 lines; at 1,000 lines = 1", rates[1000] / rates[10_000], "<=", 1.2, "x"),
    ]


def elapsed(work: Callable[[], object]) -> float:
    """Seconds of processor time, which other processes do not add to; reading is one thread that waits for nothing."""
    before = time.process_time()
    work()
    return time.process_time() - before


def read(source: Source) -> None:
    """Text to tree, without a mistake."""
    sink = Sink()
    assert parse_source(source, sink) is not None
    assert not sink.errors


def token_count(source: Source) -> int:
    """Tokens as the lexer counts them."""
    sink = Sink()
    found = Lexer(source.text, Builder(source, sink).spot, sink, members=True).run()
    assert found is not None
    return len(found)


def measure_compiling(report: Report, rounds: int) -> None:
    """Spec to module in a fresh process with a fresh cache of sources."""
    for spec in ("gpt2", "llama3_405b"):
        answers = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as cache:
                answers.append(children.ask("harness.compiling", {"spec": spec}, XDG_CACHE_HOME=cache))
        wall = median(answer["wall"] for answer in answers)
        report.tables.setdefault("spec to module on the meta device", []).append(
            {
                "spec": spec,
                "parameters": answers[0]["parameters"],
                "wall ms": 1000 * wall,
                "cpu ms": 1000 * median(answer["cpu"] for answer in answers),
            }
        )
        report.targets.append(Target(f"{spec}: spec to module beyond importing torch", wall, "<=", 1.0, "s"))


if __name__ == "__main__":
    main()
