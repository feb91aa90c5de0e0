"""The colours of a drawing, for light and dark, and the style sheet that puts them on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tantra_dsl.draw.cards import LINE, TITLE
from tantra_dsl.draw.measure import FAMILY

LIGHT: Final[Mapping[str, str]] = {
    "ink": "#1f2430", "soft": "#566072", "wire": "#5b6577", "frame": "#f6f7f9", "edge": "#c3c9d4", "strip": "#e8ebf0",
    "plain": "#ffffff", "mixer": "#ffe3c2", "mixer-edge": "#dda15e", "channel": "#d6e6fb", "channel-edge": "#86aee0",
    "table": "#f6d9e4", "table-edge": "#d495b0", "norm": "#fbf3c4", "norm-edge": "#d3bf5c",
    "goal": "#dcefd9", "goal-edge": "#8fbf88",
    "added": "#1a7f37", "removed": "#cf222e", "changed": "#9a6700", "badge-ink": "#ffffff",
}  # fmt: skip
DARK: Final[Mapping[str, str]] = {
    "ink": "#e8eaf0", "soft": "#a9b2c3", "wire": "#8d97aa", "frame": "#1b2029", "edge": "#434c5c", "strip": "#272e3a",
    "plain": "#222833", "mixer": "#4a3418", "mixer-edge": "#a8763a", "channel": "#1d3557", "channel-edge": "#4a7ab5",
    "table": "#4a2536", "table-edge": "#a3627f", "norm": "#403a16", "norm-edge": "#8f8238",
    "goal": "#1f3d22", "goal-edge": "#5b9360",
    "added": "#4ac26b", "removed": "#ff7b72", "changed": "#e3b341", "badge-ink": "#14181f",
}  # fmt: skip
FILLS: Final = {
    "mixer": ("mixer", "mixer-edge"), "channel": ("channel", "channel-edge"), "table": ("table", "table-edge"),
    "norm": ("norm", "norm-edge"), "objective": ("goal", "goal-edge"), "op": ("plain", "edge"),
    "scale": ("plain", "edge"), "join": ("plain", "wire"), "input": ("plain", "edge"), "tap": ("plain", "edge"),
    "plate": ("plain", "edge"), "frame": ("frame", "edge"),
}  # fmt: skip
"""For each kind of box, the colours of its face and of its border."""


def variables(colours: Mapping[str, str]) -> str:
    """Colours as CSS variables."""
    return "".join(f"--t-{name}:{value};" for name, value in colours.items())


def _fill(name: str) -> str:
    """A property and the same by variable: who knows no variables takes the first."""
    return f"fill:{LIGHT[name]};fill:var(--t-{name})"


def _stroke(name: str) -> str:
    return f"stroke:{LIGHT[name]};stroke:var(--t-{name})"


def _style() -> str:
    top = ".tantra-drawing"
    rules = [
        f"{top}{{{variables(LIGHT)}font-family:{FAMILY}}}",
        f"@media (prefers-color-scheme:dark){{{top}{{{variables(DARK)}}}}}",
        f"{top} text{{{_fill('ink')};stroke:none}}",
        f"{top} .middle{{text-anchor:middle}}",
        f"{top} .name{{font-size:16px;font-weight:700}}",
        f"{top} .title{{font-size:{TITLE:g}px;font-weight:600}}",
        f"{top} .line{{font-size:{LINE:g}px}}",
        f"{top} .sign{{font-size:17px}}",
        f"{top} .strip{{{_fill('strip')}}}",
        f"{top} .wire{{fill:none;{_stroke('wire')};stroke-width:1.4}}",
        f"{top} .head{{{_fill('wire')}}}",
        f"{top} .tap{{stroke-dasharray:4 3}}",
        *(f"{top} .{kind}{{{_fill(fill)};{_stroke(edge)};stroke-width:1.2}}" for kind, (fill, edge) in FILLS.items()),
        f"{top} .strip,{top} .frame{{stroke:none}}",
        f"{top} .border{{fill:none;{_stroke('edge')};stroke-width:1.2}}",
        *(f"{top} .{kind}{{{_stroke(kind)};stroke-width:2.4}}" for kind in ("added", "removed", "changed")),
        f"{top} .removed{{stroke-dasharray:7 4}}",
        *(f"{top} .badge.{kind}{{{_fill(kind)};stroke:none}}" for kind in ("added", "removed", "changed")),
        f"{top} text.badge{{font-size:10.5px;font-weight:700;{_fill('badge-ink')}}}",
    ]
    return "".join(rules)


STYLE: Final = _style()
