"""``tantra show --mask``: the masks of a model in the terminal, or in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tantra_dsl.cli.outcome import FINE, USAGE, complain
from tantra_dsl.show.masks import MaskView, draw_svg, draw_text, mask_views


def draw_masks(spec: str, sets: Sequence[str], seq: int | None, output: Path | None) -> int:
    """Draw the masks of ``spec``; the exit status."""
    import tantra_dsl

    if output is not None and output.suffix not in (".svg", ".png"):
        return complain(f"{output}: masks are drawn as .svg or .png", USAGE)
    views = mask_views(tantra_dsl.load(spec, sets=sets).graph(), seq)
    if not views:
        print("no attention of this model has a mask")
    elif output is None:
        print("\n\n".join(map(draw_text, views)))
    elif output.suffix == ".svg":
        from tantra_dsl.cli.rewrite import write_text

        write_text(draw_svg(views), output)
    else:
        _draw_png(views, output)
    return FINE


def _draw_png(views: Sequence[MaskView], output: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import ListedColormap

    shades = {"partial": 1, "full": 2}
    figure, axes = pyplot.subplots(1, len(views), figsize=(5 * len(views), 5.6), squeeze=False)
    for axis, view in zip(axes[0], views, strict=True):
        rows = [[shades.get(view.tiles.get((row, column), ""), 0) for column in range(view.across)]
                for row in range(view.across)]  # fmt: skip
        end = view.across * view.sizes.tile_k
        colors = ListedColormap(["#f4f5f7", "#8fb0d9", "#1f3a68"])
        axis.imshow(rows, cmap=colors, vmin=0, vmax=2, extent=(0, end, end, 0), interpolation="nearest")
        axis.set(
            xlabel="key", ylabel="query", title=f"{view.text}\n{len(view.tiles):,} of {view.across**2:,} tiles visited"
        )
    figure.tight_layout()
    figure.savefig(output, dpi=120)
    pyplot.close(figure)
