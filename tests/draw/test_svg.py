"""The SVG: well-formed, self-contained, the same every time, whatever names a spec has."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tantra_dsl.draw import dot, svg
from tantra_dsl.draw.colours import DARK, LIGHT
from tantra_dsl.draw.measure import text_width, wrapped
from tantra_dsl.draw.picture import Box, Edge, Flow, Picture, walk
from tantra_dsl.draw.svg import Mark
from tests.draw.conftest import IDS, SPECS, layout_of, picture_of

SPACE = "{http://www.w3.org/2000/svg}"
HOSTILE = ("</text><script>alert(1)</script>", "a & b < c > d \"e\" 'f'", "]]>", "\x00\x07\ud800", "&#x41;", "--><!--")


def parsed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_every_item_and_line_is_written(spec: str) -> None:
    drawn, laid = picture_of(spec), layout_of(spec)
    root = parsed(svg(drawn))
    written = [element.text or "" for element in root.iter(f"{SPACE}text")]
    for placed in laid.items:
        assert {text.said for text in placed.card.texts} <= set(written)
    assert len([e for e in root.iter(f"{SPACE}path") if e.get("class") == "wire"]) == len(laid.lines)
    assert svg(drawn) == svg(picture_of(spec))


@pytest.mark.parametrize("spec", ["gpt2", "clip_vit_b_32"])
def test_nothing_leaves_the_file(spec: str) -> None:
    drawing = svg(picture_of(spec))
    root = parsed(drawing)
    names = {element.tag.removeprefix(SPACE) for element in root.iter()}
    assert names == {"svg", "title", "desc", "style", "g", "rect", "path", "circle", "text"}
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not any("href" in name or name.startswith("on") for name in attributes)
    assert drawing.count("http") == drawing.count('xmlns="http://www.w3.org/2000/svg"') == 1
    assert "url(" not in drawing
    assert "@import" not in drawing


def test_it_says_what_it_shows() -> None:
    root = parsed(svg(picture_of("gpt2")))
    assert root.get("role") == "img"
    assert [child.tag.removeprefix(SPACE) for child in root][:2] == ["title", "desc"]
    assert root.findtext(f"{SPACE}title") == "gpt2"
    assert "12 × block" in (root.findtext(f"{SPACE}desc") or "")


def test_light_and_dark_have_the_same_colours() -> None:
    assert set(LIGHT) == set(DARK)
    style = parsed(svg(picture_of("gpt2"))).findtext(f"{SPACE}style") or ""
    light, dark = style.split("@media (prefers-color-scheme:dark)", 1)
    for name in LIGHT:
        assert f"--t-{name}:{LIGHT[name]};" in light
        assert f"--t-{name}:{DARK[name]};" in dark


@pytest.mark.parametrize("pair", [LIGHT, DARK], ids=["light", "dark"])
def test_text_stands_out_from_what_it_stands_on(pair: dict[str, str]) -> None:
    """A contrast of 4.5 to 1 at least, as WCAG 2.1 asks for."""
    for ground in ("plain", "mixer", "channel", "table", "norm", "goal", "strip", "frame"):
        assert contrast(pair["ink"], pair[ground]) >= 4.5, ground
    for ground in ("added", "removed", "changed"):
        assert contrast(pair["badge-ink"], pair[ground]) >= 4.5, ground


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- hostile text ------------------------------------------------------------------------


def one_box(text: str) -> Picture:
    items = (Box("a", "mixer", text, (text,), text, text), Box("b", "join", "+"), Box("c", "norm", text))
    edges = (Edge("a", "c"), Edge("c", "b"), Edge("a", "b", "", text))
    return Picture(text, text, Flow(items, edges))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(text: str) -> None:
    root = parsed(svg(one_box(text), marks={"a": Mark("added", (1,)), "": Mark("changed", (2,))}, links=True))
    assert {e.tag.removeprefix(SPACE) for e in root.iter()} <= {
        "svg", "title", "desc", "style", "g", "rect", "path", "circle", "text", "a",
    }  # fmt: skip
    assert {e.get("href") for e in root.iter(f"{SPACE}a")} == {"#op-1", "#op-2"}


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_is_well_formed(text: str) -> None:
    parsed(svg(one_box(text)))
    balanced(dot(one_box(text)))


# --- marks -------------------------------------------------------------------------------


def test_marks_differ_by_more_than_colour() -> None:
    drawn = picture_of("gpt2")
    signs = {}
    for kind in ("added", "removed", "changed"):
        root = parsed(svg(drawn, marks={"layers/attention": Mark(kind, (7,))}))
        badges = [e for e in root.iter(f"{SPACE}text") if "badge" in (e.get("class") or "").split()]
        signs[kind] = [badge.text for badge in badges]
        marked = [e for e in root.iter(f"{SPACE}rect") if kind in (e.get("class") or "").split()]
        assert len(marked) == 2  # the box and the plate
    assert signs == {"added": ["+ 7"], "removed": ["− 7"], "changed": ["~ 7"]}


# --- text --------------------------------------------------------------------------------


@given(st.text(max_size=120), st.floats(8, 20), st.floats(60, 400), st.booleans(), st.integers(1, 4))
def test_wrapped_lines_fit(text: str, size: float, width: float, bold: bool, most: int) -> None:
    lines = wrapped(text, size, width, bold=bold, most=most)
    assert len(lines) <= most
    assert all(text_width(line, size, bold=bold) <= width for line in lines)
    if lines and not lines[-1].endswith("…"):
        assert "".join("".join(lines).split()) == "".join(text.split())


def test_text_is_no_wider_than_told_in_the_fonts_at_hand() -> None:
    """Against the metrics of DejaVu Sans, which the plotting library ships."""
    font = pytest.importorskip("matplotlib.ft2font")
    from matplotlib import get_data_path

    texts = {text for spec in SPECS for placed in layout_of(spec).items for text in placed.card.texts}
    for bold, file in ((False, "DejaVuSans.ttf"), (True, "DejaVuSans-Bold.ttf")):
        face = font.FT2Font(f"{get_data_path()}/fonts/ttf/{file}")
        face.set_size(1000, 72)
        for text in sorted({text.said for text in texts if text.bold == bold}):
            width = sum(face.load_char(ord(char)).linearHoriAdvance / 65536 for char in text) / 1000
            assert width <= text_width(text, 1, bold=bold) + 0.01, text


# --- Graphviz ----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_dot_has_every_item_and_no_other_end(spec: str) -> None:
    written = dot(picture_of(spec))
    balanced(written)
    ends = [
        end for line in written.splitlines() if " -> " in line for end in line.strip(" ;").split(" [")[0].split(" -> ")
    ]
    declared = {line.strip().split(" [")[0] for line in written.splitlines() if " -> " not in line and "[" in line}
    assert set(ends) <= declared
    for address, item in walk(picture_of(spec).flow):
        name = address if isinstance(item, Box) else f"cluster_{address}/"
        assert f'"{name}"' in written


def balanced(written: str) -> None:
    """Quotes are closed on each line, and braces outside of them match."""
    depth = 0
    for line in written.split("\n"):
        bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
        assert '"' not in bare, line
        depth += bare.count("{") - bare.count("}")
        assert depth >= 0
    assert depth == 0


def test_a_picture_of_another_name_is_another_drawing() -> None:
    drawn = picture_of("gpt2")
    assert svg(replace(drawn, name="other")) != svg(drawn)


@pytest.mark.parametrize("spec", ["gpt2", "transformer_base", "gpt2_denseformer"])
def test_the_pictures_of_the_documentation_are_what_is_drawn(spec: str) -> None:
    """``tantra show SPEC --format svg -o docs/images/SPEC.svg`` draws one anew."""
    shown = Path(__file__).parents[2] / "docs" / "images" / f"{spec}.svg"
    assert shown.read_text(encoding="utf-8") == svg(picture_of(spec))
