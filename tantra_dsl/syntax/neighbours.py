"""Members that share a line without a separator: where that reads as a forgotten `:` or operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.source import Span
from tantra_dsl.syntax.tree import Binary, Call, Definition, Entry, Expr, Item, Member, Name, Number, Unary

if TYPE_CHECKING:
    from tantra_dsl.diagnostics.syntax import SideBySide


def check_neighbours(before: Member, after: Member, sink: Sink) -> bool:
    """Report a bare value next to another member on one line; True where it was."""
    if isinstance(after, Item):
        bare = not _is_headed(after.value) or _needs_of(before, after.value)
    else:
        bare = False
    if not bare and not _is_lone_name(before):
        return False
    if "\n" in before.span.source.text[before.span.end : after.span.start]:
        return False
    sink.add(_report(before, after))
    return True


def _is_headed(expr: Expr) -> bool:
    """Whether an item starts with a name and a brace, which cannot be read as part of the line before."""
    while isinstance(expr, Binary):
        expr = expr.left
    if isinstance(expr, Unary):
        return expr.op == "share" and _is_headed(expr.operand)
    return isinstance(expr, Definition) or (isinstance(expr, Call) and expr.braces)


def _is_lone_name(member: Member) -> bool:
    return isinstance(member, Item) and isinstance(member.value, Name)


def _needs_of(before: Member, value: Expr) -> bool:
    if not (isinstance(before, Entry) and isinstance(before.value, Number)):
        return False
    same = isinstance(value, Call) and value.callee == Name("same")
    return same or (isinstance(value, Definition) and value.name is None)


def _report(before: Member, after: Member) -> SideBySide:
    from tantra_dsl.diagnostics.syntax import SideBySide

    left, right = _shown(before.span, last=True), _shown(after.span, last=False)
    repeats = isinstance(before, Entry) and isinstance(before.value, Number)
    if repeats and not (isinstance(after, Item) and isinstance(after.value, Number)):
        advice = f"for repeated layers write `{left} of {right}`; two members on one line are parted by a comma"
    elif _is_lone_name(before):
        advice = f"to set a key, write `{left}: {right}`; two members on one line are parted by a comma"
    else:
        advice = "is an operator missing? two members on one line are parted by a comma"
    return SideBySide(span=after.span, before=left, after=right, advice=advice)


def _shown(span: Span, *, last: bool) -> str:
    lines = span.source.text[span.start : span.end].split("\n")
    words = lines[-1 if last else 0].split() or ["..."]
    word = words[-1 if last else 0]
    return word if len(word) <= 24 else word[:21] + "..."


__all__ = ["check_neighbours"]
