"""``tantra show --positions``: what is drawn is what the model computes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

import tantra_dsl
from tantra_compiler.runtime.positions import rope
from tantra_dsl.show.positions import draw_positions_svg, position_views
from tests.cli.conftest import Tantra

MODEL = """
model {name} {{
  vocab: 32
  context: 64
  dim: 32
  embed: {embed}
  layers: 2 of block {{
    wiring: pre(rms)
    attention {{ heads: 4, mask: causal, {attention} }}
    ffn {{ hidden: 32 }}
  }}
  head: linear(vocab)
  objective: next_token
}}
"""


def views(embed: str = "tokens", attention: str = "score: none") -> list:
    return position_views(tantra_dsl.loads(MODEL.format(name="m", embed=embed, attention=attention)).graph())


def test_sinusoids_are_those_of_the_paper() -> None:
    """Vaswani et al. 2017, section 3.5; 24 of the 64 positions are drawn, and all 32 channels."""
    (view,) = views("tokens + sinusoidal")
    p = torch.tensor([number * 63 // 23 for number in range(24)], dtype=torch.float64).unsqueeze(1)
    angle = p / 10_000 ** (torch.arange(0, 32, 2, dtype=torch.float64) / 32)
    expected = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
    torch.testing.assert_close(torch.tensor(view.values, dtype=torch.float64), expected)


def test_rotations_are_those_that_run() -> None:
    (view,) = views(attention="position: rope(theta: 100)")
    ones = torch.zeros(1, 64, 1, 8, dtype=torch.float64)
    ones[..., :4] = 1
    turned = rope(ones, lambda j: 100 ** (-2 * j / 8), 8)[0, :, 0, :4]
    rows = [number * 63 // 23 for number in range(24)]
    torch.testing.assert_close(torch.tensor(view.values, dtype=torch.float64), turned[rows])
    assert view.notes[0] == "one turn in 6.3 to 199 positions"


def test_biases_fall_with_the_distance_of_keys() -> None:
    """Press et al. 2022: slopes 1/4, 1/16, 1/64 and 1/256 for four heads."""
    (view,) = views(attention="score: alibi")
    assert [row[-1] for row in view.values] == [-63 / 4**h for h in (1, 2, 3, 4)]
    assert {row[0] for row in view.values} == {0.0}


@pytest.mark.parametrize(("embed", "attention", "title"), [
    ("tokens + learned_positions", "score: none", "added: a learned table [64, 32]"),
    ("tokens", "score: t5_bias(4)", "added to scores: "),
])  # fmt: skip
def test_what_is_learned_has_no_values(embed: str, attention: str, title: str) -> None:
    (view,) = views(embed, attention)
    assert view.title.startswith(title)
    assert view.values == ()


def test_the_command(tantra: Tantra, tmp_path: Path) -> None:
    spec = tmp_path / "m.tantra"
    spec.write_text(MODEL.format(name="m", embed="tokens + sinusoidal", attention="position: rope"))
    done = tantra("show", spec, "--positions")
    assert done.status == 0
    assert [part.split(":")[0] for part in done.out.split("\n\n")] == ["added", "turned (rope)"]
    assert tantra("show", spec, "--positions", "-o", tmp_path / "p.svg").status == 0
    root = ET.parse(tmp_path / "p.svg").getroot()
    assert sum(each.tag.endswith("rect") for each in root) == 1 + 24 * 32 + 24 * 4
    assert tantra("show", spec, "--positions", "-o", tmp_path / "p.gif").status == 2


def test_nothing_to_draw(tantra: Tantra, tmp_path: Path) -> None:
    spec = tmp_path / "m.tantra"
    spec.write_text(MODEL.format(name="m", embed="tokens", attention="score: none"))
    assert tantra("show", spec, "--positions").out == "nothing in this model encodes positions\n"
    assert draw_positions_svg([]).count("<rect") == 1


def test_a_rotation_that_turns_nothing_and_a_bias_by_length() -> None:
    for outside, attention, title in (
        ("score tilt = s + (k - q) / keys", "score: tilt", "added to scores"),
        ("module frozen(x) = rotate(x; frequency: 0 * j, width: dim)", "position: frozen", "turned (rope)"),
    ):
        text = outside + MODEL.format(name="m", embed="tokens", attention=attention)
        (view,) = position_views(tantra_dsl.loads(text).graph())
        assert view.title.startswith(title)
        assert view.values
