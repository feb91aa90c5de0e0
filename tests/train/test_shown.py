"""What a run shows: the live line, the curve in the terminal, the picture."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree

import pytest

from tantra_dsl.train.curve import Curve, curve_of, draw, terminal
from tantra_dsl.train.progress import Progress, Status, clock

STATUS = Status(30, 300, 2.5, 2.25, 1e-3, 12_345.6, 125)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_line_names_every_figure():
    assert STATUS.line() == "step  30/300  loss 2.5000  validation 2.2500  lr 1.00e-03  12,346 tokens/s  2:05 left"


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (3723, "1:02:03")])
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_on_a_terminal_one_line_is_rewritten_and_fits(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    shown = Progress(stream, every=10)
    for _ in range(5):
        shown.show(STATUS)
    assert stream.getvalue().count("\n") == 0
    assert stream.getvalue().count("\r\x1b[K") == 5
    assert max(map(len, stream.getvalue().split("\r\x1b[K"))) <= 39
    shown.say("note")
    assert stream.getvalue().endswith("\nnote\n")


def test_elsewhere_there_is_a_plain_line_now_and_then_and_at_the_end():
    stream = io.StringIO()
    shown = Progress(stream, every=10)
    for step in range(1, 26):
        shown.show(Status(step, 25, 1.0, None, 1.0, 1.0, 1.0), last=step == 25)
    steps = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert steps == ["10/25", "20/25", "25/25"]


def test_nothing_is_shown_without_a_stream():
    shown = Progress(None, every=1)
    shown.show(STATUS)
    shown.say("note")
    shown.end()


FALLING = Curve(
    "plays", "character", [(float(step), 4 - step / 50) for step in range(1, 101)], [(50.0, 3.1), (100.0, 2.2)]
)


def cells(text):
    """The plotted characters by row, without axes."""
    return [line.split("┤")[1] for line in text.splitlines() if "┤" in line]


def test_the_terminal_curve_falls_from_left_to_right():
    rows = [row.ljust(40) for row in cells(terminal(Curve("x", "token", FALLING.train, []), width=40, height=10))]
    assert len(rows) == 10
    heights = [next(index for index, row in enumerate(rows) if row[column] not in "⠀ ") for column in range(40)]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (0, 9)


def test_validation_losses_are_marked():
    assert sum(row.count("o") for row in cells(terminal(FALLING))) == 2


def test_a_flat_curve_and_one_with_too_few_points():
    assert len(cells(terminal(Curve("x", "token", [(1.0, 2.0), (2.0, 2.0)], [])))) == 12
    assert terminal(Curve("x", "token", [(1.0, 2.0)], [])) == ""
    assert terminal(Curve("x", "token", [], [])) == ""


def test_entries_become_curves():
    entries = [{"step": 1, "loss": 3.0}, {"step": 1, "validation_loss": 2.5}, {"step": 2, "loss": 2.0}]
    assert curve_of("x", "byte", entries) == Curve("x", "byte", [(1.0, 3.0), (2.0, 2.0)], [(1.0, 2.5)])


def test_the_picture_is_drawn_in_both_forms(tmp_path):
    png, svg = draw(FALLING, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    text = "".join(ElementTree.parse(svg).getroot().itertext()) + svg.read_text()
    for words in ("plays", "nats per character", "validation", "2.200"):
        assert words in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.png", "loss.svg"]


def test_nothing_is_drawn_of_a_single_point(tmp_path):
    assert draw(Curve("x", "token", [(1.0, 2.0)], []), tmp_path) == []
    assert list(tmp_path.iterdir()) == []
