"""The canonical YAML of a tree.

A body is a mapping where each of its members has a key of its own, else a list of members; what
no mapping can say (equations, `return`, bare names) is the text of a member in such a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tantra_dsl.syntax.comments import Comments
from tantra_dsl.syntax.flat import flat, flat_head, member_head
from tantra_dsl.syntax.format_text import WIDTH, TextFormat, as_member
from tantra_dsl.syntax.source import Span
from tantra_dsl.syntax.tree import (
    Binary,
    Body,
    Call,
    Definition,
    Entry,
    Expect,
    Expr,
    File,
    Input,
    Item,
    Let,
    ListExpr,
    Member,
    Remove,
    Share,
    Use,
)
from tantra_dsl.syntax.yaml_scalars import LABELLED, is_plain, scalar

_STEP = "  "
_LISTED = (Expect, Remove, Use)
_RESERVED_KEYS = frozenset({"expect", "remove", "use", "<<", "count"})
_MAX_KEY = 200


@dataclass(frozen=True)
class _Node:
    """How a part is spelled: ``scalar``, ``items`` (a list of scalars) or a ``body`` of members."""

    scalar: str = ""
    items: tuple[str, ...] | None = None
    body: Sequence[Member] | None = None
    region: Span | None = None
    count: str = ""  # `count:` before the part, whose key is then `part`
    part: str = ""
    single: bool = False  # the part is a mapping of its own below the key


class YamlFormat:
    """Prints one file with the comments of its source."""

    def __init__(self, comments: Comments) -> None:
        self.comments = comments

    def file(self, file: File) -> str:
        """The whole YAML, ending in a newline unless it is empty."""
        region = Span(file.span.source, 0, file.span.end)
        model = file.members[0] if len(file.members) == 1 else None
        if isinstance(model, Definition) and _is_plain_model(model):
            lines = self._around(model, self._model(model), region)
        else:
            lines = self._list(file.members, region, 0, top=True)
        return "\n".join(lines) + "\n" if lines else ""

    def _around(self, model: Definition, lines: list[str], region: Span) -> list[str]:
        if not self.comments.knows(region):
            return lines
        before = self._comments(0, model.span.start, "", False)
        rest = self._comments(model.span.start, region.end, "", True)
        blank = [""] if before and self.comments.blank_before(model.span.start) else []
        return [*before, *blank, *lines, *rest]

    # --- bodies ----------------------------------------------------------------------------

    def _model(self, model: Definition) -> list[str]:
        """`model: head`, then the members beside it."""
        assert isinstance(model.body, Body)
        head = flat_head(model).removeprefix("model ")
        opening = self._opening(model.body.members, model.body.span)
        return [f"model: {scalar(head)}{opening}", *self._mapping(model.body.members, model.body.span, 0)]

    def _opening(self, members: Sequence[Member], region: Span) -> str:
        if not self.comments.knows(region):
            return ""
        return self.comments.take_on_line(region.start, members[0].span.start if members else region.end)

    def _mapping(self, members: Sequence[Member], region: Span, indent: int) -> list[str]:
        lines: list[str] = []
        for group, start, following, cursor in _placed(_grouped(members), region):
            lines += self._with_comments(self._pair(group, indent), start, following, cursor, indent, bool(lines))
        return lines + self._rest(region, indent, bool(lines))

    def _list(self, members: Sequence[Member], region: Span, indent: int, *, top: bool = False) -> list[str]:
        lines: list[str] = []
        for group, start, following, cursor in _placed([[member] for member in members], region):
            text = self._list_item(group[0], indent, top)
            lines += self._with_comments(text, start, following, cursor, indent, bool(lines))
        return lines + self._rest(region, indent, bool(lines))

    def _list_item(self, member: Member, indent: int, top: bool) -> list[str]:
        if top and isinstance(member, Definition) and _is_plain_model(member):
            inner = [line and _STEP + line for line in self._model(member)]
        elif _key(member) is not None and not (top and isinstance(member, Entry) and member.path == "model"):
            inner = self._pair([member], indent + 1)
        else:
            inner = self._text_item(member, indent)
        return [_STEP * indent + "- " + inner[0][len(_STEP) * (indent + 1) :], *inner[1:]]

    def _text_item(self, member: Member, indent: int) -> list[str]:
        pad = _STEP * (indent + 1)
        return self._scalar_lines(pad, TextFormat(Comments(None)).member(member, 0), pad)

    def _with_comments(
        self, lines: list[str], span: Span, following: int, cursor: int, indent: int, after: bool
    ) -> list[str]:
        if not self.comments.knows(span):
            return lines
        before = self._comments(cursor, span.end, _STEP * indent, after)
        blank = [""] if (after or before) and self.comments.blank_before(span.start) else []
        trailing = self.comments.take_on_line(span.end, following)
        place = _opening_line(lines)
        if trailing and (lines[place].endswith("|-") or self._ends_in_comment(lines[place])):
            before, trailing = [*before, _STEP * indent + trailing.strip()], ""
        lines = [line + trailing if index == place else line for index, line in enumerate(lines)]
        return [*before, *blank, *lines]

    def _ends_in_comment(self, line: str) -> bool:
        return "#" in line and line.endswith(tuple(comment.text for comment in self.comments.items))

    def _comments(self, start: int, end: int, pad: str, after: bool) -> list[str]:
        lines: list[str] = []
        for comment in self.comments.take(start, end):
            if (lines or after) and self.comments.blank_before(comment.start):
                lines.append("")
            lines.append(pad + comment.text)
        return lines

    def _rest(self, region: Span, indent: int, after: bool) -> list[str]:
        if not self.comments.knows(region):
            return []
        return self._comments(region.start, region.end, _STEP * indent, after)

    # --- pairs -----------------------------------------------------------------------------

    def _pair(self, group: Sequence[Member], indent: int) -> list[str]:
        """The lines of one key and its value; a group is one member, or several of a listed kind."""
        first = group[0]
        pad = _STEP * indent
        if isinstance(first, _LISTED):
            texts = tuple(_listed_text(member) for member in group)
            return self._items(f"{pad}{type(first).__name__.lower()}:", texts, indent)
        key, node = _key(first) or "", _node(first)
        assert node is not None
        start = f"{pad}{scalar(key, key=True)}:"
        if node.items is not None:
            return self._items(start, node.items, indent)
        if node.body is None:
            return self._scalar_lines(start + " ", node.scalar, pad)
        return self._body(start, node, indent)

    def _scalar_lines(self, start: str, text: str, pad: str) -> list[str]:
        if "\n" not in text and len(start) + len(text) <= WIDTH + 20:
            return [start + scalar(text)]
        if "\n" not in text:
            return [start + scalar(text)]
        return [start + "|-", *(pad + _STEP + line for line in text.split("\n"))]

    def _items(self, start: str, texts: Sequence[str], indent: int) -> list[str]:
        inline = f"{start} [{', '.join(scalar(text, flow=True) for text in texts)}]"
        if len(inline) <= WIDTH or not texts:
            return [inline]
        pad = _STEP * (indent + 1)
        return [start, *(f"{pad}- {scalar(text)}" for text in texts)]

    def _body(self, start: str, node: _Node, indent: int) -> list[str]:
        assert node.body is not None and node.region is not None
        inline = None if self._has_comment(node.region) else _flow(node)
        if inline is not None and len(start) + 1 + len(inline) <= WIDTH and not (node.count and node.body):
            return [f"{start} {inline}"]
        opening = self._opening(node.body, node.region)
        if node.count or node.single:
            pad = _STEP * (indent + 1)
            count = [f"{pad}count: {scalar(node.count)}"] if node.count else []
            inner = f"{pad}{scalar(node.part, key=True)}:"
            return [start, *count, *self._inside(inner, opening, node, indent + 1)]
        return self._inside(start, opening, node, indent)

    def _inside(self, start: str, opening: str, node: _Node, indent: int) -> list[str]:
        assert node.body is not None and node.region is not None
        if not node.body:  # a comment in it goes before the member, like all that found no place of its own
            return [f"{start} {{}}{opening}"]
        lines = (self._mapping if _is_mapping(node.body) else self._list)(node.body, node.region, indent + 1)
        return [start + opening, *lines]

    def _has_comment(self, region: Span) -> bool:
        return self.comments.knows(region) and self.comments.any_within(region.start, region.end)


def _opening_line(lines: list[str]) -> int:
    """The line that a comment behind a member goes to: its last, or the key that opens its body."""
    if len(lines) == 1 or not _is_bare_key(lines[0]):
        return 0 if lines[0].endswith("|-") else len(lines) - 1
    counted = len(lines) > 2 and lines[1].lstrip().startswith("count: ") and _is_bare_key(lines[2])
    return 2 if counted else 0


def _is_bare_key(line: str) -> bool:
    return line.partition("  #")[0].rstrip().endswith(":")


def _placed(groups: list[list[Member]], region: Span) -> list[tuple[list[Member], Span, int, int]]:
    """Each group with its span, the start of what follows it, and the end of what is before it."""
    placed, cursor = [], region.start
    for index, group in enumerate(groups):
        span = group[0].span.to(group[-1].span)
        following = groups[index + 1][0].span.start if index + 1 < len(groups) else region.end
        placed.append((group, span, following, cursor))
        cursor = span.end
    return placed


def _grouped(members: Sequence[Member]) -> list[list[Member]]:
    """Members, with neighbours of one listed kind together."""
    groups: list[list[Member]] = []
    for member in members:
        if isinstance(member, _LISTED) and groups and type(groups[-1][0]) is type(member):
            groups[-1].append(member)
        else:
            groups.append([member])
    return groups


# --- what can be said as a mapping -----------------------------------------------------------


def _is_plain_model(node: Definition) -> bool:
    return node.kind == "model" and isinstance(node.body, Body) and _is_mapping(node.body.members, beside_model=True)


def _is_mapping(members: Sequence[Member], *, beside_model: bool = False) -> bool:
    """Whether every member has a key of its own."""
    keys = [_key(group[0]) for group in _grouped(members)]
    if beside_model and ("model" in keys or keys[:1] == ["extends"]):
        return False
    return None not in keys and len(set(keys)) == len(keys)


def _key(member: Member) -> str | None:
    """The YAML key of a member, or None where it must be written as text."""
    if isinstance(member, _LISTED):
        return type(member).__name__.lower()
    node = _node(member)
    key = _key_text(member) if node is not None else None
    return key if key is not None and len(key) <= _MAX_KEY else None


def _key_text(member: Member) -> str | None:
    if isinstance(member, Entry):
        if (bracey := _bracey(member.value)) is not None and _label_apart(member):
            return f"{bracey[0]} as {member.path}"
        return None if member.path in _RESERVED_KEYS else member.path
    if isinstance(member, Let | Share | Input):
        return member_head(member).removesuffix(": ")
    if isinstance(member, Definition):
        return flat_head(member) if member.name else None
    bracey = _bracey(member.value) if isinstance(member, Item) else None
    return None if bracey is None or bracey[0] in _RESERVED_KEYS else bracey[0]


def _label_apart(member: Entry) -> bool:
    return member.path not in _RESERVED_KEYS and LABELLED.fullmatch(f"x as {member.path}") is not None


def _node(member: Member) -> _Node | None:
    """How the value of a member is spelled below its key."""
    if isinstance(member, Definition):
        if isinstance(member.body, Body):
            return _Node(body=member.body.members, region=member.body.span)
        return _Node(scalar=_text(member.body))
    if isinstance(member, Item):
        bracey = _bracey(member.value)
        return _Node(body=bracey[1], region=bracey[2]) if bracey else None
    if isinstance(member, Entry):
        labelled = _bracey(member.value) is None or _label_apart(member)
        return _value_node(member.value, single=False) if labelled else None
    if isinstance(member, Let | Share):
        return _value_node(member.value, single=True)
    return _Node(scalar=_text(member.type)) if isinstance(member, Input) else None


def _value_node(value: Expr, *, single: bool) -> _Node:
    if isinstance(value, Binary) and value.op == "of" and (inner := _bracey(value.right)) and inner[0] != "count":
        return _Node(count=flat(value.left), part=inner[0], body=inner[1], region=inner[2])
    if (inner := _bracey(value)) is not None:
        return _Node(part=inner[0], body=inner[1], region=inner[2], single=single)
    if isinstance(value, ListExpr) and value.items and not any("{" in flat(item) for item in value.items):
        return _Node(items=tuple(flat(item) for item in value.items))
    return _Node(scalar=_text(value))


def _bracey(value: Expr) -> tuple[str, Sequence[Member], Span] | None:
    """Head, members and place of a brace call or a block in place that YAML can spell as a mapping."""
    if isinstance(value, Definition) and value.name is None and isinstance(value.body, Body):
        return flat_head(value), value.body.members, value.body.span
    if not (isinstance(value, Call) and value.braces):
        return None
    members = [as_member(argument) for argument in value.arguments]
    if not _is_mapping(members) or _looks_counted(members):
        return None
    region = Span(value.span.source, value.callee.span.end, value.span.end)
    return flat(value.callee), members, region


def _looks_counted(members: Sequence[Member]) -> bool:
    return any(isinstance(member, Entry) and member.path == "count" for member in members)


def _text(value: Expr) -> str:
    return TextFormat(Comments(None)).lay(value, 0, 0)


def _listed_text(member: Member) -> str:
    if isinstance(member, Expect):
        return flat(member.condition)
    if isinstance(member, Remove):
        return member.path
    assert isinstance(member, Use)
    from tantra_dsl.syntax.literals import quote

    plain = is_plain(member.path) and member.path.isprintable()
    return member.path if plain else quote(member.path)


def _flow(node: _Node) -> str | None:
    """A body on one line, where all of it is short."""
    assert node.body is not None
    if not _is_mapping(node.body):
        return None
    parts = [_flow_pair(group) for group in _grouped(node.body)]
    if None in parts:
        return None
    inside = f"{{{', '.join(part for part in parts if part)}}}"
    if node.count:
        return f"{{count: {scalar(node.count, flow=True)}, {scalar(node.part, flow=True)}: {inside}}}"
    return f"{{{scalar(node.part, flow=True)}: {inside}}}" if node.single else inside


def _flow_pair(group: Sequence[Member]) -> str | None:
    first = group[0]
    if not isinstance(first, Entry | Item):
        return None
    key, node = _key(first), _node(first)
    if key is None or node is None or "\n" in node.scalar:
        return None
    head = f"{scalar(key, flow=True)}: "
    if node.items is not None:
        return f"{head}[{', '.join(scalar(text, flow=True) for text in node.items)}]"
    if node.body is None:
        return head + scalar(node.scalar, flow=True)
    inner = _flow(node)
    return None if inner is None or (node.count and node.body) else head + inner


__all__ = ["YamlFormat"]
