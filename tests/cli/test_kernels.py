"""``tantra kernels`` and ``tantra show --mask``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tantra_compiler.kernels.native import toolchain
from tests.cli.conftest import TINY, Tantra

MIXED = """\
model mixed {
  vocab: 64
  context: 512
  dim: 64
  block local {
    wiring: pre(rms)
    attention { heads: 4, mask: causal and window(96) }
    ffn { hidden: 64 }
  }
  block global extends local { attention.mask: causal }
  embed: tokens
  layers: 6 of (local * 2, global)
  head: language_model
  objective: next_token
}
"""


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    path = tmp_path / "mixed.tantra"
    path.write_text(MIXED)
    return path


def choices(out: str) -> dict[str, str]:
    return {op["path"]: op["choice"] for op in json.loads(out)["ops"] if op["op"] == "attend"}


@pytest.mark.parametrize(("target", "local"), [("cpu", "blockwise"), ("sm_90", "triton"), ("gfx942", "triton")])
def test_each_attention_is_listed_with_its_choice(tantra: Tantra, mixed: Path, target: str, local: str) -> None:
    done = tantra("kernels", mixed, "--target", target, "--json")
    assert choices(done.out) == {"layers.0.attention": local, "layers.2.attention": "torch"}


def test_a_layer_stands_for_those_that_share_its_body(tantra: Tantra, mixed: Path) -> None:
    done = tantra("kernels", mixed, "--kernel", "layers.4.attention=reference", "--json")
    assert choices(done.out) == {"layers.0.attention": "reference", "layers.2.attention": "torch"}


def test_the_table_gives_reasons(tantra: Tantra, mixed: Path) -> None:
    done = tantra("kernels", mixed)
    assert "one interval of keys" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--target", "sm_1"), "sm_90"),
        (("--kernel", "layers.*.attention"), "PATH=WAY"),
        (("--kernel", "layers.*.attention=cuda"), "reference, torch, triton"),
        (("--kernel", "layers.*.ffn=torch"), "layers.0.attention"),
    ],
)
def test_what_cannot_be_asked_for_is_told(tantra: Tantra, mixed: Path, arguments: tuple[str, ...], told: str) -> None:
    done = tantra("kernels", mixed, *arguments)
    assert (done.status, done.out) == (2, "")
    assert told in done.err


def test_compiling_takes_the_same_overrides(tantra: Tantra, mixed: Path) -> None:
    plain = tantra("compile", mixed)
    asked = tantra("compile", mixed, "--kernel", "*=reference")
    assert "attend_reference(" not in plain.out
    assert "attend_reference(" in asked.out
    assert "attend_causal(" not in asked.out


def test_masks_are_drawn(tantra: Tantra, mixed: Path) -> None:
    done = tantra("show", mixed, "--mask", "--seq", 2048)
    window, causal = done.out.split("\n\n")
    rows = [line.strip() for line in causal.splitlines()[1:17]]
    assert rows == ["█" * row + "▒" + "·" * (15 - row) for row in range(16)]
    assert "2,098,176 pairs allowed" in causal
    assert window.startswith("mask causal and window(96)")


def test_masks_are_drawn_into_pictures(tantra: Tantra, mixed: Path, tmp_path: Path) -> None:
    for name in ("masks.svg", "masks.png"):
        assert tantra("show", mixed, "--mask", "-o", tmp_path / name).status == 0
    assert (tmp_path / "masks.svg").read_text().count("<rect") > 50
    assert (tmp_path / "masks.png").read_bytes().startswith(b"\x89PNG")


def test_other_pictures_are_refused(tantra: Tantra, mixed: Path, tmp_path: Path) -> None:
    done = tantra("show", mixed, "--mask", "-o", tmp_path / "masks.jpg")
    assert done.status == 2
    assert ".svg or .png" in done.err


def test_a_model_without_masks_says_so(tantra: Tantra, tmp_path: Path) -> None:
    spec = tmp_path / "tiny.tantra"
    spec.write_text(TINY.replace(", mask: causal", "").replace("next_token", "masked_token"))
    assert "no attention of this model has a mask" in tantra("show", spec, "--mask").out


def test_a_missing_compiler_is_told(tantra: Tantra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    toolchain.library.cache_clear()
    try:
        told = "without kernels in C: there is no C compiler called no-such-compiler"
        assert told in tantra("kernels", "gpt2").out
        assert told not in tantra("kernels", "gpt2", "--target", "sm_90").out
        assert json.loads(tantra("kernels", "gpt2", "--json").out)["missing"] is not None
    finally:
        toolchain.library.cache_clear()
