"""The canonical text of a tree: one member a line, broken where a line would grow too long."""

from __future__ import annotations

from collections.abc import Sequence

from tantra_dsl.syntax.comments import Comments
from tantra_dsl.syntax.depth import children
from tantra_dsl.syntax.flat import (
    CONDITION,
    LOOSEST,
    flat,
    flat_argument,
    flat_base,
    flat_head,
    flat_member,
    flat_operand,
    flat_parameter,
    flat_start,
    member_head,
    member_value,
    operand_levels,
    unary_prefix,
)
from tantra_dsl.syntax.operators import COMPARISON, PRECEDENCE, prefix_precedence
from tantra_dsl.syntax.source import Span
from tantra_dsl.syntax.tree import (
    Argument,
    Binary,
    Body,
    Call,
    Definition,
    Expr,
    File,
    If,
    Index,
    Item,
    ListExpr,
    Member,
    Node,
    Return,
    Tuple,
    Unary,
)

WIDTH = 110
_STEP = "  "


class TextFormat:
    """Prints one file; ``indent`` counts levels, ``column`` characters already on the line."""

    def __init__(self, comments: Comments) -> None:
        self.comments = comments
        self.breaks: dict[int, bool] = {}

    def file(self, file: File) -> str:
        """The whole text, ending in a newline unless it is empty."""
        lines = self.members(file.members, Span(file.span.source, 0, file.span.end), 0)
        return "\n".join(lines) + "\n" if lines else ""

    # --- members ---------------------------------------------------------------------------

    def members(self, members: Sequence[Member | Argument], region: Span, indent: int) -> list[str]:
        """Lines of the members in ``region``, with their comments."""
        lines: list[str] = []
        pad, known = _STEP * indent, self.comments.knows(region)
        cursor = region.start
        for index, member in enumerate(members):
            text = pad + self.member(member, indent)
            if known:
                following = members[index + 1].span.start if index + 1 < len(members) else region.end
                lines += self._comments(cursor, member.span.end, pad, bool(lines))
                blank = bool(lines) and self.comments.blank_before(member.span.start)
                text += self.comments.take_on_line(member.span.end, following)
                cursor = member.span.end
            else:
                blank = indent == 0 and bool(lines) and ("\n" in text or "\n" in lines[-1])
            lines += ["", text] if blank else [text]
        return lines + (self._comments(cursor, region.end, pad, bool(lines)) if known else [])

    def _comments(self, start: int, end: int, pad: str, after_something: bool) -> list[str]:
        lines: list[str] = []
        for comment in self.comments.take(start, end):
            if (lines or after_something) and self.comments.blank_before(comment.start):
                lines.append("")
            lines.append(pad + comment.text)
        return lines

    def member(self, member: Member | Argument, indent: int) -> str:
        """A member; lines after the first are indented."""
        if isinstance(member, Argument):
            member = as_member(member)
        if isinstance(member, Definition):
            return self._definition(member, indent)
        text = flat_member(member)
        value = member.values[0] if isinstance(member, Return) and len(member.values) == 1 else member_value(member)
        if value is None or self._fits(text, value, indent, 0):
            return text
        head = member_head(member)
        if flat(value) != flat_start(value) and not isinstance(value, Call | Definition) and head in ("", "expect "):
            return f"{head}({self.lay(value, indent, 1)})"
        place = self._value if head.endswith((": ", "= ")) else self.lay
        return (head + place(value, indent, len(_STEP) * indent + len(head))).replace(" \n", "\n")

    def _fits(self, text: str, value: Expr, indent: int, column: int) -> bool:
        return len(_STEP) * indent + column + len(text) <= WIDTH and not self._breaks(value)

    def _breaks(self, node: Node) -> bool:
        """Whether a node holds a body or a comment, which take lines of their own."""
        known = self.breaks.get(id(node))
        if known is None:
            known = self._has_lines(node) or any(self._breaks(below) for below in children(node) if below)
            self.breaks[id(node)] = known
        return known

    def _has_lines(self, node: Node) -> bool:
        if isinstance(node, Definition):
            return isinstance(node.body, Body) and (bool(node.body.members) or self._commented(node.body.span))
        return isinstance(node, Call) and node.braces and self._commented(node.span)

    def _commented(self, span: Span) -> bool:
        return self.comments.knows(span) and self.comments.any_within(span.start, span.end)

    def _braces(self, members: Sequence[Member | Argument], region: Span, indent: int) -> str:
        first = members[0].span.start if members else region.end
        opening = self.comments.take_on_line(region.start, first) if self.comments.knows(region) else ""
        lines = self.members(members, region, indent + 1)
        return "\n".join([f"{{{opening}", *lines, _STEP * indent + "}"]) if lines or opening else "{}"

    def _definition(self, node: Definition, indent: int) -> str:
        head = flat_head(node)
        if len(_STEP) * indent + len(head) + 2 > WIDTH and (node.inputs or node.params):
            head = self._broken_head(node, indent)
        if isinstance(node.body, Body):
            return f"{head} {self._braces(node.body.members, node.body.span, indent)}"
        last_line = len(head) - head.rfind("\n") - 1
        column = last_line + 3 + (len(_STEP) * indent if "\n" not in head else 0)
        return f"{head} = {self._value(node.body, indent, column)}".replace(" \n", "\n")

    def _value(self, value: Expr, indent: int, column: int) -> str:
        """A value after its `=` or `:`; on the next line where that keeps it in one piece."""
        below = len(_STEP) * (indent + 1)
        if not self._breaks(value) and column + len(flat(value)) > WIDTH and not _opens_call(value, column):
            return f"\n{_STEP * (indent + 1)}{self.lay(value, indent + 1, below)}"
        return self.lay(value, indent, column)

    def _broken_head(self, node: Definition, indent: int) -> str:
        groups = [list(map(flat_parameter, group)) for group in (node.inputs or (), node.params)]
        filled = [_fill(group, indent + 2) for group in groups if group]
        joined = ";\n".join(filled) if groups[0] else f"{_STEP * (indent + 2)};\n{filled[0]}"
        start = flat_head(node).partition("(")[0]
        base = f" extends {flat(node.extends)}" if node.extends else ""
        return f"{start}(\n{joined}\n{_STEP * indent}){base}"

    # --- expressions -----------------------------------------------------------------------

    def lay(self, expr: Expr, indent: int, column: int, level: int = LOOSEST) -> str:
        """``expr`` on one line where it fits, else broken at its outermost joint."""
        if not self._breaks(expr):
            text = flat(expr, level)
            if column + len(text) <= WIDTH:
                return text
        if _needs_parentheses(expr, level):
            return f"({self.lay(expr, indent, column + 1)})"
        if isinstance(expr, Call):
            return self._call(expr, indent)
        if isinstance(expr, Binary):
            return self._binary(expr, indent, column)
        if isinstance(expr, Definition):
            return self._definition(expr, indent)
        return self._lay_other(expr, indent, column)

    def _lay_other(self, expr: Expr, indent: int, column: int) -> str:
        if isinstance(expr, If):
            return self._if(expr, indent, column)
        if isinstance(expr, Unary) and flat_operand(expr) == flat(expr.operand):
            prefix = unary_prefix(expr)
            return prefix + self.lay(expr.operand, indent, column + len(prefix), prefix_precedence(expr.op))
        if isinstance(expr, ListExpr):
            return self._listed("[", expr.items, "]", indent)
        if isinstance(expr, Tuple) and len(expr.items) > 1:
            return self._listed("(", expr.items, ")", indent)
        if isinstance(expr, Index):
            return self._listed(flat_base(expr.base) + "[", expr.items, "]", indent)
        return flat(expr)

    def _listed(self, opening: str, items: Sequence[Expr], closing: str, indent: int) -> str:
        if any(map(self._breaks, items)):
            lines = ",\n".join(_STEP * (indent + 1) + self.lay(item, indent + 1, 0) for item in items)
        else:
            lines = _fill([flat(item) for item in items], indent + 1)
        return f"{opening}\n{lines}\n{_STEP * indent}{closing}"

    def _call(self, expr: Call, indent: int) -> str:
        if expr.braces:
            return f"{flat(expr.callee)} {self._braces(expr.arguments, expr.span, indent)}"
        if not expr.arguments:
            return flat(expr)
        groups = [[a for a in expr.arguments if a.hyper is hyper] for hyper in (False, True)]
        parts = [self._arguments(group, indent + 1) for group in groups]
        joined = parts[0] if not groups[1] else f"{parts[0] or _STEP * (indent + 1)};\n{parts[1]}"
        return f"{flat_base(expr.callee)}(\n{joined}\n{_STEP * indent})"

    def _arguments(self, arguments: Sequence[Argument], indent: int) -> str:
        if not any(map(self._breaks, arguments)):
            texts = list(map(flat_argument, arguments))
            if all(len(_STEP) * indent + len(text) < WIDTH for text in texts):
                return _fill(texts, indent) if texts else ""
        return ",\n".join(self._argument(argument, indent) for argument in arguments)

    def _argument(self, argument: Argument, indent: int) -> str:
        head = f"{_STEP * indent}{argument.name}: " if argument.name else _STEP * indent
        return head + self.lay(argument.value, indent, len(head))

    def _binary(self, expr: Binary, indent: int, column: int) -> str:
        left, right = operand_levels(expr)
        start = f"{flat(expr.left, left)} {expr.op} "
        if _hangs(expr.right) and not self._breaks(expr.left) and column + len(start) < WIDTH * 2 // 3:
            return start + self.lay(expr.right, indent, column + len(start), right)
        first, rest, left = _chain(expr)
        lines = [self.lay(first, indent, column, left)]
        for op, operand in rest:
            head = f"{_STEP * (indent + 1)}{op} "
            lines.append(head + self.lay(operand, indent + 1, len(head), right))
        return "\n".join(lines)

    def _if(self, expr: If, indent: int, column: int) -> str:
        pad = _STEP * (indent + 1)
        condition = self.lay(expr.condition, indent, column + 3, CONDITION)
        loose = 0 if isinstance(expr.then, If | Definition) else LOOSEST
        then = self.lay(expr.then, indent + 1, len(pad) + 5, loose)
        otherwise = self.lay(expr.otherwise, indent + 1, len(pad) + 5)
        return f"if {condition}\n{pad}then {then}\n{pad}else {otherwise}"


def as_member(argument: Argument) -> Member:
    """An argument of a brace call, as the member that it is written as."""
    from tantra_dsl.syntax.tree import Entry

    if argument.name is None:
        return Item(argument.value, span=argument.span)
    return Entry(argument.name, argument.value, span=argument.span)


def _opens_call(value: Expr, column: int) -> bool:
    """Whether a long value reads better broken inside its brackets than moved to the next line."""
    return isinstance(value, Call | ListExpr | Tuple) and column < WIDTH // 2


def _needs_parentheses(expr: Expr, level: int) -> bool:
    if isinstance(expr, Binary):
        return PRECEDENCE[expr.op] < level
    if isinstance(expr, Unary):
        return prefix_precedence(expr.op) < level
    loose = isinstance(expr, If) or (isinstance(expr, Definition) and not isinstance(expr.body, Body))
    return loose and level > LOOSEST


def _hangs(expr: Expr) -> bool:
    """Whether an operand opens a bracket at its start, so that it may stay on the operator's line."""
    return isinstance(expr, Call | ListExpr | Tuple) or (isinstance(expr, Definition) and isinstance(expr.body, Body))


def _chain(expr: Binary) -> tuple[Expr, list[tuple[str, Expr]], int]:
    """The first operand of a left-leaning chain such as `a + b - c`, the others, and the first's level."""
    own, first, innermost = PRECEDENCE[expr.op], expr.left, expr
    rest: list[tuple[str, Expr]] = [(expr.op, expr.right)]
    while isinstance(first, Binary) and PRECEDENCE[first.op] == own and own not in (COMPARISON, PRECEDENCE["**"]):
        rest.append((first.op, first.right))
        innermost, first = first, first.left
    return first, rest[::-1], operand_levels(innermost)[0]


def _fill(texts: Sequence[str], indent: int) -> str:
    """Texts with commas, as many on a line as fit."""
    lines = [_STEP * indent]
    for index, text in enumerate(texts):
        piece = text + ("," if index + 1 < len(texts) else "")
        if lines[-1].strip() and len(lines[-1]) + 1 + len(piece) > WIDTH:
            lines.append(_STEP * indent)
        lines[-1] += (" " if lines[-1].strip() else "") + piece
    return "\n".join(lines)


__all__ = ["WIDTH", "TextFormat", "as_member"]
