"""Specs are data: whatever a spec says, checking ends soon, in bounded memory, with diagnostics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tantra_dsl
from tantra_dsl.cli.check import diagnose
from tantra_dsl.diagnostics.core import Diagnostic, SpecError
from tantra_dsl.diagnostics.render import render_terminal
from tests.counted import counted_calls
from tests.guarantees.hostile import HOSTILE, UNFOLDING

ROOT = Path(__file__).resolve().parents[2]
CALLS = 6_500_000
"""Of functions, for one spec: twice what the worst takes, about a second of a machine that does nothing else."""


def codes(text: str, language: str = "text") -> list[str]:
    """What checking finds; it must come to an end with little work, and be fit to be shown."""
    found: tuple[Diagnostic, ...] = ()

    def check() -> None:
        nonlocal found
        try:
            found = tuple(tantra_dsl.loads(text, language=language).check())
        except SpecError as error:
            found = tuple(error.diagnostics)

    assert counted_calls(check) < CALLS
    assert len(render_terminal(found, color=False)) < 1_000 + 1_000 * len(found)
    return [item.code for item in found]


@pytest.mark.parametrize("what", HOSTILE)
def test_checking_ends_with_a_diagnostic(what: str) -> None:
    text, expected = HOSTILE[what]
    assert codes(text) == expected


@pytest.mark.parametrize("what", UNFOLDING)
def test_overrides_that_unfold_are_bounded(what: str, tmp_path: Path) -> None:
    spec = tmp_path / "many.tantra"
    spec.write_text(UNFOLDING[what], encoding="utf-8")
    last = UNFOLDING[what].rindex(" extends ")
    name = UNFOLDING[what][UNFOLDING[what].rindex("model ", 0, last) + 6 : last]
    found: list[str] = []
    work = counted_calls(
        lambda: found.extend(item.code for item in diagnose(f"{spec}:{name}", ("layers.ffn.hidden=8",)))
    )
    assert work < CALLS
    assert set(found) == {"T0301"}


def test_a_long_line_of_models_is_merged(tmp_path: Path) -> None:
    spec = tmp_path / "line.tantra"
    first = "model m0 {\n  vocab: 64\n  dim: 16\n  embed: tokens\n  head: tied\n}\n"
    spec.write_text(first + "\n".join(f"model m{n} extends m{n - 1} {{ dim: {n} }}" for n in range(1, 1500)))
    assert tantra_dsl.load(f"{spec}:m1499").graph().fact("dim") == 1499


# --- YAML ------------------------------------------------------------------------------

BOMB = "a: &a0 [x, x]\n" + "\n".join(f"k{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)) + "\n"
YAML = {
    "alias bomb": BOMB,
    "an alias inside itself": "model: tiny\nlayers: &a [*a]\n",
    "a tag": "model: !!python/object/apply:os.system [exit]\n",
    "deep flow": "model: " + "[" * 50_000 + "]" * 50_000 + "\n",
    "deep blocks": "\n".join(" " * n + "a:" for n in range(2_000)) + "\n",
    "merge keys": "base: &b {vocab: 3}\nmodel: tiny\n<<: *b\n",
    "many documents": "model: a\n---\n" * 1_000,
}


@pytest.mark.parametrize("what", YAML)
def test_yaml_is_bounded_too(what: str) -> None:
    assert codes(YAML[what], "yaml") != []


# --- files -----------------------------------------------------------------------------

MODEL = "model tiny {\n  vocab: 64\n  dim: 16\n  embed: tokens\n  head: tied\n}\n"


def check(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.tantra").write_text(text, encoding="utf-8")
    found: list[str] = []
    work = counted_calls(lambda: found.extend(item.code for item in diagnose(str(folder / "tiny.tantra"), ())))
    assert work < CALLS
    return found


def test_a_circle_of_files(tmp_path: Path) -> None:
    assert check(tmp_path, tiny='use "b.tantra"\n' + MODEL, b='use "c.tantra"', c='use "b.tantra"') == ["N0102"]


def test_a_file_that_uses_itself(tmp_path: Path) -> None:
    assert check(tmp_path, tiny='use "tiny.tantra"\n' + MODEL) == ["N0102"]


def test_a_ladder_of_files_is_read_once_each(tmp_path: Path) -> None:
    """Each file uses two, which use the same two: as many ways as 2 ** 30."""
    steps = {
        f"{side}{n}": f'use "a{n - 1}.tantra"\nuse "b{n - 1}.tantra"\n' for n in range(1, 31) for side in ("a", "b")
    }
    top = 'use "a30.tantra"\nuse "b30.tantra"\n' + MODEL
    assert check(tmp_path, tiny=top, a0="let a: 3\n", b0="let b: 3\n", **steps) == []


@pytest.mark.parametrize(
    "path", ["../outside.tantra", "/etc/outside.tantra", "link.tantra", "below/../../outside.tantra"]
)
def test_no_file_outside_the_folder_is_opened(path: str, tmp_path: Path) -> None:
    (tmp_path / "outside.tantra").write_text("not a spec at all $$$")
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "link.tantra").symlink_to(tmp_path / "outside.tantra")
    assert check(folder, tiny=f'use "{path}"\n{MODEL}') == ["F0201"]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices here")
@pytest.mark.parametrize("target", ["/dev/zero", "."])
def test_what_is_no_file_is_not_read(target: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.tantra").symlink_to(target)
    (found,) = diagnose(str(tmp_path / "tiny.tantra"), ())
    assert found.code.startswith("F01")


def test_a_text_opens_no_file() -> None:
    with pytest.raises(SpecError) as caught:
        tantra_dsl.loads('use "tiny.tantra"\n' + MODEL)
    assert [item.code for item in caught.value.diagnostics] == ["F0201"]


# --- memory ----------------------------------------------------------------------------

ALL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))
import tantra_dsl
from tantra_dsl.diagnostics.core import SpecError
from tests.guarantees.hostile import HOSTILE
for what, (text, expected) in HOSTILE.items():
    try:
        found = tantra_dsl.loads(text).check()
    except SpecError as error:
        found = error.diagnostics
    assert [item.code for item in found] == expected, what
print(len(HOSTILE))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_memory_is_bounded() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/compiler"}
    done = subprocess.run([sys.executable, "-c", ALL], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(len(HOSTILE)), "")
