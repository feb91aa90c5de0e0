"""``tantra show --positions``: the positional encodings of a model in the terminal, or in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tantra_dsl.cli.outcome import FINE, USAGE, complain
from tantra_dsl.show.positions import draw_positions_svg, draw_positions_text, position_views


def draw_positions(spec: str, sets: Sequence[str], seq: int | None, output: Path | None) -> int:
    """Draw the positional encodings of ``spec``; the exit status."""
    import tantra_dsl
    from tantra_dsl.cli.rewrite import write_text

    if output is not None and output.suffix != ".svg":
        return complain(f"{output}: positional encodings are drawn as .svg", USAGE)
    views = position_views(tantra_dsl.load(spec, sets=sets).graph(), seq)
    if not views:
        print("nothing in this model encodes positions")
    elif output is None:
        print("\n\n".join(map(draw_positions_text, views)))
    else:
        write_text(draw_positions_svg(views), output)
    return FINE
