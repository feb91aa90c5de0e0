"""How a cross-entropy is written that is one op with its linear layer."""

from __future__ import annotations

from tantra_compiler.emit.expr import Expr, sequence
from tantra_compiler.emit.site import Site, lowers
from tantra_dsl.graph.linear_loss import LINEAR_LOSS


@lowers(LINEAR_LOSS)
def _linear_cross_entropy(site: Site) -> Expr:
    keywords: dict[str, Expr | str] = {**site.optional(3)}
    program = site.node.attr("program")
    if program is not None:
        keywords["between"] = site.source.read(site.source.programs.between(program))
    vectors = site.captures(3)
    if vectors:
        keywords["vectors"] = sequence(*vectors)
    keywords |= site.given(label_smoothing=0.0, ignore=-100, z_loss=0.0)
    return site.run("linear_cross_entropy", *site.args[:3], **keywords)
