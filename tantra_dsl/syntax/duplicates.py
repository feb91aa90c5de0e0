"""One name, one place: keys, arguments, parameters and definitions that come twice."""

from __future__ import annotations

from collections.abc import Sequence

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.source import Span
from tantra_dsl.syntax.tree import (
    Argument,
    Assign,
    Definition,
    Entry,
    Input,
    Let,
    Member,
    Parameter,
    Return,
    Share,
)  # fmt: skip


def check_members(members: Sequence[Member], sink: Sink) -> None:
    """Report keys set twice and names defined twice in one body or file."""
    keys: dict[str, Entry] = {}
    names: dict[str, Member] = {}
    returned: Return | None = None
    for member in members:
        if isinstance(member, Entry):
            first = keys.setdefault(member.path, member)
            if first is not member:
                _set_twice(member, first, member.path, sink)
        elif isinstance(member, Definition | Let | Share | Input):
            _check_name(member, names, sink)
        elif isinstance(member, Assign) and len(set(member.targets)) < len(member.targets):
            _check_targets(member, sink)
        elif isinstance(member, Return):
            returned = returned or member
            if returned is not member:
                _set_twice(member, returned, "return", sink)


def _check_name(member: Definition | Let | Share | Input, names: dict[str, Member], sink: Sink) -> None:
    name = member.name or ""
    first = names.setdefault(name, member)
    if first is not member:
        what = member.kind if isinstance(member, Definition) else type(member).__name__.lower()
        _defined_twice(member, first, name, what, sink)


def _check_targets(member: Assign, sink: Sink) -> None:
    again = next(name for number, name in enumerate(member.targets) if name in member.targets[:number])
    _defined_twice(member, member, again, "variable", sink)


def check_arguments(arguments: Sequence[Argument], sink: Sink) -> None:
    """Report arguments of one call that are given twice by name."""
    if len(arguments) < 2:
        return
    keys: dict[str, Argument] = {}
    for argument in arguments:
        if argument.name is not None:
            first = keys.setdefault(argument.name, argument)
            if first is not argument:
                _set_twice(argument, first, argument.name, sink)


def check_parameters(parameters: Sequence[Parameter], sink: Sink) -> None:
    """Report parameters of one definition that share a name."""
    names: dict[str, Parameter] = {}
    for parameter in parameters:
        first = names.setdefault(parameter.name, parameter)
        if first is not parameter:
            _defined_twice(parameter, first, parameter.name, "parameter", sink)


def _set_twice(again: Member | Argument, first: Member | Argument, key: str, sink: Sink) -> None:
    from tantra_dsl.diagnostics.syntax import DuplicateKey

    sink.add(DuplicateKey(span=head(again), key=key, first=head(first)))


def _defined_twice(again: Member | Parameter, first: Member | Parameter, name: str, what: str, sink: Sink) -> None:
    from tantra_dsl.diagnostics.syntax import DuplicateName

    sink.add(DuplicateName(span=head(again), name=name, what=what, first=head(first)))


def head(node: Member | Argument | Parameter) -> Span:
    """The span of what a member sets or defines: its key or its name, without the value."""
    if isinstance(node, Definition):
        return node.name_span
    start, end = node.span.start, node.span.end
    value = getattr(node, "value", None) or getattr(node, "default", None)
    if value is not None and start < value.span.start:
        written = node.span.source.text[start : value.span.start]
        end = start + len(written.split("\n")[0].rstrip(" \t:='\"{"))
    return Span(node.span.source, start, max(end, start + 1))


__all__ = ["check_arguments", "check_members", "check_parameters", "head"]
