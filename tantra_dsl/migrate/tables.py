"""Tables that attention looks up: which of their columns are heads."""

from __future__ import annotations

from tantra_dsl.graph.model import Node
from tantra_dsl.scalars.ir import Gather, Program, Scalar, Var
from tantra_dsl.scalars.walk import children

HEAD = Var("h")


def first_capture(node: Node) -> int:
    """Number of the first operand of an attention that is captured by its mask or score."""
    return 4 if "sink" in (node.attr("has") or ()) else 3


def head_columns(node: Node) -> list[int | None]:
    """For each captured tensor, the axis that is looked up by the number of the head; None where there is none."""
    found: list[int | None] = []
    for program in _programs(node):
        columns = _columns(program)
        found += [columns.get(number) for number in range(len(program.captures))]
    return found


def reads_head_elsewhere(node: Node) -> bool:
    """Whether a mask or score depends on the head's number other than by looking up what belongs to the head."""
    return any(_is_read(program.body) for program in _programs(node))


def _programs(node: Node) -> list[Program]:
    return [program for program in (node.attr("mask"), node.attr("score")) if isinstance(program, Program)]


def _columns(program: Program) -> dict[int, int | None]:
    columns: dict[int, int | None] = {}
    pending: list[Scalar] = [program.body]
    while pending:
        scalar = pending.pop()
        if isinstance(scalar, Gather):
            axis = scalar.index.index(HEAD) if HEAD in scalar.index else None
            columns[scalar.capture] = axis if columns.get(scalar.capture, axis) == axis else None
        pending += children(scalar)
    return columns


def _is_read(body: Scalar) -> bool:
    pending: list[Scalar] = [body]
    while pending:
        scalar = pending.pop()
        if scalar == HEAD:
            return True
        pending += [part for part in children(scalar) if not (isinstance(scalar, Gather) and part == HEAD)]
    return False
