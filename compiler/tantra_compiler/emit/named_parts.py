"""Names for parts of a scalar expression that is written as Python."""

from __future__ import annotations

from collections import Counter

from tantra_compiler.emit.expr import WIDTH, Expr, statement
from tantra_compiler.emit.formulas import Formula
from tantra_compiler.emit.names import free
from tantra_dsl.scalars.ir import Gather, Op, Scalar


def named_parts(formula: Formula, body: Scalar, taken: set[str]) -> list[str]:
    """Lines that name what is used twice in ``body`` and, as long as the rest does not fit a line, its largest part.

    The names are put into ``taken``.
    """
    lines = shared_parts(formula, [body], taken)
    while (largest := _oversized(formula, body)) is not None:
        lines += _named(formula, largest, taken)
    return lines


def shared_parts(formula: Formula, bodies: list[Scalar], taken: set[str]) -> list[str]:
    """Lines that name what is used twice in ``bodies``. The names are put into ``taken``."""
    lines: list[str] = []
    for part in _used_twice(formula, bodies):
        if part not in formula.bound and len(formula.expr(part).text) > 7:
            lines += _named(formula, part, taken)
    return lines


def _named(formula: Formula, part: Scalar, taken: set[str]) -> list[str]:
    name = free("part", taken)
    taken.add(name)
    lines = statement(f"{name} = ", formula.expr(part), 4)
    formula.bound[part] = Expr(name)
    return lines


def _used_twice(formula: Formula, bodies: list[Scalar]) -> list[Scalar]:
    """Operations that several others, or one of them twice, are made from; smallest first."""
    distinct = dict.fromkeys(part for body in bodies for part in _open_parts(formula, body))
    users = Counter(inner for part in distinct for inner in formula.printed_parts(part))
    users.update(body for body in bodies if body in distinct)
    return [part for part in reversed(distinct) if users[part] > 1 and isinstance(part, Op | Gather)]


def _oversized(formula: Formula, body: Scalar) -> Scalar | None:
    if len(formula.expr(body).text) + len("    return ") <= WIDTH:
        return None
    sizes = {part: len(formula.expr(part).text) for part in _open_parts(formula, body) if part is not body}
    fitting = [part for part, size in sizes.items() if 12 < size < WIDTH - 20]
    return max(fitting, key=lambda part: sizes[part], default=None)


def _open_parts(formula: Formula, body: Scalar) -> list[Scalar]:
    """Operations of ``body`` that are printed, outermost first: none below what has a name or is torch's own."""
    found: list[Scalar] = []
    pending = [body]
    while pending:
        part = pending.pop()
        if part in formula.bound or not isinstance(part, Op | Gather):
            continue
        found.append(part)
        pending.extend(formula.printed_parts(part))
    return found
