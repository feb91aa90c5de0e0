"""The loss curve: in the terminal, from braille dots, and as PNG and SVG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tantra_dsl.train.metrics import Entry

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """Losses by step, in nats per ``unit``."""

    name: str
    unit: str
    train: Points
    validation: Points


def curve_of(name: str, unit: str, entries: Sequence[Entry]) -> Curve:
    """The curve of logged entries."""
    return Curve(name, unit, _points(entries, "loss"), _points(entries, "validation_loss"))


def _points(entries: Sequence[Entry], key: str) -> Points:
    return [(float(entry["step"]), float(entry[key])) for entry in entries if key in entry]


# --- in the terminal ---------------------------------------------------------------------

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def terminal(curve: Curve, width: int = 64, height: int = 12) -> str:
    """The training loss in braille dots, validation losses as ``o``, with axes; empty without two points."""
    points = curve.train
    if len(points) < 2:
        return ""
    frame = _Frame.around(points, curve.validation, width, height)
    cells = frame.dots(points)
    marks = {frame.cell(point) for point in curve.validation}
    rows = [_row(cells, marks, row, width) for row in range(height)]
    labels = [f"{frame.top - (frame.top - frame.bottom) * row / (height - 1):7.2f}" for row in range(height)]
    body = [
        f"{label if row % 3 == 2 or row == 0 else '':>7} ┤{text}"
        for row, (label, text) in enumerate(zip(labels, rows, strict=True))
    ]
    axis = " " * 8 + "└" + "─" * width
    feet = f"{'':9}{frame.left:<{width // 2}.0f}{f'{frame.right:.0f} steps':>{width - width // 2}}"
    return "\n".join([f"loss, nats per {curve.unit}   ⠶ training   o validation", *body, axis, feet])


def _row(cells: dict[tuple[int, int], int], marks: set[tuple[int, int]], row: int, width: int) -> str:
    places = ((column, row) for column in range(width))
    return "".join("o" if place in marks else chr(0x2800 + cells.get(place, 0)) for place in places).rstrip("⠀")


@dataclass(frozen=True)
class _Frame:
    """Maps steps and losses to cells of ``width`` by ``height``, each two by four dots."""

    left: float
    right: float
    bottom: float
    top: float
    width: int
    height: int

    @staticmethod
    def around(train: Points, validation: Points, width: int, height: int) -> _Frame:
        losses = [loss for _, loss in (*train, *validation)]
        spread = max(max(losses) - min(losses), 1e-9)
        return _Frame(train[0][0], train[-1][0], min(losses), min(losses) + spread, width, height)

    def dot(self, point: tuple[float, float]) -> tuple[int, int]:
        across = (point[0] - self.left) / max(self.right - self.left, 1e-9)
        down = (self.top - point[1]) / (self.top - self.bottom)
        return round(across * (2 * self.width - 1)), round(down * (4 * self.height - 1))

    def cell(self, point: tuple[float, float]) -> tuple[int, int]:
        column, row = self.dot(point)
        return min(max(column // 2, 0), self.width - 1), row // 4

    def dots(self, points: Points) -> dict[tuple[int, int], int]:
        """Braille bits by cell, of a line through the points."""
        cells: dict[tuple[int, int], int] = {}
        placed = [self.dot(point) for point in points]
        for start, end in pairwise(placed):
            for column, row in _line(start, end):
                place = (column // 2, row // 4)
                cells[place] = cells.get(place, 0) | _DOTS[row % 4][column % 2]
        return cells


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (round(start[0] + (end[0] - start[0]) * at / length), round(start[1] + (end[1] - start[1]) * at / length))
        for at in range(length + 1)
    ]


# --- as a picture ------------------------------------------------------------------------


def draw(curve: Curve, folder: Path) -> list[Path]:
    """Writes ``loss.png`` and ``loss.svg`` into ``folder``; nothing without two points. Raises OSError."""
    if len(curve.train) < 2:
        return []
    figure = _figure(curve)
    paths = [folder / "loss.png", folder / "loss.svg"]
    for path in paths:
        beside = path.with_name(f".{path.name}.new")
        figure.savefig(beside, format=path.suffix[1:], dpi=150)
        os.replace(beside, path)
    return paths


def _figure(curve: Curve):  # type: ignore[no-untyped-def]
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(*zip(*curve.train, strict=True), color="#9db8d9", linewidth=1.0, label="training")
    if curve.validation:
        _draw_validation(axes, curve.validation)
    axes.set(title=curve.name, xlabel="step", ylabel=f"loss (nats per {curve.unit})")
    axes.set_ylim(*_limits(curve))
    axes.set_xlim(0, curve.train[-1][0] * 1.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper right")
    return figure


def _draw_validation(axes, points: Points) -> None:  # type: ignore[no-untyped-def]
    axes.plot(
        *zip(*points, strict=True), color="#1b3a66", linewidth=1.8, marker="o", markersize=3.5, label="validation"
    )
    step, loss = points[-1]
    axes.annotate(f"{loss:.3f}", (step, loss), xytext=(0, 8), textcoords="offset points", ha="right", color="#1b3a66")


def _limits(curve: Curve) -> tuple[float, float]:
    """From below the lowest loss to above all but the first few, so that the start does not flatten the rest."""
    losses = sorted(loss for _, loss in (*curve.train, *curve.validation))
    low, high = losses[0], losses[min(len(losses) - 1, int(len(losses) * 0.98))]
    margin = 0.06 * max(high - low, 1e-3)
    return low - margin, high + margin
