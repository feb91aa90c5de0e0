"""The attention masks of a model as pictures: which tiles of queries and keys a kernel visits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tantra_dsl.graph.model import Graph, Node
from tantra_dsl.graph.paths import bottom_up
from tantra_dsl.masks import Plan
from tantra_dsl.masks.attention import AttentionMeaning
from tantra_dsl.masks.blocks import Cover, Sizes, visited
from tantra_dsl.masks.fields import with_aux
from tantra_dsl.scalars.count import Count, allowed_pairs
from tantra_dsl.scalars.evaluate import Value
from tantra_dsl.scalars.ir import Program
from tantra_dsl.show.lengths import shown_length
from tantra_dsl.show.svg import document, label

KERNEL_TILE: Final = 128
_MOST_TILES: Final = 48
_FEWEST_TILES: Final = 16
_SHADES: Final = {"partial": "▒", "full": "█"}
_COLORS: Final = {"partial": "#8fb0d9", "full": "#1f3a68"}
_CELL: Final = 9


@dataclass(frozen=True)
class MaskView:
    """One mask of a model over one sequence: the tiles that are visited, by (row, column).

    ``pairs`` counts allowed pairs where the mask alone tells. ``example`` says which fields of the batch were made up.
    """

    text: str
    plan: Plan
    sizes: Sizes
    tiles: dict[tuple[int, int], Cover]
    pairs: Count
    example: str

    @property
    def across(self) -> int:
        """Tiles of a row."""
        return -(-self.sizes.keys // self.sizes.tile_k)

    def summary(self) -> str:
        """What the picture shows, in a line."""
        full = sum(cover == "full" for cover in self.tiles.values())
        share = 100 * len(self.tiles) / self.across**2
        return (
            f"{self.sizes.keys:,} positions in tiles of {self.sizes.tile_q}: {len(self.tiles):,} of {self.across**2:,} "
            f"visited ({share:.0f}%), {full:,} of them without a mask{self._pairs()}"
        )

    def _pairs(self) -> str:
        if self.pairs.value is None or self.example:
            return ""
        sign = "" if self.pairs.bound == "exact" else "at most "
        return f"; {sign}{self.pairs.value:,} pairs allowed"


def mask_views(graph: Graph, seq: int | None = None) -> list[MaskView]:
    """The distinct masks of ``graph`` over ``seq`` positions; the model's context, but at most 4096, where None."""
    length = shown_length(graph, seq)
    masks = dict.fromkeys(node.attr("mask") for node in _attention(graph))
    return [_view(mask, length) for mask in masks if mask is not None]


def _attention(graph: Graph) -> Iterator[Node]:
    for key in bottom_up(graph):
        yield from (node for node in graph.bodies[key].nodes if node.op in ("attend", "additive_attend"))


def _view(mask: Program, length: int) -> MaskView:
    meaning = AttentionMeaning(mask, None)
    tile = _tile(length)
    sizes = Sizes(length, length, tile, tile)
    read = with_aux(meaning.plan, length, length, 1, lambda capture, index: _example(length, index))
    tiles = {(row, column): cover for row, column, cover in visited(meaning.plan, sizes, 0, 0, read)}
    names = sorted({capture.name for capture in mask.captures})
    example = f"with an example batch: {', '.join(names)}" if names else ""
    return MaskView(meaning.text().removeprefix("mask "), meaning.plan, sizes, tiles, _count(mask, length), example)


def _count(mask: Program, length: int) -> Count:
    return allowed_pairs(mask, length, length)


def _tile(length: int) -> int:
    """A tile that makes a picture of a few dozen rows: the kernel's own where that does."""
    if length <= _FEWEST_TILES:
        return 1
    if length < KERNEL_TILE * _FEWEST_TILES:
        return max(1, length // _MOST_TILES)
    return KERNEL_TILE * -(-length // (KERNEL_TILE * _MOST_TILES))


def _example(length: int, index: tuple[Value, ...]) -> Value:
    """Fields of a batch that could be: five runs of unequal length over the positions, three quarters of a sequence."""
    if len(index) < 2:
        return length * 3 // 4
    return sum(int(index[1]) >= length * share // 16 for share in (3, 5, 10, 14))


def draw_text(view: MaskView) -> str:
    """The mask in characters: a row for each tile of queries, ``▒`` for a visited tile and ``█`` for a full one."""
    rows = ["".join(_SHADES.get(view.tiles.get((row, column), ""), "·") for column in range(view.across))
            for row in range(view.across)]  # fmt: skip
    notes = [view.summary(), *([view.example] if view.example else []), *view.plan.reasons]
    return "\n".join([f"mask {view.text}", *(f"  {row}" for row in rows), *(f"  {note}" for note in notes)])


def draw_svg(views: list[MaskView]) -> str:
    """All masks below each other as one SVG: queries downwards, keys to the right."""
    parts: list[str] = []
    top, width = 8, 560
    for view in views:
        side = view.across * _CELL
        parts.append(label(12, top + 14, f"mask {view.text}", 14))
        parts.append(f'<rect x="12" y="{top + 26}" width="{side}" height="{side}" fill="#f4f5f7"/>')
        for (row, column), cover in sorted(view.tiles.items()):
            x, y = 12 + column * _CELL, top + 26 + row * _CELL
            parts.append(f'<rect x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}" fill="{_COLORS[cover]}"/>')
        notes = [view.summary(), *([view.example] if view.example else []), *view.plan.reasons]
        parts += [label(12, top + 26 + side + 18 + 16 * number, note, 12) for number, note in enumerate(notes)]
        width = max(width, side + 24, 24 + 7 * max(map(len, [*notes, view.text])))
        top += 26 + side + 18 + 16 * len(notes) + 16
    return document(parts, width, top)
