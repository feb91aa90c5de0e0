"""What each rule of the grammar makes: tokens and parts to tree nodes.

`_make_x` is the grammar's action `x`; it takes the parts of the rule in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.duplicates import check_arguments, check_members, check_parameters
from tantra_dsl.syntax.lexer import Token
from tantra_dsl.syntax.literals import canonical_number, unescape
from tantra_dsl.syntax.neighbours import check_neighbours
from tantra_dsl.syntax.operators import resolve
from tantra_dsl.syntax.paths import path_text
from tantra_dsl.syntax.source import Source, Span
from tantra_dsl.syntax.tree import (
    Argument,
    Assign,
    Attribute,
    Body,
    Call,
    Definition,
    Entry,
    Expect,
    Expr,
    File,
    If,
    Index,
    Input,
    Item,
    Kind,
    Let,
    ListExpr,
    Member,
    Name,
    Number,
    Parameter,
    Remove,
    Return,
    Share,
    String,
    Tuple,
    Use,
)

Parts = list[Any]
Signature = tuple[tuple[Parameter, ...] | None, tuple[Parameter, ...]]

_MEMBER_WORDS: dict[type, str] = {
    Assign: "an equation", Let: "a `let`", Share: "a `share`", Input: "an `input`", Return: "a `return`",
    Expect: "an `expect`", Remove: "a `remove`", Use: "a `use`", Definition: "a named definition",
}  # fmt: skip


class Builder:
    """Makes the nodes of one source; mistakes that leave a whole tree go to ``sink``."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self.source = source
        self.sink = sink
        self.told: Member | None = None  # the last member reported for standing next to another

    def action(self, name: str) -> Callable[[Parts], Any]:
        """The method for one of the grammar's actions."""
        return cast(Callable[[Parts], Any], getattr(self, "_make_" + name))

    def spot(self, start: int, end: int) -> Span:
        """A span of this source."""
        return Span(self.source, start, end)

    # --- lists, files, members -------------------------------------------------------------

    def _make_list_empty(self, parts: Parts) -> Parts:
        return []

    def _make_list_first(self, parts: Parts) -> Parts:
        return [parts[0]]

    def _make_list_next(self, parts: Parts) -> Parts:
        parts[0].append(parts[-1])
        return cast(Parts, parts[0])

    _make_members_first = _make_list_first
    _make_members_after = _make_list_next

    def _make_members_next(self, parts: Parts) -> Parts:
        members, member = parts
        if members[-1] is not self.told and check_neighbours(members[-1], member, self.sink):
            self.told = member
        members.append(member)
        return cast(Parts, members)

    def _make_file_empty(self, parts: Parts) -> File:
        return File((), span=self.spot(0, len(self.source.text)))

    def _make_file(self, parts: Parts) -> File:
        check_members(parts[0], self.sink)
        return File(tuple(parts[0]), span=self.spot(0, len(self.source.text)))

    def _make_body_empty(self, parts: Parts) -> Body:
        return Body((), span=self.spot(parts[0][2], parts[-1][3]))

    def _make_body(self, parts: Parts) -> Body:
        check_members(parts[1], self.sink)
        return Body(tuple(parts[1]), span=self.spot(parts[0][2], parts[-1][3]))

    def _make_entry(self, parts: Parts) -> Entry:
        key, _, value = parts
        return Entry(self._path(key), value, span=self.spot(key.span.start, value.span.end))

    def _path(self, key: Expr) -> str:
        path = path_text(key)
        if path is None:
            from tantra_dsl.diagnostics.syntax import NotAPath

            self.sink.add(NotAPath(span=key.span))
        return path or "_"

    def _make_item(self, parts: Parts) -> Item:
        return Item(parts[0], span=parts[0].span)

    def _make_let(self, parts: Parts) -> Let:
        return Let(parts[1][1], parts[3], span=self.spot(parts[0][2], parts[3].span.end))

    def _make_share(self, parts: Parts) -> Share:
        return Share(parts[1][1], parts[3], span=self.spot(parts[0][2], parts[3].span.end))

    def _make_input(self, parts: Parts) -> Input:
        return Input(parts[1][1], parts[3], span=self.spot(parts[0][2], parts[3].span.end))

    def _make_assign(self, parts: Parts) -> Assign:
        head, value = parts
        targets = tuple(name.strip() for name in head[1][:-1].split(","))
        return Assign(targets, value, span=self.spot(head[2], value.span.end))

    def _make_return_(self, parts: Parts) -> Return:
        return Return(tuple(parts[1]), span=self.spot(parts[0][2], parts[1][-1].span.end))

    def _make_expect(self, parts: Parts) -> Expect:
        return Expect(parts[1], span=self.spot(parts[0][2], parts[1].span.end))

    def _make_remove(self, parts: Parts) -> Remove:
        return Remove(self._path(parts[1]), span=self.spot(parts[0][2], parts[1].span.end))

    def _make_use(self, parts: Parts) -> Use:
        return Use(self._string(parts[1]), span=self.spot(parts[0][2], parts[1][3]))

    # --- definitions -----------------------------------------------------------------------

    def _make_definition_equation(self, parts: Parts) -> Definition:
        kind, name, signature, base, _, value = parts
        return self._definition(kind, name, signature, base, value)

    def _make_definition_body(self, parts: Parts) -> Definition:
        return self._definition(*parts)

    def _definition(
        self, kind: Token, name: Token | None, signature: Signature, base: Expr | None, body: Body | Expr
    ) -> Definition:
        return Definition(
            cast(Kind, kind[1]), name[1] if name else None, *signature, base, body,
            span=self.spot(kind[2], body.span.end),
            name_span=self.spot(name[2], name[3]) if name else self.spot(kind[2], kind[3]),
        )  # fmt: skip

    def _make_block(self, parts: Parts) -> Definition:
        kind, signature, body = parts
        return self._definition(kind, None, signature, None, body)

    def _make_fn(self, parts: Parts) -> Definition:
        kind, signature, _, value = parts
        return self._definition(kind, None, signature, None, value)

    def _make_signature_none(self, parts: Parts) -> Signature:
        return None, ()

    def _make_signature(self, parts: Parts) -> Signature:
        check_parameters(parts[1], self.sink)
        return tuple(parts[1]), ()

    def _make_signature_both(self, parts: Parts) -> Signature:
        check_parameters(parts[1] + parts[3], self.sink)
        return tuple(parts[1]), tuple(parts[3])

    def _make_base_none(self, parts: Parts) -> None:
        return None

    def _make_base(self, parts: Parts) -> Expr:
        return cast(Expr, parts[1])

    def _make_base_call(self, parts: Parts) -> Call:
        return self._make_call(parts[1:])

    def _make_parameter(self, parts: Parts) -> Parameter:
        return Parameter(parts[0][1], span=self.spot(parts[0][2], parts[0][3]))

    def _make_parameter_default(self, parts: Parts) -> Parameter:
        name, _, default = parts
        return Parameter(name[1], (), default, span=self.spot(name[2], default.span.end))

    def _make_parameter_typed(self, parts: Parts) -> Parameter:
        name, _, choices = parts
        return Parameter(name[1], tuple(c[1] for c in choices), span=self.spot(name[2], choices[-1][3]))

    def _make_parameter_typed_default(self, parts: Parts) -> Parameter:
        name, _, choices, _, default = parts
        return Parameter(name[1], tuple(c[1] for c in choices), default, span=self.spot(name[2], default.span.end))

    # --- expressions -----------------------------------------------------------------------

    def _make_chain_next(self, parts: Parts) -> list[Expr | Token]:
        chain, operator, operand = parts
        if not isinstance(chain, list):
            chain = [chain]
        chain.append(operator)
        chain.extend(operand if isinstance(operand, list) else [operand])
        return chain

    def _make_prefixed(self, parts: Parts) -> list[Expr | Token]:
        return [*parts[0], parts[1]]

    def _make_expr(self, parts: Parts) -> Expr:
        chain = parts[0]
        return resolve(chain, self.spot, self.sink) if isinstance(chain, list) else chain

    def _make_if_(self, parts: Parts) -> If:
        word, condition, _, then, _, otherwise = parts
        return If(condition, then, otherwise, span=self.spot(word[2], otherwise.span.end))

    def _make_number(self, parts: Parts) -> Number:
        _, text, start, end, _ = parts[0]
        return Number(canonical_number(text), span=Span(self.source, start, end))

    def _make_string(self, parts: Parts) -> String:
        return String(self._string(parts[0]), span=self.spot(parts[0][2], parts[0][3]))

    def _string(self, token: Token) -> str:
        def bad(position: int, text: str) -> None:
            start = token[2] + 1 + position
            exact = self.source.text.startswith(text, start)  # not where YAML folds or escapes it
            span = self.spot(start, start + len(text)) if exact else self.spot(token[2], token[3])
            from tantra_dsl.diagnostics.syntax import BadEscape

            self.sink.add(BadEscape(span=span, text=text))

        return unescape(token[1][1:-1], bad)

    def _make_name(self, parts: Parts) -> Name:
        _, text, start, end, _ = parts[0]
        return Name(text, span=Span(self.source, start, end))

    def _make_attribute(self, parts: Parts) -> Attribute:
        base, _, name = parts
        return Attribute(base, name[1], span=self.spot(base.span.start, name[3]))

    def _make_index(self, parts: Parts) -> Index:
        base, _, items, closer = parts
        return Index(base, tuple(items), span=self.spot(base.span.start, closer[3]))

    def _make_parenthesised(self, parts: Parts) -> Expr:
        return cast(Expr, replace(parts[1], span=self.spot(parts[0][2], parts[2][3])))

    def _make_tuple_one(self, parts: Parts) -> Tuple:
        return Tuple((parts[1],), span=self.spot(parts[0][2], parts[-1][3]))

    def _make_tuple(self, parts: Parts) -> Tuple:
        return Tuple((parts[1], *parts[3]), span=self.spot(parts[0][2], parts[-1][3]))

    def _make_list_expr_empty(self, parts: Parts) -> ListExpr:
        return ListExpr((), span=self.spot(parts[0][2], parts[-1][3]))

    def _make_list_expr(self, parts: Parts) -> ListExpr:
        return ListExpr(tuple(parts[1]), span=self.spot(parts[0][2], parts[-1][3]))

    def _make_value(self, parts: Parts) -> Expr:
        return cast(Expr, parts[1])

    # --- calls -----------------------------------------------------------------------------

    def _make_call(self, parts: Parts) -> Call:
        callee, _, arguments, closer = parts
        check_arguments(arguments, self.sink)
        return Call(callee, tuple(arguments), span=self.spot(callee.span.start, closer[3]))

    def _make_arguments(self, parts: Parts) -> Parts:
        return cast(Parts, parts[0])

    def _make_arguments_both(self, parts: Parts) -> Parts:
        return [*parts[0], *(replace(argument, hyper=True) for argument in parts[2])]

    def _make_argument(self, parts: Parts) -> Argument:
        return Argument(None, parts[0], span=parts[0].span)

    def _make_argument_named(self, parts: Parts) -> Argument:
        key, _, value = parts
        return Argument(self._path(key), value, span=self.spot(key.span.start, value.span.end))

    def _make_brace_call_empty(self, parts: Parts) -> Call:
        return Call(parts[0], (), True, span=self.spot(parts[0].span.start, parts[-1][3]))

    def _make_brace_call(self, parts: Parts) -> Call:
        callee, _, members = parts[:3]
        found = (self._argument(callee, member) for member in members)
        arguments = [argument for argument in found if argument]
        check_arguments(arguments, self.sink)
        return Call(callee, tuple(arguments), True, span=self.spot(callee.span.start, parts[-1][3]))

    def _argument(self, callee: Expr, member: Member) -> Argument | None:
        if isinstance(member, Entry):
            return Argument(member.path, member.value, span=member.span)
        if isinstance(member, Item):
            return Argument(None, member.value, span=member.span)
        from tantra_dsl.diagnostics.syntax import NotAnArgument

        name = path_text(callee) or ""
        self.sink.add(NotAnArgument(span=member.span, what=_MEMBER_WORDS[type(member)], callee=name))
        return None


__all__ = ["Builder"]
