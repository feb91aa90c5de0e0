"""How much a program asks of a kernel besides its products, which decides the kernel's configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tantra_compiler.kernels.attention.configs import Load
from tantra_dsl.masks.attention import AttentionMeaning
from tantra_dsl.scalars.ir import Gather, Op, Scalar
from tantra_dsl.scalars.walk import fold, variables_of

_MOST_OF_RICH: Final = 24
"""Operations on a pair beyond which a program is heavy: a table by distance has more, all else that ships has fewer."""
_LOAD_OF_PAIRS: Final = 8
"""What reading a learned table for each pair counts, its places being kept beside the scores."""


def load_of(meaning: AttentionMeaning) -> Load:
    """The column of the configurations' table for a program, where no weights are dropped."""
    if work(meaning) > _MOST_OF_RICH:
        return "heavy"
    plan = meaning.plan
    several = max(len(plan.keys.intervals), len(plan.queries.intervals)) > 1
    # intervals by head put a loop over heads around the key gradient's loops over tiles
    bare = plan.kind in ("all", "none", "interval") and not (several or plan.by_head or meaning.captures)
    return "plain" if bare and meaning.score is None else "rich"


def work(meaning: AttentionMeaning) -> int:
    """Different operations on single pairs, the derivatives among them."""
    pairs = {node for body in _bodies(meaning) for node in _nodes(body) if _of_pairs(node)}
    return sum(_LOAD_OF_PAIRS if isinstance(node, Gather) else 1 for node in pairs)


def _bodies(meaning: AttentionMeaning) -> Iterator[Scalar]:
    yield meaning.plan.body
    if meaning.score_body is not None:
        yield from (meaning.score_body, meaning.slope)
    for element in meaning.learned:
        yield from (*element.index, element.slope)


def _nodes(body: Scalar) -> set[Scalar]:
    found: set[Scalar] = set()
    fold(body, lambda node, _: found.add(node))
    return found


def _of_pairs(node: Scalar) -> bool:
    """Whether it has a value for every pair, not one for every row, column or head."""
    variables = variables_of(node)
    return isinstance(node, (Op, Gather)) and ("s" in variables or {"q", "k"} <= variables)
