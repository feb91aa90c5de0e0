"""What a diff of two large models costs, from a cold start.

python bench/diff.py [--quick] [--rounds 15]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import children
from harness.report import Report, Target

VARIANT = """
model variant extends llama3_405b {
  layers: 120 of same
  layers.attention.kv_heads: 16
  layers.ffn.hidden: 60_000
}
"""
LISTS_TENSOR_LIBRARIES = """
import sys
from tantra_dsl.cli import main
main(["diff", *sys.argv[1:]])
print(*({"torch", "numpy", "transformers"} & sys.modules.keys()))
"""


def main() -> None:
    """Measure everything, then publish."""
    options = parsed()
    report = Report("diff", "The diff", (), quick=options.quick, settings={"rounds": options.rounds})
    with tempfile.TemporaryDirectory() as folder:
        variant = Path(folder, "variant.tantra")
        variant.write_text(VARIANT, encoding="utf-8")
        measure_commands(report, str(variant), options.rounds)
        measure_depth(report, Path(folder), options.rounds)
        measure_imports(report, str(variant))
    report.publish(options.out)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds; nothing is written")
    parser.add_argument("--rounds", type=int, help="cold processes of each command; 15, or 2 in a quick run")
    parser.add_argument("--out", type=Path, help="folder for the results instead of bench/results")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 15)
    return options


def tantra_command() -> list[str]:
    """The installed command, or the package where it is not installed."""
    script = Path(sys.executable).with_name("tantra")
    return [str(script)] if script.exists() else [sys.executable, "-m", "tantra_dsl"]


def measure_commands(report: Report, variant: str, rounds: int) -> None:
    """Cold processes that compare Llama 405B with a variant of it."""
    commands = {
        "tantra diff": [*tantra_command(), "diff", "llama3_405b", variant],
        "tantra diff --format json": [*tantra_command(), "diff", "llama3_405b", variant, "--format", "json"],
        "tantra patch": [*tantra_command(), "patch", "llama3_405b", variant],
        "tantra explain SPEC PATH": [*tantra_command(), "explain", variant, "layers.attention.heads"],
        "tantra check": [*tantra_command(), "check", "llama3_405b"],
    }
    found = add_cold_times(report, "cold processes, Llama 405B and a variant", commands, rounds)
    report.targets.append(Target("tantra diff of two 405B specs, cold", found["tantra diff"].wall, "<=", 1.0, "s"))


def measure_depth(report: Report, folder: Path, rounds: int) -> None:
    """The same diff with 126 layers and with 2."""
    commands = {}
    for layers in (126, 2):
        for name, heads in (("before", 128), ("after", 64)):
            text = f"model m extends llama3_405b {{ layers: {layers} of same  layers.attention.heads: {heads} }}\n"
            (folder / f"{name}{layers}.tantra").write_text(text, encoding="utf-8")
        paths = [str(folder / f"{name}{layers}.tantra") for name in ("before", "after")]
        commands[f"tantra diff, {layers} layers"] = [*tantra_command(), "diff", *paths]
    found = add_cold_times(report, "depth", commands, rounds)
    ratio = found["tantra diff, 126 layers"].wall / found["tantra diff, 2 layers"].wall
    report.targets.append(Target("tantra diff with 126 layers; with two = 1", ratio, "<=", 1.2, "x"))


def add_cold_times(report: Report, title: str, commands: dict[str, list[str]], rounds: int) -> dict[str, children.Run]:
    """Medians of interleaved runs, also as a table."""
    found = {name: children.median_run(runs) for name, runs in children.interleaved(commands, rounds).items()}
    report.tables[title] = [
        {"command": name, "wall ms": 1000 * run.wall, "cpu ms": 1000 * run.cpu} for name, run in found.items()
    ]
    return found


def measure_imports(report: Report, variant: str) -> None:
    """Tensor libraries that ``tantra diff`` loads."""
    command = [sys.executable, "-c", LISTS_TENSOR_LIBRARIES, "llama3_405b", variant]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()
    report.notes.append(f"tensor libraries in sys.modules after a diff: {', '.join(loaded) or 'none'}")
    report.targets.append(Target("tensor libraries loaded by tantra diff", len(loaded), "<=", 0))


if __name__ == "__main__":
    main()
