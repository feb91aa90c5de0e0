"""A linear layer and the cross-entropy of its scores in one op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tantra_compiler.passes import ops
from tantra_compiler.passes.base import Decision
from tantra_compiler.passes.places import places
from tantra_dsl.graph.linear_loss import LINEAR_LOSS, with_linear_losses
from tantra_dsl.graph.model import Graph

_ = ops


@dataclass(frozen=True)
class FuseLinearLoss:
    """Turns ``linear``, elementwise functions and ``cross_entropy`` into ``linear_cross_entropy``.

    The scores that are a result of the model are still made where the model is called; its loss no longer needs them.
    """

    name: ClassVar[str] = "fuse_linear_loss"
    after: ClassVar[tuple[str, ...]] = ()

    def __call__(self, graph: Graph) -> Graph:
        """The graph with fused losses."""
        return with_linear_losses(graph)[0]

    def decisions(self, graph: Graph) -> tuple[Decision, ...]:
        """What becomes of every cross-entropy of ``graph``."""
        paths = places(graph)
        return tuple(
            Decision(f"{path}.{loss.node}".strip("."), "cross_entropy", *_choice(loss.reason))
            for loss in with_linear_losses(graph)[1]
            for path in paths[loss.body]
        )


def _choice(reason: str | None) -> tuple[str, str]:
    if reason is None:
        return LINEAR_LOSS, "one op with its linear layer, in chunks of rows; never all scores at once"
    return "cross_entropy", reason
